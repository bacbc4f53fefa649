"""Pieces that several methods share."""

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
