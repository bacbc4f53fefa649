"""Sort shuffled frames of a video: in which order were they filmed, forwards or backwards?

Source: Lee, Huang, Singh, Yang, "Unsupervised Representation Learning by Sorting Sequences", ICCV 2017, section 3; sizes,
jitter and network after the authors' release (UCF_datalayers.py and train_opn.prototxt of github.com/HsinYingLee/OPN).
"""

from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.parts import channels_in_turn, classify, encode


def orders(pictures: int) -> list[tuple[int, ...]]:
    """The orders in which so many pictures can be shown, but for reversal: of an order and its reverse, the lower one.

    Number i at place k says that the picture filmed i-th is shown k-th. A movement run backwards mostly looks as
    natural, so both are the same answer: 3, 12 or 60 orders of 3, 4 or 5 pictures.
    """
    return [order for order in permutations(range(pictures)) if order[0] < order[-1]]


@dataclass(frozen=True)
class OPN:
    """Pictures at even distances, out of the window with the most motion, are shown shuffled: which order is it?

    With probability 1/2 the order is shown reversed, with the same answer. Tuples are drawn in proportion to the motion
    in them, and only where something moves between each two; then the same square window is cut out of all pictures,
    where they differ most from one to the next. In training all share a crop and a mirror image, but each is shifted
    apart (against borders that tell the order) and shows one colour channel of its own (against colours that drift).

    Where we leave the paper: motion is the difference of frames instead of optical flow, since it comes with the index
    and, for the window, with pictures that are read anyhow; how far apart pictures are is not in the release, so `gap`
    is ours; tuples with two pictures that hardly differ are drawn again; a picture may be a clip (`length`), for trunks
    that read clips; every shift is possible in every crop, where the release leaves out those that would not fit; a net
    in eval mode shows red, green, blue, red instead of channels by chance.

    Control for shortcuts: on records made by `parts.standing_still` nothing but a drift of colours tells the order, so a
    net that sorts by movement is at chance there. Channel splitting closes colours that drift apart; brightness that
    drifts in all colours alike, in pictures whose colours are alike, takes `light`.
    """

    pictures: Literal[3, 4, 5] = 4  # to put in order: 3, 12 or 60 answers
    gap: int = 8  # frames from the start of a picture to that of the next
    length: int = 1  # frames of each picture: 1 in the paper, more for trunks that read clips
    motion: bool = True  # draw tuples in proportion to their motion (record["motion"], from the index); else evenly
    different: float = 1.0  # mean difference, in grey levels of 255, under which two pictures are too alike to sort
    tries: int = 4  # tuples looked at for one without such pictures; then the one whose pictures differ most is taken
    region: float = 100 / 240  # side of the window with the most motion, as a share of the frame's shorter side
    slack: int = 20  # pixels by which that window, once scaled, is larger than the trunk's frames: room for the crop
    jitter: int = 5  # pixels by which each picture is shifted apart from the others, either way
    light: float = 0.0  # change of brightness and contrast of each picture, against fades; none in the paper
    split: bool = True  # each picture shows one of its colour channels, three times
    fc6: int = 0  # units of a layer on each picture; 0 for trunks that have it, as CaffeNet(size=80, widths=(1024,))
    fc7: int = 512  # units of the layer on each two pictures
    dropout: float = 0.5  # share of the units of both that is left out in training
    # concat shows fc7 both features side by side, as in the paper; difference shows it how far apart they are
    pairs: Literal["concat", "difference"] = "concat"

    @property
    def answers(self) -> tuple[str, ...]:
        """Which picture, by its number in the film, is shown first, second, ...: "1 2 3 4" is as filmed, or reversed."""
        return tuple(" ".join(str(n + 1) for n in order) for order in orders(self.pictures))

    @property
    def chance(self) -> dict[str, float]:
        """All orders are as likely."""
        return {"accuracy": 1 / len(orders(self.pictures))}

    @property
    def span(self) -> int:
        """Frames a video must have."""
        return (self.pictures - 1) * self.gap + self.length

    def __post_init__(self):
        if not (1 <= self.length <= self.gap and self.tries >= 1):
            raise ValueError(
                f"length and tries are counts from 1, and no two pictures may share a frame, so gap is {self.length} or"
                f" more with length {self.length}, but {self} was asked for"
            )
        if not 0 < self.region <= 1:
            raise ValueError(f"region is a share of the frame, within (0, 1], but {self.region} was given")
        if not 0 <= 2 * self.jitter <= self.slack:
            raise ValueError(
                f"slack is the room in which pictures are shifted by up to jitter either way, so it is"
                f" {2 * self.jitter} or more with jitter {self.jitter}, but {self.slack} was given"
            )

    def check(self, record):
        """Raise a ValueError if the record is too short, has no motion profile, or stands still somewhere in each tuple."""
        frames = len(record["frames"])
        if frames < self.span:
            raise ValueError(f"fewer than the {self.span} frames that a tuple spans: lower gap, pictures or length")
        if self.motion and "motion" not in record:
            raise ValueError("no motion profile: make one with `videossl index`, or set motion to False")
        if self.motion and not self.weights(record["motion"]).any():
            raise ValueError(
                f"nothing moves, or no {self.pictures} frames {self.gap} apart have motion between each two: no order"
                " to tell"
            )

    def sample(self, record, rng):
        self.check(record)
        frames = record["frames"]
        best, clearest = None, -1.0
        for _ in range(self.tries):
            start = self.start(len(frames), record["motion"] if self.motion else None, rng)
            filmed = start + self.gap * np.arange(self.pictures)[:, None] + np.arange(self.length)
            clips = self.window(frames[filmed], rng)  # (K, T, C, R, R)
            clearness = torch.pdist(clips.flatten(1).float(), 1).min().item() / clips[0].numel()
            if clearness > clearest:
                best, clearest = clips, clearness
            if clearness >= self.different:
                break
        if not self.motion and torch.equal(best, best[:1].expand_as(best)):  # with motion, `check` has seen to it
            raise ValueError(f"{self.pictures} frames {self.gap} apart are the same: no order to tell")
        answer = int(rng.integers(len(self.answers)))
        shown = list(orders(self.pictures)[answer])
        return {"clips": best[shown if rng.random() < 0.5 else shown[::-1]], "answer": answer}

    def start(self, frames: int, motion: np.ndarray | None, rng: np.random.Generator) -> int:
        """The first frame of a tuple, in a video of so many `frames` with this `motion` between them."""
        if motion is None:
            return int(rng.integers(frames - self.span + 1))
        weight = self.weights(motion)
        return int(rng.choice(len(weight), p=weight / weight.sum()))

    def weights(self, motion: np.ndarray) -> np.ndarray:
        """Motion from the first to the last picture of each tuple, 0 where two in a row have none between: (starts,)."""
        total = np.concatenate([[0], np.cumsum(motion, dtype=float)])  # before each frame
        starts = np.arange(len(total) - self.span + 1)
        between = np.diff(total[starts[:, None] + self.gap * np.arange(self.pictures)])  # (starts, K - 1)
        return np.where((between > 0).all(1), between.sum(1), 0)

    def window(self, clips: Tensor, rng: np.random.Generator) -> Tensor:
        """The square window of the pictures in which they differ most from one to the next; of equals, any.

        Args:
            clips: (K, T, C, H, W) uint8, in the order of time.

        Returns: (K, T, C, R, R), where R is `region` times the shorter of H and W.
        """
        side = max(1, round(self.region * min(clips.shape[-2:])))
        moved = clips.short().diff(dim=0).abs().sum((0, 1, 2)).numpy()  # (H, W)
        total = np.pad(moved.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # above and left of each corner
        inside = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
        top, left = rng.choice(np.argwhere(inside == inside.max()))
        return clips[..., top : top + side, left : left + side]

    def build(self, trunk):
        return OPNNet(trunk, self)


class OPNNet(Net):
    """The trunk and fc6 on each picture, fc7 on each two, and one layer on all pairs.

    "concat" is the paper's: fc7 sees the features of two pictures side by side. "difference" gives it |f_i - f_j|: the
    order in which the way through all pictures is shortest is the right one, forwards or backwards, and a layer on
    distances finds it long before one that has to learn what distance is.
    """

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk = trunk
        self.slack, self.jitter, self.light, self.split = method.slack, method.jitter, method.light, method.split
        self.places = [(i, i + d) for d in range(1, method.pictures) for i in range(method.pictures - d)]
        self.picture = layer(trunk.dim, method.fc6, method.dropout) if method.fc6 else nn.Identity()
        dim = method.fc6 or trunk.dim
        self.difference = method.pairs == "difference"
        self.pair = layer(dim if self.difference else 2 * dim, method.fc7, method.dropout)
        if self.difference:
            self.pair.insert(0, nn.BatchNorm1d(dim))
        self.order = nn.Linear(method.fc7 * len(self.places), len(method.answers))

    def views(self, clips):
        """What the trunk sees: from (B, K, T, C, R, R), the windows, to (B, K, T, C, size, size), floats in [0, 1]."""
        clips = augment.pixels(clips)
        size = self.trunk.size
        room = size + self.slack
        if clips.shape[-1] != room:
            scaled = F.interpolate(clips.flatten(0, 2), (room, room), mode="bilinear", antialias=True)
            clips = scaled.unflatten(0, clips.shape[:3])
        if not self.training:
            clips = augment.centre(clips, size)
            return channels_in_turn(clips) if self.split else clips
        tape = clips.flatten(1, 2)  # one crop and one mirror image for all pictures
        tape = augment.flip(augment.shift_crop(tape, size + 2 * self.jitter))
        clips = augment.shift_crop(tape.unflatten(1, clips.shape[1:3]), size)
        clips = augment.light(clips, self.light, self.light) if self.light else clips
        return augment.split_channel(clips) if self.split else clips

    def predict(self, batch):
        """Logits (B, answers) of the orders."""
        f = self.picture(encode(self.trunk, self.views(batch["clips"])).flatten(0, 1))
        f = f.unflatten(0, batch["clips"].shape[:2])  # (B, K, dim)
        first, second = (f[:, list(places)] for places in zip(*self.places, strict=True))  # (B, pairs, dim)
        pairs = (first - second).abs() if self.difference else torch.cat([first, second], -1)
        return self.order(self.pair(pairs.flatten(0, 1)).view(len(f), -1))

    def forward(self, batch):
        return classify(self.predict(batch), torch.as_tensor(batch["answer"]))


def layer(inputs: int, units: int, dropout: float) -> nn.Sequential:
    """The release's fc6 and fc7."""
    return nn.Sequential(nn.Linear(inputs, units), nn.BatchNorm1d(units), nn.ReLU(), nn.Dropout(dropout))
