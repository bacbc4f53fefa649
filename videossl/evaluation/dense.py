"""What detection, segmentation and depth share: maps of whole pictures, and the training of heads on them."""

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl.evaluation.features import ASTRAY, Encoder, resting
from videossl.evaluation.finetune import OPTIMIZERS
from videossl.evaluation.views import Views
from videossl.methods.base import Net
from videossl.models.base import Trunk
from videossl.training.draws import Draws, Sample, loader
from videossl.training.fit import fit, while_finite
from videossl.training.schedules import cosine


class Stages(nn.Module):
    """A trunk's maps of pictures, the finest first. A frozen trunk stays as it is, running means and all.

    A clip trunk sees the picture stand still, and the mean over time of its maps counts. To a transformer pictures are scaled
    to whole tokens.

    Attributes:
        shapes: (channels, height, width) of the maps of each stage, of pictures of `size`.
    """

    def __init__(self, trunk: Trunk, length: int, size: tuple[int, int], frozen: bool):
        """Args:
        length: frames that a picture stands still for.
        size: height and width of the pictures.

        Raises:
            ValueError: the trunk has no maps, one cell for all of a picture, or maps that are not finite.
        """
        super().__init__()
        self.trunk, self.length, self.frozen = trunk.requires_grad_(not frozen), length, frozen
        try:
            with resting(trunk):
                maps = self(trunk.mean.new_zeros(1, 3, *size))
        except ValueError as error:
            raise ValueError(f"what is asked of places in pictures needs a trunk with maps, but {error}") from error
        self.shapes = [tuple(m.shape[1:]) for m in maps]
        if self.shapes[-1][1:] == (1, 1):
            raise ValueError(
                f"{type(trunk).__name__} has one cell for all of a picture of {size[0]}x{size[1]} pixels, so it cannot tell places apart: "
                "take another trunk, or larger pictures"
            )
        if not all(m.isfinite().all() for m in maps):
            raise ValueError(f"maps of a black picture are not finite: {ASTRAY}")

    def train(self, mode: bool = True) -> "Stages":
        super().train(mode)
        if self.frozen:
            self.trunk.eval()
        return self

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(N, 3, H, W) floats in [0, 1] to (N, channels, h, w) each."""
        _, *unit = getattr(self.trunk, "unit", (1, 1, 1))  # frames and pixels of a token
        whole = [max(side // each, 1) * each for side, each in zip(pictures.shape[2:], unit, strict=True)]
        if whole != list(pictures.shape[2:]):
            pictures = F.interpolate(pictures, whole, mode="bilinear", antialias=True)
        clips = pictures[:, None].expand(-1, self.length, -1, -1, -1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return [maps.mean(2) for maps in self.trunk.stages(clips)]


@dataclass(frozen=True)
class Heads:
    """How heads on a trunk's maps are trained, whatever they answer: fields of the protocols that train some."""

    steps: int = 2000
    batch: int = 16  # pictures in a step, over all devices
    rate: float = 0.01  # at its peak after 1 % of linear warm-up, then it falls along a cosine
    decay: float = 1e-4  # weight decay, of all parameters
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"  # SGD has a momentum of 0.9
    frozen: bool = False  # the trunk stays as it is: only what is on it learns
    # its length: frames that a picture stands still
    views: Views = field(default_factory=lambda: Views(clips=1, crops=1))

    def __post_init__(self):
        if self.steps < 0 or self.batch < 1:
            raise ValueError(f"steps are {self.steps} and batch is {self.batch}: steps start at 0, a batch at 1")

    def learn(
        self, encoder: Encoder, build: Callable[[Trunk], Net], train: Sequence[dict], sample: Sample, seed: int
    ) -> tuple[Net, dict[str, float]]:
        """Train a net on a copy of the encoder's trunk, which stays as it is, and so do torch's random generators.

        Args:
            build: the net on the copy.
            sample: of the net's examples.

        Returns: the net, on the encoder's device, and "train_loss", the mean over the last tenth of the steps; nothing where
            there are no steps.

        Raises:
            ValueError: a loss is not finite.
            ValueError or OSError: a picture cannot be read (a note names it).
        """
        fabric = encoder.fabric
        rank, world = (0, 1) if fabric is None else (fabric.global_rank, fabric.world_size)
        with torch.random.fork_rng([encoder.device] if encoder.device.type == "cuda" else []):
            torch.manual_seed(seed)
            net = build(copy.deepcopy(encoder.trunk))
            net.to(encoder.device)
            weights = [w for w in net.parameters() if w.requires_grad]
            updates = OPTIMIZERS[self.optimizer](weights, lr=self.rate, weight_decay=self.decay)
            batches = loader(Draws(train, sample, seed), self.batch, workers=encoder.workers, rank=rank, world=world)
            last = []
            loop = fit(net, batches, updates, self.steps, cosine(self.rate), seed=seed, fabric=fabric)
            for step, metrics in encoder.bar(while_finite(loop, fabric), self.steps, "training heads"):
                if step > 0.9 * self.steps:
                    last.append(metrics["loss"])
            if world > 1:  # each process has its own running statistics
                net.load_state_dict(fabric.broadcast(net.state_dict()))
        if not last:
            return net, {}
        loss = torch.stack(last).mean()
        return net, {"train_loss": (loss if fabric is None else fabric.all_reduce(loss)).item()}


def names_of(records: Sequence[dict], judge: str) -> list[str]:
    """Names of the classes.

    Raises:
        ValueError: the records do not tell them.
    """
    names = list(getattr(records, "classes", ()))
    if not names:
        raise ValueError(
            f"{judge} needs the names of the classes: give a data set's own list (`Records`), with classes"
        )
    return names


def picture_size(records: Sequence[dict]) -> tuple[int, int]:
    """Height and width of the first picture: all that are trained on have it."""
    return tuple(first(records[0]).shape[1:])


def first(record: dict, size: tuple[int, int] | None = None) -> Tensor:
    """A record's first frame, its only one where it is a picture: (3, H, W) uint8.

    Raises:
        ValueError: it has another height and width than `size`, or it cannot be read.
    """
    picture = record["frames"][np.array(0)]
    if size is not None and tuple(picture.shape[1:]) != size:
        raise ValueError(
            f"{record['name']} has {picture.shape[1]}x{picture.shape[2]} pixels, but the first picture {size[0]}x{size[1]}: "
            "give the data set a `size`, to which all are scaled"
        )
    return picture


def answers(
    encoder: Encoder, net: nn.Module, test: Sequence[dict], read: Callable[[dict], tuple], ask: Callable[..., Any]
) -> tuple[dict[int, Any], dict[str, str]]:
    """What `ask(*read(record))` makes of each test picture, with the net in eval mode; each process asks of its share.

    Args:
        read: what is asked of a picture; a ValueError or OSError says why there is nothing.

    Returns: position in `test` -> answer, in this order, and name -> why a picture cannot be read.

    Raises:
        ValueError: none can be read.
    """
    rank, world = (0, 1) if encoder.fabric is None else (encoder.fabric.global_rank, encoder.fabric.world_size)
    mine = range(rank, len(test), world)
    found, failed = {}, {}
    with resting(net), nullcontext() if encoder.fabric is None else encoder.fabric.autocast():
        for n in encoder.bar(mine, len(mine), "testing"):
            try:
                parts = read(test[n])
            except (ValueError, OSError) as error:
                failed[test[n]["name"]] = str(error)
                continue
            found[n] = ask(*parts)
    if world > 1:
        shares = [encoder.fabric.broadcast((found, failed), src=other) for other in range(world)]
        found = {n: answer for one, _ in shares for n, answer in one.items()}
        failed = {name: why for _, one in shares for name, why in one.items()}
    if not found:
        raise ValueError(f"none of {len(test)} pictures can be read: {'; '.join(list(failed.values())[:3])}")
    return dict(sorted(found.items())), failed
