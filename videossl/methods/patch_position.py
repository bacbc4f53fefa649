"""Tell where one patch of a picture lies from another.

Source: Doersch, Gupta, Efros, "Unsupervised Visual Representation Learning by Context Prediction", ICCV 2015, section 3;
details after the authors' release (github.com/cdoersch/deepcontext).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.images import one_frame
from videossl.methods.parts import classify, encode

AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))  # rows and columns to the second patch
COARSEST = 10 / 96  # of a patch's side, to which a coarse one is scaled down (the release: 10 of 96 pixels)
NOISE = 0.01  # of dropped colours, in deviations of the colour that is kept


@dataclass(frozen=True)
class PatchPosition:
    """Two patches of a 3 x 3 grid, the middle one first: in which of the 8 places around it does the second lie?

    Lines that run on from patch to patch tell it without knowing what is seen; a gap and the jitter of each patch are
    against that. Lenses move green against magenta, more so far from the middle, and so tell where in the picture a patch
    is; against that each patch shows one colour ("drop"), or none of that axis ("project").

    Where we leave the paper: patches are a share of the picture, and scaled to what the trunk sees; one pair is drawn
    from a picture at a time, not all neighbours of four grids; batch norms have a scale and a shift.
    """

    patch: float = 0.2  # side, as a share of the picture's shorter side (96 pixels, of some 390 to 670)
    gap: float = 0.5  # between patches, as a share of a patch's side (48 of 96 pixels)
    jitter: float = 7 / 96  # by which each patch is moved, either way, as a share of its side
    colours: Literal["drop", "project", "keep"] = "drop"
    coarse: float = 0.33  # share of patches that are scaled down and up again, against telling places by sharpness
    hidden: int = 4096  # units of the two layers on both features

    answers: ClassVar[tuple[str, ...]] = (
        *("above left", "above", "above right", "left", "right"),
        *("below left", "below", "below right"),
    )
    chance: ClassVar[dict[str, float]] = {"accuracy": 1 / 8}

    def __post_init__(self):
        if not 0 < self.patch < 0.5 or min(self.gap, self.jitter) < 0 or self.hidden < 1:
            raise ValueError(f"patch is a share under half, gap and jitter are from 0, hidden from 1: {self}")
        if not 0 <= self.coarse <= 1:
            raise ValueError(f"coarse is a share, within [0, 1], but {self.coarse} was given")

    def check(self, record):
        """Any picture will do that is large enough, which is seen when it is read."""

    def places(self, height: int, width: int, answer: int, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        """The patches' side, and the rows and columns at which they begin, (2, 2), all in pixels.

        Raises:
            ValueError: the picture is too small for them.
        """
        side = round(self.patch * min(height, width))
        step, jitter = side + round(self.gap * side), round(self.jitter * side)
        if side < 2 or step + side + 2 * jitter > min(height, width):
            raise ValueError(
                f"{height} x {width} pixels are too few for two patches of {side}, {step - side} apart and moved by"
                f" {jitter}: give larger pictures, or change patch, gap or jitter"
            )
        apart = step * np.array(AROUND[answer])
        low = np.maximum(0, -apart) + jitter  # where the first may begin, so that both stay inside
        high = np.array([height, width]) - side - jitter - np.maximum(0, apart)
        first = rng.integers(low, high + 1)
        return side, np.stack([first, first + apart]) + rng.integers(-jitter, jitter + 1, (2, 2))

    def sample(self, record, rng):
        frame, answer = one_frame(record, rng), int(rng.integers(len(AROUND)))
        side, places = self.places(*frame.shape[-2:], answer, rng)
        patches = [frame[..., top : top + side, left : left + side] for top, left in places.tolist()]
        patches = [coarse(p, rng.uniform(COARSEST, 1)) if rng.random() < self.coarse else p for p in patches]
        return {"clips": torch.stack(patches), "answer": answer}  # (2, 1, C, side, side)

    def build(self, trunk):
        return PatchPositionNet(trunk, self)


def coarse(clip: Tensor, share: float) -> Tensor:
    """A clip (T, C, H, W) of uint8, scaled down to this share of its sides and up again."""
    sides = [max(1, round(share * side)) for side in clip.shape[-2:]]
    down = F.interpolate(clip.float(), sides, mode="area")
    return F.interpolate(down, clip.shape[-2:], mode="bilinear", align_corners=False).round().byte()


def project(patches: Tensor) -> Tensor:
    """Patches (..., 3, H, W) without what lies between green and magenta."""
    axis = torch.tensor([-1.0, 2.0, -1.0], device=patches.device)[:, None, None] / 6**0.5
    return patches - axis * (axis * patches).sum(-3, keepdim=True)


def drop(patches: Tensor, training: bool) -> Tensor:
    """Patches (N, 3, H, W) with one colour, less its mean, and hardly any noise as the others: any, or green in evaluation."""
    kept = torch.randint(3, (len(patches),)).to(patches.device) if training else patches.new_ones(len(patches)).long()
    colour = patches[torch.arange(len(patches), device=patches.device), kept].unsqueeze(1)  # (N, 1, H, W)
    colour = colour - colour.mean((2, 3), keepdim=True)
    noise = NOISE * colour.std((2, 3), correction=0, keepdim=True) * torch.randn_like(patches) * training
    return torch.where(F.one_hot(kept, 3).bool()[:, :, None, None], colour, noise)


class PatchPositionNet(Net):
    """The trunk on each patch, and three layers on both features."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.colours = trunk, method.colours
        self.place = nn.Sequential(
            nn.Linear(2 * trunk.dim, method.hidden, bias=False),
            nn.BatchNorm1d(method.hidden),
            nn.ReLU(),
            nn.Linear(method.hidden, method.hidden),
            nn.ReLU(),
            nn.Linear(method.hidden, len(AROUND)),
        )

    def view(self, clips: Tensor) -> Tensor:
        """(B, 2, 1, 3, p, p) to (B, 2, 1, 3, size, size), each of the same contrast."""
        patches = augment.pixels(clips).flatten(0, 2)  # (N, 3, p, p)
        if self.colours == "drop":
            patches = drop(patches, self.training)
        else:
            patches = project(patches) if self.colours == "project" else patches
            patches = patches - patches.mean((1, 2, 3), keepdim=True)
        patches = patches / patches.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-3)
        size = self.trunk.size
        patches = F.interpolate(patches, (size, size), mode="bilinear", align_corners=False)
        return (self.trunk.mean + self.trunk.std * patches).unflatten(0, clips.shape[:3])

    def predict(self, batch):
        """Logits (B, 8) of the places, in the order of `answers`."""
        return self.place(encode(self.trunk, self.view(batch["clips"])).flatten(1))

    def forward(self, batch):
        return classify(self.predict(batch), torch.as_tensor(batch["answer"]))
