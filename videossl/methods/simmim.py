"""Paint the hidden patches by one linear layer on a trunk that sees a token in their place.

Source: Xie et al., "SimMIM: A Simple Framework for Masked Image Modeling", CVPR 2022; github.com/microsoft/SimMIM.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from videossl.methods.base import Net
from videossl.methods.masks import Masked, masked, mean_over, patchify
from videossl.models.vit import transformer


@dataclass(frozen=True)
class SimMIM(Masked):
    """The mean absolute error of hidden pixels, of random places.

    The paper hides squares of 32 pixels, two patches of 16 a side: here a place is a patch, so take a ViT of patch 32 for
    just that, or `masking` block.
    """

    ratio: float = 0.6
    area: tuple[float, float] = (0.67, 1.0)

    def build(self, trunk):
        return SimMIMNet(transformer(trunk, "SimMIM"), self)


class SimMIMNet(Net):
    """Metrics: "error", of hidden pixels normalised as the trunk's are; "mean_error" of painting all of an image its mean."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.hidden = nn.Parameter(torch.zeros(trunk.dim))
        self.paint = nn.Linear(trunk.dim, 3 * trunk.unit[0] * trunk.unit[1] * trunk.unit[2])
        nn.init.normal_(self.hidden, std=0.02)

    def forward(self, batch):
        clips, hidden = masked(batch, self.method, self.trunk, self.training)
        target = patchify(self.trunk.normalise(clips), self.trunk.unit)
        painted = self.paint(self.trunk.tokens(clips, hide=hidden, token=self.hidden)[:, 1:])
        error = mean_over(hidden, F.l1_loss(painted, target, reduction="none").mean(2))
        flat = (target - target.mean(1, keepdim=True)).abs().mean(2)
        return error, {"error": error.detach(), "mean_error": mean_over(hidden, flat)}
