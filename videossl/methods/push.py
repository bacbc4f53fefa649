"""Tell from a picture before and one after how a robot pushed: from where, to where, at what height.

Source: Pinto, Gandhi, Han, Park, Gupta, "The Curious Robot: Learning Visual Representations via Physical Interactions",
ECCV 2016, sections 3 and 4.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.parts import DenseHead, branch_of, layer_shape

NUMBERS = 5  # x and y of the start, x and y of the end, height


@dataclass(frozen=True)
class Push:
    """Five numbers of an action are told from what it did.

    Each is in units of its deviation in the training records (`prepare`), so that always answering the mean costs 1:
    "error" is the share of that which is left. Pictures are neither cropped at random nor mirrored, for where things are
    in them is the answer.
    """

    branch: str | None = None  # the trunk's layer the heads are on; None: conv3 as in the paper, else the last maps
    channels: int = 48  # of the convolution on each picture
    widths: tuple[int, ...] = (1024,)  # of the hidden layers on both
    mean: tuple[float, ...] | None = None  # of the five numbers, metres; None: found in the records
    deviation: tuple[float, ...] | None = None

    chance: ClassVar[dict[str, float]] = {"error": 1.0}

    def __post_init__(self):
        if self.channels < 1 or min(self.widths, default=1) < 1:
            raise ValueError(f"channels and widths are counts from 1, but got {self}")

    def check(self, record):
        """Raise a ValueError if the record is of no push."""
        action = record.get("action")
        if action is None or np.shape(action) != (NUMBERS,) or len(record["frames"]) < 2:
            raise ValueError(
                'no push: a picture before, one after and "action" (5,) are needed (`videossl collect push`, --dataset'
                " interactions)"
            )

    def prepare(self, records: list[dict]) -> "Push":
        """With mean and deviation of the five numbers; one that never changes counts as right."""
        if self.mean is not None and self.deviation is not None:
            return self
        actions = np.array([record["action"] for record in records], float)
        deviation = np.where(np.ptp(actions, axis=0) > 0, actions.std(0), 1.0)
        return replace(self, mean=tuple(actions.mean(0).tolist()), deviation=tuple(deviation.tolist()))

    def sample(self, record, rng):
        self.check(record)
        return {
            "clips": record["frames"][np.array([[0], [len(record["frames"]) - 1]])],  # (2, 1, C, H, W)
            "action": np.asarray(record["action"], np.float32),
        }

    def build(self, trunk):
        return PushNet(trunk, self)


class PushNet(Net):
    """The trunk up to conv3 and a convolution on both pictures, with the same weights, and dense layers on both."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk = trunk
        self.branch = branch_of(trunk, method.branch, "conv3", "maps")
        shape = layer_shape(trunk, self.branch)
        maps = len(shape) == 5
        self.convolution = nn.Conv2d(shape[1], method.channels, 3, padding=1) if maps else nn.Identity()
        inputs = method.channels * shape[3] * shape[4] if maps else shape[1]
        self.cells = tuple(shape[3:]) if maps else None
        self.head = DenseHead(2 * inputs, (*method.widths, NUMBERS))
        for name, values in (
            ("mean", method.mean or (0.0,) * NUMBERS),
            ("deviation", method.deviation or (1.0,) * NUMBERS),
        ):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def answer(self, clips: torch.Tensor) -> torch.Tensor:
        """The push in metres: pictures before and after (B, 2, 1, 3, H, W) to (B, 5)."""
        clips = augment.centre(augment.pixels(clips), self.trunk.size)
        layer = self.trunk.layer(clips.flatten(0, 1), self.branch)
        if self.cells is not None:
            layer = F.adaptive_avg_pool2d(self.convolution(layer.mean(2)).relu(), self.cells)
        return self.mean + self.deviation * self.head(layer.unflatten(0, (-1, 2)))

    def forward(self, batch):
        off = (self.answer(batch["clips"]) - torch.as_tensor(batch["action"])) / self.deviation
        loss = off.square().mean()
        return loss, {"error": loss.detach()}
