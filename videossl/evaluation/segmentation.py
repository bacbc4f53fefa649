"""Segmentation: a fully convolutional head learns to tell of which class each pixel is, on the trunk's maps.

Source: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from videossl import augment
from videossl.evaluation.base import Judge, Scores
from videossl.evaluation.dense import Stages, answers, first, names_of, picture_size
from videossl.evaluation.features import Encoder
from videossl.evaluation.pixels import PixelNet, Pixelwise

VOID = 255  # in masks: pixels that count nowhere


@dataclass(frozen=True)
class Segmentation(Pixelwise, Judge):
    """Train an FCN on a copy of the trunk, and tell the class of each pixel of test pictures.

    Pictures are seen whole, as large as the data set was asked to make them (`--size`), and mirrored half of the time. Answers
    are enlarged to the size of the masks, which are not scaled. Clip trunks see a picture stand still.
    """

    title: ClassVar[str] = "Segmentation"
    headlines = ("mIoU", "pixel accuracy")
    draws = True
    needs = ("segmentation",)

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """The seed decides the new layers' first weights, the order of pictures, and which are mirrored.

        Returns: metrics are "mIoU" (over classes, no thing being one of them, the pixels that are rightly of a class as a share
            of those that are, or are said to be, of it), "pixel accuracy", "IoU dog" of each class ("IoU background" of no
            thing), "chance mIoU" and "chance pixel accuracy" (always answering the class with the most training pixels), and
            "train_loss". Void pixels count nowhere, and a class that test masks do not show and nobody answers, in no mean.

        Raises:
            ValueError: a record has no mask, a mask a number that is no class, a class is in test masks alone, or the trunk has
                no maps.
            ValueError or OSError: a training picture cannot be read (a note names it): leave it out.
        """
        self.refuse(train, test)
        names = ["background", *names_of(train, "segmentation")]
        known = sum(counted(mask_of(record), names, record) for record in train)
        asked = np.zeros_like(known)
        for record in test:
            with suppress(Unreadable):  # which is told when it is tested
                asked += counted(mask_of(record), names, record)
        if unknown := [name for name, k, a in zip(names, known, asked, strict=True) if a and not k]:
            raise ValueError(
                f"segmentation cannot be learned of {', '.join(unknown)}: test masks show some, but training masks none"
            )
        size, views = picture_size(train), self.views.resolved(encoder.trunk)
        net, metrics = self.learn(
            encoder,
            lambda trunk: SegmentationNet(
                Stages(trunk, views.length, size, self.frozen), self.stages, self.width, len(names)
            ),
            train,
            Paint(size).sample,
            seed,
        )

        def ask(picture: Tensor, mask: Tensor) -> np.ndarray:
            pixels = augment.pixels(picture.to(encoder.device))[None]
            painted = net.scores(pixels, tuple(mask.shape)).argmax(1)[0].cpu()
            return confusion(mask, painted, len(names))

        found, failed = answers(encoder, net, test, lambda record: (first(record), mask_of(record)), ask)
        total = sum(found.values())
        return Scores(mean_iou(total, names, int(known.argmax())) | metrics, list(found), len(train), failed)


class Unreadable(ValueError):
    """Why a mask is not read."""


def mask_of(record: dict) -> Tensor:
    """The mask of a record's picture, (H, W) uint8.

    Raises:
        Unreadable: it cannot be read.
    """
    try:
        return record["segmentation"][np.array(0)][0]
    except (ValueError, OSError) as error:
        raise Unreadable(str(error)) from error


def counted(mask: Tensor, names: Sequence[str], record: dict) -> np.ndarray:
    """Pixels of each class in a mask, (classes,).

    Raises:
        ValueError: there are pixels of no class, that are not void either.
    """
    counts = np.bincount(mask.numpy().ravel(), minlength=VOID + 1)
    if wrong := np.flatnonzero(counts[len(names) : VOID]).tolist():
        raise ValueError(
            f"the mask of {record['name']} has pixels of class {len(names) + wrong[0]}, but classes are 0 to {len(names) - 1}, "
            f"{names[-1]}, and {VOID} is void"
        )
    return counts[: len(names)]


def confusion(mask: Tensor, answer: Tensor, classes: int) -> np.ndarray:
    """Pixels of each class (rows) by what they are said to be (columns), void ones left out: of (H, W) masks."""
    known = mask != VOID
    pairs = classes * mask[known].long() + answer[known].long()
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes).numpy()


def mean_iou(pixels: np.ndarray, names: Sequence[str], majority: int) -> dict[str, float]:
    """The metrics of `Segmentation.score`, of a confusion matrix (classes, classes).

    Args:
        majority: the class with the most training pixels.
    """
    right, true, said = np.diag(pixels), pixels.sum(1), pixels.sum(0)
    iou = {name: r / (t + s - r) for name, r, t, s in zip(names, right, true, said, strict=True) if t + s}
    always = true[majority] / true.sum()
    shown = {*np.flatnonzero(true).tolist(), majority}  # what then counts in the mean
    return {
        "mIoU": float(np.mean(list(iou.values()))),
        "pixel accuracy": float(right.sum() / true.sum()),
        "chance mIoU": float(always / len(shown)),
        "chance pixel accuracy": float(always),
        **{f"IoU {name}": float(value) for name, value in iou.items()},
    }


@dataclass(frozen=True)
class Paint:
    """Of which class is each pixel of a picture?"""

    size: tuple[int, int]  # of the pictures: height and width

    def sample(self, record: dict, rng: np.random.Generator) -> dict:
        """Its "target" (H, W) uint8 is the mask in the picture's size."""
        picture, mask = first(record, self.size), mask_of(record)
        mask = F.interpolate(mask[None, None], self.size, mode="nearest-exact")[0, 0]
        if rng.random() < 0.5:
            picture, mask = picture.flip(-1), mask.flip(-1)
        return {"picture": picture, "target": mask}


class SegmentationNet(PixelNet):
    """The network of a `Segmentation`."""

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        target = batch["target"].long()
        scores = self.scores(augment.pixels(batch["picture"]), tuple(target.shape[1:]))
        loss = F.cross_entropy(scores, target, ignore_index=VOID, reduction="sum")
        return loss / (target != VOID).sum().clamp(min=1), {}
