"""ResNet, for frames.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import timm
from torch import Tensor

from videossl.models.base import IMAGENET, Trunk, by_frame, load_weights


@dataclass(frozen=True)
class ResNet:
    """ResNet-18 (512 features) or ResNet-50 (2048), timm's; the feature of a clip is the mean over its frames.

    As in timm and torchvision, ResNet-50 halves the frame in the 3x3 convolution of a block (the paper: in the first
    1x1). The last batch norm of a block starts at one (the paper, torchvision), not at zero (timm's habit), so that
    random weights are no blind baseline.
    """

    depth: Literal[18, 50] = 18
    # a state dict of torchvision's or timm's resnet18 or resnet50; its classifier is left out
    weights: Path | None = None

    def build(self) -> Trunk:
        return ResNetTrunk(self)


class ResNetTrunk(Trunk):
    """timm's ResNet without its classifier: the network of a `ResNet`."""

    def __init__(self, config: ResNet):
        net = timm.create_model(f"resnet{config.depth}", num_classes=0, zero_init_last=False)
        super().__init__(net.num_features, length=1, size=224, resize=(256, 340), colours=IMAGENET)
        self.net = net
        if config.weights is not None:
            load_weights(net, config.weights, classifier="fc.")

    def maps(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) to (N, dim, T, H / 32, W / 32)."""
        return by_frame(self.net.forward_features, self.normalise(clips)).transpose(1, 2)

    def stages(self, clips: Tensor) -> list[Tensor]:
        """The four residual stages: height and width over 4, 8, 16 and 32."""
        frames = self.normalise(clips).flatten(0, 1)
        stages = self.net.forward_intermediates(frames, indices=[1, 2, 3, 4], intermediates_only=True)
        return [maps.unflatten(0, clips.shape[:2]).transpose(1, 2) for maps in stages]
