"""Keep a view nearer to its own other view than to the nearest of any other record, by a margin.

Sources: Schroff, Kalenichenko, Philbin, "FaceNet", CVPR 2015, equation 3, and Hermans, Beyer, Leibe, "In Defense of the Triplet
Loss for Person Re-Identification", 2017, equation 5 (the hardest of the batch); without labels as Wang and Gupta, ICCV 2015.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl.methods.base import Net
from videossl.methods.parts import encode
from videossl.methods.two_views import TwoViews, found, seen


@dataclass(frozen=True)
class Triplet(TwoViews):
    """Distances are squared, of unit vectors: 0 to 4.

    With `labelled` it is supervised metric learning: views of all records of the same "label" are to be near, of which the
    farthest counts, and others are those of another label.
    """

    margin: float = 0.2
    # "semihard": the nearest that is farther than the own view; "hardest": the nearest; "all": every one, the mean
    negatives: Literal["semihard", "hardest", "all"] = "semihard"
    labelled: bool = False
    out: int = 128

    def __post_init__(self):
        super().__post_init__()
        if self.margin <= 0:
            raise ValueError(f"margin is over 0, but {self.margin} was given: without one nothing is learned")

    def check(self, record):
        """Raise a ValueError if the record is shorter than a view, or has no label where that is asked for."""
        super().check(record)
        if self.labelled and "label" not in record:
            raise ValueError(
                'no "label", by which triplets are chosen: put it into the records, or set labelled to false'
            )

    def sample(self, record, rng: np.random.Generator):
        """Both views, and the record's "label" where that is asked for."""
        return super().sample(record, rng) | ({"label": int(record["label"])} if self.labelled else {})

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
        others = self.others(batch, len(z)).to(z.device)
        own = distance.masked_fill(others, -torch.inf).amax(1, keepdim=True)  # without labels: the diagonal
        costs = F.relu(self.method.margin + own - distance)
        if self.method.negatives == "all":
            return costs[others].mean(), found(z[:, 0], z[:, 1])
        allowed = others & (distance > own) if self.method.negatives == "semihard" else others
        allowed = torch.where(allowed.any(1, keepdim=True), allowed, others)
        nearest = distance.masked_fill(~allowed, torch.inf).argmin(1, keepdim=True)
        return costs.gather(1, nearest).mean(), found(z[:, 0], z[:, 1])

    def others(self, batch: dict, count: int) -> Tensor:
        """Which pairs of examples are to lie apart: (count, count) bool.

        Raises:
            ValueError: all are of one label.
        """
        if not self.method.labelled:
            return ~torch.eye(count, dtype=torch.bool)
        label = torch.as_tensor(batch["label"])
        apart = label[:, None] != label
        if not apart.any():
            raise ValueError("a batch of one label has nothing to be told from: give a larger --batch, or more labels")
        return apart
