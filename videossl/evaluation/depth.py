"""Depth: a fully convolutional head learns to tell how far away each pixel is, on the trunk's maps.

Source: Eigen, Puhrsch, Fergus, "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network", NIPS 2014: section 3
(the logarithm of the depth is learned) and table 1 (the errors; that each picture counts once is usual on KITTI; from memory).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from videossl import augment
from videossl.evaluation.base import Judge, Scores
from videossl.evaluation.dense import Stages, answers, first, picture_size
from videossl.evaluation.features import Encoder
from videossl.evaluation.pixels import PixelNet, Pixelwise


@dataclass(frozen=True)
class Depth(Pixelwise, Judge):
    """Train an FCN on a copy of the trunk to tell the logarithm of the depth, and tell that of test pictures.

    What is learned is the mean absolute difference of logarithms (the paper's loss takes off a part of what is the same in
    the whole picture, which we leave out). Pictures and their depth are seen whole, as large as the data set was asked to make
    them (`--size`), and mirrored half of the time. Clip trunks see a picture stand still.
    """

    title: ClassVar[str] = "Depth"
    headlines = ("abs rel", "RMSE", "delta 1.25")
    draws = True
    needs = ("depth",)
    unit = "number"

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """The seed decides the new layers' first weights, the order of pictures, and which are mirrored.

        Returns: metrics are means over pictures, of pixels with known depth: "abs rel" (the absolute error as a share of the
            depth), "RMSE" (root of the mean squared error, metres), "delta 1.25" (the share of pixels whose depth is told within
            a factor of 1.25); the same with "chance" before it, of always answering the mean (of logarithms) of all training
            depths; and "train_loss".

        Raises:
            ValueError: a record has no depth, none of the training depths is known, or the trunk has no maps.
            ValueError or OSError: a training picture cannot be read (a note names it): leave it out.
        """
        self.refuse(train, test)
        usual = usual_depth(train)
        size, views = picture_size(train), self.views.resolved(encoder.trunk)
        net, metrics = self.learn(
            encoder,
            lambda trunk: DepthNet(Stages(trunk, views.length, size, self.frozen), self.stages, self.width, usual),
            train,
            Measure(size).sample,
            seed,
        )

        def ask(picture: Tensor, depth: Tensor) -> tuple[dict[str, float], dict[str, float]]:
            told = net.logarithms(augment.pixels(picture.to(encoder.device))[None], tuple(depth.shape))[0].exp().cpu()
            return errors(told, depth), errors(torch.full_like(depth, usual), depth)

        found, failed = answers(encoder, net, test, measured, ask)
        ours, chance = (
            {name: float(np.mean([one[name] for one in part])) for name in part[0]}
            for part in zip(*found.values(), strict=True)
        )
        chance = {f"chance {name}": value for name, value in chance.items()}
        return Scores(ours | chance | metrics, list(found), len(train), failed)


def depth_of(record: dict) -> Tensor:
    """The depth of a record's picture, (H, W) float32 in metres, 0 where it is not known."""
    return torch.as_tensor(record["depth"][np.array(0)]).float()


def usual_depth(records: Sequence[dict]) -> float:
    """The mean depth of all pixels, by logarithms: exp(mean(log(depth))), metres.

    Raises:
        ValueError: none is known.
    """
    total, count = 0.0, 0
    for record in records:
        known = depth_of(record)
        known = known[known > 0]
        total, count = total + known.double().log().sum().item(), count + len(known)
    if not count:
        raise ValueError(f"depth is 0, which is not known, in all {len(records)} training pictures")
    return float(np.exp(total / count))


def measured(record: dict) -> tuple[Tensor, Tensor]:
    """A test picture (3, H, W) uint8 and its depth (H, W).

    Raises:
        ValueError: none of its depth is known, or one of both cannot be read.
    """
    depth = depth_of(record)
    if not (depth > 0).any():
        raise ValueError("none of its depth is known")
    return first(record), depth


def errors(told: Tensor, depth: Tensor) -> dict[str, float]:
    """See `Depth.score`, of one picture: (H, W) each, in metres."""
    known = depth > 0
    told, depth = told[known].double(), depth[known].double()
    ratio = torch.maximum(told / depth, depth / told)
    return {
        "abs rel": ((told - depth).abs() / depth).mean().item(),
        "RMSE": (told - depth).square().mean().sqrt().item(),
        "delta 1.25": (ratio < 1.25).double().mean().item(),
    }


@dataclass(frozen=True)
class Measure:
    """How far away is each pixel of a picture?"""

    size: tuple[int, int]  # of the pictures: height and width

    def sample(self, record: dict, rng: np.random.Generator) -> dict:
        """Its "target" (H, W) is the depth in metres, 0 where it is not known.

        Raises:
            ValueError: the depth has not the picture's size.
        """
        picture, depth = first(record, self.size), depth_of(record)
        if tuple(depth.shape) != self.size:
            raise ValueError(f"the depth of {record['name']} is {tuple(depth.shape)}, but its picture {self.size}")
        if rng.random() < 0.5:
            picture, depth = picture.flip(-1), depth.flip(-1)
        return {"picture": picture, "target": depth}


class DepthNet(PixelNet):
    """The network of a `Depth`, which begins near the usual depth everywhere."""

    def __init__(self, maps: Stages, stages: int, width: int, usual: float):
        super().__init__(maps, stages, width, 1)
        self.usual = float(np.log(usual))

    def logarithms(self, pictures: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, 3, H, W) floats in [0, 1] to (N, *size), log(metres)."""
        return self.usual + self.scores(pictures, size)[:, 0].float()

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        target = batch["target"]
        known = target > 0
        told = self.logarithms(augment.pixels(batch["picture"]), tuple(target.shape[1:]))
        wrong = (told - torch.where(known, target, 1.0).log()).abs() * known
        return wrong.sum() / known.sum().clamp(min=1), {}
