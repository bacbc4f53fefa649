import math

import pytest
import torch
from lightly.loss import NTXentLoss
from torch.nn import functional as F

from videossl.methods.simclr import SimCLR


def algorithm_1(one, other, temperature):
    """The card, word for word: 2N views, each contrasted with the 2N - 1 others."""
    z = torch.stack([one, other], 1).flatten(0, 1)  # 2k and 2k + 1 are a pair
    total = 0.0
    for i in range(len(z)):
        scores = {k: math.exp(F.cosine_similarity(z[i], z[k], dim=0) / temperature) for k in range(len(z)) if k != i}
        total -= math.log(scores[i ^ 1] / sum(scores.values()))
    return total / len(z)


def loss(one, other, temperature=0.1):
    return NTXentLoss(temperature)(one, other).item()


def test_the_loss_is_algorithm_1s():
    one, other = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    assert loss(one, other, 0.3) == pytest.approx(algorithm_1(one, other, 0.3), rel=1e-5)
    assert loss(other, one, 0.3) == pytest.approx(loss(one, other, 0.3), rel=1e-5)
    assert loss(7 * one, other, 0.3) == pytest.approx(loss(one, other, 0.3), rel=1e-5)


def test_known_cases_have_their_closed_forms():
    same = torch.ones(8, 4)
    assert loss(same, same) == pytest.approx(math.log(2 * 8 - 1), rel=1e-5)
    apart = torch.eye(8)
    assert loss(apart, apart, 0.5) == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + 2 * 8 - 2)), rel=1e-5)


def test_the_net_contrasts_what_its_head_makes_of_the_views(batch, tiny):
    torch.manual_seed(0)
    records = [{"frames": torch.randint(256, (1, 3, 16, 16), dtype=torch.uint8), "name": str(n)} for n in range(5)]
    for head, width in (("nonlinear", 8), ("linear", 8), ("none", 16)):
        method = SimCLR(head=head, hidden=12, out=8, temperature=0.3)
        net = method.build(tiny()).eval()
        taken = []
        net.projector.register_forward_hook(lambda module, given, result, taken=taken: taken.append(result))
        value, metrics = net(batch(method, records))
        assert taken[0].shape == (10, width) and metrics["guessing"] == pytest.approx(0.2)
        one, other = taken[0].unflatten(0, (5, 2)).unbind(1)
        assert value.item() == pytest.approx(algorithm_1(one, other, 0.3), rel=1e-4)
