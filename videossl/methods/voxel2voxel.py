"""Paint a video, voxel by voxel: its colours from grey, what comes next, or what was hidden.

Source: Tran, Bourdev, Fergus, Torresani, Paluri, "Deep End2End Voxel2Voxel Prediction", CVPR Workshops 2016, section 3;
layers after the authors' release (examples/v2v of github.com/facebookarchive/C3D).
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.parts import tried
from videossl.models.base import Trunk


@dataclass(frozen=True)
class Voxel2Voxel:
    """A clip goes through the trunk, and a decoder paints another clip of the same size from its maps.

    "colour" shows it in grey (Rec. 601, three times) and asks for its colours, as the paper does. Of the paper's other
    two, segmentation needs labels and optical flow another program's flow; here are two that need neither. "future"
    shows `length` frames and asks for as many that come next; "masked" hides cells of the clip and asks for these alone.
    """

    task: Literal["colour", "future", "masked"] = "colour"
    length: int = 16  # frames that are shown
    stride: int = 1  # frames from one that is shown to the next
    # maps before the last that the decoder sees, too: 2 in the paper, conv4b and conv3b of C3D. The finer they are, the
    # less of the picture has to go through the last maps, which are what is kept; 0 leaves these alone
    skips: int = 2
    channels: int = 64  # in each layer of the decoder
    # paint onto the trivial answer (the grey clip, the last frame, the mean of what is seen), so that only the
    # difference is learned; the paper paints on nothing
    onto: bool = False
    hidden: float = 0.5  # masked: share of the cells that are hidden
    cells: tuple[int, int] = (2, 7)  # masked: cells in time, and along each side; 1 in time hides tubes

    chance: ClassVar[dict[str, float]] = {}  # trivial answers depend on the clip: they are metrics of the net

    def __post_init__(self):
        if min(self.length, self.stride, self.channels, *self.cells) < 1 or self.skips < 0:
            raise ValueError(f"length, stride, channels and cells are counts from 1, and skips from 0, but got {self}")
        if self.cells[0] > self.length:
            raise ValueError(f"{self.length} frames cannot be cut into {self.cells[0]} cells in time: lower cells")
        if self.task == "masked" and not 0 < self.covered < prod(self.grid):
            raise ValueError(
                f"hidden is the share of {prod(self.grid)} cells to hide, of which some are seen and some hidden, but"
                f" {self.hidden} of them are {self.covered}: change hidden, or raise cells"
            )

    @property
    def span(self) -> int:
        """Frames a video must have."""
        return (len(self.moments) - 1) * self.stride + 1

    @property
    def moments(self) -> range:
        """Frames that are shown, and for "future" those asked for as well, counted from the first, in strides."""
        return range(2 * self.length if self.task == "future" else self.length)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Cells in time, height and width."""
        return self.cells[0], self.cells[1], self.cells[1]

    @property
    def covered(self) -> int:
        """Cells that are hidden."""
        return round(self.hidden * prod(self.grid))

    def check(self, record):
        """Raise a ValueError if the record is too short."""
        if len(record["frames"]) < self.span:
            raise ValueError(f"fewer than the {self.span} frames that are shown and asked for: lower length or stride")

    def sample(self, record, rng):
        self.check(record)
        start = rng.integers(len(record["frames"]) - self.span + 1)
        frames = record["frames"][start + self.stride * np.array(self.moments)]  # (T, C, H, W)
        hidden = np.zeros(self.grid, bool)
        if self.task == "masked":
            hidden.flat[rng.permutation(hidden.size)[: self.covered]] = True
        return {"clips": frames[: self.length], "future": frames[self.length :], "hidden": hidden}

    def build(self, trunk):
        return Voxel2VoxelNet(trunk, self)


class Asked(NamedTuple):
    """What is asked of the net. Clips are (B, T, 3, H, W), floats in [0, 1]."""

    shown: Tensor
    truth: Tensor
    judged: Tensor  # (B, T, 1, H, W), bool: the voxels that count
    trivial: dict[str, Tensor]  # name -> answer that knows nothing, of the truth's shape; the first can be painted onto


def ask_colour(clips: Tensor, future: Tensor, hidden: Tensor) -> Asked:
    """Colours of a grey clip. Trivial are the grey clip itself, and the mean colour of the true one."""
    grey = augment.grey(clips, share=1)
    mean = clips.mean((1, 3, 4), keepdim=True).expand_as(clips)
    return Asked(grey, clips, torch.ones_like(clips[:, :, :1], dtype=torch.bool), {"grey": grey, "mean": mean})


def ask_future(clips: Tensor, future: Tensor, hidden: Tensor) -> Asked:
    """The frames to come. Trivial is the last frame, standing still."""
    last = clips[:, -1:].expand_as(future)
    return Asked(clips, future, torch.ones_like(future[:, :, :1], dtype=torch.bool), {"copy": last})


def ask_masked(clips: Tensor, future: Tensor, hidden: Tensor) -> Asked:
    """The hidden cells, which are shown in the mean colour of what is seen; that is the trivial answer, too."""
    size = clips.shape[1], *clips.shape[-2:]
    judged = F.interpolate(hidden.unsqueeze(1).to(clips.dtype), size, mode="nearest").bool().transpose(1, 2)
    seen = (~judged).to(clips.dtype)
    mean = (clips * seen).sum((1, 3, 4), keepdim=True) / seen.sum((1, 3, 4), keepdim=True)
    shown = torch.where(judged, mean, clips)
    return Asked(shown, clips, judged, {"mean": mean.expand_as(clips)})


ASK: dict[str, Callable[[Tensor, Tensor, Tensor], Asked]] = {
    "colour": ask_colour,
    "future": ask_future,
    "masked": ask_masked,
}


class Voxel2VoxelNet(Net):
    """The trunk, and the paper's decoder on its maps.

    Where we leave the paper: C3D has batch norm (see `C3D`); the loss is a mean, not a sum, in units of the trunk's
    colours (`trunk.std`), so learning rates are those of other methods; and the decoder fits any trunk by taking its
    strides from the sizes of the maps. With C3D these are the paper's. In the release's net for segmentation, the first
    deconvolution reads conv5a and nothing conv5b; here it reads the last maps. No task has a skip from what is shown
    into the decoder, for the answer to "colour" and "future" would mostly be a copy of it (`onto` measures that).

    Only what makes the maps is trained: CaffeNet's fc6 and fc7 stay as they were. A frame trunk sees each frame by
    itself; the decoder then mixes neighbouring moments alone, and cannot see a movement far ahead.
    """

    def __init__(self, trunk, method):
        super().__init__()
        if "maps" not in trunk.layers:
            raise ValueError(
                f"Voxel2Voxel paints from feature maps, so its trunk must have maps(): {type(trunk).__name__} has none,"
                " convolutional trunks do (C3D, R3D, S3D, ResNet, Small)"
            )
        self.trunk = trunk
        self.ask = ASK[method.task]
        self.onto = method.onto
        stages = measured(trunk, method.length)
        if trunk.size > 1 and tuple(stages[-1][-2:]) == (1, 1):
            raise ValueError(
                f"Voxel2Voxel paints from feature maps, but those of {type(trunk).__name__} have one cell, which keeps no"
                " place: take a convolutional trunk (C3D, R3D, S3D, ResNet, Small)"
            )
        kept = stages[-1 - method.skips :]  # a trunk with fewer stages has fewer skips
        self.decoder = Decoder(kept, (method.length, trunk.size, trunk.size), method.channels)

    def asked(self, batch: dict) -> Asked:
        """One crop and mirror image for what is shown and what is asked for."""
        shown, future = augment.pixels(batch["clips"]), augment.pixels(batch["future"])
        tape, size = torch.cat([shown, future], 1), self.trunk.size
        tape = augment.flip(augment.shift_crop(tape, size)) if self.training else augment.centre(tape, size)
        return self.ask(*tape.split([shown.shape[1], future.shape[1]], 1), batch["hidden"])

    def paint(self, asked: Asked) -> Tensor:
        """The net's answer: (B, T, 3, H, W), about [0, 1]."""
        maps = self.trunk.stages(asked.shown)[-self.decoder.stages :]
        drawn = self.decoder(maps, (asked.shown.shape[1], *asked.shown.shape[-2:])).transpose(1, 2)
        start = next(iter(asked.trivial.values())) if self.onto else self.trunk.mean
        return start + self.trunk.std * drawn

    def forward(self, batch):
        asked = self.asked(batch)
        painted = self.paint(asked)
        loss = mean_over(asked.judged, ((painted - asked.truth) / self.trunk.std).square())
        with torch.no_grad():
            metrics = errors(painted, asked)
            for name, answer in asked.trivial.items():
                metrics |= {f"{name}_{measure}": value for measure, value in errors(answer, asked).items()}
        return loss, metrics

    def panels(self, batch):
        asked = self.asked(batch)
        painted = torch.where(asked.judged, self.paint(asked), asked.truth).clamp(0, 1)
        return {"shown": asked.shown, "truth": asked.truth, "painted": painted, **asked.trivial}


class Decoder(nn.Module):
    """From coarse maps to voxels of three colours, with skips from finer maps.

    Each step is a deconvolution to the size of the next finer maps, with a ReLU, beside which a 3x3x3 convolution of
    those is laid; the last one goes to the size of the clip, and a 3x3x3 convolution paints.
    """

    def __init__(self, stages: Sequence[torch.Size], size: tuple[int, int, int], channels: int):
        """Args:
        stages: shapes (N, channels, T', H', W') of the maps it will get, the finest first, for clips of this size.
        size: frames, height and width of what it paints.
        channels: in each layer.
        """
        super().__init__()
        self.stages = len(stages)
        sizes = [size, *(shape[2:] for shape in stages)]
        scales = [[max(1, round(f / c)) for f, c in zip(*pair, strict=True)] for pair in itertools.pairwise(sizes)]
        inputs = [*[2 * channels] * (self.stages - 1), stages[-1][1]]
        self.up = nn.ModuleList(enlarging(i, channels, scale) for i, scale in zip(inputs, scales, strict=True))
        self.skip = nn.ModuleList(nn.Conv3d(shape[1], channels, 3, padding=1) for shape in stages[:-1])
        self.paint = nn.Conv3d(channels, 3, 3, padding=1)

    def forward(self, stages: Sequence[Tensor], size: tuple[int, int, int]) -> Tensor:
        """Maps of the trunk to (N, 3, *size). Where sizes do not divide, what was enlarged is stretched."""
        maps = stages[-1]
        for finer, up, skip in zip(stages[-2::-1], self.up[:0:-1], self.skip[::-1], strict=True):
            maps = torch.cat([stretched(up(maps).relu(), finer.shape[2:]), skip(finer)], 1)
        return self.paint(stretched(self.up[0](maps).relu(), size))


def enlarging(inputs: int, outputs: int, scale: Sequence[int]) -> nn.ConvTranspose3d:
    """A deconvolution that enlarges time, height and width by exactly these whole numbers.

    Of n values it makes (n - 1) * scale - 2 * padding + kernel = n * scale; to double, the kernel is 4, and to
    quadruple 8, as in the paper.
    """
    padding = [(s + 1) // 2 for s in scale]
    kernel = [s + 2 * p for s, p in zip(scale, padding, strict=True)]
    return nn.ConvTranspose3d(inputs, outputs, tuple(kernel), tuple(scale), tuple(padding))


def stretched(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (N, C, T, H, W) at this size (T, H, W), interpolated where they have another."""
    if maps.shape[2:] == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode="trilinear", align_corners=False)


def measured(trunk: Trunk, length: int) -> list[torch.Size]:
    """Shapes of the trunk's stages for one clip of this length, of the size it is made for."""
    return [maps.shape for maps in tried(trunk, trunk.stages, length)]


def mean_over(judged: Tensor, errors: Tensor) -> Tensor:
    """Mean of errors (B, T, C, H, W) over the voxels that count, (B, T, 1, H, W)."""
    return (errors * judged).sum() / (judged.sum() * errors.shape[2])


def errors(answer: Tensor, asked: Asked) -> dict[str, Tensor]:
    """How far an answer is from the truth, over the voxels that count; colours are in [0, 1].

    "mse": squared error, the mean over the three colours. "distance": length of the difference of two colours, at most
    the square root of 3. "chroma_mse": "mse" of what is left of both once their brightness is taken off, so that blur
    does not count; for a grey answer it is "mse" with the right brightness.
    """
    off = answer - asked.truth
    brightness = augment.grey(off, share=1)
    return {
        "mse": mean_over(asked.judged, off.square()),
        "distance": mean_over(asked.judged, off.norm(dim=2, keepdim=True)),
        "chroma_mse": mean_over(asked.judged, (off - brightness).square()),
    }
