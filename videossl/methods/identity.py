"""Know a thing again, in another pose, from pairs of pictures of the same thing and of two.

Source: Pinto, Gandhi, Han, Park, Gupta, "The Curious Robot: Learning Visual Representations via Physical Interactions",
ECCV 2016, sections 3 and 4.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.parts import branch_of, layer_shape


@dataclass(frozen=True)
class Identity:
    """Features of two pictures of one thing are to point the same way, those of two things not.

    The metric "accuracy" is the share of pairs that a threshold halfway between 1 and the margin tells right, "auc" that
    of pairs of a same and another pair in the batch that are in the right order, whatever the threshold.

    Where we leave the paper: features are standardised (batch norm) before they are compared, for ReLUs leave none below
    0, and any two of them point about the same way; `standardise` off compares them as they are.
    """

    margin: float = 0.0  # cosine up to which different things cost nothing
    branch: str | None = None  # the trunk's layer that is compared; None: fc7 (the paper's fc2), else its features
    standardise: bool = True

    chance: ClassVar[dict[str, float]] = {"accuracy": 0.5, "auc": 0.5}

    def __post_init__(self):
        if not -1 <= self.margin < 1:
            raise ValueError(f"margin is a cosine, from -1 to under 1, but {self.margin} was given")

    def check(self, record):
        """Raise a ValueError if the record is no pair."""
        if "same" not in record or len(record["frames"]) < 2:
            raise ValueError(
                'no pair: two pictures and "same" are needed (`videossl collect identity`, --dataset interactions; or '
                "pushes, --dataset pushed_pairs)"
            )

    def sample(self, record, rng):
        self.check(record)
        return {"clips": record["frames"][np.array([[0], [1]])], "same": int(record["same"])}  # (2, 1, C, H, W)

    def build(self, trunk):
        return IdentityNet(trunk, self)


class IdentityNet(Net):
    """The trunk alone, on both pictures."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.margin = trunk, method.margin
        self.branch = branch_of(trunk, method.branch, "fc7", "features")
        dim = layer_shape(trunk, self.branch)[1:].numel()
        self.norm = nn.BatchNorm1d(dim, affine=False) if method.standardise else nn.Identity()

    def cosine(self, clips: torch.Tensor) -> torch.Tensor:
        """Of the features of two pictures: (B, 2, 1, 3, H, W) to (B,)."""
        clips = augment.standard(augment.pixels(clips), self.trunk.size, self.training)  # each for itself
        f = self.norm(self.trunk.layer(clips.flatten(0, 1), self.branch).flatten(1))
        return F.cosine_similarity(*f.unflatten(0, (-1, 2)).unbind(1))

    def forward(self, batch):
        cosine, same = self.cosine(batch["clips"]), torch.as_tensor(batch["same"])
        loss = torch.where(same > 0, 1 - cosine, (cosine - self.margin).clamp(min=0)).mean()
        with torch.no_grad():
            right = (cosine > (1 + self.margin) / 2) == (same > 0)
            alike, other = cosine[same > 0], cosine[same == 0]
            pairs = alike[:, None] - other
            auc = ((pairs > 0).float() + 0.5 * (pairs == 0).float()).mean() if pairs.numel() else cosine.new_tensor(0.5)
        return loss, {"accuracy": right.float().mean(), "auc": auc}
