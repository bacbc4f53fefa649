"""Count: what is in a picture's four quarters is together what is in the whole.

Source: Noroozi, Pirsiavash, Favaro, "Representation Learning by Learning to Count", ICCV 2017, section 3.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.images import one_frame
from videossl.methods.parts import encode

# Ways to halve a picture, one of which is drawn for each, so that how it was made small is no cue.
SMALLER = (
    {"mode": "area"},
    {"mode": "nearest"},
    {"mode": "bilinear", "align_corners": False, "antialias": True},
    {"mode": "bicubic", "align_corners": False, "antialias": True},
)


@dataclass(frozen=True)
class Counting:
    """Numbers of a picture at half its size are to be the sum of its quarters' numbers, and not of another's.

    To count nothing at all would do for the first, so pictures of another are to count otherwise, up to a margin; the
    other is the next one in the batch. The metric "accuracy" is the share of pictures whose own quarters' sum is nearer
    than the other's.

    Where we leave the paper: the trunk sees all at the size it is made for, so the picture is cut at twice that (and
    enlarged first where it has fewer pixels: give larger ones with --data.size).
    """

    numbers: int = 1000  # that are counted
    margin: float = 10.0  # squared distance up to which other pictures are pushed apart
    grey: float = 0.3  # share of the pictures that are shown without colours

    chance: ClassVar[dict[str, float]] = {"accuracy": 0.5}

    def __post_init__(self):
        if self.numbers < 1 or self.margin <= 0 or not 0 <= self.grey <= 1:
            raise ValueError(f"numbers are from 1, margin is over 0, grey a share: {self}")

    def check(self, record):
        """Any picture will do."""

    def sample(self, record, rng):
        return {"clips": one_frame(record, rng)}

    def build(self, trunk):
        return CountingNet(trunk, self)


class CountingNet(Net):
    """The trunk, and a layer whose ReLU makes its outputs counts."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.margin, self.grey = trunk, method.margin, method.grey
        self.count = nn.Sequential(nn.Linear(trunk.dim, method.numbers), nn.ReLU())

    def view(self, batch: dict) -> Tensor:
        """The whole, halved, and its quarters, row by row: (B, 5, 1, 3, size, size)."""
        clips, size = augment.pixels(batch["clips"]), self.trunk.size
        if self.training:
            clips = augment.grey(augment.flip(augment.shift_crop(clips, 2 * size)), self.grey)
        else:
            clips = augment.centre(clips, 2 * size)
        small = halved(clips, torch.randint(len(SMALLER), (len(clips),)) if self.training else torch.zeros(len(clips)))
        return torch.stack([small, *(q for half in clips.chunk(2, -2) for q in half.chunk(2, -1))], 1)

    def forward(self, batch):
        """ "same" is the squared distance to the own quarters' sum, "other" that of the next picture to it.

        Raises:
            ValueError: the batch has one picture, and so no other.
        """
        if len(batch["clips"]) < 2:
            raise ValueError("a batch of one picture has no other to count: raise batch to 2 or more")
        counts = self.count(encode(self.trunk, self.view(batch)))  # (B, 5, numbers)
        loss, same, other = counting_loss(counts[:, 0], counts[:, 1:], self.margin)
        accuracy = ((same < other).float() + 0.5 * (same == other).float()).mean()
        metrics = {"same": same.mean(), "other": other.mean(), "counted": counts[:, 0].sum(1).mean()}
        return loss, {name: value.detach() for name, value in metrics.items()} | {"accuracy": accuracy}


def halved(clips: Tensor, ways: Tensor) -> Tensor:
    """Clips (B, 1, C, 2 * S, 2 * S) at half their size, each in one of the ways of `SMALLER`, by number (B,)."""
    size = clips.shape[-1] // 2
    small = clips.new_empty(*clips.shape[:-2], size, size)
    for number, way in enumerate(SMALLER):
        chosen = (ways == number).nonzero()[:, 0].to(clips.device, non_blocking=True)
        if len(chosen):
            small[chosen] = F.interpolate(clips[chosen, 0], (size, size), **way).unsqueeze(1)
    return small.clamp(0, 1)  # bicubic overshoots


def counting_loss(whole: Tensor, quarters: Tensor, margin: float) -> tuple[Tensor, Tensor, Tensor]:
    """Source: equation 5, in the mean over pictures.

    Args:
        whole: (B, numbers), what is counted in the halved pictures.
        quarters: (B, 4, numbers), in their quarters.
        margin: squared distance from which other pictures are far enough.

    Returns: the loss, and squared distances (B,) of each picture's own and of the next picture's halved whole to the sum
        of its quarters.
    """
    total = quarters.sum(1)
    same = (whole - total).square().sum(1)
    other = (whole.roll(-1, 0) - total).square().sum(1)
    return (same + (margin - other).clamp(min=0)).mean(), same, other
