"""Robustness: what is left of a linear probe when test videos are damaged, in their pictures or in their time.

Sources: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR
2019 (noise, blur, contrast, brightness, as they define them for small severities); shuffled, reversed and still clips
tell what a trunk knows of time, as in Huang et al., "What Makes a Video a Video", CVPR 2018.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as V

from videossl.evaluation.base import Judge, Scores
from videossl.evaluation.features import Encoder
from videossl.evaluation.probe import LinearProbe
from videossl.evaluation.views import Views
from videossl.models.base import Trunk

SEVERITIES = (1, 2, 3)


def noise(clips: Tensor, severity: int) -> Tensor:
    """Gaussian noise of 0.04, 0.08, 0.12, always the same one."""
    generator = torch.Generator().manual_seed(severity)
    drawn = torch.randn(clips.shape[1:], generator=generator).to(clips)
    return (clips + 0.04 * severity * drawn).clamp(0, 1)


def blur(clips: Tensor, severity: int) -> Tensor:
    """Gaussian blur, whose standard deviation is 1, 2, 3 % of a frame's shorter side."""
    sigma = 0.01 * severity * min(clips.shape[-2:])
    return V.gaussian_blur(clips, 2 * int(3 * sigma + 1) + 1, sigma)


def contrast(clips: Tensor, severity: int) -> Tensor:
    """A quarter, half, three quarters of the contrast gone."""
    mean = clips.mean((-1, -2, -3), keepdim=True)
    return mean + (clips - mean) * (1 - 0.25 * severity)


def brightness(clips: Tensor, severity: int) -> Tensor:
    """0.1, 0.2, 0.3 brighter."""
    return (clips + 0.1 * severity).clamp(0, 1)


def shuffled(clips: Tensor, severity: int) -> Tensor:
    """Frames of a clip in a random order, always the same one."""
    order = torch.randperm(clips.shape[1], generator=torch.Generator().manual_seed(0))
    return clips[:, order.to(clips.device)]


def reversed_(clips: Tensor, severity: int) -> Tensor:
    """The last frame first."""
    return clips.flip(1)


def static(clips: Tensor, severity: int) -> Tensor:
    """The middle frame throughout."""
    middle = clips.shape[1] // 2
    return clips[:, middle : middle + 1].expand_as(clips)


IN_PICTURES = {"noise": noise, "blur": blur, "contrast": contrast, "brightness": brightness}  # of three severities
IN_TIME = {"shuffled": shuffled, "reversed": reversed_, "static": static}  # of one; asked of clip trunks alone


@dataclass(frozen=True)
class Robustness(Judge):
    """The linear probe (`LinearProbe`), learned on videos as they are, on test videos that are damaged."""

    labels: float | None = None  # labelled training videos a class, under 1 a share of them; None: all
    penalty: float | None = None  # None: chosen on held-out groups
    views: Views = field(default_factory=lambda: Views(crops=1))  # of training and test videos

    title: ClassVar[str] = "Robustness"
    headlines = ("clean", "noise 3", "blur 3", "contrast 3", "brightness 3", "shuffled", "reversed", "static", "drop")
    draws = True
    by_default = False

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """The seed is that of `LinearProbe`.

        Returns: metrics are the video accuracy "clean" and by each damage ("noise 2", "static"), "chance", "majority",
            and "drop": by what share of the clean accuracy the others lie below it, on average over damaged pictures.

        Raises:
            ValueError: what `LinearProbe` raises.
        """
        probe = LinearProbe(self.labels, self.penalty, views=self.views.resolved(encoder.trunk))
        damages = {f"{name} {n}": (damage, n) for name, damage in IN_PICTURES.items() for n in SEVERITIES}
        if probe.views.length > 1:
            damages |= {name: (damage, 1) for name, damage in IN_TIME.items()}
        learned = probe.learn(encoder, train, test, seed)
        clean = learned.ask(encoder, test)
        found, intervals = {"clean": clean.metrics["video_accuracy"]}, {"clean": clean.intervals["video_accuracy"]}
        for name, damage in damages.items():
            trunk = Damaged(encoder.trunk, *damage)
            damaged = Encoder(trunk, encoder.fabric, encoder.workers, encoder.batch, encoder.progress)
            scores = learned.ask(damaged, test)
            found[name], intervals[name] = scores.metrics["video_accuracy"], scores.intervals["video_accuracy"]
        pictures = [value for name, value in found.items() if name.split()[0] in IN_PICTURES]
        if found["clean"]:
            found["drop"] = 1 - fmean(pictures) / found["clean"]
        beside = {name: clean.metrics[name] for name in ("chance", "majority")}
        return replace(clean, metrics=found | beside, intervals=intervals, predictions=None, confusion=None)


class Damaged(nn.Module):
    """A trunk that sees its clips damaged."""

    def __init__(self, trunk: Trunk, damage: Callable[[Tensor, int], Tensor], severity: int):
        super().__init__()
        self.trunk, self.damage, self.severity = trunk, damage, severity
        self.dim, self.length, self.size = trunk.dim, trunk.length, trunk.size

    def forward(self, clips: Tensor) -> Tensor:
        return self.trunk(self.damage(clips, self.severity))
