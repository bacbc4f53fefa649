"""Tell the histograms of oriented gradients of what is hidden, of images and of clips.

Source: Wei et al., "Masked Feature Prediction for Self-Supervised Visual Pre-Training", CVPR 2022.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from videossl.methods.base import Net
from videossl.methods.masks import Kind, Masked, gradients, masked, mean_over
from videossl.models.vit import transformer


@dataclass(frozen=True)
class MaskFeat(Masked):
    """Each place's histograms of 2 x 2 cells, of every colour, by one linear layer; a tubelet's are those of its middle.

    Of clips, blocks reach over all of their time (the paper: cubes in space and time).
    """

    masking: Kind = "block"
    ratio: float = 0.4
    area: tuple[float, float] = (0.5, 1.0)
    bins: int = 9

    def build(self, trunk):
        return MaskFeatNet(transformer(trunk, "MaskFeat"), self)


class MaskFeatNet(Net):
    """Metrics: "error", squared, of hidden places; "mean_error" of telling each batch's mean histogram."""

    def __init__(self, trunk, method):
        super().__init__()
        if trunk.unit[1] < 4 or trunk.unit[1] % 2:
            raise ValueError(f"a patch of {trunk.unit[1]} pixels has no 2 x 2 cells: take an even patch from 4 on")
        self.trunk, self.method = trunk, method
        self.hidden = nn.Parameter(torch.zeros(trunk.dim))
        self.tell = nn.Linear(trunk.dim, 3 * method.bins * 4)
        nn.init.normal_(self.hidden, std=0.02)

    def forward(self, batch):
        clips, hidden = masked(batch, self.method, self.trunk, self.training)
        target = self.histograms(clips)
        told = self.tell(self.trunk.tokens(clips, hide=hidden, token=self.hidden)[:, 1:])
        error = mean_over(hidden, (told - target).square().mean(2))
        flat = (target - target.mean((0, 1))).square().mean(2)
        return error, {"error": error.detach(), "mean_error": mean_over(hidden, flat)}

    def histograms(self, clips: Tensor) -> Tensor:
        """Of each place: (B, T, 3, H, W) to (B, L, 4 * 3 * bins)."""
        t, h, w = self.trunk.grid_of(clips)
        step, cell = self.trunk.unit[0], self.trunk.unit[1] // 2
        middle = clips[:, torch.arange(t) * step + min(step, clips.shape[1]) // 2]  # (B, T', 3, H, W)
        found = gradients(middle.flatten(0, 1), self.method.bins, cell)[:, : 2 * h, : 2 * w]
        cells = found.unflatten(2, (w, 2)).unflatten(1, (h, 2)).transpose(2, 3)  # (N, h, w, 2, 2, D)
        return cells.flatten(3).unflatten(0, (len(clips), t)).flatten(1, 3)
