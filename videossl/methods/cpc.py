"""Tell which patch lies some rows below what is seen of a picture, among all patches of the batch.

Sources: van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018, sections 2.3 (InfoNCE)
and 3.2; Henaff et al., "Data-Efficient Image Recognition with Contrastive Predictive Coding", ICML 2020, appendix A (the net
of the context, patches coloured each in its own way, four directions).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl import augment
from videossl.evaluation.views import clip_at
from videossl.methods.base import Net
from videossl.methods.parts import check_length, encode
from videossl.methods.two_views import moments

LEAST = 32  # pixels a side that a trunk reads


@dataclass(frozen=True)
class CPC:
    """A picture is cut into patches that overlap by half; a context, of what is above, predicts the rows below.

    Version 1 is one direction; version 2 all four and a trunk without batch norm, by which patches tell of each other:
    with such trunks the question is easier than it seems. Patches of a clip (`length` over 1) are clips. On videos with
    `apart` over 0 the patches that are told are those of another moment (ours).
    """

    length: int = 1  # frames of a clip
    stride: int = 1  # frames from one of them to the next
    apart: int = 0  # frames from the start of the clip that is seen to that of the one whose patches are told, at most
    grid: int = 7  # patches a side
    skip: int = 1  # rows below that are not asked for, as they share pixels with what is seen
    ahead: int = 5  # rows below, at most
    directions: int = 1  # down, and then right, up and left: 1 to 4
    area: tuple[float, float] = (0.3, 1.0)  # of the random crop, as shares of the frame
    colour: float = 0.5  # strength of each patch's own colour jitter, from 0
    width: int = 256  # of the context's layers
    depth: int = 5  # blocks of the context; each sees a row more
    out: int = 64  # numbers that are compared

    chance: ClassVar[dict[str, float]] = {}

    def __post_init__(self):
        if not 0 <= self.skip < min(self.ahead, self.grid - 1):
            raise ValueError(
                f"of {self.grid} rows some after the {self.skip} skipped should be asked for, but got {self}"
            )
        if not 1 <= self.directions <= 4 or min(self.length, self.stride, self.depth) < 1:
            raise ValueError(f"directions are 1 to 4, length, stride and depth counts from 1: got {self}")
        if self.apart < 0 or self.colour < 0:
            raise ValueError(f"apart and colour are from 0: got {self}")

    @property
    def rows(self) -> range:
        """How far below the patches lie that are predicted, each by a layer of its own."""
        return range(self.skip + 1, min(self.ahead, self.grid - 1) + 1)

    def check(self, record):
        """Raise a ValueError if the record is too short."""
        check_length(record, self.length, self.stride)

    def sample(self, record, rng: np.random.Generator):
        """What is seen and what is told of, "clips" (2, T, C, H, W); the same clip (1, T, C, H, W) where `apart` is 0."""
        self.check(record)
        frames = record["frames"]
        starts = moments(len(frames), self.length, self.stride, self.apart, rng)[: 2 if self.apart else 1]
        return {"clips": frames[clip_at(starts, self.length, self.stride, len(frames))]}

    def build(self, trunk):
        return CPCNet(trunk, self)


class CPCNet(Net):
    """Metrics: "accuracy", how often a patch is told; "guessing", the chance of that. With several processes each asks
    among the patches of its own part of the batch.
    """

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.half = max(trunk.size // (method.grid + 1), LEAST // 2)  # pixels from a patch to the next
        self.target = nn.Linear(trunk.dim, method.out)
        self.contexts = nn.ModuleList(
            nn.Sequential(*(Context(trunk.dim, method.width) for _ in range(method.depth)))
            for _ in range(method.directions)
        )
        self.predict = nn.ModuleList(
            nn.ModuleDict({str(k): nn.Linear(trunk.dim, method.out) for k in method.rows})
            for _ in range(method.directions)
        )

    def forward(self, batch):
        patches = self.patches(augment.pixels(batch["clips"]))  # (B, G, G, M, T, C, p, p)
        z = F.layer_norm(encode(self.trunk, patches), (self.trunk.dim,))  # (B, G, G, M, dim)
        losses, right = [], []
        for n, context in enumerate(self.contexts):
            turned = z.rot90(n, (1, 2))  # what was at a side is below
            seen = context(turned[..., 0, :].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            targets = self.target(turned[..., -1, :])  # (B, G, G, out)
            for k in self.method.rows:
                logits, own = asked(self.predict[n][str(k)](seen), targets, k)
                losses.append(F.cross_entropy(logits, own))
                right.append((logits.argmax(1) == own).float().mean())
        metrics = {"accuracy": torch.stack(right).mean(), "guessing": z.new_tensor(1 / z[..., 0, 0].numel())}
        return torch.stack(losses).mean(), metrics

    def patches(self, clips: Tensor) -> Tensor:
        """Patches in their rows and columns: (B, M, T, C, H, W), floats in [0, 1], to (B, G, G, M, T, C, p, p).

        A picture is cut in the same places at both moments, and each patch coloured in its own way.
        """
        half, grid = self.half, self.method.grid
        size = half * (grid + 1)
        tape = clips.flatten(1, 2)
        tape = augment.flip(augment.crop(tape, size, self.method.area)) if self.training else augment.centre(tape, size)
        cut = tape.unfold(3, 2 * half, half).unfold(4, 2 * half, half)  # (B, M * T, C, G, G, p, p)
        cut = cut.permute(0, 3, 4, 1, 2, 5, 6).unflatten(3, clips.shape[1:3])
        if self.training and self.method.colour:
            strength = self.method.colour
            cut = augment.colour(cut, 0.8 * strength, 0.8 * strength, 0.8 * strength, min(0.2 * strength, 0.5))
            cut = augment.grey(cut)
        return cut


class Context(nn.Module):
    """A block that sees its own row and the one above, (N, C, G, G) to the same."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, (1, 3), padding=(0, 1)),
            nn.ZeroPad2d((0, 0, 1, 0)),
            nn.Conv2d(width, width, (2, 1)),
            nn.ReLU(),
            nn.Conv2d(width, channels, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.layers(maps)


def asked(predicted: Tensor, targets: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """How alike what is predicted of the patch k rows below is to every patch, and which of them that is.

    Args:
        predicted: (B, G, G, D), from every place; what would lie below the last row is left out.
        targets: (B, G, G, D).

    Returns: (M, N) and (M,), for the N = B * G * G patches and M of them that have one k rows above.
    """
    number = torch.arange(targets[..., 0].numel(), device=targets.device).view(targets.shape[:3])
    logits = predicted[:, :-k].flatten(0, 2) @ targets.flatten(0, 2).T / targets.shape[-1] ** 0.5
    return logits, number[:, k:].flatten()
