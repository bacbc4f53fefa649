"""Solve a jigsaw puzzle: tell in which order the tiles of a picture are shown.

Source: Noroozi, Favaro, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", ECCV 2016, section
3; sizes after the authors' release (github.com/MehdiNoroozi/JigsawPuzzleSolver).
"""

from dataclasses import dataclass
from functools import lru_cache
from math import factorial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.images import one_frame
from videossl.methods.parts import classify, encode


@dataclass(frozen=True)
class Jigsaw:
    """A square is cut into cells, in each of which a tile lies anywhere; tiles are shown in one of a few orders.

    Orders differ from each other at as many places as can be found one by one (`orders`): 100 of 3 x 3 tiles differ at 6
    places or more by "nearest", 8 in the mean. Edges that run on (gaps), brightness (each tile is normalised) and lenses
    (grey pictures, shifted colours) tell nothing about what is seen and are taken away.

    Where we leave the paper: tiles are scaled to what the trunk sees, and the layer that CaffeNet has for each tile is
    the trunk's own.
    """

    grid: int = 3  # cells a side
    count: int = 100  # orders; all there are, if these are fewer
    # which order is added next: with the largest distance to the nearest of those there are, or in sum (the paper)
    apart: Literal["nearest", "sum"] = "nearest"
    tile: float = 64 / 85  # side, as a share of the cell's
    grey: float = 0.3  # share of puzzles without colours
    shift: int = 1  # pixels by which each tile's colours are moved against each other, either way
    hidden: int = 4096  # units of the layer on all tiles' features
    dropout: float = 0.5  # share of these that is left out in training

    @property
    def orders(self) -> np.ndarray:
        """For each order, which cell's tile is shown first, second, ...: (orders, cells)."""
        return orders(self.grid**2, min(self.count, factorial(self.grid**2)), self.apart)

    @property
    def answers(self) -> tuple[str, ...]:
        """Cells are counted from 1, row by row."""
        return tuple(" ".join(str(cell + 1) for cell in order) for order in self.orders)

    @property
    def chance(self) -> dict[str, float]:
        return {"accuracy": 1 / min(self.count, factorial(self.grid**2))}

    def __post_init__(self):
        if self.grid not in (2, 3) or self.count < 2 or self.hidden < 1 or self.shift < 0:
            raise ValueError(f"grid is 2 or 3, count from 2, hidden from 1, and shift from 0: {self}")
        if not 0 < self.tile <= 1 or not 0 <= self.grey <= 1:
            raise ValueError(f"tile and grey are shares, tile over 0: {self}")

    def check(self, record):
        """Any picture will do that is large enough, which is seen when it is read."""

    def sample(self, record, rng):
        frame = one_frame(record, rng)
        side = min(frame.shape[-2:])
        cell = side // self.grid
        tile = round(self.tile * cell)
        if tile < 2:
            raise ValueError(
                f"{frame.shape[-2]} x {frame.shape[-1]} pixels are too few for {self.grid} x {self.grid} tiles: give "
                "larger pictures"
            )
        corner = [int(rng.integers(length - side + 1)) for length in frame.shape[-2:]]
        tiles = []
        for n in range(self.grid**2):
            start = np.array(corner) + cell * np.array(divmod(n, self.grid)) + rng.integers(0, cell - tile + 1, 2)
            places = start + rng.integers(-self.shift, self.shift + 1, (frame.shape[1], 2))  # of each colour
            places = np.clip(places, 0, np.array(frame.shape[-2:]) - tile).tolist()
            colours = [frame[:, c, y : y + tile, x : x + tile] for c, (y, x) in enumerate(places)]
            tiles.append(torch.stack(colours, 1))
        answer = int(rng.integers(len(self.orders)))
        return {"clips": torch.stack([tiles[n] for n in self.orders[answer]]), "answer": answer}  # (cells, 1, C, t, t)

    def build(self, trunk):
        return JigsawNet(trunk, self)


@lru_cache(maxsize=16)
def orders(cells: int, count: int, apart: Literal["nearest", "sum"]) -> np.ndarray:
    """So many of all orders of cells, each chosen to be far from those before; the first is drawn, as are equals.

    Args:
        cells: at most 9, which have 362,880 orders.
        count: orders to choose.
        apart: "nearest" seeks the largest least Hamming distance, "sum" the largest sum of Hamming distances.

    Returns: (count, cells), the same for the same arguments.

    Source: section 3.3, algorithm 1.
    """
    every = np.random.default_rng(0).permutation(all_orders(cells))
    columns = np.ascontiguousarray(every.T)  # compared column by column, in a tenth of the time
    total = np.zeros(len(every), np.int32)
    least = np.full(len(every), cells, np.int32)
    chosen = [0]
    while len(chosen) < count:
        last = every[chosen[-1]]
        distances = sum((column != n).view(np.uint8) for column, n in zip(columns, last, strict=True))
        total += distances
        np.minimum(least, distances, out=least)
        scores = (least if apart == "nearest" else total).copy()
        scores[chosen] = -1
        chosen.append(int(scores.argmax()))
    return every[chosen].astype(np.int64)


def all_orders(cells: int) -> np.ndarray:
    """All orders of so many cells: (cells!, cells) uint8."""
    found = np.zeros((1, 1), np.uint8)
    for n in range(1, cells):
        found = np.concatenate([np.insert(found, place, n, axis=1) for place in range(n + 1)])
    return found


def normalised(tiles: Tensor) -> Tensor:
    """Tiles (..., C, H, W) with mean 0 and deviation 1 in each colour; flat ones are 0."""
    centred = tiles - tiles.mean((-2, -1), keepdim=True)
    return centred / centred.square().mean((-2, -1), keepdim=True).sqrt().clamp(min=1e-3)


def assembled(tiles: Tensor, grid: int) -> Tensor:
    """One picture of tiles that are laid row by row: (B, cells, T, C, H, W) to (B, T, C, grid * H, grid * W)."""
    rows = [torch.cat(row.unbind(1), -1) for row in tiles.split(grid, 1)]
    return torch.cat(rows, -2)


class JigsawNet(Net):
    """The trunk on each tile, and a layer on the features of all in the order shown."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.grid, self.grey = trunk, method.grid, method.grey
        self.register_buffer("orders", torch.from_numpy(method.orders), persistent=False)
        self.order = nn.Sequential(
            nn.Linear(method.grid**2 * trunk.dim, method.hidden),
            nn.ReLU(),
            nn.Dropout(method.dropout),
            nn.Linear(method.hidden, len(method.orders)),
        )

    def view(self, clips: Tensor) -> Tensor:
        """(B, cells, 1, 3, t, t) to (B, cells, 1, 3, size, size), which the trunk normalises to mean 0 and deviation 1."""
        clips = augment.pixels(clips)
        if self.training:
            clips = augment.grey(clips.flatten(1, 2), self.grey).unflatten(1, clips.shape[1:3])
        tiles, size = normalised(clips).flatten(0, 2), self.trunk.size
        tiles = F.interpolate(tiles, (size, size), mode="bilinear", align_corners=False)
        return (self.trunk.mean + self.trunk.std * tiles).unflatten(0, clips.shape[:3])

    def predict(self, batch):
        """Logits (B, orders)."""
        return self.order(encode(self.trunk, self.view(batch["clips"])).flatten(1))

    def forward(self, batch):
        return classify(self.predict(batch), torch.as_tensor(batch["answer"]))

    @torch.no_grad()
    def panels(self, batch: dict) -> dict[str, Tensor]:
        """The puzzle as it was shown, as it was solved, and as it is."""
        clips = augment.pixels(batch["clips"])
        right, found = torch.as_tensor(batch["answer"]), self.predict(batch).argmax(1)
        laid = {"solved": found, "truth": right}
        panels = {"shown": assembled(clips, self.grid)}
        for title, answer in laid.items():
            back = self.orders[answer].argsort(1)  # which of the tiles shown lies in each cell
            tiles = torch.stack([puzzle[places] for puzzle, places in zip(clips, back, strict=True)])
            panels[title] = assembled(tiles, self.grid)
        return panels
