"""Clustering: do videos fall into groups that are the classes, when nobody says what the classes are?

Sources: Caron et al., "Deep Clustering for Unsupervised Learning of Visual Features", ECCV 2018, section 4.1 (normalised
mutual information); Hubert and Arabie, "Comparing partitions", Journal of Classification 1985 (adjusted Rand index).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from videossl.evaluation.base import Judge, Scores, number_of_classes
from videossl.evaluation.features import Encoder
from videossl.evaluation.views import Views


@dataclass(frozen=True)
class Clustering(Judge):
    """k-means finds centres among the training videos, without their labels; test videos belong to the nearest.

    A video's feature is the mean over its clips (each the mean over its crops), made a unit vector. Labels only say, in
    the end, how well the test videos' clusters agree with their classes.
    """

    clusters: int | None = None  # None: as many as there are classes
    restarts: int = 10  # of k-means, from other centres; that with the least distances is taken
    views: Views = field(default_factory=Views)  # of training and test videos

    title: ClassVar[str] = "Clustering"
    draws = True
    by_default = False

    def __post_init__(self):
        if self.restarts < 1 or (self.clusters is not None and self.clusters < 1):
            raise ValueError(f"clusters are {self.clusters}, restarts {self.restarts}: both start at 1")

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """The seed decides where k-means begins.

        Returns: metrics are those of `agreement`, and beside them what random clusters of the same number score: "chance
            nmi" and so on.

        Raises:
            ValueError: a label is missing, or there are fewer training videos than clusters.
        """
        self.refuse(train, test)
        count = self.clusters or number_of_classes(train, test)
        self._check(count, len(train))
        gallery, asked = encoder.features(train, self.views), encoder.features(test, self.views)
        self._check(count, len(gallery.kept))
        means = KMeans(count, n_init=self.restarts, random_state=seed).fit(gallery.videos.numpy())
        truth = asked.labels.numpy()
        found = agreement(truth, means.predict(asked.videos.numpy()))
        by_chance = agreement(truth, np.random.default_rng(seed).integers(count, size=len(truth)))
        return Scores(
            metrics=found | {f"chance {name}": value for name, value in by_chance.items()},
            tested=asked.kept,
            trained=len(gallery.kept),
            failed=asked.failed,
            train_failed=gallery.failed,
        )

    def _check(self, count: int, videos: int) -> None:
        if count > videos:
            wanted = "were asked for" if self.clusters else "are wanted, one for each class"
            raise ValueError(
                f"{count} clusters {wanted}, but there are {videos} training videos: give fewer `clusters`"
            )

    def fitted(self, videos: int) -> "Clustering":
        """With no more clusters than there are training videos, where a number was given."""
        return self if self.clusters is None else replace(self, clusters=min(self.clusters, videos))


def agreement(labels: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
    """How well clusters agree with classes, both (N,) integers; the names of neither matter.

    Returns: shares, 1 where they are the same.
        "nmi": mutual information over the arithmetic mean of both entropies.
        "purity": points that belong to the class that is most frequent in their cluster. It is 1 where every point is
            a cluster of its own, so it says nothing alone.
        "ari": adjusted Rand index; 0 is expected of random clusters, and it can be negative.
        "accuracy": points whose cluster stands for their class, where each cluster stands for one class at most, chosen
            so that this is largest (Hungarian method).
    """
    counts = contingency_matrix(labels, clusters)  # (classes, clusters)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return {
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "purity": float(counts.max(0).sum() / len(labels)),
        "ari": float(adjusted_rand_score(labels, clusters)),
        "accuracy": float(counts[rows, columns].sum() / len(labels)),
    }
