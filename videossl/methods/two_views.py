"""Two views of an image, or two moments of a video: what contrastive methods and their kin are shown.

Sources: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, appendix A (the
augmentations); Qian et al., "Spatiotemporal Contrastive Video Representation Learning", CVPR 2021, section 3.2 (two clips of
a video, one draw for all frames of each); Feichtenhofer et al., "A Large-Scale Study on Unsupervised Spatiotemporal
Representation Learning", CVPR 2021 (the same of MoCo, BYOL, SimCLR and SwAV).
"""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from videossl import augment
from videossl.evaluation.views import clip_at, span

VIEWS = 2


@dataclass(frozen=True)
class TwoViews:
    """The question of this family: which two are of the same record? A method inherits it and adds its own fields.

    On images, and on videos with `apart` 0, both views are of the same moment. With more they are two clips of a video:
    SimCLR becomes CVRL, MoCo rho-MoCo, BYOL rho-BYOL.
    """

    length: int = 1  # frames of a view
    stride: int = 1  # frames from one of them to the next
    apart: int = 0  # frames from the start of one view to that of the other, at most
    area: tuple[float, float] = (0.2, 1.0)  # of the random crop, as shares of the frame
    colour: float = 0.5  # strength of colour jitter, from 0; 1 is SimCLR's on ImageNet
    blurred: float = 0.5  # share of first views that are blurred
    blurred_second: float | None = None  # the same of second views; None: as of first ones
    solarised: float = 0.0  # share of second views that are solarised

    def __post_init__(self):
        if self.length < 1 or self.stride < 1 or self.apart < 0:
            raise ValueError(f"length and stride are counts from 1, apart is one from 0, but got {self}")
        if self.colour < 0 or not all(0 <= share <= 1 for share in (*self.blurring, self.solarised)):
            raise ValueError(f"colour is a strength from 0, blurred and solarised are shares, but got {self}")

    @property
    def blurring(self) -> tuple[float, float]:
        """Shares of first and of second views that are blurred."""
        return self.blurred, self.blurred if self.blurred_second is None else self.blurred_second

    @property
    def chance(self) -> dict[str, float]:
        """It depends on the batch, so it is a metric of its own."""
        return {}

    def check(self, record):
        """Raise a ValueError if the record is shorter than a view."""
        needed = span(self.length, self.stride)
        if len(record["frames"]) < needed:
            raise ValueError(f"fewer than the {needed} frames of a view: lower length or stride")

    def sample(self, record, rng: np.random.Generator):
        """Both views' frames, "clips" (2, T, C, H, W)."""
        self.check(record)
        frames = record["frames"]
        starts = moments(len(frames), self.length, self.stride, self.apart, rng)
        return {"clips": frames[clip_at(starts, self.length, self.stride, len(frames))]}


def moments(frames: int, length: int, stride: int, apart: int, rng: np.random.Generator) -> np.ndarray:
    """First frames of two clips of a video, the second `apart` frames before or after the first at most: (2,)."""
    room = frames - span(length, stride)  # the last start
    first = int(rng.integers(room + 1))
    return np.array([first, int(rng.integers(max(0, first - apart), min(room, first + apart) + 1))])


def seen(batch: dict, method: TwoViews, size: int, training: bool) -> Tensor:
    """The views, each cropped, mirrored, coloured and blurred in its own way: (B, 2, T, C, size, size).

    Eval mode augments too, always alike: without it two views of an image are the same, and the question is trivial.

    Raises:
        ValueError: there is one example: nothing else to tell it from.
    """
    clips = augment.pixels(batch["clips"])
    if len(clips) < 2:
        raise ValueError("a batch of one example: other examples are what it is told from, so give --batch 2 or more")
    with torch.random.fork_rng(devices=[], enabled=not training):
        if not training:
            torch.manual_seed(0)
        return two(clips, size, method)


def two(clips: Tensor, size: int, method: TwoViews) -> Tensor:
    """Both views, of which the second may be blurred more seldom, and solarised: (B, 2, T, C, H, W) to its `size`."""
    views = augmented(clips, size, method.area, method.colour, torch.tensor(method.blurring))
    if method.solarised:
        views = torch.stack([views[:, 0], augment.solarise(views[:, 1], method.solarised)], 1)
    return views


def augmented(clips: Tensor, size: int, area: tuple[float, float], colour: float, blurred: float | Tensor) -> Tensor:
    """SimCLR's augmentations, a draw for each leading index: (..., T, C, H, W) to (..., T, C, size, size).

    Args:
        blurred: share that is blurred; a tensor says it for each index, or for those of the last leading dimension.
    """
    clips = augment.flip(augment.crop(clips, size, area))
    if colour:
        clips = augment.colour(clips, 0.8 * colour, 0.8 * colour, 0.8 * colour, min(0.2 * colour, 0.5))
    clips = augment.grey(clips)
    if torch.as_tensor(blurred).any():
        clips = augment.blur(clips, (0.1 * size / 224, 2.0 * size / 224), blurred)
    return clips


@torch.no_grad()
def found(one: Tensor, other: Tensor) -> dict[str, Tensor]:
    """How often a view's own other view is the most alike of the batch, by cosine, and the chance of that: (B, D) both.

    Also "spread", how far normalised features lie apart: 0 tells a collapse, 1 is the most.
    """
    one, other = nn.functional.normalize(one.float(), dim=1), nn.functional.normalize(other.float(), dim=1)
    right = (one @ other.T).argmax(1) == torch.arange(len(one), device=one.device)
    spread = one.std(0, correction=0).mean() * math.sqrt(one.shape[1])
    return {"accuracy": right.float().mean(), "guessing": one.new_tensor(1 / len(one)), "spread": spread}


def several() -> bool:
    """Whether other processes train with this one: losses then take their features as negatives too."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return there and torch.distributed.get_world_size() > 1


class Teacher(nn.Module):
    """A copy of modules that follows them: its weights are a running mean of theirs, and it has no gradient.

    Source: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017; He et al., "Momentum Contrast",
    CVPR 2020, equation 2.
    """

    def __init__(self, *students: nn.Module):
        super().__init__()
        self.copies = nn.ModuleList(copy.deepcopy(student).requires_grad_(False) for student in students)

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        """Through all copies, one after the other."""
        for module in self.copies:
            clips = module(clips)
        return clips

    @torch.no_grad()
    def follow(self, students: list[nn.Module], momentum: float) -> None:
        """`momentum` of its own weights and the rest of the students'; buffers (batch norm's) stay its own."""
        for module, student in zip(self.copies, students, strict=True):
            for own, theirs in zip(module.parameters(), student.parameters(), strict=True):
                own.lerp_(theirs, 1 - momentum)


def rising(start: float, progress: float) -> float:
    """A teacher's momentum: from `start` to 1 along half a cosine (Grill et al., "Bootstrap Your Own Latent", 2020)."""
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2
