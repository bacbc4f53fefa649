"""Retrieval: is one of the training videos most like a test video of its class?

Source: Xu et al., "Self-supervised Spatiotemporal Learning via Video Clip Order Prediction", CVPR 2019, section 4.4;
Buechler et al., "Improving Spatiotemporal Self-Supervision by Deep Reinforcement Learning", ECCV 2018; of one and the
same thing among pictures of many: Pinto et al., "The Curious Robot", ECCV 2016, table 2.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import comb
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from videossl.evaluation.base import Judge, Scores, interval
from videossl.evaluation.features import Encoder, Features, nearest
from videossl.evaluation.layers import Layers
from videossl.evaluation.views import Views


@dataclass(frozen=True)
class Retrieval(Judge):
    """Recall at k: the share of test videos with at least one of their class among the k nearest training videos.

    A video's feature is the mean over its clips (each the mean over its crops) of what the trunk returns, which for
    convolutional trunks is pooled. Neighbours are ranked by cosine, on features that are neither centred nor scaled; of
    equally near ones the first in the list comes first. `centre` takes from each list its own mean, as some papers do:
    then a test video's answer depends on the other test videos.

    Of a test video's class is what has the same values in the fields `same`: ("label",) finds categories, ("label",
    "instance") one and the same thing. Where none is to be found, it is missed.
    """

    same: tuple[str, ...] = ("label",)  # fields of a record
    ks: tuple[int, ...] = (1, 5, 10, 20, 50)  # neighbours looked at
    centre: bool = False  # take from training and test features their own means
    maps: int | None = None  # of the last maps, max-pooled to so many numbers at most (see `Layers`); None: features
    views: Views = field(default_factory=Views)  # of training and test videos

    title: ClassVar[str] = "Retrieval"

    @property
    def needs(self) -> tuple[str, ...]:
        """What makes a class."""
        return self.same

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """Nothing is drawn, so the seed changes nothing.

        Returns: metrics are "R@k" for every k, and "chance R@k": what a random order of the training videos is expected
            to score.

        Raises:
            ValueError: there are no videos, a label is missing, a video is in both lists, or there are fewer training
                videos than a k.
        """
        self.refuse(train, test)
        wanted, offered = ({n: self._kind(record) for n, record in enumerate(part)} for part in (test, train))
        names = {record["name"] for record in train}
        both = [record["name"] for record in test if record["name"] in names]
        if both:
            raise ValueError(
                f"{len(both)} test videos are also training videos and would find themselves; the first is {both[0]}"
            )
        self._check(len(train))
        if self.maps is not None:
            layer = Layers(encoder.trunk, ("maps",), self.maps)
            encoder = Encoder(layer, encoder.fabric, encoder.workers, encoder.batch, encoder.progress)
        gallery, asked = encoder.features(train, self.views), encoder.features(test, self.views)
        m = len(gallery.kept)
        self._check(m)
        known, queries = (self._units(features) for features in (gallery, asked))
        _, index = nearest(queries, known, max(self.ks), encoder.device)
        kinds = [offered[n] for n in gallery.kept]
        hits = torch.tensor(
            [[kinds[m] == wanted[n] for m in row] for n, row in zip(asked.kept, index.tolist(), strict=True)]
        )  # (N, k)
        relevant = Counter(kinds)
        metrics = {f"R@{k}": hits[:, :k].any(1).double().mean().item() for k in self.ks}
        for k in self.ks:
            expected = [by_chance(m, relevant[wanted[n]], k) for n in asked.kept]
            metrics[f"chance R@{k}"] = sum(expected) / len(expected)
        return Scores(
            metrics=metrics,
            tested=asked.kept,
            trained=m,
            failed=asked.failed,
            train_failed=gallery.failed,
            intervals={f"R@{k}": interval(metrics[f"R@{k}"], len(asked.kept)) for k in self.ks},
            neighbours=[[gallery.kept[i] for i in row] for row in index.tolist()],
        )

    def _units(self, features: Features) -> Tensor:
        if not self.centre:
            return features.videos
        videos = features.values.mean(1)
        return F.normalize(videos - videos.mean(0), dim=-1)

    def _kind(self, record: dict) -> tuple[int, ...]:
        return tuple(int(record[name]) for name in self.same)

    def _check(self, videos: int) -> None:
        if not self.ks or min(self.ks) < 1 or max(self.ks) > videos:
            raise ValueError(f"ks are {self.ks}, but there are {videos} training videos to find: ask for 1 to {videos}")

    def fitted(self, videos: int) -> "Retrieval":
        """Without the ks that are larger than the number of training videos."""
        return replace(self, ks=tuple(k for k in self.ks if k <= videos) or (1,))


def by_chance(gallery: int, relevant: int, k: int) -> float:
    """Probability that k of `gallery` videos, drawn without looking, hold one of the `relevant` ones."""
    return 1 - comb(gallery - relevant, k) / comb(gallery, k)
