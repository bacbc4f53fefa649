"""Features that change with a camera's own motion in a way that is known: one linear map for each pattern of motion.

Source: Jayaraman and Grauman, "Learning Image Representations Tied to Ego-motion", ICCV 2015, section 3 (IJCV 2017).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional as F

from videossl.geometry import motion, wrap
from videossl.methods.base import Net
from videossl.methods.pairs import check_moving, draw_pairs, frequent, poses, show, some_motions, video_number
from videossl.methods.parts import encode
from videossl.methods.temporal_coherence import DrLIM, Embedding, apart, mean


@dataclass(frozen=True)
class Equivariance:
    """z of the later frame should be M_g z of the earlier one, where g is the pattern of the motion between them.

    Patterns are found by k-means on yaw and forward distance between frames of the training records (`prepare`), each
    divided by its deviation there. Every other map M_h must miss z of the later frame by a margin (`contrast`). With
    `drlim` the pairs are also neighbours as DrLIM has it; with `labels` the trunk learns to classify at the same time.

    Both frames are cropped alike and shown at their own scale, for anything else would change how things seem to move;
    they are mirrored only with `mirror`, which mirrors their motion too.

    Where we leave the paper: features are standardised and distances relative (see there), without which the trunk first
    of all learned what does not change within a drive, and maps no better than none; a drive's pairs are drawn so that
    its patterns are about as frequent, for most drives go straight ahead; both frames may be clips (`length`), the
    motion being that from the first frame of one to the first of the other; the maps begin as the identity, and weight
    decay draws them there.
    """

    gap: int = 10  # frames from the earlier to the later one, at most: a second of KITTI
    patterns: int = 6  # of motion, to be found; a map for each
    length: int = 1  # frames of each of the two: 1 in the paper, more for trunks that read clips
    embedding: int = 64  # outputs of a linear layer on the trunk, which the maps act on; 0: the trunk's features
    # Beyond it a wrong map costs nothing. With `relative` only more than 1 sets the maps, which begin at 1, against each
    # other from the start.
    margin: float = 1.5
    pull: float = 1.0  # weight of the right map's distance beside each wrong one's: the paper: 1; G - 1 balances
    # Measure distances in units of the mean |z - z'| of the batch, so that neither shrinking everything nor changing
    # little gains anything, and the margin means the same for any trunk. False is the paper's.
    relative: bool = True
    standardise: bool = True  # less its mean in the batch, divided by its deviation, each feature; the paper: False
    drlim: float = 0.0  # weight of DrLIM's loss on the same pairs: EQUIV+DRLIM; 0 is EQUIV
    # Learn to classify, too: records have "label", and those without "pose" (labelled images) are only classified.
    labels: bool = False
    weight: float = 1.0  # of the loss of equivariance beside that of the labels: the paper's lambda
    mirror: bool = False  # show half of the pairs mirrored, turning the other way
    tries: int = 32  # pairs of a drive among which one is drawn, each pattern there being as likely
    pairs: int = 20_000  # of the training records, in which patterns are found
    still: tuple[float, float] = (0.01, 0.1)  # yaw in radians and metres up to which a camera stands still
    # Found by `prepare`, where not given: yaw (radians, to the right) and forward distance (metres) of each pattern, by
    # what each of the two is divided to compare them, and how many classes are labelled.
    centres: tuple[tuple[float, float], ...] = ()
    scale: tuple[float, float] | None = None
    classes: int = 0

    def __post_init__(self):
        if min(self.gap, self.length, self.patterns, self.tries, self.pairs) < 1 or self.embedding < 0:
            raise ValueError(f"gap, length, patterns, tries and pairs are counts from 1, embedding from 0: got {self}")
        if min(self.margin, self.pull) <= 0 or self.drlim < 0 or self.weight < 0:
            raise ValueError(f"margin and pull are over 0, drlim and weight are from 0 on: got {self}")

    @property
    def span(self) -> int:
        """Frames a video must have."""
        return self.gap + self.length

    @property
    def answers(self) -> tuple[str, ...]:
        """The patterns in words."""
        return tuple(f"{math.degrees(yaw):+.1f}° to the right, {ahead:+.1f} m ahead" for yaw, ahead in self.centres)

    @property
    def chance(self) -> dict[str, float]:
        """Accuracy of guessing among the maps, and the error of maps that change nothing: of mere invariance."""
        return {"accuracy": 1 / (len(self.centres) or self.patterns), "rho": 1.0}

    def check(self, record):
        """Raise a ValueError if the record has no poses, is too short or stands still."""
        if not self.only_label(record):
            check_moving(poses(record, self.span), self.gap, motion, self.still)

    def only_label(self, record: dict) -> bool:
        """Whether a record is an image or a video to be classified, of which no pairs are asked."""
        return self.labels and "pose" not in record and "label" in record

    def prepare(self, records: list[dict]) -> "Equivariance":
        """Itself with patterns, scale and number of classes, where they were not given; patterns are sorted by yaw."""
        driven = [record for record in records if not self.only_label(record)]
        if not driven:
            raise ValueError("no record has poses: equivariance needs drives beside the labelled images")
        moved = some_motions(driven, self.gap, motion, self.pairs)
        if self.mirror:
            moved = np.concatenate([moved, moved * (-1, 1)])
        scale = self.scale or tuple(moved.std(0).clip(1e-6).round(6).tolist())
        centres = self.centres or find_patterns(moved, scale, self.patterns)
        classes = self.classes
        if self.labels and not classes:
            classes = 1 + max((int(record["label"]) for record in records if "label" in record), default=-1)
            if not classes:
                raise ValueError('no record has a "label": leave `labels` out, or add labelled records')
        return replace(self, centres=centres, scale=scale, classes=classes)

    def nearest(self, moved: np.ndarray) -> np.ndarray:
        """Which patterns motions are of, (..., 2) to (...): the nearest centres."""
        if not self.centres or self.scale is None:
            raise ValueError("no patterns of motion yet: method = method.prepare(records) finds them")
        apart = moved[..., None, :] - self.centres
        apart[..., 0] = wrap(apart[..., 0])
        return np.square(apart / self.scale).sum(-1).argmin(-1)

    def sample(self, record, rng):
        frames = record["frames"]
        known = {"video": video_number(record), "label": int(record.get("label", -1)) if self.labels else -1}
        if self.only_label(record):  # the same frames twice, of no pattern
            index = np.minimum(rng.integers(len(frames)) + np.arange(self.length), len(frames) - 1)
            clips = frames[np.stack([index, index])]
            return {"clips": clips, "answer": -1, "mirror": False, "starts": index[[0, 0]], **known}
        pose = poses(record, self.span)
        pairs = draw_pairs(len(frames), 1, self.gap, self.length, self.tries, rng)
        moved = motion(pose[pairs[:, 0]], pose[pairs[:, 1]])
        mirror = bool(self.mirror and rng.random() < 0.5)
        patterns = self.nearest(moved * (-1, 1) if mirror else moved)
        pattern = int(rng.choice(np.unique(patterns)))
        starts = pairs[np.argmax(patterns == pattern)]
        clips = frames[starts[:, None] + np.arange(self.length)]
        return {"clips": clips, "answer": pattern, "mirror": mirror, "starts": starts, **known}

    def build(self, trunk):
        if not self.centres:
            raise ValueError("no patterns of motion yet: method = method.prepare(records) finds them")
        return EquivarianceNet(trunk, self)


def find_patterns(moved: np.ndarray, scale: tuple[float, float], count: int) -> tuple[tuple[float, float], ...]:
    """Centres of `count` clusters of motions (n, 2), each component divided by its scale; sorted by yaw, then distance.

    Raises:
        ValueError: there are fewer different motions.
    """
    standardised = moved / scale
    different = len(np.unique(standardised.round(6), axis=0))
    if different < count:
        raise ValueError(f"{different} different motions in the records, but {count} patterns: lower patterns")
    found = KMeans(count, n_init=10, random_state=0).fit(standardised).cluster_centers_ * scale
    # Threads add in any order: rounded, the centres are the same wherever a run is resumed.
    return tuple(sorted(tuple(centre) for centre in found.round(4).tolist()))


class EquivarianceNet(Net):
    """The trunk, an embedding z on it, and `maps_of_motion` (G, D, D): M_g z is what z should become under pattern g.

    Metrics: "accuracy", how often the right map brings z of the earlier frame nearest to that of the later one, of all
    G maps (chance 1 / G; "frequent_accuracy" is what the batch's most frequent pattern would score); "rho", how far
    from it, |M_g z - z'| / |z - z'|, as means over the batch each, so that pairs in which nothing changes do not decide:
    1 is what maps that change nothing score. As maps of any motion can score less (by bringing z nearer to the mean),
    "others_rho" is the same of the wrong maps. With labels, "label_accuracy".
    """

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk = trunk
        self.method = method
        self.embedding = Embedding(trunk.dim, method.embedding, method.standardise)
        dim = self.embedding.dim
        self.unit = dim**-0.5 if method.standardise else 1.0  # standardised, z has a mean square length of 1
        self.change = nn.Parameter(torch.zeros(len(method.centres), dim, dim))
        self.drlim = DrLIM()
        self.classifier = nn.Linear(dim, method.classes) if method.labels else None

    @property
    def maps_of_motion(self) -> Tensor:
        """M_g for each pattern, in the order of the method's `centres`: (G, D, D)."""
        return self.change + torch.eye(self.change.shape[1], device=self.change.device)

    def embed(self, clips: Tensor) -> Tensor:
        """z: (..., T, C, H, W), floats in [0, 1], to (..., D)."""
        return self.embedding(encode(self.trunk, clips)) * self.unit

    def moved(self, z: Tensor) -> Tensor:
        """What z (..., D) should become under each pattern: (..., G, D)."""
        return torch.einsum("gij,...j->...gi", self.maps_of_motion, z)

    def predict(self, batch):
        """Logits (B, G): how near each map brings the earlier frame to the later one."""
        z = self.embed(show(batch, self.trunk.size, self.training))
        return -distance(self.moved(z[:, 0]), z[:, 1:])

    def forward(self, batch):
        answer = torch.as_tensor(batch["answer"])
        asked = answer >= 0  # not of labelled images
        z = self.embed(show(batch, self.trunk.size, self.training))  # (B, 2, D)
        distances, unmoved = distance(self.moved(z[:, 0]), z[:, 1:]), distance(z[:, 0], z[:, 1])  # (B, G) and (B,)
        metrics = measure(distances.detach(), unmoved.detach(), answer, asked)
        if self.method.relative:
            distances = distances / mean(unmoved, asked).clamp(min=1e-9)
        cost = contrast(distances, answer.clamp(min=0), self.method.margin, self.method.pull)
        loss = self.method.weight * mean(cost, asked)
        if self.method.drlim:
            loss = loss + self.method.drlim * self.neighbours(z, batch, asked)
        if self.classifier is not None:
            label = torch.as_tensor(batch["label"])
            logits = self.classifier(z.mean(1) / self.unit)
            known = label >= 0
            loss = loss + mean(F.cross_entropy(logits, label, ignore_index=-1, reduction="none"), known)
            metrics["label_accuracy"] = mean((logits.argmax(-1) == label).float(), known)
        return loss, metrics

    def neighbours(self, z: Tensor, batch: dict, asked: Tensor) -> Tensor:
        """DrLIM's loss: the two of a pair are neighbours, those of other videos or over `gap` frames apart are not."""
        pull, push = self.drlim.costs(self.drlim.distances(z[:, 0], z[:, 1]) / self.unit)
        others = apart(batch, self.method.gap + self.method.length - 1) & asked.unsqueeze(1) & asked
        return mean(pull.diagonal(), asked) + mean(push, others)


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Euclidean, over the last dimension; where it is 0, its gradient is 0, too."""
    return torch.linalg.vector_norm(one - other, dim=-1)


def contrast(distances: Tensor, pattern: Tensor, margin: float, pull: float = 1.0) -> Tensor:
    """The contrastive loss of each pair, (B,): the mean over all maps of the paper's d_g.

    d_g is the distance of M_g z to z' for the map of the pair's own pattern, and what that distance lacks of the margin
    for each other one.

    Args:
        distances: |M_g z - z'|, (B, G).
        pattern: (B,), integers from 0.
        margin: in the distances' unit.
        pull: weight of the own map's.
    """
    own = F.one_hot(pattern, distances.shape[1]).bool()
    return torch.where(own, pull * distances, F.relu(margin - distances)).mean(1)


def measure(distances: Tensor, unmoved: Tensor, answer: Tensor, asked: Tensor) -> dict[str, Tensor]:
    """The metrics of `EquivarianceNet`, from |M_g z - z'| (B, G) and |z - z'| (B,)."""
    own = distances.gather(1, answer.clamp(min=0).unsqueeze(1)).squeeze(1)
    others = (distances.sum(1) - own) / max(1, distances.shape[1] - 1)
    change = mean(unmoved, asked).clamp(min=1e-9)
    return {
        "accuracy": mean((distances.argmin(1) == answer).float(), asked),
        "frequent_accuracy": frequent(answer[asked]) if asked.any() else mean(asked.float(), asked),
        "rho": mean(own, asked) / change,
        "others_rho": mean(others, asked) / change,
    }
