"""Linear probe of every layer: where in the trunk is what tells the classes?

Sources: Zhang, Isola, Efros, "Split-Brain Autoencoders", CVPR 2017, section 4.1 (conv1 to conv5, of about as many numbers
each); Gidaris, Singh, Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", ICLR 2018 (maps are
max-pooled to a square).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl.evaluation.base import Judge, Scores
from videossl.evaluation.features import Encoder, resting
from videossl.evaluation.probe import LinearProbe
from videossl.evaluation.views import Views
from videossl.models.base import Trunk


@dataclass(frozen=True)
class LayerProbe(Judge):
    """The linear probe (`LinearProbe`) on each layer's maps, frozen, all computed in one pass over the videos.

    Maps (channels, T, H, W) become the mean over time of what is max-pooled to the largest square of which all channels
    have no more than `numbers` numbers: 12x12 of 64 channels, 5x5 of 384.
    """

    layers: tuple[str, ...] = ()  # of the trunk; none named: all it has
    numbers: int = 9600  # features of a layer, at most
    labels: float | None = None  # labelled training videos a class, under 1 a share of them; None: all
    penalty: float | None = None  # None: chosen on held-out groups, for each layer
    steps: int = 200  # of L-BFGS, at most
    views: Views = field(default_factory=lambda: Views(clips=3, crops=1))  # fewer than elsewhere: features are large

    title: ClassVar[str] = "Linear probe of layers"
    draws = True
    by_default = False

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """The seed is that of `LinearProbe`.

        Returns: metrics are the video accuracy of each layer, by its name, and "chance" and "majority".

        Raises:
            ValueError: the trunk has no such layer, or what `LinearProbe` raises.
        """
        trunk = encoder.trunk
        views = self.views.resolved(trunk)
        probe = LinearProbe(self.labels, self.penalty, self.steps, views)
        layers = Layers(trunk, self.layers or trunk.layers, self.numbers)
        every = Encoder(layers, encoder.fabric, encoder.workers, encoder.batch, encoder.progress)
        metrics, intervals, scores = {}, {}, None
        for name in layers.names:
            learned = probe.learn(every, train, test, seed, layers.part(name))
            scores = learned.ask(every, test)
            metrics[name], intervals[name] = scores.metrics["video_accuracy"], scores.intervals["video_accuracy"]
        beside = {name: scores.metrics[name] for name in ("chance", "majority")}
        return replace(scores, metrics=metrics | beside, intervals=intervals, predictions=None, confusion=None)


class Layers(nn.Module):
    """A trunk of which several layers are the features, one after the other."""

    def __init__(self, trunk: Trunk, names: Sequence[str], numbers: int):
        """Raises:
        ValueError: the trunk has no layer of a name, or less than one number is asked for.
        """
        super().__init__()
        if numbers < 1:
            raise ValueError(f"{numbers} numbers of a layer were asked for: ask for one or more")
        self.trunk, self.names, self.numbers = trunk, tuple(names), numbers
        self.length, self.size = trunk.length, trunk.size
        probe = torch.zeros(1, trunk.length, 3, trunk.size, trunk.size, device=trunk.mean.device)
        with resting(trunk):
            dims = [pooled(trunk.layer(probe, name), numbers).shape[1] for name in self.names]
        ends = torch.tensor(dims).cumsum(0).tolist()
        self.dim = ends[-1]
        self.parts = {name: slice(end - dim, end) for name, dim, end in zip(self.names, dims, ends, strict=True)}

    def part(self, name: str) -> slice:
        """Which of the features are a layer's."""
        return self.parts[name]

    def forward(self, clips: Tensor) -> Tensor:
        return torch.cat([pooled(self.trunk.layer(clips, name), self.numbers) for name in self.names], 1)


def pooled(maps: Tensor, numbers: int) -> Tensor:
    """Maps (N, C, T, H, W) as features (N, C * side * side); features stay as they are."""
    if maps.ndim == 2:
        return maps
    side = max(1, math.isqrt(numbers // maps.shape[1]))
    side = min(side, *maps.shape[3:])
    return F.adaptive_max_pool3d(maps, (maps.shape[2], side, side)).mean(2).flatten(1)
