"""R3D and R(2+1)D: residual nets with 3-D convolutions, whole or split into space and time.

Source: Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018, table 1 and
section 3.5.

"R3D" names different nets in the literature; say which one a number is for:
- depth 18 is the paper's R3D-18 and R(2+1)D-18.
- depth 10, one block a stage, is what VCOP (Xu et al., CVPR 2019) and work on its code call R3D and R(2+1)D: it builds
  both with layers (1, 1, 1, 1).
- TCLR's R3D-18 dilates the last stage in time where this one strides: its maps have twice as many moments.
- 3D-ResNet-18 (Hara et al., CVPR 2018) has a max pooling after the first layer, and the 2D3D-ResNet of DPC has 3-D
  convolutions in its last two stages alone. Neither is here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn
from torchvision.models.video.resnet import (
    BasicBlock,
    BasicStem,
    Conv2Plus1D,
    Conv3DSimple,
    R2Plus1dStem,
    VideoResNet,
)

from videossl.models.base import KINETICS, Trunk, load_weights


@dataclass(frozen=True)
class R3D:
    """R3D-18 or VCOP's R3D of 10 layers, 512 features, torchvision's; for 16 frames of 112 pixels.

    Layers are the paper's, and at depth 10 those of VCOP's code.
    """

    depth: Literal[10, 18] = 18  # layers with weights; 10 is VCOP's "R3D", see above
    weights: Path | None = None  # a state dict of torchvision's r3d_18, for depth 18; its classifier is left out

    def build(self) -> Trunk:
        return VideoResNetTrunk(self, Conv3DSimple, BasicStem)


@dataclass(frozen=True)
class R21D:
    """R(2+1)D-18 or one of 10 layers close to VCOP's, 512 features, torchvision's; for 16 frames of 112 pixels.

    Where a stage begins, torchvision takes the middle width of the second split convolution from the first one's, and
    the paper's formula (section 3.5) is to take it anew: 31.3 M weights here, 33.2 M were it followed
    (github.com/pytorch/vision/issues/1265). VCOP's net of 10 layers follows it (14.4 M, here 12.5 M), has 83 channels
    in the middle of the first layer (here 45) and splits the short cuts.
    """

    depth: Literal[10, 18] = 18  # layers, a split convolution counted once; 10 is nearly VCOP's "R(2+1)D"
    weights: Path | None = None  # a state dict of torchvision's r2plus1d_18, for depth 18; its classifier is left out

    def build(self) -> Trunk:
        return VideoResNetTrunk(self, Conv2Plus1D, R2Plus1dStem)


class VideoResNetTrunk(Trunk):
    """torchvision's VideoResNet without its classifier: the network of an `R3D` or `R21D`."""

    def __init__(self, config: R3D | R21D, convolution: type[nn.Module], stem: type[nn.Module]):
        super().__init__(dim=512, length=16, size=112, resize=(128, 171), colours=KINETICS)
        if config.depth not in (10, 18):
            raise ValueError(f"depth is 10 or 18, one or two blocks for each of four stages, but {config} was given")
        blocks = {10: 1, 18: 2}[config.depth]  # a stage
        self.net = VideoResNet(BasicBlock, [convolution] * 4, [blocks] * 4, stem)
        self.net.fc = nn.Identity()
        if config.weights is not None:
            load_weights(self.net, config.weights, classifier="fc.")

    def maps(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) to (N, 512, T / 8, H / 16, W / 16), rounded up."""
        return self.stages(clips)[-1]

    def stages(self, clips: Tensor) -> list[Tensor]:
        """The four residual stages: the first halves height and width, each other halves time as well."""
        net, stages = self.net, []
        maps = net.stem(self.normalise(clips).transpose(1, 2))
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            maps = stage(maps)
            stages.append(maps)
        return stages
