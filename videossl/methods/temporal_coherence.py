"""Keep features of neighbouring frames near to each other, and those of other frames apart: slow features.

Sources: Mobahi, Collobert, Weston, "Deep Learning from Temporal Coherence in Video", ICML 2009, section 3; Hadsell,
Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006, section 2.1. Jayaraman and Grauman
(ICCV 2015) compare ego-motion equivariance with both, as TEMPORAL and DRLIM.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl.methods.base import Net
from videossl.methods.pairs import draw_pairs, show, video_number
from videossl.methods.parts import encode


@dataclass(frozen=True)
class TemporalCoherence:
    """Neighbours cost their distance, others what it lacks of a margin, both by the 1-norm (Mobahi et al.).

    Others are all frames of other videos in the batch, and those of the same video that are no neighbours. In the paper
    one pair of frames stands for each; all of a batch tell more at no cost. Distances are means over the dimensions of
    the embedding, so that one margin does for any number of them.
    """

    near: int = 1  # frames from the end of a clip to the start of its neighbour, at most
    length: int = 1  # frames of each of the two: 1 in the papers, more for trunks that read clips
    embedding: int = 64  # outputs of a linear layer on the trunk, which are compared; 0 compares the trunk's features
    margin: float = 1.0  # beyond it others cost nothing; unrelated standardised features are about 1.1 apart
    # Divide each feature by its deviation in the batch, so that the margin means the same for any trunk and shrinking
    # everything gains nothing. False is the papers'.
    standardise: bool = True

    chance: ClassVar[dict[str, float]] = {"accuracy": 0.5, "ratio": 1.0}

    def __post_init__(self):
        if self.near < 1 or self.length < 1 or self.embedding < 0 or self.margin <= 0:
            raise ValueError(f"near and length are counts from 1, embedding from 0, margin is over 0, but got {self}")

    @property
    def span(self) -> int:
        """Frames a video must have."""
        return 2 * self.length + self.near - 1

    def check(self, record):
        """Raise a ValueError if the record is too short."""
        if len(record["frames"]) < self.span:
            raise ValueError(f"fewer than the {self.span} frames that two neighbours span: lower near or length")

    def sample(self, record, rng):
        self.check(record)
        frames = record["frames"]
        starts = draw_pairs(len(frames), self.length, self.length - 1 + self.near, self.length, 1, rng)[0]
        clips = frames[starts[:, None] + np.arange(self.length)]
        return {"clips": clips, "video": video_number(record), "starts": starts}

    def distances(self, one: Tensor, other: Tensor) -> Tensor:
        """Mean absolute difference of each to each: (N, D) and (M, D) to (N, M)."""
        return torch.cdist(one, other, p=1) / one.shape[-1]

    def costs(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        """What distances cost between neighbours, and between others."""
        return distances, F.relu(self.margin - distances)

    def build(self, trunk):
        return TemporalCoherenceNet(trunk, self)


@dataclass(frozen=True)
class DrLIM(TemporalCoherence):
    """Neighbours cost their squared distance, others the square of what it lacks of a margin (Hadsell et al.).

    The same as `TemporalCoherence` but for the Euclidean distance (over the root of the number of dimensions) and for
    the squares: equation 4, without its factor of a half.
    """

    margin: float = 1.0  # beyond it others cost nothing; unrelated standardised features are about 1.4 apart

    def distances(self, one: Tensor, other: Tensor) -> Tensor:
        """Root of the mean squared difference of each to each: (N, D) and (M, D) to (N, M)."""
        # By products of matrices it would be faster and, for near neighbours, wrong.
        exact = "donot_use_mm_for_euclid_dist"
        return torch.cdist(one, other, compute_mode=exact) / one.shape[-1] ** 0.5

    def costs(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        return distances**2, F.relu(self.margin - distances) ** 2


class Embedding(nn.Module):
    """A linear layer on features, or the features themselves, standardised over the batch where that is wanted."""

    def __init__(self, features: int, embedding: int, standardise: bool):
        super().__init__()
        self.dim = embedding or features
        layers = [nn.Linear(features, embedding)] if embedding else []
        layers += [nn.BatchNorm1d(self.dim, affine=False)] if standardise else []
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """(..., features) to (..., dim)."""
        return self.layers(features.flatten(0, -2)).unflatten(0, features.shape[:-1])


class TemporalCoherenceNet(Net):
    """The trunk, and an embedding in which distances are taken. Also DrLIM's, whose distances and costs differ.

    Metrics: "accuracy", how often a neighbour is nearer than another (chance: a half); "ratio", mean distance of
    neighbours to that of others: 1 where features tell nothing. "pixels_accuracy" and "pixels_ratio" are the same by
    pixels of small pictures: frames next to each other are alike without any learning.
    """

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk = trunk
        self.method = method
        self.embedding = Embedding(trunk.dim, method.embedding, method.standardise)

    def embed(self, clips: Tensor) -> Tensor:
        """(..., T, C, H, W), floats in [0, 1], to (..., D)."""
        return self.embedding(encode(self.trunk, clips))

    def forward(self, batch):
        clips = show(batch, self.trunk.size, self.training)  # (B, 2, T, C, H, W)
        z = self.embed(clips)
        distances = self.method.distances(z[:, 0], z[:, 1])  # (B, B): neighbours in the diagonal
        others = apart(batch, self.method.span - self.method.length)
        pull, push = self.method.costs(distances)
        loss = pull.diagonal().mean() + mean(push, others)
        with torch.no_grad():
            small = thumbnails(clips).flatten(2)
            pixels = self.method.distances(small[:, 0], small[:, 1])
            metrics = {
                "accuracy": nearer(distances, others),
                "ratio": ratio(distances, others),
                "pixels_accuracy": nearer(pixels, others),
                "pixels_ratio": ratio(pixels, others),
            }
        return loss, metrics


def apart(batch: dict, near: int) -> Tensor:
    """Which first and second clips of a batch's pairs are of other videos, or over `near` frames apart: (B, B) bool."""
    video, starts = torch.as_tensor(batch["video"]), torch.as_tensor(batch["starts"])
    strangers = video.unsqueeze(1) != video.unsqueeze(0)
    return strangers | ((starts[:, :1] - starts[:, 1]).abs() > near)


def mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean of the values where a mask says so; 0 where it nowhere does."""
    return (values * where).sum() / where.sum().clamp(min=1)


def nearer(distances: Tensor, others: Tensor) -> Tensor:
    """How often a neighbour, in the diagonal, is nearer than one of the others; ties count half."""
    own = distances.diagonal().unsqueeze(1)
    return mean((own < distances).float() + 0.5 * (own == distances).float(), others)


def ratio(distances: Tensor, others: Tensor) -> Tensor:
    """Mean distance of neighbours, in the diagonal, to that of others."""
    return distances.diagonal().mean() / mean(distances, others).clamp(min=1e-9)


def thumbnails(clips: Tensor, size: int = 16) -> Tensor:
    """Small pictures: (B, K, T, C, H, W) to (B, K, T, C, size, size)."""
    return F.adaptive_avg_pool2d(clips.flatten(0, 3), size).unflatten(0, clips.shape[:4])
