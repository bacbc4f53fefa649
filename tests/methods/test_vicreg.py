import pytest
import torch
from lightly.loss import VICRegLoss
from torch.nn import functional as F

from videossl.methods.vicreg import VICReg


def test_the_loss_is_the_papers_three_terms():
    one, other = torch.randn(2, 12, 5, generator=torch.Generator().manual_seed(0))

    def varied(z):
        return sum(max(0.0, 1 - (z[:, j].var().item() + 1e-4) ** 0.5) for j in range(5)) / 5

    def together(z):
        z = z - z.mean(0)
        covariance = [[(z[:, i] * z[:, j]).sum().item() / 11 for i in range(5)] for j in range(5)]
        return sum(covariance[i][j] ** 2 for i in range(5) for j in range(5) if i != j) / 5

    same = F.mse_loss(one, other).item()
    variance = (varied(one) + varied(other)) / 2
    expected = 25 * same + 25 * variance + together(one) + together(other)
    assert VICRegLoss()(one, other).item() == pytest.approx(expected, rel=1e-3)


def test_the_weights_are_the_methods(tiny, batch):
    records = [{"frames": torch.randint(256, (1, 3, 16, 16), dtype=torch.uint8), "name": str(n)} for n in range(6)]
    losses = []
    for weights in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (2.0, 3.0, 4.0)):
        torch.manual_seed(0)
        method = VICReg(invariance=weights[0], variance=weights[1], covariance=weights[2], out=8)
        losses.append(method.build(tiny()).eval()(batch(method, records))[0].item())
    assert losses[3] == pytest.approx(2 * losses[0] + 3 * losses[1] + 4 * losses[2], rel=1e-4)
