"""Paint the patches that are hidden, most of an image or clip, from the few that are shown.

Sources: He, Chen, Xie, Li, Dollar, Girshick, "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022; with clips and
tubes Tong, Song, Wang, Wang, "VideoMAE", NeurIPS 2022.
"""

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from videossl.methods.base import Net
from videossl.methods.masks import Masked, masked, mean_over, patchify, shown, standardised, unpatchify
from videossl.models.vit import positions, transformer


@dataclass(frozen=True)
class MAE(Masked):
    """The trunk, a transformer, computes what is shown alone; a small decoder paints the rest.

    VideoMAE is `length` 16, `stride` 4, `masking` tube and `ratio` 0.9, on a ViT of tubelets.
    """

    normalised: bool = True  # paint each place's pixels less their mean, over their deviation
    width: int = 512  # of the decoder
    depth: int = 8  # blocks of the decoder
    heads: int = 16

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads or self.width < 6:
            raise ValueError(
                f"the decoder's width, {self.width}, should be 6 or more and a multiple of its {self.heads} heads"
            )

    def build(self, trunk):
        return MAENet(transformer(trunk, "MAE"), self)


class MAENet(Net):
    """Metrics: "error", of hidden pixels, squared, as they are painted; beside it "flat_error", of painting each place's
    mean. In eval mode the same places are hidden each time.
    """

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.enter = nn.Linear(trunk.dim, method.width)
        self.hidden = nn.Parameter(torch.zeros(method.width))
        self.blocks = nn.Sequential(*(Block(method.width, method.heads, qkv_bias=True) for _ in range(method.depth)))
        self.norm = nn.LayerNorm(method.width)
        self.paint = nn.Linear(method.width, 3 * trunk.unit[0] * trunk.unit[1] * trunk.unit[2])
        nn.init.normal_(self.hidden, std=0.02)

    def forward(self, batch):
        clips, hidden, painted = self.painted(batch)
        pixels = patchify(clips, self.trunk.unit)
        target = standardised(pixels) if self.method.normalised else pixels
        error = mean_over(hidden, (painted - target).square().mean(2))
        flat = target - target.mean(2, keepdim=True)
        return error, {"error": error.detach(), "flat_error": mean_over(hidden, flat.square().mean(2))}

    def painted(self, batch: dict) -> tuple[Tensor, Tensor, Tensor]:
        """The clips as shown (B, T, C, size, size), which places are hidden (B, L), and what is painted (B, L, D)."""
        clips, hidden = masked(batch, self.method, self.trunk, self.training)
        grid = self.trunk.grid_of(clips)
        keep = shown(hidden)
        seen = self.enter(self.trunk.tokens(clips, keep))  # (B, 1 + K, width)
        places = self.hidden.to(seen.dtype).expand(*hidden.shape, -1)
        places = places.scatter(1, keep.unsqueeze(2).expand(-1, -1, seen.shape[2]), seen[:, 1:])
        places = places + positions(grid, self.trunk.grid, self.method.width).to(places)
        tokens = self.norm(self.blocks(torch.cat([seen[:, :1], places], 1)))
        return clips, hidden, self.paint(tokens[:, 1:])

    @torch.no_grad()
    def panels(self, batch: dict) -> dict[str, Tensor]:
        """What is shown, what was painted where nothing was, and the truth."""
        clips, hidden, painted = self.painted(batch)
        unit, grid = self.trunk.unit, self.trunk.grid_of(clips)
        pixels = patchify(clips, unit)
        if self.method.normalised:
            variance, mean = torch.var_mean(pixels, -1, keepdim=True)
            painted = painted * (variance + 1e-6).sqrt() + mean
        pictures = {
            "shown": torch.where(hidden.unsqueeze(2), 0.5, pixels),
            "painted": torch.where(hidden.unsqueeze(2), painted, pixels),
            "truth": pixels,
        }
        return {name: unpatchify(value, unit, grid).clamp(0, 1) for name, value in pictures.items()}
