import pytest
import torch
from lightly.loss import BarlowTwinsLoss

from videossl.methods.barlow_twins import BarlowTwins


def test_the_loss_is_the_papers_over_the_cross_correlation_matrix():
    one, other = torch.randn(2, 20, 6, generator=torch.Generator().manual_seed(0))
    a, b = ((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() for z in (one, other))
    total = 0.0
    for i in range(6):
        for j in range(6):
            c = (a[:, i] * b[:, j]).sum().item() / 20
            total += (1 - c) ** 2 if i == j else 0.005 * c**2
    assert BarlowTwinsLoss(0.005)(one, other).item() == pytest.approx(total, rel=1e-4)


def test_the_weight_of_redundancy_is_the_methods(tiny, batch):
    torch.manual_seed(0)
    records = [{"frames": torch.randint(256, (1, 3, 16, 16), dtype=torch.uint8), "name": str(n)} for n in range(6)]
    losses = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        method = BarlowTwins(redundancy=weight, out=8)
        losses.append(method.build(tiny()).eval()(batch(method, records))[0].item())
    assert 0 <= losses[0] < losses[1]
