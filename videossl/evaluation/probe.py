"""Linear probe: what a linear classifier reads off the frozen trunk's features."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from videossl.evaluation.base import Judge, Scores, classified, few, number_of_classes
from videossl.evaluation.features import Encoder, Features
from videossl.evaluation.views import Views

PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # tried, strongest first
HELD_OUT = 0.2  # share of the training videos that decides between them


@dataclass(frozen=True)
class LinearProbe(Judge):
    """Multinomial logistic regression on the features of a frozen trunk.

    Every clip (the mean over its crops) of every training video is an example. Features are standardised with the
    training clips' mean and standard deviation. The optimum of mean cross entropy + penalty / 2 * squared norm of the
    weights is sought with L-BFGS from zero, so it has no learning rate, and depends on a seed only through the choice
    of the penalty and the draw of labels.

    The penalty is chosen by the video accuracy, of equals by the cross entropy, on videos held out of the training
    videos (of those with labels, where few are), whole groups at a time; then all are trained on. Test videos choose
    nothing.

    Clip accuracy asks about every clip by itself, video accuracy about the mean of its clips' class probabilities.
    """

    labels: float | None = None  # labelled training videos a class, under 1 a share of them; None: all
    penalty: float | None = None  # None: chosen on held-out groups
    steps: int = 200  # of L-BFGS, at most
    views: Views = field(default_factory=Views)  # of training and test videos

    title: ClassVar[str] = "Linear probe"
    beside = (*Judge.beside, "penalty")
    headlines = ("video_accuracy",)
    draws = True

    def __post_init__(self):
        if self.steps < 1 or (self.penalty is not None and self.penalty < 0):
            raise ValueError(f"steps are {self.steps}, the penalty {self.penalty}: steps start at 1, a penalty at 0")

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """The seed decides which videos are labelled and which groups are held out, alike for every trunk.

        Returns: metrics are those of `classified`, and the "penalty" used.

        Raises:
            ValueError: a label is missing, a class has fewer videos than `labels`, or the penalty has to be chosen and
                no group of the training videos can be held out.
        """
        return self.learn(encoder, train, test, seed).ask(encoder, test)

    def learn(
        self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int, part: slice = slice(None)
    ) -> "Learned":
        """What `score` learns, here from a part of the features; of test videos only their number of classes counts."""
        self.refuse(train, test)
        classes = number_of_classes(train, test)
        labelled = train if self.labels is None else few(train, self.labels, seed)
        found = encoder.features(labelled, self.views)
        found = replace(found, values=found.values[..., part])
        penalty = self.penalty
        if penalty is None:
            kept = [labelled[n] for n in found.kept]
            penalty = chosen_penalty(kept, found.values, found.labels, classes, self.steps, encoder.device, seed)
        model = Linear(found.values, found.labels, classes, penalty, self.steps, encoder.device)
        return Learned(model, penalty, found, classes, self.views, part)


class Learned(NamedTuple):
    """A probe that has learned."""

    model: "Linear"
    penalty: float
    train: Features
    classes: int
    views: Views
    part: slice  # of the features

    def ask(self, encoder: Encoder, test: Sequence[dict]) -> Scores:
        """Scores on test videos; metrics are those of `classified`, and the "penalty"."""
        asked = encoder.features(test, self.views)
        shares = self.model(asked.values[..., self.part])  # (N, V, classes)
        scores = classified(
            self.train.labels.tolist(), self.train.failed, asked, shares.argmax(-1), shares.mean(1), self.classes
        )
        scores.metrics["penalty"] = self.penalty
        return scores


class Linear:
    """Logistic regression, fitted."""

    def __init__(
        self,
        values: Tensor,
        labels: Tensor,
        classes: int,
        penalty: float,
        steps: int,
        device: torch.device | str = "cpu",
        start: "Linear | None" = None,
    ):
        """Args:
        values: (N, V, D) features; each of the N * V is an example.
        labels: (N,) int64.
        penalty: times half the squared norm of the weights (not the biases) is added to the mean cross entropy.
        steps: of L-BFGS at most.
        start: where to begin; None: weights of zero.
        """
        x = values.flatten(0, 1).to(device)
        y = labels.repeat_interleave(values.shape[1]).to(device)
        deviation, self.mean = torch.std_mean(x, 0, correction=0)
        self.deviation = torch.where(deviation > 1e-5 * self.mean.abs(), deviation, 1.0)  # rounding is no variation
        x = (x - self.mean) / self.deviation
        first = torch.zeros(classes, x.shape[1] + 1, device=device) if start is None else start.weight.clone()
        weight = first.requires_grad_()  # the last column is the biases'
        search = torch.optim.LBFGS(
            [weight], max_iter=steps, tolerance_grad=1e-6, tolerance_change=1e-9, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            search.zero_grad()
            value = F.cross_entropy(F.linear(x, weight[:, :-1], weight[:, -1]), y)
            value = value + penalty / 2 * weight[:, :-1].square().sum()
            value.backward()
            return value

        with torch.enable_grad():
            search.step(loss)
        self.weight = weight.detach()

    def __call__(self, values: Tensor) -> Tensor:
        """Probabilities of the classes, (..., D) to (..., classes), on the CPU."""
        x = (values.to(self.mean.device) - self.mean) / self.deviation
        return F.linear(x, self.weight[:, :-1], self.weight[:, -1]).softmax(-1).cpu()


def chosen_penalty(
    records: Sequence[dict],
    values: Tensor,
    labels: Tensor,
    classes: int,
    steps: int,
    device: torch.device | str,
    seed: int,
) -> float:
    """The penalty that does best on held-out groups; of equals the strongest.

    Args:
        records: N, with "group" and "label".
        values: (N, V, D) features of their clips.
        labels: (N,) int64.
        seed: of the choice of groups.

    Raises:
        ValueError: no group can be held out.
    """
    out = held_out(records, HELD_OUT, seed)
    if not out.any():
        raise ValueError(
            f"no group of the {len(records)} labelled training videos can be held out to choose the penalty while "
            "every class keeps a video: give `penalty`"
        )
    truth = labels[out]
    found, start = [], None
    for penalty in PENALTIES:
        model = Linear(values[~out], labels[~out], classes, penalty, steps, device, start)
        shares = model(values[out]).mean(1)  # (videos, classes)
        entropy = F.nll_loss(shares.clamp(min=1e-30).log(), truth).item()
        found.append(((shares.argmax(-1) == truth).sum().item(), -entropy, penalty))
        start = model
    return max(found)[2]


def held_out(records: Sequence[dict], share: float, seed: int) -> np.ndarray:
    """Which records to hold out, (N,) bool: groups in a random order until they are `share` of all records or more.

    A group is passed over if a class would lose its last record by it. Without such groups none is held out.

    Raises:
        ValueError: a record has no group.
    """
    for record in records:
        if "group" not in record:
            raise ValueError(f"{record['name']} has no group, so it is unknown what may not be held out without it")
    members: dict[str, list[int]] = {}
    for n, record in enumerate(records):
        members.setdefault(record["group"], []).append(n)
    left = Counter(record["label"] for record in records)
    out = np.zeros(len(records), bool)
    for group in np.random.default_rng(seed).permutation(sorted(members)):
        inside = Counter(records[n]["label"] for n in members[group])
        if out.sum() < share * len(records) and all(left[label] > n for label, n in inside.items()):
            out[members[group]] = True
            left -= inside
    return out
