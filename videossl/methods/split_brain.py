"""Tell one part of a picture from another: colour from lightness and lightness from colour, or depth from colour pictures.

Source: Zhang, Isola, Efros, "Split-Brain Autoencoders: Unsupervised Learning by Cross-Channel Prediction", CVPR 2017,
section 3.
"""

from dataclasses import dataclass
from math import log
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from videossl import augment
from videossl.lab import annealed_mean, colour_bins, lab_to_rgb, rgb_to_lab, soft_code
from videossl.methods.base import Net
from videossl.methods.colourisation import constant_cost, soft_cross_entropy
from videossl.methods.images import Dense, map_shape, maps_of, shrunk, some_frames
from videossl.models.split import split

LIGHTNESS = 100  # classes of lightness, of one unit each (the paper's)
DEPTHS = 100  # classes of depth, alike in its logarithm (ours)
LOOKED_AT = 64  # pictures among which one has to have colours
TEMPERATURE = 0.38  # of painted colours, as in `Colourisation`


@dataclass(frozen=True)
class SplitBrain:
    """Two questions, each about what the other one shows, so that no bottleneck is needed and nothing is left unseen.

    "lab": colour from lightness, and lightness from colour. The trunk is best a `Split`, whose halves see one each and
    whose features are both, side by side: that is the paper's net. Any other trunk is shown one and then the other, and
    answers with the same weights (ours). "depth": depth from the picture in colours, and lightness and colour from depth,
    by one trunk that is shown both (ours; the paper has two halves); records then hold "depth" in metres, an array
    (frames, H, W).

    Where we leave the paper: answers are at a quarter of the picture's resolution, not 12 x 12.
    """

    parts: Literal["lab", "depth"] = "lab"
    width: int = 64  # channels of the heads
    neighbours: int = 5  # classes that share a true colour
    near: float = 0.1  # depth: metres to the first class; what is nearer, or has no depth (0), is not asked for
    far: float = 10.0  # depth: metres to the last class, where what is farther is counted

    chance: ClassVar[dict[str, float]] = {}  # the best answer that is the same everywhere is measured beside each

    def __post_init__(self):
        if min(self.width, self.neighbours) < 1 or not 0 < self.near < self.far:
            raise ValueError(f"width and neighbours are counts from 1, near is over 0 and under far: {self}")

    def check(self, record):
        """Raise a ValueError if depth is asked for and the record has none, or not one for each frame."""
        if self.parts != "depth":
            return
        if "depth" not in record:
            raise ValueError('no "depth": put (frames, H, W) in metres into the records, or set parts to lab')
        if len(record["depth"]) != len(record["frames"]):
            raise ValueError(f"{len(record['depth'])} pictures of depth for {len(record['frames'])} frames")

    def prepare(self, records):
        """Itself, once one of the records' pictures was seen to have colours."""
        some_frames(records, LOOKED_AT)
        return self

    def sample(self, record, rng):
        self.check(record)
        number = rng.integers(len(record["frames"]), size=1)
        example = {"clips": record["frames"][number]}
        if self.parts == "depth":
            depth = np.asarray(record["depth"])[number].astype(np.float32)  # (1, H, W)
            if depth.shape[1:] != example["clips"].shape[2:]:
                raise ValueError(
                    f"depth of {depth.shape[1:]} pixels for a frame of {tuple(example['clips'].shape[2:])}"
                )
            example["depth"] = depth[:, None]
        return example

    def build(self, trunk):
        """The trunk and a head on its maps for each question.

        Raises:
            ValueError: the trunk has no maps, or has halves and depth is asked for.
        """
        return SplitBrainNet(trunk, self)


class SplitBrainNet(Net):
    """The trunk, or its halves, and for each of two shown pictures a head with the classes of what is asked."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.halved = hasattr(trunk, "halves")
        if self.halved and method.parts == "depth":
            raise ValueError(
                "a Split trunk parts lightness from colour, but here whole pictures are seen: take another"
            )
        self.register_buffer("bins", colour_bins(), persistent=False)
        classes = {"colour": len(self.bins), "lightness": LIGHTNESS, "depth": DEPTHS}
        # What is asked of each of the two pictures that are shown, lightness or colours first.
        self.asked = (("colour",), ("lightness",)) if method.parts == "lab" else (("depth",), ("lightness", "colour"))
        self.counts = [[classes[name] for name in names] for names in self.asked]
        maps = map_shape(trunk.halves[0] if self.halved else trunk, "SplitBrain")
        self.side = max(trunk.size // 4, *maps[1:])
        self.heads = nn.ModuleList(Dense(maps, self.side, method.width, sum(counts)) for counts in self.counts)

    def view(self, batch: dict) -> Tensor:
        """Pictures as they are, (B, 3, H, W) in [0, 1]; with depth in metres and where it is known, (B, 5, H, W)."""
        clips = augment.pixels(batch["clips"])
        if self.method.parts == "depth":
            depth = torch.as_tensor(batch["depth"], dtype=clips.dtype, device=clips.device)
            clips = torch.cat([clips, depth, (depth >= self.method.near).to(clips)], 2)
        return augment.standard(clips, self.trunk.size, self.training)[:, 0]

    def shown(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """The two pictures, as clips (B, 1, 3, H, W) in about [0, 1]."""
        if self.method.parts == "lab":
            return split(view.unsqueeze(1))
        return view[:, None, :3], self.scaled(view[:, 3:4]).expand(-1, 3, -1, -1).unsqueeze(1)

    def scaled(self, depth: Tensor) -> Tensor:
        """The logarithm of depth from near to far, as 0 to 1."""
        near, far = self.method.near, self.method.far
        return torch.log(depth.clamp(near, far) / near) / log(far / near)

    def answers(self, view: Tensor) -> dict[str, Tensor]:
        """Logits (B, classes, side, side) of all that is asked, by its name."""
        trunks, found = self.trunk.halves if self.halved else (self.trunk, self.trunk), {}
        for trunk, shown, head, names, counts in zip(
            trunks, self.shown(view), self.heads, self.asked, self.counts, strict=True
        ):
            logits = head(maps_of(trunk, shown)).split(counts, 1)
            found |= zip(names, logits, strict=True)
        return found

    def targets(self, view: Tensor) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """For each name classes and their shares, (B, side, side, k), and which places count, (B, side, side)."""
        lab = shrunk(rgb_to_lab(view[:, :3]), self.side)
        everywhere = torch.ones_like(lab[:, 0])
        lightness = (lab[:, 0] * LIGHTNESS / 100).long().clamp(0, LIGHTNESS - 1).unsqueeze(-1)
        colour = soft_code(lab[:, 1:].movedim(1, -1), self.bins, self.method.neighbours, 5.0)
        found = {"colour": (*colour, everywhere), "lightness": (lightness, everywhere.unsqueeze(-1), everywhere)}
        if self.method.parts == "depth":
            depth, known = shrunk(view[:, 3:], self.side).split(1, 1)
            numbers = (self.scaled(depth) * DEPTHS).long().clamp(0, DEPTHS - 1).movedim(1, -1)
            whole = (known[:, 0] > 0.999).to(lab)  # elsewhere 0, which is no depth, is part of the mean
            found["depth"] = (numbers, everywhere.unsqueeze(-1), whole)
        return found

    def forward(self, batch):
        """The loss is the sum of the questions' cross entropies, in nats; "constant" is the best same answer everywhere."""
        view = self.view(batch)
        targets, metrics, loss = self.targets(view), {}, 0.0
        for name, logits in self.answers(view).items():
            numbers, shares, counts = targets[name]
            places = counts.sum().clamp(min=1)
            cost = (counts * soft_cross_entropy(logits, numbers, shares)).sum() / places
            loss = loss + cost
            metrics[f"{name}_loss"] = cost.detach()
            metrics[f"{name}_constant"] = constant_cost(numbers, shares, counts, logits.shape[1]) / places
        return loss, metrics

    @torch.no_grad()
    def panels(self, batch: dict) -> dict[str, Tensor]:
        """The picture, and what was painted of what was not shown: colours on its lightness, lightness, depth (near is black)."""
        view = self.view(batch)
        answers, lab = self.answers(view), shrunk(rgb_to_lab(view[:, :3]), self.side)
        steps = {name: torch.linspace(0, 1, 100, device=view.device) for name in ("lightness", "depth")}
        means = {
            n: (answers[n].softmax(1) * steps[n][:, None, None]).sum(1, keepdim=True) for n in answers if n in steps
        }
        panels = {"truth": shrunk(view[:, :3], self.side)}
        colour = annealed_mean(answers["colour"], self.bins, TEMPERATURE)
        panels["coloured"] = lab_to_rgb(torch.cat([lab[:, :1], colour], 1))
        panels |= {name: mean.expand(-1, 3, -1, -1) for name, mean in means.items()}
        if "depth" in means:
            panels["true depth"] = self.scaled(shrunk(view[:, 3:4], self.side)).expand(-1, 3, -1, -1)
        return {title: picture.unsqueeze(1) for title, picture in panels.items()}
