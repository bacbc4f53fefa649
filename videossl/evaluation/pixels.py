"""An answer for each pixel: the head that segmentation and depth share, a fully convolutional one on the trunk's maps.

Sources: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, section 4.2 (coarse
scores, enlarged, are added to finer ones); one hidden layer of 256 channels with batch norm: He et al., "Momentum Contrast
for Unsupervised Visual Representation Learning", CVPR 2020, section 4.2 (it has two, from memory).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from videossl.evaluation.dense import Heads, Stages
from videossl.methods.base import Net
from videossl.models.base import Trunk


@dataclass(frozen=True)
class Pixelwise(Heads):
    """How such a head is trained, and how large it is: fields of the protocols that train one."""

    stages: int = 3  # resolutions of the trunk that answer, from the coarsest on: of ResNet 1 is FCN-32s, 3 FCN-8s
    width: int = 256  # channels of the hidden layer

    def __post_init__(self):
        super().__post_init__()
        if self.stages < 1:
            raise ValueError(f"{self.stages} stages: the head stands on one of the trunk's at least")


class PixelNet(Net):
    """A trunk's maps and a head on the last of its stages. What it learns is its heirs'."""

    def __init__(self, maps: Stages, stages: int, width: int, outputs: int):
        super().__init__()
        self.maps = maps
        self.head = FCN([shape[0] for shape in maps.shapes[-stages:]], width, outputs)

    @property
    def trunk(self) -> Trunk:
        return self.maps.trunk

    def scores(self, pictures: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, 3, H, W) floats in [0, 1] to (N, outputs, *size)."""
        return self.head(self.maps(pictures), size)


class FCN(nn.Module):
    """A score of each pixel, from the last of several stages' maps: each is scored by itself, and coarse scores, enlarged, are
    added to finer ones."""

    def __init__(self, channels: Sequence[int], width: int, outputs: int):
        """Args:
        channels: of the stages that are scored, the finest first.
        width: channels of the hidden layer.
        """
        super().__init__()
        self.scores = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(count, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(True),
                nn.Conv2d(width, outputs, 1),
            )
            for count in channels
        )

    def forward(self, stages: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Maps (N, channels, h, w), the finest first, to (N, outputs, *size)."""
        total = None
        for maps, score in zip(reversed(stages), reversed(self.scores), strict=False):  # finer ones are not scored
            found = score(maps)
            total = found if total is None else found + enlarged(total, tuple(found.shape[2:]))
        return enlarged(total, size)


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (N, C, h, w) in another size, interpolated."""
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
