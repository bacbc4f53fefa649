"""Tell in which order shuffled clips of a video were filmed.

Source: Xu, Xiao, Zhao, Shao, Xie, Zhuang, "Self-supervised Spatiotemporal Learning via Video Clip Order Prediction",
CVPR 2019, section 3; crops and head after the authors' release (github.com/xudejing/video-clip-order-prediction).
"""

from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Literal

import numpy as np
import torch
from torch import nn

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.parts import channels_in_turn, classify, encode


@dataclass(frozen=True)
class ClipOrder:
    """Clips at even distances are shown shuffled: which of all orders is it?

    Unlike frames in `OPN`, clips show which way things move, so an order and its reverse are different answers. A frame
    trunk, which takes the mean over a clip's frames, can tell them apart only where what happens has a direction.

    Control for shortcuts: on records made by `parts.standing_still` nothing but a drift of colours tells the order. The
    release does nothing against that; `light` and `split` do.
    """

    clips: int = 3  # to put in order: one of clips! answers
    length: int = 16  # frames in a clip
    gap: int = 8  # frames skipped between two clips
    # pixels by which clips are shifted apart from each other, either way, within a crop they share; None crops each
    # anywhere in the frame, as the release does
    jitter: int | None = None
    light: float = 0.0  # change of brightness and contrast of each clip, against fades; none in the paper
    split: bool = False  # each clip shows one of its colour channels, three times, against drifting colours (OPN)
    pair: int = 512  # units of the layer on each two clips
    # concat shows that layer both features side by side, as in the paper; difference shows it how far apart they are
    pairs: Literal["concat", "difference"] = "concat"
    dropout: float = 0.5  # share of the units of all pairs that is left out in training

    @property
    def answers(self) -> tuple[str, ...]:
        """Which clip, by its number in the film, is shown first, second, ...: "1 2 3" is as filmed."""
        return tuple(" ".join(str(n + 1) for n in order) for order in permutations(range(self.clips)))

    @property
    def chance(self) -> dict[str, float]:
        """All orders are as likely."""
        return {"accuracy": 1 / len(self.answers)}

    @property
    def span(self) -> int:
        """Frames a video must have."""
        return self.clips * (self.length + self.gap) - self.gap

    def __post_init__(self):
        if not (2 <= self.clips <= 5 and self.length >= 1 and self.gap >= 0):
            raise ValueError(f"clips are 2 to 5 (120 orders), length is 1 or more and gap 0 or more, but got {self}")
        if self.jitter is not None and self.jitter < 0:
            raise ValueError(f"jitter is a number of pixels from 0, or None, but {self.jitter} was given")

    def check(self, record):
        """Raise a ValueError if the record is too short, or known to stand still wherever a tuple can begin."""
        frames = len(record["frames"])
        if frames < self.span:
            raise ValueError(f"fewer than the {self.span} frames that a tuple spans: lower length, gap or clips")
        if not len(self.starts(record)):
            raise ValueError("nothing moves: no order to tell")

    def sample(self, record, rng):
        self.check(record)
        start = rng.choice(self.starts(record))
        filmed = start + (self.length + self.gap) * np.arange(self.clips)[:, None] + np.arange(self.length)
        answer = int(rng.integers(len(self.answers)))
        shown = list(permutations(range(self.clips)))[answer]
        clips = record["frames"][filmed[list(shown)]]  # (K, T, C, H, W)
        if "motion" not in record and torch.equal(clips, clips[:1, :1].expand_as(clips)):
            raise ValueError("all frames of a tuple are the same: no order to tell")
        return {"clips": clips, "answer": answer}

    def starts(self, record: dict) -> np.ndarray:
        """First frames of the tuples in which something moves, where that is known (record["motion"]), else of all."""
        starts = np.arange(len(record["frames"]) - self.span + 1)
        if "motion" not in record:
            return starts
        total = np.concatenate([[0], np.cumsum(record["motion"], dtype=float)])  # before each frame
        return starts[total[starts + self.span - 1] > total[starts]]

    def build(self, trunk):
        return ClipOrderNet(trunk, self)


class ClipOrderNet(Net):
    """The trunk on each clip, a layer on the features of each two, and one on all pairs.

    "concat" is the paper's: the layer sees the features of two clips side by side. "difference" gives it |f_i - f_j|,
    with batch norm: which clip is between which is soon found by distances, but not the way that time runs, so it
    answers half of all right at best (of 3 clips, where chance is a sixth).
    """

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk = trunk
        self.jitter, self.light, self.split = method.jitter, method.light, method.split
        self.places = list(combinations(range(method.clips), 2))
        self.difference = method.pairs == "difference"
        if self.difference:
            layers = [nn.BatchNorm1d(trunk.dim), nn.Linear(trunk.dim, method.pair), nn.BatchNorm1d(method.pair)]
        else:
            layers = [nn.Linear(2 * trunk.dim, method.pair)]
        self.pair = nn.Sequential(*layers, nn.ReLU())
        self.order = nn.Sequential(
            nn.Dropout(method.dropout), nn.Linear(method.pair * len(self.places), len(method.answers))
        )

    def views(self, clips):
        """What the trunk sees: from (B, K, T, C, H, W), as filmed, to (B, K, T, C, size, size), floats in [0, 1]."""
        clips, size = augment.pixels(clips), self.trunk.size
        if not self.training:
            clips = augment.centre(clips, size)
            return channels_in_turn(clips) if self.split else clips
        if self.jitter is not None:
            tape = augment.standard(clips.flatten(1, 2), size + 2 * self.jitter, training=True)
            clips = tape.unflatten(1, clips.shape[1:3])
        clips = augment.shift_crop(clips, size)
        clips = augment.light(clips, self.light, self.light) if self.light else clips
        return augment.split_channel(clips) if self.split else clips

    def predict(self, batch):
        """Logits (B, answers) of the orders."""
        f = encode(self.trunk, self.views(batch["clips"]))  # (B, K, dim)
        first, second = (f[:, list(places)] for places in zip(*self.places, strict=True))  # (B, pairs, dim)
        pairs = (first - second).abs() if self.difference else torch.cat([first, second], -1)
        return self.order(self.pair(pairs.flatten(0, 1)).view(len(f), -1))

    def forward(self, batch):
        return classify(self.predict(batch), torch.as_tensor(batch["answer"]))
