"""Fill a region that is missing from a picture, from what surrounds it.

Source: Pathak, Krähenbühl, Donahue, Darrell, Efros, "Context Encoders: Feature Learning by Inpainting", CVPR 2016,
section 3; sizes and weights after the authors' release (github.com/pathak22/context-encoder).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.images import Painter, frozen, judged, judging_layers, map_shape, maps_of, one_frame

CELLS = 4  # a side, to which maps are pooled before the bottleneck: the release's last maps
COARSE = 8  # random numbers a side, from which a random region is made
EDGE = 10.0  # how much more the edge of the hole counts, which is seen and to be repeated


@dataclass(frozen=True)
class ContextEncoder:
    """A central square, or a region of any shape, is shown in the mean colour, and painted.

    A fixed hole teaches about its rim; random regions are to be taken for features. Beside the squared error, a
    discriminator judges what was painted: the square alone, or the whole picture with what was painted into a region.

    Where we leave the paper: any trunk, whose maps are pooled to 4 x 4 before the bottleneck; values in [0, 1], in units
    of the trunk's colours; random regions cover exactly `hidden` of each picture instead of about it. Both sides of the
    game learn at once from one backward pass, by one optimizer and one rate (the release: in turns, the painter ten times
    as fast), each from its own loss alone. Only what makes the trunk's maps is trained.
    """

    region: Literal["centre", "random"] = "centre"
    hidden: float = 0.25  # share of the picture; the centre is a square of this area
    adversary: float = 0.001  # weight of the discriminator's judgement; the squared error has the rest; 0 does without
    # width of the hole's edge, of which the picture is seen and asked for with ten times the weight, as a share of the
    # picture's side (4 of 128 pixels); for the centre
    overlap: float = 1 / 32
    code: int = 4000  # numbers in the bottleneck
    width: int = 64  # channels of the finest layers of painter and discriminator

    chance: ClassVar[dict[str, float]] = {}  # the mean of what is seen is measured beside it

    def __post_init__(self):
        if min(self.code, self.width) < 1 or not 0 < self.hidden < 1:
            raise ValueError(f"code and width are counts from 1, hidden is a share between 0 and 1: {self}")
        if not 0 <= self.adversary < 1 or not 0 <= self.overlap < self.hidden**0.5 / 2:
            raise ValueError(f"adversary is a share under 1, overlap less than half of the hole's side: {self}")

    def check(self, record):
        """Any picture will do."""

    def sample(self, record, rng):
        pattern = rng.standard_normal((1, COARSE, COARSE), np.float32)  # of the random region
        return {"clips": one_frame(record, rng), "pattern": pattern}

    def build(self, trunk):
        """The trunk, a painter on its maps and a discriminator.

        Raises:
            ValueError: the trunk has no maps.
        """
        return ContextEncoderNet(trunk, self)


class ContextEncoderNet(Net):
    """The network of a `ContextEncoder`."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        channels, height, width = map_shape(trunk, "ContextEncoder")
        self.pool = nn.AdaptiveAvgPool2d((min(CELLS, height), min(CELLS, width)))
        inputs = channels * min(CELLS, height) * min(CELLS, width)
        self.code = nn.Sequential(
            nn.Flatten(), nn.Linear(inputs, method.code, bias=False), nn.BatchNorm1d(method.code), nn.LeakyReLU(0.2)
        )
        self.size = round(trunk.size * method.hidden**0.5) if method.region == "centre" else trunk.size
        if self.size < 1 or 2 * self.edge >= self.size:
            raise ValueError(f"nothing is hidden of {trunk.size} pixels a side: raise hidden or lower overlap")
        self.painter = Painter(method.code, self.size, method.width)
        self.critic = None
        if method.adversary:
            layers, outputs = judging_layers(self.size, method.width)
            self.critic = nn.Sequential(layers, nn.Linear(outputs, 1))

    @property
    def edge(self) -> int:
        """Width of the hole's edge that is seen, in pixels."""
        return round(self.trunk.size * self.method.overlap) if self.method.region == "centre" else 0

    @property
    def hole(self) -> tuple[slice, slice]:
        """Rows and columns of what is painted."""
        start = (self.trunk.size - self.size) // 2
        return (slice(start, start + self.size),) * 2

    def view(self, batch: dict) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, H, W) as they are, and what of them is hidden, (B, 1, H, W) bool."""
        clips = augment.standard(augment.pixels(batch["clips"]), self.trunk.size, self.training)[:, 0]
        if self.method.region == "random":
            pattern = torch.as_tensor(batch["pattern"], device=clips.device)
            return clips, covered(pattern, self.trunk.size, self.method.hidden)
        hidden = torch.zeros_like(clips[:, :1], dtype=torch.bool)
        rows, columns = (slice(part.start + self.edge, part.stop - self.edge) for part in self.hole)
        hidden[:, :, rows, columns] = True
        return clips, hidden

    def paint(self, clips: Tensor, hidden: Tensor) -> Tensor:
        """What is painted where the hole is: (B, 3, size, size), about [0, 1]."""
        shown = torch.where(hidden, self.trunk.mean, clips)
        code = self.code(self.pool(maps_of(self.trunk, shown.unsqueeze(1))))
        return self.trunk.mean + self.trunk.std * self.painter(code)

    def composed(self, clips: Tensor, hidden: Tensor, painted: Tensor) -> Tensor:
        """The pictures, with what was painted in what was hidden."""
        whole = clips.clone()
        whole[..., self.hole[0], self.hole[1]] = painted
        return torch.where(hidden, whole, clips)

    def rebuilding(self, clips: Tensor, hidden: Tensor, painted: Tensor) -> Tensor:
        """Mean squared error over what is asked for, in units of the trunk's colours; the hole's edge counts more."""
        inside = hidden[..., self.hole[0], self.hole[1]]
        asked = inside.to(painted) if self.method.region == "random" else torch.where(inside, 1.0, EDGE)
        off = (painted - clips[..., self.hole[0], self.hole[1]]) / self.trunk.std
        return (asked * off.square()).sum() / (3 * inside.sum())

    def judging(self, clips: Tensor, hidden: Tensor, painted: Tensor) -> tuple[Tensor, Tensor]:
        """What the discriminator loses, and what the painter does by it (it wants to be taken for true)."""
        if self.method.region == "random":
            true, false = clips, self.composed(clips, hidden, painted)
        else:
            true, false = clips[..., self.hole[0], self.hole[1]], painted
        critic = (judged(self.critic(true), 1.0) + judged(self.critic(false.detach()), 0.0)) / 2
        return critic, judged(frozen(self.critic, false), 1.0)

    def forward(self, batch):
        """ "mse" is over the hidden pixels, in [0, 1]; "mean_mse" is that of each picture's mean colour of what is seen."""
        clips, hidden = self.view(batch)
        painted = self.paint(clips, hidden)
        loss, share = self.rebuilding(clips, hidden, painted), self.method.adversary
        metrics = {}
        if self.critic is not None:
            critic, painter = self.judging(clips, hidden, painted)
            loss = (1 - share) * loss + share * painter + critic
            metrics = {"discriminator": critic.detach(), "fooling": painter.detach()}
        with torch.no_grad():
            whole, mean = self.composed(clips, hidden, painted), mean_seen(clips, hidden)
            for name, answer in (("mse", whole), ("mean_mse", mean)):
                metrics[name] = ((answer - clips) * hidden).square().sum() / (3 * hidden.sum())
        return loss, metrics

    @torch.no_grad()
    def panels(self, batch: dict) -> dict[str, Tensor]:
        """The picture with its hole, as it is, as it was painted, and filled with the mean colour of what is seen."""
        clips, hidden = self.view(batch)
        panels = {
            "shown": torch.where(hidden, self.trunk.mean, clips),
            "truth": clips,
            "painted": self.composed(clips, hidden, self.paint(clips, hidden)).clamp(0, 1),
            "mean": torch.where(hidden, mean_seen(clips, hidden), clips),
        }
        return {title: picture.unsqueeze(1) for title, picture in panels.items()}


def covered(pattern: Tensor, size: int, share: float) -> Tensor:
    """A region of smooth shape: where an enlarged pattern is highest.

    Args:
        pattern: (B, 1, n, n) random numbers.
        size: pixels a side.
        share: of the pixels, that are covered.

    Returns: (B, 1, size, size), bool.
    """
    smooth = F.interpolate(pattern, (size, size), mode="bicubic", align_corners=False).flatten(1)
    count = max(1, round(share * size**2))
    hidden = torch.zeros_like(smooth, dtype=torch.bool).scatter_(1, smooth.topk(count).indices, True)
    return hidden.view(len(pattern), 1, size, size)


def mean_seen(clips: Tensor, hidden: Tensor) -> Tensor:
    """The mean colour of what is seen, everywhere: (B, 3, H, W) and (B, 1, H, W) to (B, 3, H, W)."""
    seen = (~hidden).to(clips)
    return ((clips * seen).sum((2, 3), keepdim=True) / seen.sum((2, 3), keepdim=True)).expand_as(clips)
