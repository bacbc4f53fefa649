"""Pieces that several methods share."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from videossl.models.base import Trunk


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
