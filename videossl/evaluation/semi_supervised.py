"""Semi-supervised learning: few labels, and the same videos' rest without them. What self-supervision is compared with.

Sources: Lee, "Pseudo-Label", ICML workshop on Challenges in Representation Learning 2013; Sohn et al., "FixMatch:
Simplifying Semi-Supervised Learning with Consistency and Confidence", NeurIPS 2020, section 2 and table 4 (from memory:
threshold 0.95, 7 unlabelled examples for each labelled one, both losses alike).
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD

from videossl import augment
from videossl.evaluation.base import Judge, Scores, classified, few, number_of_classes
from videossl.evaluation.features import Encoder
from videossl.evaluation.finetune import Action, Answers
from videossl.evaluation.views import Views
from videossl.methods.base import Net
from videossl.models.base import Trunk
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit, while_finite
from videossl.training.schedules import cosine


@dataclass(frozen=True)
class SemiSupervised(Judge):
    """Train a copy of the trunk and a linear layer on the labelled clips, and on guesses about the others.

    The guess about a clip counts where the network is sure of it, as it sees the clip weakly changed (cut at a random
    place, mirrored). Pseudo-labels are learned on that same view; in FixMatch on a strongly changed one (a random
    resized crop, mirrored, colours, grey, blurred). A random trunk asks what labels and plain videos give without a
    pretext; the labelled videos are those of `FineTune` and the other protocols with the same `labels` and seed.

    We leave FixMatch in three things: no RandAugment and cut-out, no running mean of the weights in tests, and the rate
    of `FineTune`, whose tests these are too.
    """

    method: Literal["fixmatch", "pseudo-label"] = "fixmatch"
    labels: float = 5  # labelled training videos a class, under 1 a share of them; the rest is seen without labels
    steps: int = 2000  # 0 tests the trunk under a random layer
    batch: int = 8  # labelled clips in a step, over all devices
    ratio: int = 7  # unlabelled clips in a step, for each labelled one
    threshold: float = 0.95  # of the likeliest class's probability, from which on a guess counts
    weight: float = 1.0  # of the loss on guesses
    rate: float = 1e-3  # at its peak after 1 % of linear warm-up; then half a cosine
    decay: float = 5e-4  # weight decay, of all parameters
    views: Views = field(default_factory=Views)  # of test videos; clips for training are as long, as wide and as sparse

    title: ClassVar[str] = "Semi-supervised"
    headlines = ("video_accuracy", "clip_accuracy")
    draws = True
    by_default = False

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """The seed decides the labelled videos, the layer's first weights, and the order, clips and crops in training.

        Returns: metrics are those of `classified`, and of the last tenth of the steps "sure": the share of unlabelled
            clips of which the guess counts, and "sure and right": that of all of which it counts and is right.

        Raises:
            ValueError: a label is missing, a class has fewer videos than `labels`, no video is left without a label, or
                an option makes no sense.
            ValueError or OSError: a training video cannot be read (a note names it): leave it out.
        """
        if min(self.batch, self.ratio) < 1 or not 0 < self.threshold <= 1 or self.weight < 0 or self.steps < 0:
            raise ValueError(f"{self}: batch and ratio start at 1, steps and weight at 0; the threshold lies in (0, 1]")
        self.refuse(train, test)
        classes = number_of_classes(train, test)
        labelled = few(train, self.labels, seed)
        taken = {id(record) for record in labelled}
        rest = [record for record in train if id(record) not in taken]
        if not rest:
            raise ValueError(f"all {len(train)} training videos are labelled: ask for fewer `labels` a class")
        net, told = self.tuned(encoder, labelled, rest, classes, seed)
        answers = Encoder(
            Answers(net, "softmax"), encoder.fabric, encoder.workers, encoder.batch, encoder.progress
        ).features(test, self.views.resolved(encoder.trunk))
        scores = classified(
            [int(r["label"]) for r in labelled], {}, answers, answers.values.argmax(-1), answers.values.mean(1), classes
        )
        scores.metrics.update(told)
        return scores

    def tuned(
        self, encoder: Encoder, labelled: Sequence[dict], rest: Sequence[dict], classes: int, seed: int
    ) -> tuple["GuessNet", dict[str, float]]:
        """The trained network and the shares that `score` tells; the encoder's trunk and torch's generators stay as
        they are."""
        views, fabric = self.views.resolved(encoder.trunk), encoder.fabric
        question = Action(classes, views.length, views.stride, views.size)
        rank, world = (0, 1) if fabric is None else (fabric.global_rank, fabric.world_size)
        with torch.random.fork_rng([encoder.device] if encoder.device.type == "cuda" else []):
            torch.manual_seed(seed)
            net = GuessNet(copy.deepcopy(encoder.trunk), question, self).requires_grad_()
            optimizer = SGD(net.parameters(), lr=self.rate, momentum=0.9, weight_decay=self.decay)
            both = (
                loader(Draws(records, question.sample, seed), size, workers=encoder.workers, rank=rank, world=world)
                for records, size in ((labelled, self.batch), (rest, self.batch * self.ratio))
            )
            loop = fit(net, paired(*both), optimizer, self.steps, cosine(self.rate), seed=seed, fabric=fabric)
            last = []
            for step, metrics in encoder.bar(while_finite(loop, fabric), self.steps, self.method):
                if step > 0.9 * self.steps:
                    last.append(torch.stack([metrics["sure"], metrics["right"]]))
            if world > 1:  # each process has its own running statistics
                net.load_state_dict(fabric.broadcast(net.state_dict()))
        if not last:
            return net, {}
        shares = torch.stack(last).mean(0)
        shares = shares if fabric is None else fabric.all_reduce(shares)
        return net, dict(zip(("sure", "sure and right"), shares.tolist(), strict=True))


def paired(labelled: Iterable[dict], rest: Iterable[dict]) -> Iterator[dict]:
    """Batches of both, as one: of the second the clips as "unlabelled", and labels, to count right guesses alone."""
    for one, other in zip(labelled, rest, strict=False):  # neither ends
        yield {**one, "unlabelled": other["clips"], "truth": other["label"]}


class GuessNet(Net):
    """A trunk and one linear layer, which also learn from their own guesses."""

    def __init__(self, trunk: Trunk, question: Action, protocol: SemiSupervised):
        super().__init__()
        self.trunk, self.size, self.protocol = trunk, question.size, protocol
        self.linear = nn.Linear(trunk.dim, question.classes)

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        labelled, unlabelled = (augment.pixels(batch[name]) for name in ("clips", "unlabelled"))
        seen = [self.weak(labelled), self.weak(unlabelled)]
        if self.protocol.method == "fixmatch":
            seen.append(self.strong(unlabelled))
        # All at once, so that batch norm sees the same clips in each part.
        logits = self.linear(self.trunk(torch.cat(seen))).split([len(part) for part in seen])
        certainty, guess = logits[1].detach().softmax(-1).max(-1)
        sure = certainty >= self.protocol.threshold
        guessing = F.cross_entropy(logits[-1], guess, reduction="none")
        loss = F.cross_entropy(logits[0], batch["label"]) + self.protocol.weight * (guessing * sure).mean()
        right = sure & (guess == batch["truth"])
        return loss, {"sure": sure.float().mean(), "right": right.float().mean()}

    def weak(self, clips: Tensor) -> Tensor:
        """As in fine-tuning."""
        return augment.flip(augment.shift_crop(clips, self.size))

    def strong(self, clips: Tensor) -> Tensor:
        """As for two views; a blur is as wide for the crop as SimCLR's for 224 pixels."""
        scale = self.size / 224
        clips = augment.flip(augment.crop(clips, self.size))
        return augment.blur(augment.grey(augment.colour(clips)), (0.1 * scale, 2.0 * scale))
