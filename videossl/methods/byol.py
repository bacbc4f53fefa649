"""Predict what a slowly following teacher makes of the other view; nothing is told apart.

Source: Grill et al., "Bootstrap Your Own Latent", NeurIPS 2020, section 3.1; with two clips of a video (`apart`) it is
rho-BYOL: Feichtenhofer et al., CVPR 2021.
"""

from dataclasses import dataclass

from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
from torch import Tensor
from torch.nn import functional as F

from videossl.methods.base import Net
from videossl.methods.parts import encode
from videossl.methods.two_views import Teacher, TwoViews, found, rising, seen


@dataclass(frozen=True)
class BYOL(TwoViews):
    """2 - 2 cos between the prediction and the teacher's projection, both directions summed."""

    momentum: float = 0.996  # of the teacher, rising to 1; a short run wants less
    hidden: int = 4096
    out: int = 256
    blurred: float = 1.0
    blurred_second: float | None = 0.1
    solarised: float = 0.2

    def build(self, trunk):
        return BYOLNet(trunk, self)


class BYOLNet(Net):
    """Metrics: see `found`; a collapse shows as a loss and a spread near 0."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.projector = BYOLProjectionHead(trunk.dim, method.hidden, method.out)
        self.predictor = BYOLPredictionHead(method.out, method.hidden, method.out)
        self.teacher = Teacher(trunk, self.projector)

    def forward(self, batch):
        views = seen(batch, self.method, self.trunk.size, self.training)
        predicted = self.predictor(self.projector(encode(self.trunk, views).flatten(0, 1))).unflatten(
            0, views.shape[:2]
        )
        target = self.teacher(views.flatten(0, 1)).unflatten(0, views.shape[:2])  # (B, 2, D)
        loss = apart(predicted[:, 0], target[:, 1]) + apart(predicted[:, 1], target[:, 0])
        return loss, found(predicted[:, 0], target[:, 1])

    def update(self, progress: float) -> None:
        self.teacher.follow([self.trunk, self.projector], rising(self.method.momentum, progress))


def apart(one: Tensor, other: Tensor) -> Tensor:
    """Mean squared distance of unit vectors, 0 to 4: (N, D) both."""
    return 2 - 2 * F.cosine_similarity(one, other, dim=1).mean()
