"""Detection: torchvision's Faster R-CNN learns to find things, on the trunk's maps.

Sources: Ren et al., "Faster R-CNN", NIPS 2015; Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017; that all
of the trunk learns, and new layers have batch norm: He et al., "Momentum Contrast for Unsupervised Visual Representation
Learning", CVPR 2020, section 4.2, and github.com/facebookresearch/moco, detection.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from videossl import augment
from videossl.evaluation.average_precision import Boxes, average_precision, rank, right
from videossl.evaluation.base import Judge, Scores
from videossl.evaluation.dense import Heads, Stages, answers, first, names_of, picture_size
from videossl.evaluation.features import Encoder
from videossl.methods.base import Net
from videossl.models.base import Trunk

CELLS = 4, 32  # pixels a side of the finest and the coarsest cell of the pyramid
WHOLE = 32  # pixels: heights and widths of pictures are multiples of it
ANCHORS = 2, 4, 8  # sides, in cells
THRESHOLDS = np.arange(50, 100, 5) / 100  # COCO's, of overlaps


@dataclass(frozen=True)
class Detection(Heads, Judge):
    """Train a Faster R-CNN on a copy of the trunk, and find the things in test pictures.

    A feature pyramid puts together all resolutions that the trunk has, of 4 to 32 pixels a cell, so it works for frame and
    clip trunks (which see a picture stand still) and transformers. Pictures are seen whole, as large as the data set was asked
    to make them (`--size`; VOC's usual is 600 pixels high), and mirrored half of the time. Difficult things are not learned,
    and neither right nor wrong in tests.
    """

    steps: int = 4000
    batch: int = 8  # pictures in a step, over all devices
    width: int = 256  # channels of the pyramid; the layers on what is cut out have four times as many
    regions: int = 128  # of each picture that its second half learns from; 512 are usual on GPUs

    title: ClassVar[str] = "Detection"
    headlines = ("AP50", "AP50 11-point", "AP75", "AP")
    draws = True
    needs = ("boxes",)

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """The seed decides the new layers' first weights, the order of pictures, and which are mirrored.

        Returns: metrics are means over classes of the average precision (area under the curve): "AP50", "AP75" (overlaps of
            0.5 and 0.75 are enough), "AP" (mean over 0.5, 0.55, ... 0.95); "AP50 11-point", which is VOC 2007's own; "AP50 dog"
            of each class; and "train_loss". A class without things in test pictures counts in none.

        Raises:
            ValueError: a record has no boxes, a class has things in test pictures alone, or the trunk has no maps.
            ValueError or OSError: a training picture cannot be read (a note names it): leave it out.
        """
        self.refuse(train, test)
        names = names_of(train, "detection")
        known, asked = (there(records, len(names)) for records in (train, test))
        if unknown := [name for name, k, a in zip(names, known, asked, strict=True) if a and not k]:
            raise ValueError(
                f"detection cannot be learned of {', '.join(unknown)}: there are some in test pictures, but none in training "
                "pictures that is not difficult"
            )
        if not known.any() or not asked.any():
            raise ValueError("detection needs things that are not difficult, but training or test pictures show none")
        size, views = picture_size(train), self.views.resolved(encoder.trunk)
        question = Locate(max(len(record["boxes"]) for record in train), size)
        net, metrics = self.learn(
            encoder,
            lambda trunk: DetectionNet(trunk, len(names), views.length, size, self.width, self.regions, self.frozen),
            train,
            question.sample,
            seed,
        )
        found, failed = answers(
            encoder, net, test, lambda record: (first(record),), lambda picture: net.found(picture.to(encoder.device))
        )
        truth = [Boxes(*(torch.as_tensor(test[n][k]) for k in ("boxes", "things", "difficult"))) for n in found]
        return Scores(mean_ap(list(found.values()), truth, names) | metrics, list(found), len(train), failed)


def there(records: Sequence[dict], classes: int) -> np.ndarray:
    """How many things of each class there are that are not difficult, (classes,)."""
    return sum(np.bincount(record["things"][~record["difficult"]], minlength=classes) for record in records)


def mean_ap(found: Sequence[Boxes], truth: Sequence[Boxes], names: Sequence[str]) -> dict[str, float]:
    """The metrics of `Detection.score`, of all pictures.

    Raises:
        ValueError: there is nothing to find.
    """
    rows, eleven = {}, []
    for label, name in enumerate(names):
        ranked = rank(found, truth, label)
        if ranked.positives:
            judged = [right(ranked, threshold) for threshold in THRESHOLDS]
            rows[name] = [average_precision(one, ranked.positives) for one in judged]
            eleven.append(average_precision(judged[0], ranked.positives, points=11))
    if not rows:
        raise ValueError(f"none of the {len(truth)} test pictures that can be read shows a thing that is not difficult")
    table = np.array(list(rows.values()))  # (classes, thresholds)
    means = {"AP50": table[:, 0], "AP50 11-point": np.array(eleven), "AP75": table[:, 5], "AP": table}
    return {
        **{metric: float(values.mean()) for metric, values in means.items()},
        **{f"AP50 {name}": row[0] for name, row in rows.items()},
    }


@dataclass(frozen=True)
class Locate:
    """Where are which things in a picture?"""

    most: int  # things in a picture
    size: tuple[int, int]  # of the pictures: height and width

    def sample(self, record: dict, rng: np.random.Generator) -> dict:
        """Its "things" (most,) are -1 where there is none, and their "boxes" (most, 4) 0 then."""
        picture, learned = first(record, self.size), ~record["difficult"]
        boxes, things = np.zeros((self.most, 4), np.float32), np.full(self.most, -1, np.int64)
        count = learned.sum()
        boxes[:count], things[:count] = record["boxes"][learned], record["things"][learned]
        if rng.random() < 0.5:
            picture = picture.flip(-1)
            boxes[:count, [0, 2]] = 1 - boxes[:count, [2, 0]]
        return {"picture": picture, "boxes": boxes, "things": things}


class DetectionNet(Net):
    """The network of a `Detection`."""

    def __init__(
        self, trunk: Trunk, classes: int, length: int, size: tuple[int, int], width: int, regions: int, frozen: bool
    ):
        """Args: see `Detection` and `Pyramid`."""
        super().__init__()
        height, wide = (max(round(side / WHOLE), 1) * WHOLE for side in size)
        pyramid = Pyramid(trunk, length, (height, wide), width, frozen)
        cells = [*pyramid.stage_of, 2 * max(pyramid.stage_of)]
        levels = len(cells) - 1
        self.detector = FasterRCNN(
            pyramid,
            min_size=min(height, wide),
            max_size=max(height, wide),
            fixed_size=(wide, height),
            size_divisible=WHOLE,
            image_mean=[0.0] * 3,  # trunks normalise
            image_std=[1.0] * 3,
            rpn_anchor_generator=AnchorGenerator(
                tuple(tuple(cell * side for side in ANCHORS) for cell in cells), ((0.5, 1.0, 2.0),) * len(cells)
            ),
            box_roi_pool=MultiScaleRoIAlign([str(n) for n in range(levels)], output_size=7, sampling_ratio=2),
            box_head=TwoMLPHead(width * 7 * 7, 4 * width),
            box_batch_size_per_image=regions,
            box_predictor=FastRCNNPredictor(4 * width, 1 + classes),
        )

    @property
    def trunk(self) -> Trunk:
        return self.detector.backbone.stages.trunk

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        pictures = augment.pixels(batch["picture"])
        height, width = pictures.shape[2:]
        scale = pictures.new_tensor([width, height, width, height])
        targets = [
            {"boxes": boxes[things >= 0] * scale, "labels": 1 + things[things >= 0]}
            for boxes, things in zip(batch["boxes"], batch["things"], strict=True)
        ]
        losses = self.detector(list(pictures), targets)
        return sum(losses.values()), losses

    def found(self, picture: Tensor) -> Boxes:
        """What is found in a picture (3, H, W) uint8, in eval mode: boxes as shares of its width and height; on the CPU."""
        height, width = picture.shape[1:]
        (found,) = self.detector([augment.pixels(picture)])
        scale = found["boxes"].new_tensor([width, height, width, height])
        return Boxes((found["boxes"] / scale).float().cpu(), found["labels"].cpu() - 1, found["scores"].float().cpu())


class Pyramid(nn.Module):
    """A feature pyramid on a trunk's maps: pictures (N, 3, H, W) to maps (N, width, h, w), by name, finest first.

    Attributes:
        stage_of: pixels a side of a cell, 4, 8, 16 or 32 -> number of the trunk's stage that is seen there. There are no gaps
            between: where the trunk has one, the stage before is made smaller. Finer stages are passed over; a cell of
            other sizes (a token of 14 pixels) is rounded to one of these, and maps scaled to it.
    """

    def __init__(self, trunk: Trunk, length: int, size: tuple[int, int], width: int, frozen: bool):
        """Args:
        length: frames that a picture stands still for.
        size: height and width of pictures, multiples of 32.
        width: channels.
        frozen: whether the trunk stays as it is.
        """
        super().__init__()
        self.stages = Stages(trunk, length, size, frozen)
        self.stage_of = stages_by_cell([size[0] / shape[1] for shape in self.stages.shapes])
        self.out_channels = width
        channels = [self.stages.shapes[stage][0] for stage in self.stage_of.values()]
        self.fpn = FeaturePyramidNetwork(channels, width, LastLevelMaxPool(), nn.BatchNorm2d)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        stages, seen = self.stages(pictures), OrderedDict()
        for n, (cell, stage) in enumerate(self.stage_of.items()):
            grid = [side // cell for side in pictures.shape[2:]]
            maps = stages[stage]
            if grid != list(maps.shape[2:]):
                maps = F.interpolate(maps, grid, mode="bilinear", antialias=True)
            seen[str(n)] = maps
        return self.fpn(seen)


def stages_by_cell(sides: Sequence[float]) -> dict[int, int]:
    """`Pyramid.stage_of`, from the pixels a side of a cell of each stage, the finest first."""
    low, high = CELLS
    found = {min(max(2 ** round(math.log2(side)), low), high): stage for stage, side in enumerate(sides)}
    cell = min(found)
    while cell < max(found):
        cell *= 2
        found.setdefault(cell, found[cell // 2])
    return dict(sorted(found.items()))
