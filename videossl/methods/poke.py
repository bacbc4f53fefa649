"""Tell from a picture how a thing feels when it is poked: the line that force follows with depth.

Source: Pinto, Gandhi, Han, Park, Gupta, "The Curious Robot: Learning Visual Representations via Physical Interactions",
ECCV 2016, sections 3 and 4.
"""

from dataclasses import dataclass, replace
from math import tau
from typing import ClassVar

import numpy as np
import torch

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.parts import DenseHead, branch_of, layer_shape


@dataclass(frozen=True)
class Poke:
    """Slope and intercept of the line fitted to a poke's force are told from the picture before it.

    Both are in units of their deviation in the training records (`prepare`), so that always answering the mean costs 1:
    "error" is the share of that which is left. Pokes that gave no line (`valid`) are left out.

    Where we leave the paper: the slope's logarithm is learned, for stiffness ranges over decades and what is soft would
    not count beside what is hard. Patches are turned and mirrored at random in training, which changes no stiffness.
    """

    branch: str | None = None  # the trunk's layer the head is on; None: fc6 (the paper's fc1), else its features
    widths: tuple[int, ...] = (512,)  # of the head's hidden layers
    turn: bool = True  # in training, turn and mirror patches at random
    mean: tuple[float, float] | None = None  # of log slope (N/m) and intercept (N); None: found in the records
    deviation: tuple[float, float] | None = None

    chance: ClassVar[dict[str, float]] = {"error": 1.0, "slope_error": 1.0}

    def __post_init__(self):
        if min(self.widths, default=1) < 1:
            raise ValueError(f"widths are counts from 1, but {self.widths} were given")

    def check(self, record):
        """Raise a ValueError if the record is of no poke, or of one that gave no line."""
        for name in ("slope", "intercept", "valid"):
            if name not in record:
                raise ValueError(f'no "{name}": pokes have it (`videossl collect poke`, --dataset interactions)')
        if not record["valid"] or not record["slope"] > 0 or not np.isfinite(record["intercept"]):
            raise ValueError("the force of this poke follows no line")

    def prepare(self, records: list[dict]) -> "Poke":
        """With mean and deviation of log slope and intercept."""
        if self.mean is not None and self.deviation is not None:
            return self
        lines = np.stack([line_of(record) for record in records])
        deviation = np.where(np.ptp(lines, axis=0) > 0, lines.std(0), 1.0)
        return replace(self, mean=tuple(lines.mean(0).tolist()), deviation=tuple(deviation.tolist()))

    def sample(self, record, rng):
        self.check(record)
        return {"clips": record["frames"][np.zeros((1, 1), int)], "line": line_of(record)}  # (1, 1, C, H, W), (2,)

    def build(self, trunk):
        return PokeNet(trunk, self)


def line_of(record: dict) -> np.ndarray:
    """Log slope (N/m) and intercept (N): (2,) float32."""
    return np.array([np.log(record["slope"]), record["intercept"]], np.float32)


class PokeNet(Net):
    """The trunk up to fc6, and dense layers: two numbers."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.turn = trunk, method.turn
        self.branch = branch_of(trunk, method.branch, "fc6", "features")
        self.head = DenseHead(layer_shape(trunk, self.branch)[1:].numel(), (*method.widths, 2))
        for name, values in (("mean", method.mean or (0.0, 0.0)), ("deviation", method.deviation or (1.0, 1.0))):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def answer(self, clips: torch.Tensor) -> torch.Tensor:
        """Log slope and intercept: pictures (B, 1, 1, 3, H, W) to (B, 2)."""
        clips = augment.pixels(clips)[:, 0]
        if self.training and self.turn:
            clips = augment.flip(augment.turn(clips, tau * torch.rand(len(clips)).to(clips.device)))
        clips = augment.centre(clips, self.trunk.size)
        return self.mean + self.deviation * self.head(self.trunk.layer(clips, self.branch))

    def forward(self, batch):
        off = (self.answer(batch["clips"]) - torch.as_tensor(batch["line"])) / self.deviation
        errors = off.square().mean(0)
        return errors.mean(), {"error": errors.detach().mean(), "slope_error": errors[0].detach()}
