"""Tell whether three frames of a video are shown in the order of time.

Source: Misra, Zitnick, Hebert, "Shuffle and Learn: Unsupervised Learning using Temporal Order Verification", ECCV 2016,
section 3; network after the authors' release (tuple_train.prototxt).
"""

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import nn

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.parts import channels_in_turn, classify, encode


@dataclass(frozen=True)
class ShuffleAndLearn:
    """Five moments a < b < c < d < e of a window with motion; shown are b, one of them, d: in order only if it is c.

    The first and the last picture are the same for right and wrong tuples, so only the middle one decides, and a and e
    lie outside [b, d]. Tuples are shown forwards or backwards with the same answer. Where we leave the paper: windows
    are weighted by frame differences, not Farneback flow, and the middle picture may be a clip (`length`), for trunks
    that read clips.
    """

    far: int = 60  # frames from b to d
    near: int = 15  # frames from a to b, and from d to e, at least; at most twice that
    length: int = 1  # frames of each of the three pictures: 1 in the paper, more for trunks that read clips
    negatives: float = 0.75  # share of tuples that are out of order
    different: float = 1.0  # mean difference of c from a and e, in grey levels of 255, under which a tuple is ambiguous
    tries: int = 4  # windows looked at for an unambiguous tuple; then the least ambiguous one is taken
    motion: bool = True  # draw windows in proportion to their motion (record["motion"], from the index); else evenly
    jitter: int = 4  # pixels by which each picture is shifted apart from the others, against matching of borders
    light: float = 0.1  # change of brightness and contrast of each picture, against fades and exposure drift
    split: bool = False  # keep one random colour channel of each picture, against chromatic cues (OPN)
    # linear is the paper's single layer; mlp adds a hidden one; pairs looks at how far apart each two features are
    head: Literal["linear", "mlp", "pairs"] = "linear"
    hidden: int = 256  # units of the mlp and pairs heads

    answers: ClassVar[tuple[str, ...]] = ("out of order", "in order")

    @property
    def span(self) -> int:
        """Frames a video must have."""
        return self.far + 2 * self.near + self.length

    @property
    def chance(self) -> dict[str, float]:
        """Accuracy of always giving the more frequent answer."""
        return {"accuracy": max(self.negatives, 1 - self.negatives)}

    def __post_init__(self):
        if not (self.length >= 1 and self.far >= 2 * self.length and self.near >= self.length and self.tries >= 1):
            raise ValueError(
                f"no two pictures may share a frame, so with length {self.length} far must be {2 * self.length} or more "
                f"and near {self.length} or more, but they are {self.far} and {self.near}"
            )
        if not 0 <= self.negatives <= 1:
            raise ValueError(f"negatives is a share, within [0, 1], but {self.negatives} was given")

    def check(self, record):
        """Raise a ValueError if the record is too short, has no motion profile, or hardly moves.

        A window of `span` frames whose first or second half stands still shows no order: before a slideshow's only cut
        all pictures are equal, and after it too.
        """
        frames = len(record["frames"])
        if frames < self.span:
            raise ValueError(f"fewer than the {self.span} frames that a tuple spans: lower far, near or length")
        if self.motion and "motion" not in record:
            raise ValueError("no motion profile: make one with `videossl index`, or set motion to False")
        if self.motion and not self.weights(record["motion"]).any():
            raise ValueError(
                f"nothing moves, or no {self.span} frames do both in their first and in their second half: no order to"
                " tell"
            )

    def sample(self, record, rng):
        self.check(record)
        frames = record["frames"]
        best, clearest = None, -1.0
        for _ in range(self.tries):
            moments = self.moments(len(frames), record["motion"] if self.motion else None, rng)
            clips = frames[moments[:, None] + np.arange(self.length)]  # (5, T, C, H, W): a, b, c, d, e
            a, c, e = (clips[i].float() for i in (0, 2, 4))
            clearness = min((c - a).abs().mean().item(), (c - e).abs().mean().item())
            if clearness > clearest:
                best, clearest = clips, clearness
            if clearness >= self.different:
                break
        if not self.motion and torch.equal(best, best[:1].expand_as(best)):  # with motion, `check` has seen to it
            raise ValueError("the frames before, in and after the window are the same: no order to tell")
        answer = int(rng.random() >= self.negatives)
        middle = 2 if answer else rng.choice([0, 4])
        shown = best[[1, middle, 3]]
        if rng.random() < 0.5:  # last to first: in order all the same
            shown = shown.flip(0)
        return {"clips": shown, "answer": answer}

    def moments(self, frames: int, motion: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        """First frames of a, b, c, d, e, in a video of so many `frames` with this `motion` between them: (5,)."""
        starts = frames - self.span + 1
        if motion is None:
            start = rng.integers(starts)
        else:
            weight = self.weights(motion)
            start = rng.choice(starts, p=weight / weight.sum())
        b = start + self.near
        d = b + self.far
        a = rng.integers(max(0, b - 2 * self.near), b - self.near + 1)
        e = rng.integers(d + self.near, min(frames - self.length, d + 2 * self.near) + 1)
        return np.array([a, b, rng.integers(b + self.length, d - self.length + 1), d, e])

    def weights(self, motion: np.ndarray) -> np.ndarray:
        """Motion within each window of `span` frames, and 0 where one half of it stands still: (windows,)."""
        total = np.concatenate([[0], np.cumsum(motion, dtype=float)])  # before each frame
        half, last = (self.span - 1) // 2, self.span - 1
        windows = len(total) - last
        first, second = total[half : half + windows] - total[:windows], total[last:] - total[half : half + windows]
        return np.where((first > 0) & (second > 0), first + second, 0)

    def build(self, trunk):
        return ShuffleAndLearnNet(trunk, self)


class ShuffleAndLearnNet(Net):
    """The trunk on each of three pictures, and a head on their features.

    "linear" is the paper's: one layer on the three features side by side, below which CaffeNet has two layers of its
    own. "mlp" has a hidden layer with batch norm, for trunks that end in a pooling. "pairs" looks at how far apart each
    two of the features are, |f_i - f_j|, through a hidden layer: what is between is near to both. It learns within
    minutes what the others need far longer for (README, "What the demo found").
    """

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk = trunk
        self.jitter = method.jitter
        self.light = method.light
        self.split = method.split
        dim, hidden, answers = trunk.dim, method.hidden, len(method.answers)
        self.pair = None
        if method.head == "linear":
            self.order = nn.Linear(3 * dim, answers)
        elif method.head == "mlp":
            self.order = nn.Sequential(
                nn.Linear(3 * dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, answers)
            )
        else:
            self.pair = nn.Sequential(nn.BatchNorm1d(dim), nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU())
            self.order = nn.Linear(3 * hidden, answers)

    def predict(self, batch):
        """Logits (B, 2) of out of order, in order."""
        clips = augment.pixels(batch["clips"])  # (B, 3, T, C, H, W)
        tape = clips.flatten(1, 2)  # one crop and one mirror image for the three pictures
        if self.training:
            tape = augment.standard(tape, self.trunk.size + 2 * self.jitter, training=True)
            clips = augment.shift_crop(tape.unflatten(1, clips.shape[1:3]), self.trunk.size)
            clips = augment.light(clips, self.light, self.light)
            clips = augment.split_channel(clips) if self.split else clips
        else:
            clips = augment.centre(tape, self.trunk.size).unflatten(1, clips.shape[1:3])
            clips = channels_in_turn(clips) if self.split else clips
        f = encode(self.trunk, clips)  # (B, 3, dim)
        if self.pair is not None:
            f = torch.stack([self.pair((f[:, i] - f[:, j]).abs()) for i, j in combinations(range(3), 2)], 1)
        return self.order(f.flatten(1))

    def forward(self, batch):
        return classify(self.predict(batch), torch.as_tensor(batch["answer"]))
