"""Find the other view of the same image, or video, among all views of the batch.

Source: Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", ICML
2020, algorithm 1; with two clips of a video (`apart`) it is CVRL: Qian et al., CVPR 2021.
"""

from dataclasses import dataclass
from typing import Literal

from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from torch import Tensor, nn

from videossl.methods.base import Net
from videossl.methods.parts import encode
from videossl.methods.two_views import TwoViews, found, seen, several


@dataclass(frozen=True)
class SimCLR(TwoViews):
    """Contrast with all 2 (N - 1) views of the other examples."""

    temperature: float = 0.1
    # on the trunk while it learns: two layers, one, or none, in which case the features themselves are compared
    head: Literal["nonlinear", "linear", "none"] = "nonlinear"
    hidden: int = 2048
    out: int = 128  # numbers that are compared

    def build(self, trunk):
        return SimCLRNet(trunk, self)


class SimCLRNet(Net):
    """Metrics: see `found`."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.projector = {
            "nonlinear": lambda: SimCLRProjectionHead(trunk.dim, method.hidden, method.out),
            "linear": lambda: nn.Linear(trunk.dim, method.out),
            "none": nn.Identity,
        }[method.head]()
        self.contrast = NTXentLoss(method.temperature, gather_distributed=several())

    def views(self, batch: dict) -> Tensor:
        """(B, 2, T, C, size, size)."""
        return seen(batch, self.method, self.trunk.size, self.training)

    def forward(self, batch):
        views = self.views(batch)
        z = self.projector(encode(self.trunk, views).flatten(0, 1)).unflatten(0, views.shape[:2])  # (B, 2, D)
        return self.contrast(z[:, 0], z[:, 1]), found(z[:, 0], z[:, 1])
