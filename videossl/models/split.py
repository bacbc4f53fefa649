"""Two trunks side by side, of which one sees lightness and the other colour.

Source: Zhang, Isola, Efros, "Split-Brain Autoencoders: Unsupervised Learning by Cross-Channel Prediction", CVPR 2017,
section 3.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from videossl.lab import rgb_to_lab
from videossl.models.base import Trunk
from videossl.models.caffenet import CaffeNet
from videossl.models.resnet import ResNet
from videossl.models.small import Small

COLOURS = 110.0  # the largest a and b, about


@dataclass(frozen=True)
class Split:
    """The features of both halves, side by side. Halves are trunks alike, so take each half as wide as one that sees all."""

    half: Small | CaffeNet | ResNet = field(default_factory=lambda: Small(length=1, width=8))

    def build(self) -> Trunk:
        return SplitTrunk(self)


class SplitTrunk(Trunk):
    """The network of a `Split`."""

    def __init__(self, config: Split):
        halves = config.half.build(), config.half.build()
        first = halves[0]
        colours = tuple(first.mean.flatten().tolist()), tuple(first.std.flatten().tolist())
        super().__init__(2 * first.dim, first.length, first.size, first.resize, colours)
        self.halves = nn.ModuleList(halves)

    @property
    def layers(self) -> tuple[str, ...]:
        return self.halves[0].layers

    def layer(self, clips: Tensor, name: str) -> Tensor:
        """What both halves make of clips, side by side: lightness first."""
        return torch.cat([half.layer(part, name) for half, part in zip(self.halves, split(clips), strict=True)], 1)

    def maps(self, clips: Tensor) -> Tensor:
        return self.layer(clips, "maps")

    def stages(self, clips: Tensor) -> list[Tensor]:
        found = [half.stages(part) for half, part in zip(self.halves, split(clips), strict=True)]
        return [torch.cat(both, 1) for both in zip(*found, strict=True)]

    def forward(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) to (N, 2 * dim of a half)."""
        return self.layer(clips, "features")


def split(clips: Tensor) -> tuple[Tensor, Tensor]:
    """Lightness and colour of clips, each as a clip of its own: (N, T, 3, H, W), floats in about [0, 1].

    Lightness stands in all three channels. Colour has a in the first, b in the second and nothing in the third.
    """
    lab = rgb_to_lab(clips)
    lightness = (lab[..., :1, :, :] / 100).expand_as(lab)
    colour = 0.5 + lab[..., 1:, :, :] / (2 * COLOURS)
    return lightness, torch.cat([colour, torch.full_like(colour[..., :1, :, :], 0.5)], -3)
