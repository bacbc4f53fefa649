"""Average precision of detections, as PASCAL VOC counts it.

Sources: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010, section 4.2 (what is right; eleven
points), and the development kit from 2010 on (the area under the curve).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou


class Boxes(NamedTuple):
    """Of a picture: boxes (N, 4) (left, top, right, bottom), their classes (N,) and, of detections, scores (N,), or, of the
    truth, which are difficult (N,) bool."""

    boxes: Tensor
    classes: Tensor
    told: Tensor


class Ranked(NamedTuple):
    """Detections of a class in all pictures, the surest first, and for each the thing that it overlaps most.

    Attributes:
        picture: (N,) int, where it is.
        thing: (N,) int, number of that thing among the picture's of the class; -1 where there is none.
        overlap: (N,) the intersection of both over their union.
        difficult: of each picture (things of the class,) bool.
    """

    picture: np.ndarray
    thing: np.ndarray
    overlap: np.ndarray
    difficult: list[np.ndarray]

    @property
    def positives(self) -> int:
        """Things that should be found: those that are not difficult."""
        return sum(int((~flags).sum()) for flags in self.difficult)


def rank(found: Sequence[Boxes], truth: Sequence[Boxes], label: int) -> Ranked:
    """The detections of a class; of equal scores, those of earlier pictures come first."""
    scores, pictures, things, overlaps, difficult = [], [], [], [], []
    for n, (guess, true) in enumerate(zip(found, truth, strict=True)):
        mine, theirs = guess.classes == label, true.classes == label
        difficult.append(true.told[theirs].numpy().astype(bool))
        shared = box_iou(guess.boxes[mine], true.boxes[theirs])
        shared = torch.cat([shared.new_full((len(shared), 1), 0.0), shared], 1)  # argmax needs a column
        best = shared.argmax(1)
        scores.append(guess.told[mine].numpy())
        pictures.append(np.full(len(best), n))
        things.append(best.numpy() - 1)
        overlaps.append(shared.gather(1, best[:, None])[:, 0].numpy())
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return Ranked(*(np.concatenate(part)[order] for part in (pictures, things, overlaps)), difficult)


def right(ranked: Ranked, threshold: float) -> np.ndarray:
    """Whether each detection is right, the surest first, (M,) bool; those of difficult things are left out.

    It is if it overlaps the thing it overlaps most by `threshold` or more, and no surer one was right about that.
    """
    taken, answers = set(), []
    for picture, thing, overlap in zip(ranked.picture, ranked.thing, ranked.overlap, strict=True):
        hit = thing >= 0 and overlap >= threshold
        if hit and ranked.difficult[picture][thing]:
            continue
        answers.append(hit and (picture, thing) not in taken)
        if hit:
            taken.add((picture, thing))
    return np.array(answers, bool)


def average_precision(answers: np.ndarray, positives: int, points: int | None = None) -> float:
    """Of detections that are right or wrong, the surest first.

    Args:
        answers: (M,) bool.
        positives: things that should be found.
        points: the mean, over so many recalls evenly spaced from 0 to 1, of the best precision at that recall or more (VOC
            2007: 11); None: the area under the curve of that (VOC 2010).

    Returns: from 0 to 1; nan where nothing should be found.
    """
    if positives == 0:
        return float("nan")
    hits = np.cumsum(answers)
    recall, precision = hits / positives, hits / np.arange(1, len(answers) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or more
    if points is None:
        return float((np.diff(recall, prepend=0.0) * best).sum())
    found = np.searchsorted(recall, np.arange(points) / (points - 1))  # the first detection with such a recall
    return float(np.append(best, 0.0)[found].mean())
