"""Keep a view nearer to its own other view than to the nearest of any other record, by a margin.

Sources: Schroff, Kalenichenko, Philbin, "FaceNet", CVPR 2015, equation 3, and Hermans, Beyer, Leibe, "In Defense of the Triplet
Loss for Person Re-Identification", 2017, equation 5 (the hardest of the batch); without labels, as Wang and Gupta, ICCV 2015.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from videossl.methods.base import Net
from videossl.methods.parts import encode
from videossl.methods.two_views import TwoViews, found, seen


@dataclass(frozen=True)
class Triplet(TwoViews):
    """Distances are squared, of unit vectors: 0 to 4."""

    margin: float = 0.2
    # "semihard": the nearest that is farther than the own view; "hardest": the nearest; "all": every one, the mean
    negatives: Literal["semihard", "hardest", "all"] = "semihard"
    out: int = 128

    def build(self, trunk):
        return TripletNet(trunk, self)


class TripletNet(Net):
    """Metrics: see `found`."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.projector = nn.Linear(trunk.dim, method.out)

    def forward(self, batch):
        views = seen(batch, self.method, self.trunk.size, self.training)
        z = F.normalize(self.projector(encode(self.trunk, views)), dim=2)  # (B, 2, D)
        distance = 2 - 2 * z[:, 0] @ z[:, 1].T  # (B, B): own views in the diagonal
        own = distance.diagonal().unsqueeze(1)
        others = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
        costs = F.relu(self.method.margin + own - distance)
        if self.method.negatives == "all":
            return costs[others].mean(), found(z[:, 0], z[:, 1])
        allowed = others & (distance > own) if self.method.negatives == "semihard" else others
        allowed = torch.where(allowed.any(1, keepdim=True), allowed, others)
        nearest = distance.masked_fill(~allowed, torch.inf).argmin(1, keepdim=True)
        return costs.gather(1, nearest).mean(), found(z[:, 0], z[:, 1])
