"""Pieces that several methods share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl.evaluation.views import clip_at, span
from videossl.models.base import Trunk


def check_length(record: dict, length: int, stride: int) -> None:
    """Raise a ValueError if a record has no clip of `length` frames, each `stride` after the one before."""
    if len(record["frames"]) < span(length, stride):
        raise ValueError(f"fewer than the {span(length, stride)} frames of a clip: lower length or stride")


def any_clip(record: dict, length: int, stride: int, rng: np.random.Generator) -> Tensor:
    """A clip from anywhere in a record: (T, C, H, W) uint8. An image is a video of one frame.

    Raises:
        ValueError: the record is too short.
    """
    check_length(record, length, stride)
    frames = record["frames"]
    start = rng.integers(len(frames) - span(length, stride) + 1)
    return frames[clip_at(start, length, stride, len(frames))]


def encode(trunk: Trunk, clips: Tensor) -> Tensor:
    """Features of any number of clips at once: (..., T, C, H, W) to (..., dim)."""
    return trunk(clips.flatten(0, -5)).unflatten(0, clips.shape[:-4])


def classify(logits: Tensor, answer: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross entropy, and the share of right answers.

    Args:
        logits: (B, answers).
        answer: (B,), integers from 0.
    """
    with torch.no_grad():
        accuracy = (logits.argmax(-1) == answer).float().mean()
    return F.cross_entropy(logits, answer), {"accuracy": accuracy}


def branch_of(trunk: Trunk, asked: str | None, *wanted: str) -> str:
    """The layer of a trunk that a head is put on: the one that was asked for, else the first of those wanted there is.

    "features", which every trunk has, is the last resort.

    Raises:
        ValueError: the trunk has no layer of the name asked for.
    """
    if asked is None:
        return next((name for name in wanted if name in trunk.layers), "features")
    if asked not in trunk.layers:
        raise ValueError(
            f"{type(trunk).__name__} has no layer {asked!r} for a head to branch from; it has: {', '.join(trunk.layers)}"
        )
    return asked


@torch.no_grad()
def tried(trunk: Trunk, ask: Callable[[Tensor], Any], length: int | None = None) -> Any:
    """What is answered for one black clip of the trunk's size, in eval mode; the trunk is left as it was.

    Args:
        ask: of a clip (1, T, 3, size, size), such as `trunk.maps`.
        length: frames of the clip; None: as many as the trunk is made for.
    """
    training = trunk.training
    trunk.eval()
    try:
        return ask(trunk.mean.new_zeros(1, length or trunk.length, 3, trunk.size, trunk.size))
    finally:
        trunk.train(training)


def layer_shape(trunk: Trunk, name: str) -> torch.Size:
    """Of a trunk's layer for one clip of the length and size it is made for."""
    return tried(trunk, lambda clip: trunk.layer(clip, name)).shape


class DenseHead(nn.Sequential):
    """Dense layers with ReLUs between them, on features or on maps as one row: to (N, widths[-1])."""

    def __init__(self, inputs: int, widths: tuple[int, ...]):
        layers: list[nn.Module] = [nn.Flatten()]
        for width in widths:
            layers += [nn.Linear(inputs, width), nn.ReLU(inplace=True)]
            inputs = width
        super().__init__(*layers[:-1])


class ConvolutionalHead(nn.Module):
    """A 3x3 convolution, a 3x3 pooling and dense layers on a trunk's maps; dense layers alone on its features.

    Maps of several moments are averaged over them, and those of other sizes than the trunk is made for are pooled to it.
    """

    def __init__(self, trunk: Trunk, layer: str, channels: int, widths: tuple[int, ...]):
        super().__init__()
        shape = layer_shape(trunk, layer)
        self.maps, inputs = len(shape) == 5, shape[1]
        if self.maps:
            side = max(1, (min(shape[3:]) - 3) // 2 + 1)
            inputs = channels * side**2
            self.convolution = nn.Sequential(
                nn.Conv2d(shape[1], channels, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveMaxPool2d(side)
            )
        self.dense = DenseHead(inputs, widths)

    def forward(self, layer: Tensor) -> Tensor:
        """(N, C, T, H, W) or (N, D) to (N, widths[-1])."""
        return self.dense(self.convolution(layer.mean(2)) if self.maps else layer)


def channels_in_turn(clips: Tensor) -> Tensor:
    """One colour channel of each of K clips, three times: red, green, blue, red, ...

    What `augment.split_channel` does, but without chance: for nets in eval mode, so that a question stays the same.
    Takes and returns (B, K, T, 3, H, W).
    """
    numbers = torch.arange(clips.shape[1])
    kept = clips[:, numbers, :, numbers % 3]  # (K, B, T, H, W)
    return kept.movedim(0, 1).unsqueeze(3).expand_as(clips)


def standing_still(record: dict, drift: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> dict:
    """A control for questions about time: the record with its middle frame throughout, of which only colours drift.

    Nothing in it tells the order but the drift, as a camera's exposure or white balance drifts. What a net still answers
    right here it reads off that: a shortcut, which `split`, `light` and the like are there to close.

    Args:
        record: any with frames in three colours.
        drift: grey levels (of 255) that red, green and blue gain from each frame to the next.
    """
    count = len(record["frames"])
    motion = np.full(count - 1, np.abs(drift).mean(), np.float32)
    return {**record, "frames": _Drifting(record["frames"], tuple(drift)), "motion": motion}


@dataclass(frozen=True)
class _Drifting:
    """The frames of `standing_still`."""

    frames: Any
    drift: tuple[float, float, float]

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        middle = len(self.frames) // 2
        after = torch.as_tensor(np.asarray(index) - middle)[..., None, None, None]
        gained = after * torch.tensor(self.drift)[:, None, None]  # (*index.shape, 3, 1, 1)
        return (self.frames[np.array(middle)] + gained).round().clamp(0, 255).byte()
