"""Geometry: how features lie in their space, without any label. It tells a collapse.

Sources: Wang and Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity on the
Hypersphere", ICML 2020, section 4; Garrido et al., "RankMe: Assessing the Downstream Performance of Pretrained
Self-Supervised Representations by Their Rank", ICML 2023, equation 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from videossl.evaluation.base import Judge, Scores
from videossl.evaluation.features import Encoder
from videossl.evaluation.views import Views


@dataclass(frozen=True)
class Geometry(Judge):
    """Alignment of a video's clips, and uniformity, effective rank and spread over videos, of both lists together.

    Low alignment and low uniformity are good together; where features collapse alignment is 0 and uniformity 0, rank 1
    and spread 0. Random vectors have alignment 2 and uniformity near -4.
    """

    views: Views = field(default_factory=Views)  # of videos; alignment is of neighbouring clips, so it needs two

    title: ClassVar[str] = "Geometry"
    needs = ()
    unit = "number"
    by_default = False

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """Nothing is drawn, so the seed changes nothing.

        Returns: metrics are those of `described`; "alignment" is left out where videos have one clip.
        """
        self.refuse(train, test)
        both = [encoder.features(records, self.views) for records in (train, test)]
        clips = torch.cat([features.values for features in both])
        return Scores(
            metrics=described(clips),
            tested=both[1].kept,
            trained=len(both[0].kept),
            failed=both[1].failed,
            train_failed=both[0].failed,
        )


def described(clips: Tensor) -> dict[str, float]:
    """How the features of N videos' V clips lie, (N, V, D): alignment, uniformity, rank and spread."""
    videos = clips.mean(1)
    units = F.normalize(clips, dim=-1)
    found = {} if clips.shape[1] < 2 else {"alignment": alignment(units[:, :-1], units[:, 1:])}
    return found | {
        "uniformity": uniformity(F.normalize(videos, dim=-1)),
        "rank": rank(videos),
        "spread": spread(videos),
    }


def alignment(one: Tensor, other: Tensor, power: float = 2.0) -> float:
    """Mean distance of pairs of unit vectors (..., D), to a power: 0 where they are equal, 4 where opposite."""
    return (one - other).norm(dim=-1).pow(power).mean().item()


def uniformity(units: Tensor, scale: float = 2.0) -> float:
    """Logarithm of the mean over all pairs of exp(-scale * squared distance), of N >= 2 unit vectors (N, D).

    0 where all are the same; -8 for two opposite points, and towards -4 for points spread over a sphere of many
    dimensions, at a scale of 2.

    Raises:
        ValueError: there is one vector.
    """
    if len(units) < 2:
        raise ValueError("uniformity is of pairs, but there is one video")
    return torch.pdist(units.double()).square().mul(-scale).exp().mean().log().item()


def rank(features: Tensor) -> float:
    """Effective rank of (N, D) features: exp of the entropy of their singular values, from 1 to min(N, D)."""
    values = torch.linalg.svdvals(features.double())
    shares = values / values.sum() if values.sum() > 0 else torch.ones(1, dtype=torch.double)
    return math.exp(-torch.special.xlogy(shares, shares).sum().item())


def spread(features: Tensor) -> float:
    """Standard deviation of unit vectors (N, D), the mean over dimensions, times sqrt(D): 0 if collapsed, at most 1.

    Source: Chen and He, "Exploring Simple Siamese Representation Learning", CVPR 2021, section 4.1.
    """
    units = F.normalize(features.double(), dim=-1)
    return (units.std(0, correction=0).mean() * math.sqrt(features.shape[1])).item()
