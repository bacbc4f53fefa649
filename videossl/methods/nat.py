"""Bring records to points drawn once on a sphere, each its own, shared out so that all lie near.

Source: Bojanowski and Joulin, "Unsupervised Learning by Predicting Noise", ICML 2017, equation 3 and algorithm 1.
"""

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from videossl.methods.base import Net
from videossl.methods.memory import Remembered
from videossl.methods.two_views import found, seen


@dataclass(frozen=True)
class NAT(Remembered):
    """Squared distance to the own point. Records of a batch may exchange their points, by the Hungarian method.

    Points are exchanged in each step of one process; the paper does so every third epoch. It shows edges alone, by a fixed
    Sobel filter, in 2,048 dimensions; here any trunk sees the picture.
    """

    out: int = 128  # dimensions of the sphere
    colour: float = 0.0
    blurred: float = 0.0

    def build(self, trunk):
        return NATNet(trunk, self)


class NATNet(Net):
    """Metrics: see `found`."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.projector = nn.Linear(trunk.dim, method.out)
        count = method.counted()
        self.register_buffer("points", F.normalize(torch.randn(count, method.out), dim=1))
        self.register_buffer("own", torch.arange(count))  # which point a record has

    def forward(self, batch):
        views = seen(batch, self.method, self.trunk.size, self.training)
        z = F.normalize(self.projector(self.trunk(views[:, 0])), dim=1)
        with torch.no_grad():  # for the metrics alone
            other = F.normalize(self.projector(self.trunk(views[:, 1])), dim=1)
        target = self.targets(z.detach(), batch["number"])
        return (z - target).square().sum(1).mean(), found(z, other)

    @torch.no_grad()
    def targets(self, z: Tensor, number: Tensor) -> Tensor:
        """The points of a batch's records, exchanged among them in training mode; strangers have the nearest of all."""
        known = (number >= 0).nonzero()[:, 0]
        nearest = self.points[(z @ self.points.T).argmax(1)]
        if not len(known):
            return nearest
        rows, first = torch.unique(number[known], return_inverse=True)
        if self.training:
            places = torch.stack([known[(first == n).nonzero()[0, 0]] for n in range(len(rows))])  # one of each record
            cost = -(z[places].float() @ self.points[self.own[rows]].T)
            _, chosen = linear_sum_assignment(cost.cpu().numpy())
            self.own[rows] = self.own[rows][torch.as_tensor(chosen, device=rows.device)]
        nearest[known] = self.points[self.own[number[known]]]
        return nearest
