"""k-NN: a test video is what the training videos most like it are.

Sources: Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, section 3.4;
Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021 (k = 20, temperature 0.07). They
are of images; for videos no protocol is established, so ours is stated in full.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from videossl.evaluation.base import Judge, Scores, classified, number_of_classes
from videossl.evaluation.features import Encoder, nearest
from videossl.evaluation.views import Views


@dataclass(frozen=True)
class KNN(Judge):
    """Weighted vote of the k nearest training videos, by cosine, on features that are neither centred nor scaled.

    A video's feature is the mean over its clips (each the mean over its crops), made a unit vector. A class's vote is
    the sum over those of the k neighbours that belong to it of exp(cosine / temperature); the lowest class wins a tie.
    Video accuracy asks about test videos; clip accuracy about each of their clips by itself. Both ask training videos.
    """

    k: int = 20  # neighbours
    temperature: float = 0.07  # of the vote's weights; infinity counts heads
    views: Views = field(default_factory=Views)  # of training and test videos

    title: ClassVar[str] = "k-NN"
    headlines = ("video_accuracy",)

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """Nothing is drawn, so the seed changes nothing.

        Raises:
            ValueError: a label is missing, or there are fewer than k training videos.
        """
        self.refuse(train, test)
        if self.temperature <= 0:
            raise ValueError(f"temperature of {self} must be above 0")
        gallery, asked = encoder.features(train, self.views), encoder.features(test, self.views)
        if not 1 <= self.k <= len(gallery.kept):
            raise ValueError(
                f"k is {self.k}, but there are {len(gallery.kept)} training videos: ask for 1 to that many"
            )
        classes = number_of_classes(train, test)
        clips = torch.nn.functional.normalize(asked.values, dim=-1)
        votes = [
            vote(part, gallery.videos, gallery.labels, classes, self.k, self.temperature, encoder.device)
            for part in (asked.videos, clips.flatten(0, 1))
        ]
        of_clips = votes[1].argmax(1).view(clips.shape[:2])
        return classified(gallery.labels.tolist(), gallery.failed, asked, of_clips, votes[0], classes)

    def fitted(self, videos: int) -> "KNN":
        """With k no larger than the number of training videos."""
        return replace(self, k=min(self.k, videos))


def vote(
    queries: Tensor,
    gallery: Tensor,
    labels: Tensor,
    classes: int,
    k: int,
    temperature: float,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Each class's share of the weighted vote, (N, classes).

    Args:
        queries: (N, D) unit vectors.
        gallery: (M, D) unit vectors.
        labels: (M,) classes of the gallery, int64.
    """
    similarity, index = nearest(queries, gallery, k, device)
    weights = ((similarity - similarity[:, :1]) / temperature).exp()  # of the nearest: 1, so that none overflows
    votes = torch.zeros(len(queries), classes).scatter_add_(1, labels[index], weights)
    return votes / weights.sum(1, keepdim=True)
