"""Next best view: which way to move, to see best what this is?

Source: Jayaraman and Grauman, "Learning image representations tied to ego-motion", ICCV 2015, section 4.4 (there objects
on a turntable; here scenes from a car).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from videossl.evaluation.base import Judge, Scores, number_of_classes
from videossl.evaluation.equivariance import EquivarianceError, Pairs, Patterns, Seen
from videossl.evaluation.features import Encoder
from videossl.evaluation.probe import Linear, chosen_penalty
from videossl.evaluation.views import Views, span


@dataclass(frozen=True)
class NextBestView(Judge):
    """Recognise the scene from one view, move where a second one promises most, and recognise it from both.

    A view is a frame of a drive. The candidates from it are later frames of the same drive, one for each pattern of
    motion g that can be had: of the frames that lie at a motion of that pattern the one whose motion is nearest to the
    pattern's, if it lies within `tolerance`. Drives have no detours: what was not filmed cannot be chosen.

    A classifier (logistic regression on single views of training drives) gives the classes' probabilities of a view. Of
    two views they are multiplied and made a sum of 1. The features that a candidate would have are predicted as M_g z(x),
    with maps fitted to training drives as in `EquivarianceError`; chosen is the candidate whose prediction, combined with
    the first view, has the lowest entropy. Only then that frame is looked at, and combined with the first view.

    Where features are not equivariant, predictions say nothing of what will be seen, and the choice is as good as a
    random one. Views with fewer than two candidates leave nothing to choose and are not asked about.
    """

    # patterns, gap and views, and how maps are fitted
    maps: EquivarianceError = field(default_factory=EquivarianceError)
    tolerance: float = 0.5  # how far from its pattern's motion a candidate may lie, in standard deviations of motions
    train_views: int = 50  # of each training drive, evenly spread; fewer where it has fewer frames
    test_views: int = 50  # of each test drive, evenly spread over those with a choice
    penalty: float | None = None  # of the classifier, see `LinearProbe`; None: chosen on held-out groups
    steps: int = 200  # of L-BFGS, at most

    title: ClassVar[str] = "Next best view"
    headlines = ("one_view", "random_view", "chosen_view", "best_view")
    draws = True
    needs = ("pose", "label")
    beside = ("choices", "penalty", "ridge")

    def __post_init__(self):
        if min(self.train_views, self.test_views, self.steps) < 1 or self.tolerance <= 0 or (self.penalty or 0) < 0:
            raise ValueError(f"{self}: views and steps start at 1, tolerance lies above 0, a penalty starts at 0")

    @property
    def views(self) -> Views:
        """Of each frame."""
        return self.maps.views

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """The seed decides the pairs that maps are fitted to, and the groups held out to choose the penalty.

        Returns: metrics are shares of first views whose scene is told right: "one_view", from it alone; and from two, the
            second one taken at random ("random_view": the expectation), "chosen_view", or "best_view": whichever tells
            best, which none can know before. "gain" is "chosen_view" less "random_view"; "choices" is the mean number of
            candidates; "chance" guesses one of the training drives' classes; "penalty" and "ridge" are those used.

        Raises:
            ValueError: a label or pose is missing, no view has a choice, or see `EquivarianceError` and `LinearProbe`.
        """
        self.refuse(train, test)
        learned = self.maps.learned(encoder, train, seed)
        classifier, penalty, failed = self._classifier(encoder, train, number_of_classes(train, test), seed)

        candidates, pattern = self.candidates(learned.patterns, self.maps.all_pairs(test, encoder))
        seen, test_failed = Seen.of(encoder, test, [candidates], self.views)
        kept = seen.mask(candidates)
        candidates, pattern = candidates[kept], pattern[kept]
        query = query_of(candidates)  # (C,), from 0 to Q - 1
        one = np.unique(query, return_index=True)[1]  # (Q,) of each query a candidate

        z = seen.first(candidates)
        before = logarithms(classifier, z)  # (C, K)
        predicted = before + logarithms(classifier, learned.maps.moved(z, pattern).float())
        looked = before + logarithms(classifier, seen.second(candidates))
        truth = torch.tensor([int(test[n]["label"]) for n in candidates.video])
        right = (looked.argmax(1) == truth).numpy()
        chosen = most_certain(predicted, query)
        shares = {
            "one_view": (before.argmax(1) == truth).numpy()[one],
            "random_view": np.bincount(query, right) / np.bincount(query),
            "chosen_view": right[chosen],
            "best_view": np.bincount(query, right) > 0,
        }
        metrics = {name: float(values.mean()) for name, values in shares.items()}
        labels = {int(record["label"]) for record in train}
        known = np.isin(truth.numpy()[one], list(labels))  # no guess is right for a class that training lacks
        metrics |= {
            "gain": metrics["chosen_view"] - metrics["random_view"],
            "choices": len(query) / len(one),
            "chance": float(known.mean()) / len(labels),
            "penalty": penalty,
            "ridge": learned.ridge,
        }
        tested = [int(n) for n in np.unique(candidates.video)]
        return Scores(metrics, tested, learned.used, test_failed, learned.failed | failed)

    def candidates(self, patterns: Patterns, pairs: Pairs) -> tuple[Pairs, np.ndarray]:
        """From first views with a choice, up to `test_views` of each drive: the frames that can be moved to.

        Args:
            patterns: of motion.
            pairs: all of them.

        Returns: (C) pairs, sorted by drive and first view, and the pattern of each, (C,).

        Raises:
            ValueError: no view has two candidates.
        """
        pattern, distance = patterns.nearest(pairs.motion)
        near = np.flatnonzero(distance <= self.tolerance)
        near = near[np.lexsort((distance[near], pattern[near], pairs.first[near], pairs.video[near]))]
        kind = np.stack([pairs.video, pairs.first, pattern], 1)[near]
        near = near[np.unique(kind, axis=0, return_index=True)[1]]  # the nearest of each pattern from each view
        query = query_of(pairs[near])
        near = near[np.bincount(query)[query] > 1]
        if not len(near):
            raise ValueError(
                f"no frame of the test drives has a choice of two motions within {self.tolerance} standard deviations of "
                "their patterns: raise `tolerance`, or `gap` and `patterns` of `maps`"
            )
        some = []
        for video in np.unique(pairs.video[near]):
            mine = near[pairs.video[near] == video]
            query = query_of(pairs[mine])
            some.append(mine[np.isin(query, spread(query.max() + 1, self.test_views))])
        near = np.concatenate(some)
        return pairs[near], pattern[near]

    def _classifier(
        self, encoder: Encoder, train: Sequence[dict], classes: int, seed: int
    ) -> tuple[Linear, float, dict[str, str]]:
        """A classifier of single views, its penalty, and the training drives that cannot be read."""
        views = self.views.resolved(encoder.trunk)
        moments = [spread(len(r["frames"]) - span(views.length, views.stride) + 1, self.train_views) for r in train]
        features, failed = encoder.moments(train, moments, self.views)
        read = [(record, values) for record, values in zip(train, features, strict=True) if values is not None]
        records = [record for record, values in read for _ in values]
        values = torch.cat([values for _, values in read])[:, None]  # (N, 1, D)
        labels = torch.tensor([int(record["label"]) for record in records])
        penalty = self.penalty
        if penalty is None:
            penalty = chosen_penalty(records, values, labels, classes, self.steps, encoder.device, seed)
        return Linear(values, labels, classes, penalty, self.steps, encoder.device), penalty, failed


def query_of(pairs: Pairs) -> np.ndarray:
    """Which first view each of some sorted pairs is of, numbered from 0."""
    return np.unique(np.stack([pairs.video, pairs.first], 1), axis=0, return_inverse=True)[1].ravel()


def spread(there: int, count: int) -> np.ndarray:
    """Up to `count` of 0 to `there` - 1, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, there - 1, min(max(there, 0), count)).round().astype(int))


def logarithms(classifier: Linear, features: Tensor) -> Tensor:
    """Of the classes' probabilities, (N, D) to (N, K) float64."""
    return classifier(features).double().clamp(min=1e-30).log()


def most_certain(logarithm: Tensor, query: np.ndarray) -> np.ndarray:
    """Of each query, numbered from 0, the candidate (position among C) whose probabilities have the lowest entropy.

    Args:
        logarithm: (C, K) of probabilities, up to a constant of each row.
        query: (C,) ascending.
    """
    log = logarithm.log_softmax(1)
    entropy = -(log.exp() * log).sum(1).numpy()
    order = np.lexsort((entropy, query))
    return order[np.unique(query[order], return_index=True)[1]]
