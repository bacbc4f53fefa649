"""C3D: eight 3-D convolutions, for clips.

Source: Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015, figure 3.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from videossl.models.base import KINETICS, Pool, Trunk, before_each


@dataclass(frozen=True)
class C3D:
    """C3D as self-supervised work trains it, 512 features; for 16 frames of 112 pixels.

    The paper's layers conv1a to conv5b and pool1 to pool4, with batch norm after each convolution and the mean over the
    last maps in place of pool5, fc6 and fc7 (VCOP, Xu et al., CVPR 2019, whose code has convolutions with biases, which
    batch norm cancels).
    """

    def build(self) -> Trunk:
        return C3DTrunk()


class C3DTrunk(Trunk):
    """The network of a `C3D`."""

    def __init__(self):
        super().__init__(dim=512, length=16, size=112, resize=(128, 171), colours=KINETICS)
        self.net = nn.Sequential(
            *_convolution(3, 64),  # conv1a
            Pool(1, 2, 2),  # time is not halved yet: section 3.2
            *_convolution(64, 128),  # conv2a
            Pool(2, 2, 2),
            *_convolution(128, 256),  # conv3a
            *_convolution(256, 256),  # conv3b
            Pool(2, 2, 2),
            *_convolution(256, 512),  # conv4a
            *_convolution(512, 512),  # conv4b
            Pool(2, 2, 2),
            *_convolution(512, 512),  # conv5a
            *_convolution(512, 512),  # conv5b
        )

    def maps(self, clips: Tensor) -> Tensor:
        """conv5b: (N, T, 3, H, W) to (N, 512, T / 8, H / 16, W / 16), rounded down, but at least 1."""
        return self.net(self.normalise(clips).transpose(1, 2))

    def stages(self, clips: Tensor) -> list[Tensor]:
        """conv1a, conv2a, conv3b, conv4b and conv5b, with their ReLUs."""
        return before_each(Pool, self.net, self.normalise(clips).transpose(1, 2))


def _convolution(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv3d(channels, width, 3, padding=1, bias=False), nn.BatchNorm3d(width), nn.ReLU(inplace=True)]
