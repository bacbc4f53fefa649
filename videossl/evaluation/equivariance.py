"""Equivariance error: do features change with the camera's motion in a way that depends on the motion alone?

Source: Jayaraman and Grauman, "Learning image representations tied to ego-motion", ICCV 2015, section 4.2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from sklearn.model_selection import GroupKFold
from torch import Tensor
from torch.nn import functional as F

from videossl.evaluation.base import Judge, Scores
from videossl.evaluation.features import Encoder
from videossl.evaluation.views import Views, span
from videossl.geometry import motion, wrap
from videossl.methods.equivariance import find_patterns

RIDGES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)  # tried, strongest first
FOLDS = 5  # of the training drives, by which one is chosen
ROUNDING = 1e-5  # of a feature's length: nearer features are equal
CLUSTERED = 20_000  # pairs that k-means sees at most
TURNS = np.radians(3)  # a pattern that turns less is called straight
MOVES = 0.1  # metres; one that moves less, and does not turn, is called standing


@dataclass(frozen=True)
class Patterns:
    """Typical motions of a camera between two frames, sorted: from left to right turns, and then by distance."""

    centres: np.ndarray  # (G, 2): yaw in radians, to the right, and forward distance in metres
    scale: np.ndarray  # (2,) what counts as one of each: their standard deviations over the pairs clustered

    @classmethod
    def found(cls, motions: np.ndarray, count: int) -> "Patterns":
        """By k-means on motions (N, 2), each of the two in standard deviations, as the method `Equivariance` finds them.

        Raises:
            ValueError: there are fewer different motions than patterns.
        """
        scale = motions.std(0)
        scale[scale < 1e-6] = 1  # all alike: rounding is no variation
        if len(motions) > CLUSTERED:
            motions = np.random.default_rng(0).choice(motions, CLUSTERED, replace=False)
        return cls(np.array(find_patterns(motions, tuple(scale), count)), scale)

    def nearest(self, motions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pattern of each motion (N, 2), and how far it lies from that, in standard deviations; both (N,)."""
        apart = motions[:, None] - self.centres
        apart[..., 0] = wrap(apart[..., 0])
        distance = np.linalg.norm(apart / self.scale, axis=-1)  # (N, G)
        index = distance.argmin(1)
        return index, distance[np.arange(len(index)), index]

    @property
    def names(self) -> list[str]:
        """Each in words: "left turn of 12° over 3.1 m", "forward 4.0 m"; of equal ones the later bear a number."""
        names = []
        for yaw, forward in self.centres:
            if abs(yaw) >= TURNS:
                name = f"{'right' if yaw > 0 else 'left'} turn of {np.degrees(abs(yaw)):.0f}° over {forward:.1f} m"
            elif abs(forward) < MOVES:
                name = "standing"
            else:
                name = f"{'forward' if forward > 0 else 'backward'} {abs(forward):.1f} m"
            equal = sum(known.partition(" (")[0] == name for known in names)
            names.append(name + f" ({equal + 1})" * (equal > 0))
        return names


@dataclass(frozen=True)
class Pairs:
    """Two moments of a drive each, and how the camera moved between them. Each array has one entry a pair."""

    video: np.ndarray  # position in the list of records
    first: np.ndarray  # frame, or the first one of a clip
    second: np.ndarray  # a later one
    motion: np.ndarray  # (N, 2), see `geometry.motion`

    def __len__(self) -> int:
        return len(self.video)

    def __getitem__(self, index) -> "Pairs":
        return Pairs(self.video[index], self.first[index], self.second[index], self.motion[index])


@dataclass(frozen=True)
class Maps:
    """A linear map of features for each pattern, fitted by least squares with a penalty on what it differs from identity.

    M_g minimises sum |M_g z(x) - z(gx)|^2 + ridge * sum |z(x)|^2 * |M_g - 1|^2, so that with little to learn from it says
    that nothing changes. It is kept as factors: M_g z = z + right^T (left z).
    """

    left: list[Tensor]  # (r, D) float64 for each pattern
    right: list[Tensor]  # (r, D)

    @classmethod
    def fitted(
        cls, before: Tensor, after: Tensor, pattern: np.ndarray, count: int, ridges: Sequence[float]
    ) -> list["Maps"]:
        """Maps for each ridge.

        Args:
            before: (N, D) features of first moments.
            after: (N, D) of second ones.
            pattern: (N,) the motion between them; one that does not occur is mapped to identity.
            count: patterns there are.
            ridges: see above; 0 gives the map that differs least from identity among the best.
        """
        left, rights = [], [[] for _ in ridges]
        for g in range(count):
            z, moved = before[pattern == g].double(), after[pattern == g].double()
            u, s, v = torch.linalg.svd(z, full_matrices=False)
            rank = int((s > 1e-10 * s[:1]).sum())
            u, s, v = u[:, :rank], s[:rank], v[:rank]
            change = u.T @ (moved - z)
            left.append(v)
            for right, ridge in zip(rights, ridges, strict=True):
                right.append((s / (s**2 + ridge * s.square().sum()))[:, None] * change)
        return [cls(left, right) for right in rights]

    def moved(self, features: Tensor, pattern: int | np.ndarray) -> Tensor:
        """Features (N, D) float64 as they are expected to be after a motion, the same for all or (N,)."""
        features = features.double()
        pattern = np.broadcast_to(pattern, len(features))
        moved = features.clone()
        for g in np.unique(pattern):
            mine = torch.from_numpy(pattern == g)
            moved[mine] += features[mine] @ self.left[g].T @ self.right[g]
        return moved


@dataclass(frozen=True)
class Learned:
    """What is known of a trunk from the training drives."""

    patterns: Patterns
    maps: Maps
    ridge: float
    failed: dict[str, str]  # training drive -> why it cannot be read
    used: int  # training drives


@dataclass(frozen=True)
class EquivarianceError(Judge):
    """How far M_g z(x) lies from z(gx), as a share of how far z(x) lies from it: rho. 0 is exact, 1 as the identity does.

    x and gx are two frames of a drive (for clip trunks: clips, moving on from these), g is the camera's motion between
    them, in one of a few patterns that k-means finds in the (yaw, forward distance) of training pairs. For each pattern
    a linear map M_g is fitted anew on features of training pairs, whatever was learned in pretraining, so that all trunks
    are measured alike: by least squares, with a penalty on M_g - 1, chosen by cross-validation over training drives
    (the paper's has none; with fewer pairs than features it would fit noise). rho is a mean over test pairs of a
    pattern, then over patterns. Composed maps M_g M_h are tested on pairs that underwent h and then g.

    Pairs whose features are equal have no rho: they are left out and counted. A pattern that stands still has a rho
    near 1 for any trunk, and noise between two frames weighs most where they differ least.

    What is seen of a frame is its centre alone: features averaged over mirrored crops cannot tell left from right.
    """

    patterns: int = 6  # of motion
    gap: int = 10  # frames from the first to the second frame of a pair, at most: a second of KITTI
    pairs: int = 500  # of each pattern, drawn from training and from test drives; fewer where there are fewer
    ridge: float | None = None  # see `Maps`; None: chosen by cross-validation over drives
    views: Views = field(default_factory=lambda: Views(clips=1, crops=1))  # of each of the two frames

    title: ClassVar[str] = "Equivariance error"
    headlines = ("rho", "composed_rho")
    draws = True
    needs = ("pose",)
    beside = ("unmoved", "ridge")
    unit = "error"

    def __post_init__(self):
        for name in ("patterns", "gap", "pairs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of {self} must be at least 1")

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """The seed decides which pairs are drawn where there are more than `pairs`, alike for every trunk.

        Returns: metrics are "rho", its mean over patterns; "rho ..." of each pattern; "composed_rho", its mean over the
            two patterns that follow each other; "chance", which is 1: nothing is learned of the motion; "unmoved", the
            share of test pairs that were left out because their features are equal; and the "ridge" used.

        Raises:
            ValueError: a pose is missing, no drive is as long as a pair, the features of all pairs are equal, or the
                ridge has to be chosen and there is one training drive alone.
        """
        learned = self.learned(encoder, train, seed)
        everything = self.all_pairs(test, encoder)
        pattern, _ = learned.patterns.nearest(everything.motion)
        rng = np.random.default_rng([seed, 1])
        chosen = drawn(pattern, self.pairs, rng)
        pairs, pattern_drawn = everything[chosen], pattern[chosen]
        chains = chained(everything, pattern, chosen, self.patterns, rng)
        needed = [pairs, *(chain for _, _, chain in chains)]
        seen, failed = Seen.of(encoder, test, needed, self.views)

        metrics, unmoved = {}, []
        for g, name in enumerate(learned.patterns.names):
            mine = seen.readable(pairs[pattern_drawn == g])
            z = seen.first(mine)
            found, same = rho(learned.maps.moved(z, g), z, seen.second(mine))
            unmoved.append(same)
            if len(found):
                metrics[f"rho {name}"] = found.mean().item()
        if not metrics:
            raise ValueError(nothing_moves("test", sum(map(len, unmoved))))
        composed = []
        for h, g, chain in chains:
            mine = seen.readable(chain)
            z = seen.first(mine)
            found, _ = rho(learned.maps.moved(learned.maps.moved(z, h), g), z, seen.second(mine))
            composed += [found.mean().item()] if len(found) else []
        about = {"chance": 1.0, "unmoved": torch.cat(unmoved).double().mean().item(), "ridge": learned.ridge}
        means = {"rho": float(np.mean(list(metrics.values())))}
        means |= {"composed_rho": float(np.mean(composed))} if composed else {}
        tested = [int(n) for n in np.unique(pairs.video) if test[n]["name"] not in failed]
        return Scores(means | metrics | about, tested, learned.used, failed, learned.failed)

    def learned(self, encoder: Encoder, train: Sequence[dict], seed: int) -> Learned:
        """Patterns of motion and their maps, from training drives."""
        pairs = self.all_pairs(train, encoder)
        patterns = Patterns.found(pairs.motion, self.patterns)
        pattern, _ = patterns.nearest(pairs.motion)
        chosen = drawn(pattern, self.pairs, np.random.default_rng([seed, 0]))
        seen, failed = Seen.of(encoder, train, [pairs[chosen]], self.views)
        chosen = chosen[seen.mask(pairs[chosen])]
        pairs, pattern = pairs[chosen], pattern[chosen]
        before, after = seen.first(pairs), seen.second(pairs)
        ridge = self.ridge
        if ridge is None:
            groups = np.array([train[n].get("group", train[n]["name"]) for n in pairs.video])
            ridge = chosen_ridge(before, after, pattern, groups, self.patterns)
        (maps,) = Maps.fitted(before, after, pattern, self.patterns, [ridge])
        return Learned(patterns, maps, ridge, failed, len(np.unique(pairs.video)))

    def all_pairs(self, records: Sequence[dict], encoder: Encoder) -> Pairs:
        """Every pair of moments up to `gap` frames apart, sorted by drive, then by the first and the second.

        Raises:
            ValueError: a record has no pose, or another number of poses than frames; or there is no pair.
        """
        self.refuse(records)
        views = self.views.resolved(encoder.trunk)
        length = span(views.length, views.stride)
        found = [pairs for n, record in enumerate(records) for pairs in pairs_of(record, n, self.gap, length)]
        if not found:
            longest = max(len(record["frames"]) for record in records)
            raise ValueError(
                f"a pair needs {length + 1} frames or more, but the longest of {len(records)} drives has {longest}: give "
                "longer drives"
            )
        columns = [
            np.concatenate(column) for column in zip(*((p.video, p.first, p.second) for p in found), strict=True)
        ]
        order = np.lexsort(columns[::-1])
        return Pairs(*columns, np.concatenate([p.motion for p in found]))[order]


def pairs_of(record: dict, video: int, gap: int, length: int) -> Iterator[Pairs]:
    """A record's pairs of moments (of so many frames each) 1, 2, ... `gap` frames apart."""
    pose = np.asarray(record["pose"])
    if len(pose) != len(record["frames"]):
        raise ValueError(
            f"{record['name']} has {len(record['frames'])} frames, but {len(pose)} poses: it needs one each"
        )
    moments = len(pose) - length + 1
    for step in range(1, min(gap, moments - 1) + 1):
        first = np.arange(moments - step)
        yield Pairs(np.full(len(first), video), first, first + step, motion(pose[first], pose[first + step]))


def drawn(pattern: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of up to `count` pairs of each pattern, in their order."""
    chosen = []
    for g in np.unique(pattern):
        mine = np.flatnonzero(pattern == g)
        chosen.append(rng.choice(mine, count, replace=False) if len(mine) > count else mine)
    return np.sort(np.concatenate(chosen))


def chained(
    pairs: Pairs, pattern: np.ndarray, chosen: np.ndarray, patterns: int, rng: np.random.Generator
) -> list[tuple[int, int, Pairs]]:
    """For each two patterns (h, g) that follow each other: pairs that underwent h and then g, of the `chosen` pairs each
    at most once for each g, and in all as many for a pair of patterns as one pattern's share is.

    Args:
        pairs: all of them, sorted by drive and first moment.
        pattern: (N,) of each.
        chosen: positions of the pairs that may come first.
        patterns: how many there are.
    """
    start = np.searchsorted(pairs.video * 2**32 + pairs.first, pairs.video * 2**32 + pairs.second)
    stop = np.searchsorted(pairs.video * 2**32 + pairs.first, pairs.video * 2**32 + pairs.second, "right")
    share = -(-len(chosen) // patterns**2)
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for n in rng.permutation(chosen).tolist():
        following = rng.permutation(np.arange(start[n], stop[n]))
        kinds, at = np.unique(pattern[following], return_index=True)
        for g, m in zip(kinds.tolist(), following[at].tolist(), strict=True):
            both = found.setdefault((int(pattern[n]), g), [])
            if len(both) < share:
                both.append((n, m))
    chains = []
    for (h, g), both in sorted(found.items()):
        n, m = np.array(both).T
        whole = replace(pairs[n], second=pairs.second[m], motion=np.full((len(n), 2), np.nan))  # which none asks for
        chains.append((h, g, whole))
    return chains


class Seen:
    """Features of the moments of drives."""

    def __init__(self, features: list[Tensor | None], moments: list[np.ndarray]):
        self.features, self.moments = features, moments
        self.known = np.array([f is not None for f in features])

    @classmethod
    def of(
        cls, encoder: Encoder, records: Sequence[dict], pairs: list[Pairs], views: Views
    ) -> tuple["Seen", dict[str, str]]:
        """Of all moments of the pairs, each encoded once; and the drives that cannot be read."""
        video = np.concatenate([p.video for p in pairs] * 2)
        moment = np.concatenate([p.first for p in pairs] + [p.second for p in pairs])
        moments = [np.unique(moment[video == n]) for n in range(len(records))]
        features, failed = encoder.moments(records, moments, views)
        if len(failed) == len(records):
            name, why = next(iter(failed.items()))
            raise ValueError(f"none of {len(records)} drives can be read; {name}: {why}")
        return cls(features, moments), failed

    def mask(self, pairs: Pairs) -> np.ndarray:
        """Whether each pair's drive could be read."""
        return self.known[pairs.video]

    def readable(self, pairs: Pairs) -> Pairs:
        """Those of drives that could be read."""
        return pairs[self.mask(pairs)]

    def first(self, pairs: Pairs) -> Tensor:
        """Features of the first moments, (N, D)."""
        return self._at(pairs.video, pairs.first)

    def second(self, pairs: Pairs) -> Tensor:
        """Features of the second moments, (N, D)."""
        return self._at(pairs.video, pairs.second)

    def _at(self, video: np.ndarray, moment: np.ndarray) -> Tensor:
        some = next(f for f in self.features if f is not None)
        values = some.new_empty(len(video), some.shape[1])
        for n in np.unique(video):
            mine = np.flatnonzero(video == n)
            values[mine] = self.features[n][np.searchsorted(self.moments[n], moment[mine])]
        return values


def rho(expected: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Errors as shares of the change, of those pairs (M,) whose features change; and which do not, (N,) bool.

    Args:
        expected: (N, D) what the map makes of `before`.
        before: (N, D) features of first moments.
        after: (N, D) features of second moments.
    """
    before, after = before.double(), after.double()
    change = (before - after).norm(dim=1)
    same = change <= ROUNDING * before.norm(dim=1)
    return ((expected - after).norm(dim=1) / change)[~same], same


def chosen_ridge(before: Tensor, after: Tensor, pattern: np.ndarray, groups: np.ndarray, patterns: int) -> float:
    """The ridge with the lowest rho on drives that maps were not fitted to; of equals the strongest.

    Raises:
        ValueError: there is one group alone, or the features of all pairs are equal.
    """
    different = len(np.unique(groups))
    if different < 2:
        raise ValueError(
            f"the ridge is chosen on training drives that are held out, but all are of one group, {groups[0]}: give "
            "`ridge`, or more drives"
        )
    expected = torch.empty(len(RIDGES), *before.shape, dtype=torch.double)
    for rest, out in GroupKFold(min(FOLDS, different)).split(groups, groups=groups):
        for row, maps in enumerate(Maps.fitted(before[rest], after[rest], pattern[rest], patterns, RIDGES)):
            expected[row, out] = maps.moved(before[out], pattern[out])
    found = []
    for row, ridge in zip(expected, RIDGES, strict=True):
        ratios, same = rho(row, before, after)
        kinds = pattern[~same.numpy()]
        if not len(kinds):
            raise ValueError(nothing_moves("training", len(pattern)))
        mean = np.mean([ratios[torch.from_numpy(kinds == g)].mean().item() for g in np.unique(kinds)])
        found.append((mean, -ridge))
    return -min(found)[1]


def nothing_moves(part: str, pairs: int) -> str:
    """What to say where no features change."""
    return (
        f"the features of all {pairs} {part} pairs are equal: the trunk gives the same whatever it sees, or the drives "
        "stand still, so there is no equivariance error"
    )


def same_pattern(
    change: Tensor, pattern: np.ndarray, group: np.ndarray, device: torch.device | str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """For each pair the one of another drive whose features change most alike, by cosine; and whether its motion is of
    the same pattern. Both (N,).

    Args:
        change: (N, D) z(gx) - z(x).
        pattern: (N,).
        group: (N,) of the drive: those of the same one are not looked at.

    Raises:
        ValueError: all are of one drive.

    Source: Jayaraman and Grauman, ICCV 2015, figure 5.
    """
    unit = F.normalize(change, dim=-1).to(device)
    names, number = np.unique(group, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"all pairs are of one drive, {group[0]}: give others to look for the same motion in")
    number = torch.from_numpy(number).to(device)
    found = []
    for rows in torch.arange(len(unit)).split(max(1, 2**22 // len(unit))):
        similarity = unit[rows] @ unit.T
        found.append(similarity.masked_fill(number[rows, None] == number, -2).argmax(1).cpu())
    nearest = torch.cat(found).numpy()
    return nearest, pattern[nearest] == pattern
