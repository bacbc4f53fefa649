import pytest
import torch
from lightly.loss import BarlowTwinsLoss

from videossl.methods.barlow_twins import BarlowTwins


def equation_1(one, other, redundancy):
    """Over the cross-correlation matrix, entry by entry."""
    a, b = ((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() for z in (one, other))
    total = 0.0
    for i in range(one.shape[1]):
        for j in range(one.shape[1]):
            c = (a[:, i] * b[:, j]).mean().item()
            total += (1 - c) ** 2 if i == j else redundancy * c**2
    return total


def test_the_loss_is_the_papers_over_the_cross_correlation_matrix():
    one, other = torch.randn(2, 20, 6, generator=torch.Generator().manual_seed(0))
    assert BarlowTwinsLoss(0.005)(one, other).item() == pytest.approx(equation_1(one, other, 0.005), rel=1e-4)


@pytest.mark.parametrize("redundancy", [0.0, 0.3])
def test_the_net_decorrelates_what_its_projector_makes_of_the_views(redundancy, tiny, batch):
    torch.manual_seed(0)
    records = [{"frames": torch.randint(256, (1, 3, 16, 16), dtype=torch.uint8), "name": str(n)} for n in range(6)]
    method = BarlowTwins(redundancy=redundancy, out=8)
    net, taken = method.build(tiny()), []
    net.projector.register_forward_hook(lambda module, given, result: taken.append(result))
    loss = net(batch(method, records))[0].item()
    one, other = taken[0].unflatten(0, (6, 2)).unbind(1)
    assert loss == pytest.approx(equation_1(one, other, redundancy), rel=1e-3)
