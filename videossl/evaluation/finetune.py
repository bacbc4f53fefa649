"""Fine-tuning: the whole trunk learns the labels, with a new linear layer on top.

Source of the recipe: Xu et al., "Self-supervised Spatiotemporal Learning via Video Clip Order Prediction", CVPR 2019,
section 4.3 and github.com/xudejing/video-clip-order-prediction (150 epochs, SGD 1e-3, momentum 0.9, decay 5e-4, batch
8). We leave it in three things: the rate falls along a cosine (theirs is constant), clips are mirrored half of the
time, and what is tested is the last step's network, so that no video is needed to choose another's. For frame trunks
batches of 128 are usual (Misra et al., "Shuffle and Learn", ECCV 2016).
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD

from videossl import augment
from videossl.evaluation.base import Judge, Scores, classified, few, labels_of, number_of_classes
from videossl.evaluation.features import Encoder
from videossl.evaluation.views import Views, clip_at, span
from videossl.methods.base import Net
from videossl.methods.parts import classify
from videossl.models.base import Trunk
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine


@dataclass(frozen=True)
class FineTune(Judge):
    """Train a copy of the trunk and a linear layer on one random clip of every training video an epoch.

    Clips are cut at a random place, at the frames' own scale, and mirrored half of the time. Tested in eval mode on all
    views: clip accuracy asks about the mean over a clip's crops of the class probabilities (softmax), video accuracy
    about the mean over all views. Training from scratch is fine-tuning a trunk that was never trained.
    """

    epochs: int = 150  # 0 tests the trunk under a random layer
    batch: int = 8  # clips in a step, over all devices
    rate: float = 1e-3  # of the trunk, at its peak after 1 % of linear warm-up
    head: float = 1.0  # the linear layer's rate, in rates of the trunk
    momentum: float = 0.9
    decay: float = 5e-4  # weight decay, of all parameters
    labels: float | None = None  # labelled training videos a class, under 1 a share of them; None: all
    views: Views = field(default_factory=Views)  # of test videos; clips for training are as long, as wide and as sparse

    title: ClassVar[str] = "Fine-tuning"
    headlines = ("video_accuracy", "clip_accuracy")
    draws = True

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """The seed decides the labelled videos, the layer's first weights, and the order, clips and crops in training.

        Returns: metrics are those of `classified`, and "train_loss": the mean cross entropy over the last epoch.

        Raises:
            ValueError: a label is missing, or a class has fewer videos than `labels`.
            ValueError or OSError: a training video cannot be read (a note names it): leave it out.
        """
        for records in (train, test):
            labels_of(records, "fine-tuning")
        classes = number_of_classes(train, test)
        labelled = train if self.labels is None else few(train, self.labels, seed)
        net, loss = self.tuned(encoder, labelled, classes, seed)

        answers = Encoder(Answers(net), encoder.fabric, encoder.workers, encoder.batch, encoder.progress).features(
            test, self.views.resolved(encoder.trunk)
        )
        clips, shares = answers.values.argmax(-1), answers.values.mean(1)
        scores = classified([int(r["label"]) for r in labelled], {}, answers, clips, shares, classes)
        if loss is not None:
            scores.metrics["train_loss"] = loss
        return scores

    def tuned(
        self, encoder: Encoder, train: Sequence[dict], classes: int, seed: int
    ) -> tuple["ActionNet", float | None]:
        """The fine-tuned network, on the encoder's device, and the mean loss of its last epoch; the encoder's trunk
        stays as it is, and so do torch's random generators."""
        views, fabric = self.views.resolved(encoder.trunk), encoder.fabric
        question = Action(classes, views.length, views.stride, views.size)
        steps = math.ceil(self.epochs * len(train) / self.batch)
        epoch = math.ceil(len(train) / self.batch)
        with torch.random.fork_rng([encoder.device] if encoder.device.type == "cuda" else []):
            torch.manual_seed(seed)
            net = question.build(copy.deepcopy(encoder.trunk)).requires_grad_()
            groups = [{"params": net.trunk.parameters()}, {"params": net.linear.parameters(), "scale": self.head}]
            optimizer = SGD(groups, lr=self.rate, momentum=self.momentum, weight_decay=self.decay)
            rank, world = (0, 1) if fabric is None else (fabric.global_rank, fabric.world_size)
            batches = loader(
                Draws(train, question.sample, seed), self.batch, workers=encoder.workers, rank=rank, world=world
            )
            loop = fit(net, batches, optimizer, steps, cosine(self.rate), seed=seed, fabric=fabric)
            last = []
            for step, metrics in encoder.bar(loop, steps, "fine-tuning"):
                if step > steps - epoch:
                    last.append(metrics["loss"])
            if world > 1:  # each process has its own running statistics
                net.load_state_dict(fabric.broadcast(net.state_dict()))
        if not last:
            return net, None
        loss = torch.stack(last).mean()
        return net, (loss if fabric is None else fabric.all_reduce(loss)).item()


@dataclass(frozen=True)
class Action:
    """Which class is this clip of? Asked with labels, so it is no pretext question."""

    classes: int
    length: int  # frames in a clip
    stride: int  # frames from one frame of a clip to its next
    size: int  # side of a clip in pixels, after the crop

    def sample(self, record: dict, rng: np.random.Generator) -> dict:
        """One clip from anywhere in the video; a shorter video is looped."""
        frames = record["frames"]
        start = rng.integers(max(len(frames) - span(self.length, self.stride), 0) + 1)
        clip = frames[clip_at(start, self.length, self.stride, len(frames))]  # (T, C, H, W)
        return {"clips": clip, "label": int(record["label"])}

    def build(self, trunk: Trunk) -> "ActionNet":
        return ActionNet(trunk, self)


class ActionNet(Net):
    """A trunk and one linear layer."""

    def __init__(self, trunk: Trunk, question: Action):
        super().__init__()
        self.trunk, self.size = trunk, question.size
        self.linear = nn.Linear(trunk.dim, question.classes)

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        clips = augment.pixels(batch["clips"])  # (B, T, C, H, W)
        clips = (
            augment.flip(augment.shift_crop(clips, self.size)) if self.training else augment.centre(clips, self.size)
        )
        return classify(self.linear(self.trunk(clips)), batch["label"])


class Answers(nn.Module):
    """A fine-tuned network as a trunk whose features are its classes' probabilities."""

    def __init__(self, net: ActionNet):
        super().__init__()
        self.net, self.length, self.size = net, net.trunk.length, net.trunk.size

    def forward(self, clips: Tensor) -> Tensor:
        return self.net.linear(self.net.trunk(clips)).softmax(-1)
