"""What the protocols share: their contract, labels, draws of few of them, and scores."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

from videossl.evaluation.features import Encoder, Features
from videossl.evaluation.views import Views


@dataclass(frozen=True)
class Scores:
    """What a protocol found.

    `tested` says which test videos were evaluated, as positions in the list that was given; `predictions`, `confusion`
    and `neighbours` speak of these. A video that cannot be read is in `failed` and counts in no number.
    """

    # Shares, from 0 to 1, or what the protocol's `unit` says. "chance", or "chance NAME" for one metric, is what knowing
    # nothing scores; tables leave these out, and what is in the protocol's `beside`.
    metrics: dict[str, float]
    tested: list[int]  # positions in the test list
    trained: int  # training videos used
    failed: dict[str, str]  # test video -> why it could not be read
    train_failed: dict[str, str] = field(default_factory=dict)  # the same of training videos
    predictions: list[int] | None = None  # a class for each tested video
    confusion: list[list[int]] | None = None  # tested videos: rows are true classes, columns predicted ones
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)  # of metrics: 95 %, over test videos
    neighbours: list[list[int]] | None = None  # of each tested video: positions in the training list, nearest first

    @property
    def evaluated(self) -> int:
        """Number of test videos behind the numbers."""
        return len(self.tested)


class Judge(ABC):
    """A protocol: a frozen dataclass whose fields are the hyper-parameters, the command line and what a result records.

    `knn.py` is the one to read first. One whose options can ask for more than there is has `fitted(videos)`, itself
    with options that suit so many training videos; the command uses it and says so.
    """

    title: ClassVar[str]  # in tables and reports
    headlines: ClassVar[tuple[str, ...] | None] = None  # the metrics that tables show; None: all
    draws: ClassVar[bool] = False  # whether its numbers depend on the seed
    needs: ClassVar[tuple[str, ...]] = ("label",)  # what each record must hold; of others it cannot be asked
    # what its numbers are: shares, shown in per cent; errors, the lower the better; or numbers of their own kinds
    unit: ClassVar[Literal["share", "error", "number"]] = "share"
    beside: ClassVar[tuple[str, ...]] = ("majority", "train_loss")  # metrics that are no scores: how these came about
    by_default: ClassVar[bool] = True  # whether it is asked where no protocol is named
    views: Views  # a field: what is seen of each video, and recorded with the result

    def __init_subclass__(cls):
        if not hasattr(cls, "title"):
            raise TypeError(f"protocol {cls.__name__} has no title: tables and reports need one")

    @abstractmethod
    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """How well the encoder's trunk does on `test`, given the labels of `train`. The trunk stays as it is.

        `self.refuse(train, test)` comes first. `encoder.features(train, self.views)` gives features of each video's
        clips, decoded once for all protocols, and `encoder.moments` those of clips that begin where you say;
        `classified` makes scores of a classifier's answers.
        """

    def refuse(self, *lists: Sequence[dict]) -> None:
        """Raise a ValueError if a list is empty, or a record lacks what the protocol `needs`."""
        for records in lists:
            if len(records) == 0:
                raise ValueError(f"{self.title} needs videos, but a list is empty")
            for record in records:
                if lacking := [need for need in self.needs if need not in record]:
                    raise ValueError(f'{self.title} needs "{lacking[0]}" of each video, but {record["name"]} has none')


def number_of_classes(train: Sequence[dict], test: Sequence[dict]) -> int:
    """As many as the data set names in `classes`, else one more than the largest label."""
    named = getattr(train, "classes", None)
    return len(named) if named else 1 + max(int(record["label"]) for record in [*train, *test])


def few(records: Sequence[dict], each: float, seed: int) -> list[dict]:
    """Exactly `each` videos of every class that occurs, under 1 that share of them (at least one), in their order.

    The draw depends on the records' labels and their order and on the seed, so it is the same for every trunk; that of
    a smaller `each` is part of it.

    Raises:
        ValueError: a class has fewer, or `each` is no number of videos.
    """
    if each <= 0 or (each > 1 and each != int(each)):
        raise ValueError(f"{each} labelled videos a class were asked for: ask for a whole number, or a share under 1")
    labels = np.array([int(record["label"]) for record in records])
    drawn = []
    for label in np.unique(labels):
        of_class = np.random.default_rng([seed, label]).permutation(np.flatnonzero(labels == label))
        count = int(each) if each >= 1 else max(1, round(each * len(of_class)))
        if len(of_class) < count:
            names = getattr(records, "classes", None)
            raise ValueError(
                f"{count} labelled videos a class were asked for, but class {names[label] if names else label} has "
                f"{len(of_class)}: ask for at most that many"
            )
        drawn += of_class[:count].tolist()
    return [records[n] for n in sorted(drawn)]


def classified(
    train_labels: Sequence[int],
    train_failed: dict[str, str],
    test: Features,
    clips: Tensor,
    shares: Tensor,
    classes: int,
) -> Scores:
    """Scores of a classifier.

    Args:
        train_labels: of the training videos that were used.
        train_failed: training videos that could not be read, and why.
        test: what was classified.
        clips: (N, V) the class of each clip.
        shares: (N, classes) how much each video is of each class: it is taken for what it is most of.
        classes: how many there are.

    Returns: metrics are "video_accuracy", "top5_accuracy" (the class is among the five that a video is most of; where
        there are more than five), "clip_accuracy" (every clip of every video counts once; left out where all clips of a
        video count as one, see `Views.every`), "chance" (guessing
        one of the classes of the training videos, all alike) and "majority" (always answering the class with the most
        training videos; the lowest of them where several have).
    """
    truth, videos = test.labels, shares.argmax(1)
    occur = Counter(sorted(train_labels))
    majority = occur.most_common(1)[0][0]
    known = torch.isin(truth, torch.tensor(list(occur)))  # no guess is right for a class that training lacks
    confusion = torch.bincount(truth * classes + videos, minlength=classes**2).view(classes, classes)
    right = (videos == truth).double().mean().item()
    top5 = (shares.topk(min(5, classes)).indices == truth[:, None]).any(1).double().mean().item()
    return Scores(
        metrics={
            "video_accuracy": right,
            **({"top5_accuracy": top5} if classes > 5 else {}),
            **({} if test.whole else {"clip_accuracy": (clips == truth[:, None]).double().mean().item()}),
            "chance": known.double().mean().item() / len(occur),
            "majority": (truth == majority).double().mean().item(),
        },
        tested=test.kept,
        trained=len(train_labels),
        failed=test.failed,
        train_failed=train_failed,
        predictions=videos.tolist(),
        confusion=confusion.tolist(),
        intervals={"video_accuracy": interval(right, len(truth))},
    )


def interval(share: float, videos: int, confidence: float = 0.95) -> tuple[float, float]:
    """Where a share of so many videos lies if other videos of the same kind were drawn: the bootstrap's percentiles.

    Drawing N of N videos again and again, the share of right ones is binomially distributed, so nothing is drawn.
    """
    low, high = binom.ppf([(1 - confidence) / 2, (1 + confidence) / 2], videos, share) / videos
    return float(low), float(high)
