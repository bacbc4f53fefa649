from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videossl.methods.byol import BYOL, apart


@dataclass(frozen=True)
class Unpredicted(BYOL):
    """Without the predictor, projections themselves are compared."""

    def build(self, trunk):
        net = super().build(trunk)
        net.predictor = nn.Identity()
        return net


def test_the_distance_is_0_for_the_same_direction_and_4_for_the_opposite():
    one = torch.randn(5, 7)
    assert apart(one, 3 * one).item() == pytest.approx(0, abs=1e-6) and apart(one, -one).item() == pytest.approx(4)
    units = [F.normalize(x, dim=1) for x in torch.randn(2, 5, 7)]
    assert apart(*units).item() == pytest.approx((units[0] - units[1]).square().sum(1).mean().item(), rel=1e-5)


def test_the_target_gets_no_gradient_and_follows_ever_more_slowly(tiny):
    torch.manual_seed(0)
    net = BYOL(momentum=0.6, hidden=8, out=4).build(tiny())
    net({"clips": torch.randint(256, (3, 2, 1, 3, 16, 16), dtype=torch.uint8)})[0].backward()
    assert net.predictor.layers[0].weight.grad is not None and all(p.grad is None for p in net.teacher.parameters())
    for progress, momentum in ((0.0, 0.6), (1.0, 1.0)):
        before = net.teacher.copies[0].body[0].weight.clone()
        with torch.no_grad():
            net.trunk.body[0].weight.add_(1.0)
        net.update(progress)
        expected = momentum * before + (1 - momentum) * net.trunk.body[0].weight
        assert torch.allclose(net.teacher.copies[0].body[0].weight, expected, atol=1e-6)


def test_the_loss_is_the_sum_of_both_directions(tiny):
    torch.manual_seed(0)
    net = BYOL(hidden=8, out=4).build(tiny()).eval()
    predicted, target = [], []
    net.predictor.register_forward_hook(lambda module, given, result: predicted.append(result))
    net.teacher.copies[1].register_forward_hook(lambda module, given, result: target.append(result))
    loss = net({"clips": torch.randint(256, (3, 2, 1, 3, 16, 16), dtype=torch.uint8)})[0].item()
    p, z = (F.normalize(found[0], dim=1).unflatten(0, (3, 2)) for found in (predicted, target))
    total = sum((p[n, i] - z[n, 1 - i]).square().sum().item() for n in range(3) for i in range(2))
    assert loss == pytest.approx(total / 3, rel=1e-4) and 0 < loss < 8


def test_without_a_predictor_and_a_slow_teacher_it_collapses_and_the_spread_tells(learn, batch, tiny, pictures):
    records = pictures(256)
    views = {"area": (0.5, 1.0), "colour": 0.2, "blurred": 0.0, "blurred_second": None, "solarised": 0.0}
    found = {}
    for kind, momentum in ((BYOL, 0.9), (Unpredicted, 0.0)):
        method = kind(momentum=momentum, hidden=32, out=16, **views)
        found[kind] = learn(method, records, tiny(), 80)(batch(method, records[:48]))
    assert found[Unpredicted][1]["spread"] < 0.3 < found[BYOL][1]["spread"]
    assert found[Unpredicted][0] < found[BYOL][0]  # a collapse has the smaller loss
