import pytest
import torch

from videossl.methods.byol import BYOL, apart


def test_the_distance_is_0_for_the_same_direction_and_4_for_the_opposite():
    one = torch.randn(5, 7)
    assert apart(one, 3 * one).item() == pytest.approx(0, abs=1e-6) and apart(one, -one).item() == pytest.approx(4)
    units = [torch.nn.functional.normalize(x, dim=1) for x in torch.randn(2, 5, 7)]
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
    clips = torch.randint(256, (3, 2, 1, 3, 16, 16), dtype=torch.uint8)
    loss = net({"clips": clips})[0].item()
    assert 0 <= loss <= 8
