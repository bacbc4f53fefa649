"""Predict what a teacher makes of some blocks of an image or clip, from the trunk's view of the rest.

Source: Assran et al., "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture", CVPR 2023,
section 3; of clips, whose blocks reach over all of their time, it is V-JEPA: Bardes et al., "Revisiting Feature Prediction for
Learning Visual Representations from Video", TMLR 2024.
"""

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.masks import Grid, Masked
from videossl.methods.two_views import Teacher, rising
from videossl.models.vit import Tokens, positions, transformer

TRIES = 50  # to draw blocks that leave something to be seen: coarse grids are soon covered


@dataclass(frozen=True)
class IJEPA(Masked):
    """Blocks differ by clip in their places, and are of one size for all of a batch.

    Where we leave the papers: a context has one place at least, not ten, as our grids are coarse; and of clips the error is
    I-JEPA's (smooth 1-norm; V-JEPA: 1-norm), and `blocks` are of one `scale` (V-JEPA: 8 of 0.15 and 2 of 0.7).
    """

    blocks: int = 4  # to predict
    scale: tuple[float, float] = (0.15, 0.2)  # of a block, as shares of the picture
    aspect: tuple[float, float] = (0.75, 1.5)  # of a block, height over width
    context: tuple[float, float] = (0.85, 1.0)  # scale of the block that is seen, less what is to be predicted
    area: tuple[float, float] = (0.3, 1.0)
    momentum: float = 0.996  # of the teacher, rising to 1
    width: int = 384  # of the predictor
    depth: int = 12
    heads: int = 12

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads or self.width < 6:
            raise ValueError(
                f"the predictor's width, {self.width}, should be 6 or more and a multiple of its {self.heads} heads"
            )
        shares = all(0 < low <= high <= 1 for low, high in (self.scale, self.context))
        if self.blocks < 1 or not shares or not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(
                f"blocks are a count from 1, scale and context ranges of shares, aspect a range over 0, but got {self}"
            )
        if self.masking != "random" or self.ratio != 0.75:
            raise ValueError(
                "I-JEPA hides blocks: set blocks, scale and aspect, and leave masking and ratio as they are"
            )

    def build(self, trunk):
        return IJEPANet(transformer(trunk, "I-JEPA"), self)


class IJEPANet(Net):
    """Metrics: "error", smooth 1-norm; "mean_error" of telling the batch's mean; "spread" of the teacher's tokens: 0 tells
    a collapse, for then the error is 0 too.
    """

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.teacher = Teacher(Tokens(trunk))
        self.enter = nn.Linear(trunk.dim, method.width)
        self.asked = nn.Parameter(torch.zeros(method.width))
        self.blocks = nn.Sequential(*(Block(method.width, method.heads, qkv_bias=True) for _ in range(method.depth)))
        self.leave = nn.Sequential(nn.LayerNorm(method.width), nn.Linear(method.width, trunk.dim))
        nn.init.normal_(self.asked, std=0.02)

    def forward(self, batch):
        clips, method = augment.pixels(batch["clips"]), self.method
        with torch.random.fork_rng(devices=[], enabled=not self.training):
            if self.training:
                clips = augment.crop(clips, self.trunk.size, method.area)
            else:
                torch.manual_seed(0)
                clips = augment.centre(clips, self.trunk.size)
            grid = self.trunk.grid_of(clips)
            context, targets = (places.to(clips.device) for places in drawn(method, len(clips), grid))
        whole = F.layer_norm(self.teacher(clips)[:, 1:], (self.trunk.dim,))  # (B, L, dim)
        target = pick(whole.unsqueeze(1).expand(-1, method.blocks, -1, -1), targets)  # (B, blocks, K, dim)
        predicted = self.predict(self.trunk.tokens(clips, context)[:, 1:], context, targets, grid)
        error = F.smooth_l1_loss(predicted, target)
        metrics = {
            "error": error.detach(),
            "mean_error": F.smooth_l1_loss(target.mean((0, 1, 2)).expand_as(target), target),
            "spread": whole.flatten(0, 1).std(0).mean(),
        }
        return error, metrics

    def predict(self, seen: Tensor, context: Tensor, targets: Tensor, grid: Grid) -> Tensor:
        """What is told of each block's places by itself: (B, K', dim) tokens of the context to (B, blocks, K, dim)."""
        where = positions(grid, self.trunk.grid, self.method.width).to(seen)
        known = self.enter(seen) + where[context]  # (B, K', width)
        asked = self.asked.to(seen.dtype) + where[targets]  # (B, blocks, K, width)
        known = known.unsqueeze(1).expand(-1, asked.shape[1], -1, -1)
        tokens = self.blocks(torch.cat([known, asked], 2).flatten(0, 1))
        return self.leave(tokens[:, known.shape[2] :]).unflatten(0, asked.shape[:2])

    def update(self, progress: float) -> None:
        self.teacher.follow([Tokens(self.trunk)], rising(self.method.momentum, progress))


def drawn(method: IJEPA, count: int, grid: Grid) -> tuple[Tensor, Tensor]:
    """Places of the context (count, K'), and of the blocks to predict (count, blocks, K), which are not among them.

    Contexts are cut to the smallest of the batch, at random.

    Raises:
        ValueError: a context would see nothing.
    """
    t, h, w = grid
    size, wide = block_size(method.scale, method.aspect, h, w), block_size(method.context, (1.0, 1.0), h, w)
    everywhere = torch.arange(h * w).view(h, w)
    contexts, targets = [], []
    for _ in range(count):
        for _ in range(TRIES):
            blocks = torch.stack([block(everywhere, size) for _ in range(method.blocks)])  # (blocks, K)
            seen = block(everywhere, wide)
            seen = seen[~torch.isin(seen, blocks)]
            if len(seen):
                break
        contexts.append(seen)
        targets.append(blocks)
    fewest = min(map(len, contexts))
    if not fewest:
        raise ValueError(f"blocks cover all of {h} x {w} places: lower blocks or scale, or take a smaller patch")
    kept = [context[torch.randperm(len(context))[:fewest].sort().values] for context in contexts]
    later = h * w * torch.arange(t)[:, None]  # the same places at all times
    return (torch.stack(kept).unsqueeze(1) + later).flatten(1), (torch.stack(targets).unsqueeze(2) + later).flatten(2)


def block_size(scale: tuple[float, float], aspect: tuple[float, float], height: int, width: int) -> tuple[int, int]:
    """Height and width of a block, in places, at random."""
    area = torch.empty(()).uniform_(*scale).item() * height * width
    ratio = torch.empty(()).uniform_(*aspect).item()
    return min(height, max(1, round((area * ratio) ** 0.5))), min(width, max(1, round((area / ratio) ** 0.5)))


def block(places: Tensor, size: tuple[int, int]) -> Tensor:
    """A random block of so many rows and columns of (H, W) places: (rows * columns,)."""
    y, x = (int(torch.randint(most - side + 1, ())) for most, side in zip(places.shape, size, strict=True))
    return places[y : y + size[0], x : x + size[1]].flatten()


def pick(tokens: Tensor, places: Tensor) -> Tensor:
    """(..., L, D) and (..., K) to (..., K, D)."""
    return tokens.gather(-2, places.unsqueeze(-1).expand(*places.shape, tokens.shape[-1]))
