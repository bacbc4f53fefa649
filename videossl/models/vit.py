"""Vision transformer, for frames and for clips.

Sources: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; for clips Tong et al., "VideoMAE", NeurIPS 2022,
section 3.1: tokens of two frames of 16x16 pixels, joint attention over space and time.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from videossl.models.base import IMAGENET, Trunk


@dataclass(frozen=True)
class ViT:
    """ViT-S by default; ViT-B is width 768, 12 heads; for clips of 16 frames as VideoMAE's length 16, tubelet 2.

    Blocks are timm's. Positions are fixed, of sines and cosines (as in MAE), so any size and length will do.
    """

    width: int = 384  # numbers of a token, and features
    depth: int = 12  # blocks
    heads: int = 6
    patch: int = 16  # pixels a side of a token
    tubelet: int = 1  # frames of a token
    length: int = 1  # frames in the clips it is made for
    size: int = 224  # pixels a side of the frames it is made for
    pool: Literal["class", "mean"] = "class"  # the feature: the class token, or the mean of the others

    def build(self) -> Trunk:
        return ViTTrunk(self)


class ViTTrunk(Trunk):
    """The network of a `ViT`."""

    def __init__(self, config: ViT):
        for name, value, unit in (("size", config.size, config.patch), ("length", config.length, config.tubelet)):
            if value < unit or value % unit:
                raise ValueError(f"{name} {value} is no multiple of what a token covers, {unit}: {config}")
        if config.width % config.heads or config.width < 6:
            raise ValueError(f"width {config.width} should be a multiple of the {config.heads} heads")
        resize = round(config.size * 256 / 224), round(config.size * 340 / 224)
        super().__init__(config.width, config.length, config.size, resize, IMAGENET)
        self.config = config
        self.unit = (config.tubelet, config.patch, config.patch)  # frames and pixels of a token
        self.embed = nn.Conv3d(3, config.width, self.unit, self.unit)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.blocks = nn.Sequential(*(Block(config.width, config.heads, qkv_bias=True) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        nn.init.xavier_uniform_(self.embed.weight.view(config.width, -1))
        nn.init.normal_(self.class_token, std=0.02)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along time, height and width of the clips it is made for."""
        return self.length // self.unit[0], self.size // self.unit[1], self.size // self.unit[2]

    def grid_of(self, clips: Tensor) -> tuple[int, int, int]:
        """Tokens along time, height and width; what does not fill a token is left out, a shorter clip's last frame goes on."""
        t, h, w = clips.shape[1], *clips.shape[3:]
        return max(1, t // self.unit[0]), h // self.unit[1], w // self.unit[2]

    def tokens(
        self,
        clips: Tensor,
        keep: Tensor | None = None,
        hide: Tensor | None = None,
        token: Tensor | None = None,
    ) -> Tensor:
        """The class token and those of all places, or of some: (N, T, 3, H, W) to (N, 1 + L, width).

        Args:
            clips: floats in [0, 1].
            keep: (N, K) which places to see, in order of time, then rows, then columns; others are not computed.
            hide: (N, L) bool, which places show `token` instead of their pixels.
            token: (width,), a method's.

        Raises:
            ValueError: frames are smaller than a token.
        """
        x, grid = self.normalise(clips), self.grid_of(clips)
        if min(grid) < 1:
            raise ValueError(f"frames of {tuple(clips.shape[3:])} pixels hold no token of {self.unit[1]} pixels a side")
        short = self.unit[0] - x.shape[1]
        if short > 0:
            x = torch.cat([x, x[:, -1:].expand(-1, short, -1, -1, -1)], 1)
        x = self.embed(x.transpose(1, 2)).flatten(2).transpose(1, 2)  # (N, L, width)
        if hide is not None:
            x = torch.where(hide.unsqueeze(2), token.to(x.dtype), x)
        x = x + positions(grid, self.grid, self.dim).to(x)
        if keep is not None:
            x = x.gather(1, keep.unsqueeze(2).expand(-1, -1, x.shape[2]))
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
        return self.norm(self.blocks(x))

    def maps(self, clips: Tensor) -> Tensor:
        """The places' tokens: (N, width, T', H', W')."""
        if self.length == 1 and clips.ndim == 5 and clips.shape[1] > 1:
            return self.maps(clips.flatten(0, 1).unsqueeze(1)).unflatten(0, clips.shape[:2]).squeeze(3).transpose(1, 2)
        return self.tokens(clips)[:, 1:].transpose(1, 2).unflatten(2, self.grid_of(clips))

    def forward(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) to (N, width); made for single frames, it takes the mean over those of a clip."""
        if self.length == 1 and clips.ndim == 5 and clips.shape[1] > 1:
            return self(clips.flatten(0, 1).unsqueeze(1)).unflatten(0, clips.shape[:2]).mean(1)
        tokens = self.tokens(clips)
        return tokens[:, 0] if self.config.pool == "class" else tokens[:, 1:].mean(1)

    @torch.no_grad()
    def attention(self, clips: Tensor) -> Tensor:
        """What the class token attends to in the last block: (N, heads, T', H', W'), shares of all it attends to.

        Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021, figure 1.
        """
        taken = []
        last = self.blocks[-1]
        hook = last.norm1.register_forward_hook(lambda module, given, result: taken.append(result))
        try:
            self.tokens(clips)
        finally:
            hook.remove()
        x, attention = taken[0], last.attn
        heads = self.config.heads
        q, k, _ = attention.qkv(x).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # (N, heads, 1 + L, d)
        shares = (q[:, :, :1] @ k.mT * attention.scale).softmax(-1)[:, :, 0, 1:]
        return shares.unflatten(2, self.grid_of(clips))


class Tokens(nn.Module):
    """A transformer of which the tokens are the output."""

    def __init__(self, trunk: ViTTrunk):
        super().__init__()
        self.trunk = trunk

    def forward(self, clips: Tensor) -> Tensor:
        return self.trunk.tokens(clips)


def positions(grid: tuple[int, int, int], made_for: tuple[int, int, int], width: int) -> Tensor:
    """Sines and cosines of time, row and column, a third of the width each, and zeros for the rest: (L, width).

    A grid of another size lies over the same field of view: its places are those of the one that was `made_for`,
    stretched.

    Source: Vaswani et al., "Attention Is All You Need", 2017, section 3.5, of three coordinates.
    """
    half = width // 6
    rates = torch.exp(-math.log(10000) * torch.arange(half) / half)
    axes = [(torch.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(grid, made_for, strict=True)]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 2)  # (L, 3)
    angles = places.unsqueeze(2) * rates  # (L, 3, width / 6)
    found = torch.cat([angles.sin(), angles.cos()], 2).flatten(1)
    return F.pad(found, (0, width - found.shape[1]))


def transformer(trunk: Trunk, method: str) -> ViTTrunk:
    """The trunk, if it is one whose tokens can be hidden.

    Raises:
        ValueError: it has none.
    """
    if not hasattr(trunk, "tokens"):
        raise ValueError(
            f"{method} hides tokens, so its trunk must have tokens(): {type(trunk).__name__} has none, ViT does"
        )
    return trunk
