"""Make each number of the embedding the same for both views, and different from all other numbers.

Source: Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", ICML 2021, equation 1.
"""

from dataclasses import dataclass

from lightly.loss import BarlowTwinsLoss
from lightly.models.modules import BarlowTwinsProjectionHead

from videossl.methods.base import Net
from videossl.methods.parts import encode
from videossl.methods.two_views import TwoViews, found, seen, several


@dataclass(frozen=True)
class BarlowTwins(TwoViews):
    """The cross-correlation matrix of both views' embeddings is to be the identity."""

    redundancy: float = 0.005  # weight of what is not in the diagonal
    out: int = 2048  # numbers of the embedding, and of the two layers before it; the paper: 8192

    def build(self, trunk):
        return BarlowTwinsNet(trunk, self)


class BarlowTwinsNet(Net):
    """Metrics: see `found`."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.projector = BarlowTwinsProjectionHead(trunk.dim, method.out, method.out)
        self.decorrelate = BarlowTwinsLoss(method.redundancy, gather_distributed=several())

    def forward(self, batch):
        views = seen(batch, self.method, self.trunk.size, self.training)
        z = self.projector(encode(self.trunk, views).flatten(0, 1)).unflatten(0, views.shape[:2])  # (B, 2, D)
        return self.decorrelate(z[:, 0], z[:, 1]), found(z[:, 0], z[:, 1])
