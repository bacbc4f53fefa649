"""Attention: what a transformer's class token looks at, how steadily in a video, and whether it is the things.

Sources: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021, figure 1 and table 7
right, and github.com/facebookresearch/dino, visualize_attention.py (the threshold).
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from videossl import augment
from videossl.evaluation.base import Judge, Scores
from videossl.evaluation.features import ASTRAY, Encoder, resting
from videossl.evaluation.propagation import clips_around
from videossl.evaluation.views import Views


@dataclass(frozen=True)
class Attention(Judge):
    """How alike the attention maps of consecutive frames are: of the last block, one map for each head.

    A head's area is the smallest set of places that has `mass` of what it gives to all places. A map that does not
    depend on what there is to see is perfectly steady: therefore the same is told of frames of different videos, and
    only what lies above that follows anything.
    """

    frames: int = 32  # of a video: consecutive ones, in its middle
    mass: float = 0.6  # of a head's attention that its area has
    # the length and stride of the clip that a frame is the middle of; frames are seen whole
    views: Views = field(default_factory=lambda: Views(clips=1, crops=1))

    title: ClassVar[str] = "Attention"
    needs = ()
    by_default = False

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """Nothing is learned or drawn: `train` and the seed change nothing.

        Returns: metrics are means over videos: "stability" (the area that a head has in a frame and in the next, of
            that which it has in either, its mean over heads and pairs of frames), "correlation" (of the same two maps),
            "chance stability" (as the first, of a video's first frame and that of the next video; where there
            are two), and where records have masks "jaccard" (the best head's area and the things, in each frame).

        Raises:
            ValueError: the trunk is no transformer, a video has one frame, or none can be read.
        """
        self.refuse(test)
        if self.frames < 2 or not 0 < self.mass <= 1:
            raise ValueError(f"{self}: frames are two or more, and mass lies between 0 and 1")
        views = self.views.resolved(encoder.trunk)
        found, firsts, kept, failed = [], [], [], {}
        for n in encoder.bar(range(len(test)), len(test), "attention"):
            record = test[n]
            numbers = middle(len(record["frames"]), self.frames)
            if len(numbers) < 2:
                raise ValueError(f"stability is of frames that follow each other, but {record['name']} has one")
            try:
                frames = record["frames"][numbers]
                masks = record["masks"][numbers] if "masks" in record else None
            except (ValueError, OSError) as error:
                failed[record["name"]] = str(error)
                continue
            maps = attention_of(encoder, frames, views)
            areas = area(maps, self.mass)
            steady = {
                "stability": overlap(areas[:-1], areas[1:]).mean().item(),
                "correlation": correlation(maps[:-1], maps[1:]).mean().item(),
            }
            found.append(steady | ({} if masks is None else {"jaccard": jaccard(areas, masks[:, 0] > 0)}))
            firsts.append(areas[0])
            kept.append(n)
        if not found:
            raise ValueError(f"none of {len(test)} videos can be read: {'; '.join(list(failed.values())[:3])}")
        told = [name for name in found[0] if all(name in one for one in found)]
        metrics = {name: float(np.mean([one[name] for one in found])) for name in told}
        others = [overlap(a, b).mean().item() for a, b in pairwise(firsts) if a.shape == b.shape]
        if others:
            metrics["chance stability"] = float(np.mean(others))
        return Scores(metrics, kept, 0, failed)


def middle(frames: int, count: int) -> np.ndarray:
    """Numbers of `count` consecutive frames in the middle of a video, or of all it has."""
    first = max(0, (frames - count) // 2)
    return np.arange(first, min(frames, first + count))


def attention_of(encoder: Encoder, frames: Tensor, views: Views) -> Tensor:
    """What the class token gives to each place of each frame, whole: (T, 3, H, W) uint8 to (T, heads, h, w) float32.

    Of a clip trunk it is the middle of the clip that a frame is the middle of. What the class token gives to itself is
    missing, so a map adds up to less than 1.

    Raises:
        ValueError: the trunk is no transformer, or what it gives is not finite.
    """
    trunk, found = encoder.trunk, []
    if not hasattr(trunk, "attention"):
        raise ValueError(f"attention maps are of a transformer: {type(trunk).__name__} has none, ViT does")
    with resting(trunk), nullcontext() if encoder.fabric is None else encoder.fabric.autocast():
        for clips in clips_around(frames, views, trunk).split(max(1, encoder.batch // views.length)):
            maps = trunk.attention(augment.pixels(clips.to(encoder.device))).float().cpu()
            found.append(maps[:, :, maps.shape[2] // 2])
    found = torch.cat(found)
    if not found.isfinite().all():
        raise ValueError(f"attention to the video's frames is not finite: {ASTRAY}")
    return found


def area(maps: Tensor, mass: float) -> Tensor:
    """The smallest set of places that has `mass` of a map, one place at least: (..., h, w), from 0 on, to bool."""
    flat = maps.flatten(-2).double()
    falling, order = flat.sort(dim=-1, descending=True, stable=True)
    before = falling.cumsum(-1) - falling
    chosen = before < mass * falling.sum(-1, keepdim=True) * (1 - 1e-9)
    chosen[..., 0] = True
    return torch.zeros_like(flat, dtype=torch.bool).scatter(-1, order, chosen).view(maps.shape)


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of areas (..., h, w): (...)."""
    return (one & other).sum((-2, -1)) / (one | other).sum((-2, -1))


def correlation(one: Tensor, other: Tensor) -> Tensor:
    """Pearson's, of maps (..., h, w): (...); 0 where one is constant but for rounding."""
    units = []
    for maps in (one, other):
        flat = F.normalize(maps.flatten(-2).double(), dim=-1, eps=1e-100)
        centred = flat - flat.mean(-1, keepdim=True)
        units.append(F.normalize(centred, dim=-1) * (centred.norm(dim=-1, keepdim=True) > 1e-5))
    return (units[0] * units[1]).sum(-1)


def jaccard(areas: Tensor, things: Tensor) -> float:
    """Overlap of things (T, H, W) with the head whose area (T, heads, h, w) fits best in a frame, the mean over frames.

    Frames that show nothing do not count; 0 where none shows anything.
    """
    shown = things.any((1, 2)).flatten()
    if not shown.any():
        return 0.0
    large = F.interpolate(areas[shown].float(), tuple(things.shape[1:]), mode="nearest") > 0.5
    return overlap(large, things[shown][:, None]).amax(1).mean().item()
