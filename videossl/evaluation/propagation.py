"""Label propagation: the masks of a video's first frame, carried to all others by how alike features are.

Sources: Jabri, Owens, Efros, "Space-Time Correspondence as a Contrastive Random Walk", NeurIPS 2020, section 4.1; the
numbers are those of Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021, section
4.2.2 and github.com/facebookresearch/dino, eval_video_segmentation.py. J and F: Perazzi et al., "A Benchmark Dataset
and Evaluation Methodology for Video Object Segmentation", CVPR 2016, section 4, computed as
github.com/davisvideochallenge/davis2017-evaluation does.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional as F

from videossl import augment
from videossl.evaluation.base import Judge, Scores
from videossl.evaluation.features import ASTRAY, Encoder, resting
from videossl.evaluation.views import Views
from videossl.models.base import Trunk

AT_ONCE = 2**26  # similarities computed at once: a quarter of a GB


@dataclass(frozen=True)
class Propagation(Judge):
    """Nothing is learned: a place of a frame takes the labels of the places it is most like, in frames before.

    Features are the trunk's maps of whole frames, scaled as the data set was asked to (DINO's: `--size 480 854`; a
    transformer's frames are then scaled to whole tokens). A clip trunk sees the clip that a frame is the middle of, and
    the middle of its maps counts. The first frame's masks become each cell's shares of the things. In later frames a
    cell looks at cells no more than `near` away, in the first frame and in the `last` before it, takes the `most` that
    are the most alike by cosine, and the mean of their shares, weighted by exp(cosine / temperature). Shares are
    enlarged to the masks' size, each thing's stretched to [0, 1], and each pixel is of what it has most of.

    We leave DINO in two things: a cell of the first frame has shares, not the nearest pixel's label, so that nothing is
    lost that is smaller than a cell; and shares are enlarged to the masks' size at once.
    """

    last: int = 7  # frames before, beside the first one, that are looked at
    near: int = 12  # cells up, down, left and right that are looked at
    most: int = 5  # cells that give their labels
    temperature: float = 0.1
    stage: int = -1  # which of the trunk's maps, by resolution (`Trunk.stages`); -1 is the coarsest, its last
    # the length and stride of the clip that a frame is the middle of; frames are seen whole
    views: Views = field(default_factory=lambda: Views(clips=1, crops=1))

    title: ClassVar[str] = "Label propagation"
    headlines = ("J&F", "J", "F")
    needs = ("masks",)

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """Nothing is learned or drawn: `train` and the seed change nothing.

        Things are those that the first mask numbers, and each counts once, whatever its video; the first frame, which
        is given, and the last do not count, as in the benchmark.

        Returns: metrics are means over things of their means over frames: "J" (of the region), "F" (of its boundary),
            "J&F" (the mean of both), "J recall" and "F recall" (the share of frames over 0.5), and the same three with
            "chance": of masks that stay as they are in the first frame.

        Raises:
            ValueError: a record has no masks, the trunk has no maps, or no video of three frames or more can be read.
        """
        self.refuse(test)
        views = self.views.resolved(encoder.trunk)
        rank, world = (0, 1) if encoder.fabric is None else (encoder.fabric.global_rank, encoder.fabric.world_size)
        mine = range(rank, len(test), world)
        found: list[tuple[int, list[dict] | str]] = []
        for n in encoder.bar(mine, len(mine), "propagating labels"):
            try:
                found.append((n, self.things(encoder, test[n], views)))
            except (Unseen, OSError) as error:
                found.append((n, str(error)))
        if world > 1:
            found = [item for other in range(world) for item in encoder.fabric.broadcast(found, src=other)]
        found.sort(key=lambda item: item[0])
        failed = {test[n]["name"]: item for n, item in found if isinstance(item, str)}
        things = [thing for _, item in found if not isinstance(item, str) for thing in item]
        if not things:
            raise ValueError(f"none of {len(test)} videos can be propagated: {'; '.join(list(failed.values())[:3])}")
        metrics = {name: float(np.mean([thing[name] for thing in things])) for name in things[0]}
        return Scores(metrics, [n for n, item in found if not isinstance(item, str)], 0, failed)

    def things(self, encoder: Encoder, record: dict, views: Views) -> list[dict[str, float]]:
        """Scores of each thing in a video.

        Raises:
            Unseen: its frames or masks cannot be read, or show nothing to follow.
            ValueError: the trunk has no maps.
        """
        count = len(record["frames"])
        if count < 3:
            raise Unseen(f"has {count} frames, but the first and the last do not count: three are needed")
        try:
            frames, masks = record["frames"][np.arange(count)], record["masks"][np.arange(count)]
        except ValueError as error:
            raise Unseen(str(error)) from error
        truth = masks[:, 0].numpy()  # (T, H, W)
        labels = 1 + int(truth[0].max())
        if labels == 1:
            raise Unseen("its first mask is empty, so there is nothing to follow")
        features = maps_of(encoder, frames, views, self.stage)
        first = shares_of(masks[0, 0], labels, features.shape[2:])
        carried = propagate(features, first.to(features), self.last, self.near, self.most, self.temperature)
        answers = torch.cat([painted(part, truth.shape[1:]).cpu() for part in carried.split(8)]).numpy()
        return [of_thing(truth, answers, label) for label in range(1, labels)]


class Unseen(ValueError):
    """Why a video is not scored, though the others are."""


def maps_of(encoder: Encoder, frames: Tensor, views: Views, stage: int = -1) -> Tensor:
    """The trunk's maps of every frame, whole: (T, 3, H, W) uint8 to (T, D, h, w) float32.

    Args:
        views: length and stride of the clip that a frame is the middle of; beyond its ends a video stands still.

    Raises:
        ValueError: the trunk has no maps, none of such a stage, or some that are not finite.
    """
    trunk, found = encoder.trunk, []
    with resting(trunk), nullcontext() if encoder.fabric is None else encoder.fabric.autocast():
        for clips in clips_around(frames, views, trunk).split(max(1, encoder.batch // views.length)):
            stages = trunk.stages(augment.pixels(clips.to(encoder.device)))
            if not -len(stages) <= stage < len(stages):
                raise ValueError(f"{type(trunk).__name__} has {len(stages)} stages, but stage {stage} was asked for")
            maps = stages[stage].float()
            found.append(maps[:, :, maps.shape[2] // 2])
    found = torch.cat(found)
    if not found.isfinite().all():
        raise ValueError(f"maps of the video's frames are not finite: {ASTRAY}")
    return found


def clips_around(frames: Tensor, views: Views, trunk: Trunk) -> Tensor:
    """For each frame (T, 3, H, W) the clip it is the middle of: (T, length, 3, h, w), of whole tokens, uint8."""
    length, stride = views.length, views.stride
    index = torch.arange(len(frames))[:, None] + stride * (torch.arange(length) - length // 2)
    _, *unit = getattr(trunk, "unit", (1, 1, 1))  # frames and pixels of a token
    whole = [max(side // each, 1) * each for side, each in zip(frames.shape[2:], unit, strict=True)]
    if whole != list(frames.shape[2:]):
        scaled = F.interpolate(frames.float(), whole, mode="bilinear", antialias=True)
        frames = scaled.round().clamp(0, 255).byte()
    return frames[index.clamp(0, len(frames) - 1)]


def shares_of(mask: Tensor, labels: int, grid: Sequence[int]) -> Tensor:
    """What share of each cell is of each label: a mask (H, W) of numbers to (labels, h, w); 0 is the background."""
    return F.adaptive_avg_pool2d(F.one_hot(mask.long(), labels).permute(2, 0, 1).float(), tuple(grid))


def propagate(features: Tensor, first: Tensor, last: int, near: int, most: int, temperature: float) -> Tensor:
    """Carry the first frame's shares on, see `Propagation`.

    Args:
        features: (T, D, h, w), of every frame.
        first: (C, h, w), the first frame's shares of each label.

    Returns: (T, C, h, w), every frame's.
    """
    frames, _, height, width = features.shape
    units = F.normalize(features.flatten(2), dim=1)  # (T, D, h * w)
    rows, columns = torch.arange(height), torch.arange(width)
    apart = [
        (n[:, None] - n).abs().to(features.device) for n in (rows.repeat_interleave(width), columns.repeat(height))
    ]
    far = torch.maximum(*apart) > near  # (h * w, h * w)
    shares = [first.flatten(1)]  # (C, h * w) each
    for now in range(1, frames):
        seen = [0, *range(max(1, now - last), now)]
        sources = units[seen].transpose(0, 1).flatten(1)  # (D, seen * h * w)
        known = torch.stack([shares[n] for n in seen], 1).flatten(1)  # (C, seen * h * w)
        found = []
        for query, hidden in zip(
            units[now].split(max(1, AT_ONCE // known.shape[1]), 1),
            far.split(max(1, AT_ONCE // known.shape[1])),
            strict=True,
        ):
            alike = (query.T @ sources).masked_fill(hidden.repeat(1, len(seen)), -math.inf)
            best, index = alike.topk(min(most, alike.shape[1]), 1)
            found.append((known[:, index] * (best / temperature).softmax(1)).sum(2))
        shares.append(torch.cat(found, 1))
    return torch.stack(shares).unflatten(2, (height, width))


def painted(shares: Tensor, size: Sequence[int]) -> Tensor:
    """The label of each pixel: shares (T, C, h, w) to (T, H, W) uint8."""
    large = F.interpolate(shares, tuple(size), mode="bilinear", align_corners=False)
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    return torch.where(high > 0, (large - low) / (high - low).clamp(min=1e-12), large).argmax(1).byte()


def of_thing(truth: np.ndarray, answers: np.ndarray, label: int) -> dict[str, float]:
    """Scores of a thing, of masks (T, H, W) of numbers; see `Propagation.score`."""
    true, mine = truth[1:-1] == label, answers[1:-1] == label
    first = truth[0] == label
    j, f = (np.array([measure(*pair) for pair in zip(mine, true, strict=True)]) for measure in (region, boundary))
    held = [np.mean([measure(first, one) for one in true]) for measure in (region, boundary)]
    return {
        "J&F": (j.mean() + f.mean()) / 2,
        "J": j.mean(),
        "F": f.mean(),
        "J recall": (j > 0.5).mean(),
        "F recall": (f > 0.5).mean(),
        "chance J&F": np.mean(held),
        "chance J": held[0],
        "chance F": held[1],
    }


def region(mask: np.ndarray, truth: np.ndarray) -> float:
    """J of two masks (H, W) bool: what they share, of what either covers; 1 where both are empty."""
    union = (mask | truth).sum()
    return float((mask & truth).sum() / union) if union else 1.0


def boundary(mask: np.ndarray, truth: np.ndarray, share: float = 0.008) -> float:
    """F of two masks (H, W) bool: the harmonic mean of precision and recall of their outlines' pixels.

    A pixel of an outline is right if the other outline is no further away than `share` of the picture's diagonal,
    rounded up to a whole number of pixels: the benchmark's stand-in for matching pixels one to one. Without any outline
    F is 1, with one of the two 0.
    """
    reach = math.ceil(share * math.hypot(*mask.shape))
    mine, true = outline(mask), outline(truth)
    if not mine.any() or not true.any():
        return float(mine.any() == true.any())
    precision = (distance_transform_edt(~true)[mine] <= reach).mean()
    recall = (distance_transform_edt(~mine)[true] <= reach).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def outline(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from the next one to the right, below, or both: (H, W) bool to the same.

    In the last row and column only the next one along it counts; the corner never does.
    """
    right, below, across = (np.zeros_like(mask) for _ in range(3))
    right[:, :-1], below[:-1], across[:-1, :-1] = mask[:, 1:], mask[1:], mask[1:, 1:]
    found = (mask ^ right) | (mask ^ below) | (mask ^ across)
    found[-1], found[:, -1] = mask[-1] ^ right[-1], mask[:, -1] ^ below[:, -1]
    found[-1, -1] = False
    return found
