"""Which tokens are hidden, and what their pixels are: what methods of masked images and clips share.

A grid is (T, H, W), tokens along time, height and width; places are numbered in order of time, then rows, then columns.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from videossl import augment
from videossl.methods.parts import any_clip, check_length
from videossl.models.vit import ViTTrunk

Grid = tuple[int, int, int]
Kind = Literal["random", "block", "grid", "tube"]


@dataclass(frozen=True)
class Masked:
    """The question of this family: what is there where nothing is shown? A method inherits it and adds its own fields.

    An image is a clip of one frame. It cannot be asked for itself.
    """

    length: int = 1  # frames of a clip
    stride: int = 1  # frames from one of them to the next
    masking: Kind = "random"
    ratio: float = 0.75  # of the places that are hidden
    area: tuple[float, float] = (0.2, 1.0)  # of the random crop, as shares of the frame

    chance: ClassVar[dict[str, float]] = {}

    def __post_init__(self):
        if not 0 < self.ratio < 1 or self.length < 1 or self.stride < 1:
            raise ValueError(f"ratio is a share between 0 and 1, length and stride are counts from 1, but got {self}")
        if self.masking == "grid" and self.ratio != 0.75:
            raise ValueError(
                f"a grid hides 3 of each 4 places: give ratio 0.75, or another masking than grid, not {self}"
            )

    def check(self, record):
        """Raise a ValueError if the record is too short."""
        check_length(record, self.length, self.stride)

    def sample(self, record, rng: np.random.Generator):
        """A clip from anywhere, "clips" (T, C, H, W)."""
        return {"clips": any_clip(record, self.length, self.stride, rng)}


def masked(batch: dict, method: Masked, trunk: ViTTrunk, training: bool) -> tuple[Tensor, Tensor]:
    """The clips, cropped and mirrored, (B, T, C, size, size), floats in [0, 1], and which places are hidden, (B, L) bool.

    In eval mode the centre is taken, and the same places are hidden each time.
    """
    clips = augment.pixels(batch["clips"])
    with torch.random.fork_rng(devices=[], enabled=not training):
        if training:
            clips = augment.flip(augment.crop(clips, trunk.size, method.area))
        else:
            torch.manual_seed(0)
            clips = augment.centre(clips, trunk.size)
        hidden = masks(method.masking, method.ratio, len(clips), trunk.grid_of(clips))
    return clips, hidden.to(clips.device)


def masks(kind: Kind, ratio: float, count: int, grid: Grid) -> Tensor:
    """Masks of `count` clips, (count, T * H * W) bool: True is hidden. Each hides the same number of places.

    Args:
        kind: "random" places; "block", rectangles (the same at all times), added until there are enough and the last one
            cut; "tube", random places, the same at all times; "grid", all but the first of each 2 x 2 (3 of 4, whatever
            `ratio`).
        ratio: share that is hidden; what is shown is rounded down to whole places, but at least 1 is shown and 1 hidden.

    Raises:
        ValueError: the grid has fewer than two places.

    Sources: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, figure 6; Bao et al., "BEiT", ICLR
    2022, algorithm 1 (blocks); Tong et al., "VideoMAE", NeurIPS 2022, section 3.2 (tubes).
    """
    t, h, w = grid
    if h * w * (1 if kind != "random" else t) < 2:
        raise ValueError(f"a grid of {grid} tokens has nothing to hide: larger frames, or a smaller patch")
    if kind == "grid":
        hidden = torch.ones(h, w, dtype=torch.bool)
        hidden[::2, ::2] = False
        return hidden.expand(count, t, h, w).flatten(1)
    places = t * h * w if kind == "random" else h * w
    number = min(max(places - int(places * (1 - ratio)), 1), places - 1)
    if kind == "block":
        flat = torch.stack([blocks(number, h, w).flatten() for _ in range(count)])
    else:
        flat = torch.rand(count, places).argsort(1) < number
    return flat if kind == "random" else flat.unsqueeze(1).expand(-1, t, -1).flatten(1)


def blocks(number: int, height: int, width: int, least: int = 16, aspect: float = 0.3) -> Tensor:
    """A mask (height, width) of rectangles, of `least` places or more, that hides exactly `number`.

    Source: Bao et al., "BEiT", ICLR 2022, algorithm 1: of 16 places or more, sides from 0.3 to 1 / 0.3.
    """
    hidden = torch.zeros(height, width, dtype=torch.bool)
    while (left := number - int(hidden.sum())) > 0:
        area = torch.empty(()).uniform_(min(least, left), max(least, left)).item()
        ratio = math.exp(torch.empty(()).uniform_(math.log(aspect), -math.log(aspect)).item())
        h, w = (
            min(max(round(side), 1), most)
            for side, most in zip((math.sqrt(area * ratio), math.sqrt(area / ratio)), (height, width), strict=True)
        )
        y, x = (int(torch.randint(most - side + 1, ())) for side, most in ((h, height), (w, width)))
        inside = torch.zeros_like(hidden)
        inside[y : y + h, x : x + w] = True
        new = (inside & ~hidden).flatten().nonzero().flatten()[:left]
        hidden.view(-1)[new] = True
    return hidden


def shown(hidden: Tensor) -> Tensor:
    """Which places are not hidden, in their order: (N, L) bool to (N, K). Each clip shows as many."""
    return (~hidden).nonzero()[:, 1].view(len(hidden), -1)


def patchify(clips: Tensor, unit: Grid) -> Tensor:
    """Pixels of each place: (N, T, C, H, W) to (N, L, t * p * p * C), for units of t frames and p pixels.

    What does not fill a unit is left out; a clip shorter than one goes on with its last frame.
    """
    t, p, q = unit
    if clips.shape[1] < t:
        clips = torch.cat([clips, clips[:, -1:].expand(-1, t - clips.shape[1], -1, -1, -1)], 1)
    n, frames, channels, height, width = clips.shape
    clips = clips[:, : frames // t * t, :, : height // p * p, : width // q * q]
    parts = (
        clips.view(n, frames // t, t, channels, height // p, p, width // q, q)
        if clips.is_contiguous()
        else clips.reshape(n, frames // t, t, channels, height // p, p, width // q, q)
    )
    return parts.permute(0, 1, 4, 6, 2, 5, 7, 3).flatten(4).flatten(1, 3)


def unpatchify(pixels: Tensor, unit: Grid, grid: Grid) -> Tensor:
    """What `patchify` took apart: (N, L, t * p * p * C) to (N, T, C, H, W)."""
    t, p, q = unit
    parts = pixels.unflatten(1, grid).unflatten(4, (t, p, q, -1))  # (N, T', H', W', t, p, q, C)
    return parts.permute(0, 1, 4, 7, 2, 5, 3, 6).flatten(1, 2).flatten(3, 4).flatten(4, 5)


def standardised(pixels: Tensor) -> Tensor:
    """Pixels of each place with mean 0 and variance 1: (N, L, D)."""
    variance, mean = torch.var_mean(pixels, -1, keepdim=True)
    return (pixels - mean) / (variance + 1e-6).sqrt()


def mean_over(hidden: Tensor, errors: Tensor) -> Tensor:
    """Mean of (N, L) errors over the hidden places."""
    return (errors * hidden).sum() / hidden.sum()


def gradients(images: Tensor, bins: int, cell: int) -> Tensor:
    """Histograms of oriented gradients, as MaskFeat has them: (N, C, H, W) to (N, H / cell, W / cell, C * bins).

    Gradients by Sobel's filters, mirrored at the borders; directions of half a turn in equal bins, opposite ones in the
    same, each pixel in one of them, weighted by its magnitude; sums over cells, each channel's bins of length 1 (nearly 0
    where nothing changes).

    Source: Wei et al., "Masked Feature Prediction for Self-Supervised Visual Pre-Training", CVPR 2022, section 3.2;
    github.com/facebookresearch/SlowFast, slowfast/models/operators.py.
    """
    sobel = images.new_tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    n, channels, height, width = images.shape
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect").flatten(0, 1).unsqueeze(1)
    across, down = (F.conv2d(padded, kernel[None, None])[:, 0] for kernel in (sobel, sobel.T))
    direction = torch.atan2(across, down) / math.pi * bins
    number = direction.floor().long() % bins
    histogram = images.new_zeros(n * channels, bins, height, width)
    histogram.scatter_(1, number.unsqueeze(1), torch.hypot(across, down).unsqueeze(1))
    sums = F.avg_pool2d(histogram, cell) * cell**2
    unit = F.normalize(sums, dim=1, eps=1e-4).unflatten(0, (n, channels))  # (N, C, bins, H', W')
    return unit.permute(0, 3, 4, 1, 2).flatten(3)
