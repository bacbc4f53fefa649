"""Predict the other view's projection, through which no gradient flows; no negatives, no teacher.

Source: Chen and He, "Exploring Simple Siamese Representation Learning", CVPR 2021, algorithm 1.
"""

from dataclasses import dataclass

from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import SimSiamPredictionHead, SimSiamProjectionHead

from videossl.methods.base import Net
from videossl.methods.parts import encode
from videossl.methods.two_views import TwoViews, found, seen


@dataclass(frozen=True)
class SimSiam(TwoViews):
    """Minus the cosine of prediction and projection, the mean of both directions: from 1 to -1."""

    hidden: int = 2048  # of the projection, which is as wide
    bottleneck: int = 512  # of the prediction

    def build(self, trunk):
        return SimSiamNet(trunk, self)


class SimSiamNet(Net):
    """Metrics: see `found`; a collapse shows as a loss near -1 and a spread near 0."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.projector = SimSiamProjectionHead(trunk.dim, method.hidden, method.hidden)
        self.predictor = SimSiamPredictionHead(method.hidden, method.bottleneck, method.hidden)
        self.opposite = NegativeCosineSimilarity()

    def forward(self, batch):
        views = seen(batch, self.method, self.trunk.size, self.training)
        z = self.projector(encode(self.trunk, views).flatten(0, 1))
        p = self.predictor(z).unflatten(0, views.shape[:2])
        z = z.unflatten(0, views.shape[:2])  # (B, 2, D)
        loss = (self.opposite(p[:, 0], z[:, 1].detach()) + self.opposite(p[:, 1], z[:, 0].detach())) / 2
        return loss, found(z[:, 0], z[:, 1])
