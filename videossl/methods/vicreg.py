"""Make both views' embeddings the same, each number vary over the batch, and no two numbers vary together.

Source: Bardes, Ponce, LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning", ICLR 2022,
section 4.1.
"""

from dataclasses import dataclass

from lightly.loss import VICRegLoss
from lightly.models.modules.heads import VICRegProjectionHead

from videossl.methods.base import Net
from videossl.methods.parts import encode
from videossl.methods.two_views import TwoViews, found, seen, several


@dataclass(frozen=True)
class VICReg(TwoViews):
    """Three terms, of which none needs another example's features as a negative."""

    invariance: float = 25.0  # weights of the three terms
    variance: float = 25.0
    covariance: float = 1.0
    out: int = 2048  # numbers of the embedding, and of the two layers before it; the paper: 8192

    def build(self, trunk):
        return VICRegNet(trunk, self)


class VICRegNet(Net):
    """Metrics: see `found`."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.projector = VICRegProjectionHead(trunk.dim, method.out, method.out)
        self.regularise = VICRegLoss(
            method.invariance, method.variance, method.covariance, gather_distributed=several()
        )

    def forward(self, batch):
        views = seen(batch, self.method, self.trunk.size, self.training)
        z = self.projector(encode(self.trunk, views).flatten(0, 1)).unflatten(0, views.shape[:2])  # (B, 2, D)
        return self.regularise(z[:, 0], z[:, 1]), found(z[:, 0], z[:, 1])
