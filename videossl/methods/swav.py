"""Predict from one view to which prototype the other belongs, when a batch is shared out evenly among prototypes.

Source: Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS 2020, section 3.1
and algorithm 1 (without its small crops and its queue).
"""

from dataclasses import dataclass

import torch
from lightly.loss import SwaVLoss
from lightly.models.modules import SwaVProjectionHead, SwaVPrototypes
from torch import Tensor
from torch.nn import functional as F

from videossl.methods.base import Net
from videossl.methods.parts import encode
from videossl.methods.two_views import TwoViews, found, seen, several


@dataclass(frozen=True)
class SwAV(TwoViews):
    """Codes are found by three Sinkhorn iterations, through which no gradient flows."""

    prototypes: int = 3000
    temperature: float = 0.1
    entropy: float = 0.05  # of the codes (epsilon)
    hidden: int = 2048
    out: int = 128

    def build(self, trunk):
        return SwAVNet(trunk, self)


class SwAVNet(Net):
    """Metrics: see `found`, and "used": the share of prototypes that are some view's nearest."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.projector = SwaVProjectionHead(trunk.dim, method.hidden, method.out)
        self.prototypes = SwaVPrototypes(method.out, method.prototypes)
        self.swap = SwaVLoss(method.temperature, sinkhorn_epsilon=method.entropy, sinkhorn_gather_distributed=several())

    def forward(self, batch):
        self.prototypes.normalize()
        views = seen(batch, self.method, self.trunk.size, self.training)
        z = F.normalize(self.projector(encode(self.trunk, views).flatten(0, 1)), dim=1)
        scores: Tensor = self.prototypes(z).unflatten(0, views.shape[:2])  # (B, 2, prototypes)
        z = z.unflatten(0, views.shape[:2])
        loss = self.swap([scores[:, 0], scores[:, 1]], [])
        with torch.no_grad():
            used = scores.flatten(0, 1).argmax(1).unique().numel() / scores.shape[2]
        return loss, {**found(z[:, 0], z[:, 1]), "used": loss.new_tensor(used)}
