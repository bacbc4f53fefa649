"""Tell at which angles a thing can be grasped where a patch is cut out around the point, from tries at one angle each.

Sources: Pinto, Gandhi, Han, Park, Gupta, "The Curious Robot: Learning Visual Representations via Physical Interactions",
ECCV 2016, sections 3 and 4; the question is that of Pinto and Gupta, "Supersizing Self-supervision", ICRA 2016.
"""

from dataclasses import dataclass, replace
from math import pi
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.parts import ConvolutionalHead, branch_of


@dataclass(frozen=True)
class Grasp:
    """One question with two answers for each bin of half a turn: does a grasp at this angle succeed?

    Only the bin that was tried is told, so only its answer is learned from. Fails and successes weigh the same, however
    rare successes are (`prepare` counts them).

    Where we leave the paper: `turn` shows a patch turned by whole bins, or mirrored, and asks for the angle that then
    was tried, which is as true and gives each try to every bin; losses are weighted, not examples drawn, for balance.
    And `align` has one head answer for all bins: it is shown the patch turned so that the angle asked about lies along
    x. From some thousand tries it learns what eighteen heads take many times as many for; all answers take one pass for
    each bin then.
    """

    angles: int = 18  # bins of half a turn: bin k is k * 180 / angles degrees, counter-clockwise from the picture's x
    branch: str | None = None  # the trunk's layer the head is on; None: conv4 as in the paper, else the last maps
    channels: int = 256  # of the head's convolution
    widths: tuple[int, ...] = (4096, 1024)  # of its hidden layers
    turn: bool = True  # in training, turn patches at random, with the angle; aligned ones by half turns
    align: bool = False  # ask about each angle by turning the patch, instead of by two outputs of its own
    successes: float | None = None  # share of tries that succeed; None: found in the records

    answers: ClassVar[tuple[str, ...]] = ("fails", "succeeds")
    chance: ClassVar[dict[str, float]] = {"accuracy": 0.5}  # both answers weigh the same

    def __post_init__(self):
        if self.angles < 1 or self.channels < 1 or min(self.widths, default=1) < 1:
            raise ValueError(f"angles, channels and widths are counts from 1, but got {self}")
        if self.successes is not None and not 0 < self.successes < 1:
            raise ValueError(f"successes is a share of tries, between 0 and 1, but {self.successes} was given")

    def check(self, record):
        """Raise a ValueError if the record is of no grasp, or of another number of bins."""
        for name in ("angle", "success"):
            if name not in record:
                raise ValueError(f'no "{name}": grasps have it (`videossl collect grasp`, --dataset interactions)')
        if not 0 <= record["angle"] < self.angles:
            raise ValueError(f"angle is bin {record['angle']}, but there are {self.angles} bins: change angles")

    def prepare(self, records: list[dict]) -> "Grasp":
        """With the share of successes.

        Raises:
            ValueError: all tries succeed, or none does.
        """
        if self.successes is not None:
            return self
        share = float(np.mean([bool(record["success"]) for record in records]))
        if not 0 < share < 1:
            raise ValueError(
                f"{share:.0%} of {len(records)} grasps succeed: there is nothing to tell apart, collect more"
            )
        return replace(self, successes=share)

    def sample(self, record, rng):
        self.check(record)
        return {
            "clips": record["frames"][np.zeros((1, 1), int)],  # (1, 1, C, H, W)
            "angle": int(record["angle"]),
            "answer": int(record["success"]),
        }

    def build(self, trunk):
        return GraspNet(trunk, self)


class GraspNet(Net):
    """The trunk up to conv4, and on it a convolution, a pooling and three dense layers: two logits for each bin.

    If aligned, there are two logits in all, of the angle that lies along x.
    """

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.angles, self.turn, self.align = trunk, method.angles, method.turn, method.align
        self.branch = branch_of(trunk, method.branch, "conv4", "maps")
        outputs = 2 if method.align else 2 * method.angles
        self.head = ConvolutionalHead(trunk, self.branch, method.channels, (*method.widths, outputs))
        share = method.successes or 0.5
        self.register_buffer("weight", torch.tensor([0.5 / (1 - share), 0.5 / share]), persistent=False)

    def logits(self, patches: Tensor) -> Tensor:
        """Fails and succeeds at each angle: patches (B, 3, H, W), floats in [0, 1], to (B, angles, 2)."""
        if not self.align:
            return self._head(patches).unflatten(1, (self.angles, 2))
        bins = torch.arange(self.angles, device=patches.device)
        return torch.stack([self._head(self.aligned(patches, k.expand(len(patches)))) for k in bins], 1)

    def _head(self, patches: Tensor) -> Tensor:
        clips = augment.centre(patches.unsqueeze(1), self.trunk.size)
        return self.head(self.trunk.layer(clips, self.branch))

    def aligned(self, patches: Tensor, angle: Tensor) -> Tensor:
        """Patches (B, 3, H, W) turned so that each bin (B,) lies along x; if training, half a turn more or mirrored."""
        turns = -angle * pi / self.angles
        varied = self.training and self.turn
        if varied:
            turns = turns + pi * torch.randint(2, (len(patches),)).to(angle.device)
        patches = augment.turn(patches.unsqueeze(1), turns)
        return (augment.flip(patches) if varied else patches).squeeze(1)

    def turned(self, patches: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (B, 3, H, W) turned by whole bins and mirrored at random, and the bins (B,) that were tried in them."""
        bins = torch.randint(2 * self.angles, (len(patches),)).to(angle.device)
        mirrored = (torch.rand(len(patches)) < 0.5).to(angle.device)
        patches = augment.turn(patches.unsqueeze(1), bins * pi / self.angles).squeeze(1)
        patches = torch.where(mirrored.view(-1, 1, 1, 1), patches.flip(-1), patches)
        angle = (angle + bins) % self.angles
        return patches, torch.where(mirrored, (self.angles - angle) % self.angles, angle)

    def asked(self, batch: dict) -> tuple[Tensor, Tensor]:
        """Patches (B, 3, H, W), floats, and the bins (B,) that were tried."""
        patches, angle = augment.pixels(batch["clips"])[:, 0, 0], torch.as_tensor(batch["angle"])
        turning = self.training and self.turn and not self.align
        return self.turned(patches, angle) if turning else (patches, angle)

    def predict(self, batch):
        """Logits (B, 2) of fails, succeeds, at the angle that was tried."""
        patches, angle = self.asked(batch)
        if self.align:
            return self._head(self.aligned(patches, angle))
        return self.logits(patches)[torch.arange(len(angle), device=angle.device), angle]

    def forward(self, batch):
        logits, answer = self.predict(batch), torch.as_tensor(batch["answer"])
        weight = self.weight[answer]
        right = (logits.argmax(-1) == answer).float()
        loss = (F.cross_entropy(logits, answer, reduction="none") * weight).mean()
        return loss, {"accuracy": (right * weight).sum() / weight.sum()}
