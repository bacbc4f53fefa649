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
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from videossl import augment
from videossl.evaluation.base import Judge, Scores, classified, few, number_of_classes
from videossl.evaluation.features import Encoder
from videossl.evaluation.probe import HELD_OUT, held_out
from videossl.evaluation.views import Views, clip_at, span
from videossl.methods.base import Net
from videossl.methods.parts import classify
from videossl.models.base import Trunk
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit, while_finite
from videossl.training.schedules import cosine
from videossl.training.schedules import steps as falling

OPTIMIZERS = {"sgd": partial(SGD, momentum=0.9), "adam": Adam, "adamw": AdamW}


@dataclass(frozen=True)
class FineTune(Judge):
    """Train a copy of the trunk and a linear layer on one random clip of every training video an epoch.

    Clips are cut at a random place, at the frames' own scale, and mirrored half of the time. Tested in eval mode on all
    views: clip accuracy asks about the mean over a clip's crops of the class probabilities (softmax), video accuracy
    about the mean over all views. Training from scratch is fine-tuning a trunk that was never trained.

    The network that is tested is the last step's. `choose` takes that of the epoch with the best accuracy, on the middle
    clip, of groups held out of the training videos, or, as much published code does by mistake, of the test videos.

    `frozen` names a layer of the trunk: what is computed up to it stays as it is, batch norm's means too, and the rest
    learns. The first layers frozen, one more each time, tell how far into the trunk what was learned is of use
    (Yosinski et al., "How transferable are features in deep neural networks?", NIPS 2014).
    """

    epochs: int = 150  # 0 tests the trunk under a random layer
    batch: int = 8  # clips in a step, over all devices
    rate: float = 1e-3  # of the trunk, at its peak after 1 % of linear warm-up
    head: float = 1.0  # the linear layer's rate, in rates of the trunk
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"  # SGD has a momentum of 0.9
    decay: float = 5e-4  # weight decay, of all parameters
    drops: tuple[float, ...] = ()  # shares of the run after which the rate falls to a tenth; none: half a cosine
    constant: bool = False  # the rate stays as it is
    dropout: float = 0.0  # of features, before the linear layer
    # of a random resized crop, as shares of the frame; None: cut at the frames' own scale
    area: tuple[float, float] | None = None
    average: Literal["softmax", "logits"] = "softmax"  # what is averaged over views
    choose: Literal["last", "held_out", "test"] = "last"  # whose accuracy chooses the epoch: see above
    labels: float | None = None  # labelled training videos a class, under 1 a share of them; None: all
    frozen: str | None = None  # the last layer of the trunk that does not learn, such as conv3; None: all learn
    views: Views = field(default_factory=Views)  # of test videos; clips for training are as long, as wide and as sparse

    title: ClassVar[str] = "Fine-tuning"
    headlines = ("video_accuracy", "clip_accuracy")
    draws = True

    def __post_init__(self):
        if self.epochs < 0 or self.batch < 1:
            raise ValueError(f"epochs are {self.epochs} and batch is {self.batch}: epochs start at 0, a batch at 1")
        if self.constant and self.drops:
            raise ValueError(f"a rate that is constant does not fall, but drops are {self.drops}: give one of the two")

    def score(self, encoder: Encoder, train: Sequence[dict], test: Sequence[dict], seed: int = 0) -> Scores:
        """The seed decides the labelled videos, the layer's first weights, and the order, clips and crops in training.

        Returns: metrics are those of `classified`, and "train_loss": the mean cross entropy over the last epoch.

        Raises:
            ValueError: a label is missing, a class has fewer videos than `labels`, no group can be held out, the trunk
                has no layer `frozen`, or the loss is not finite any more.
            ValueError or OSError: a training video cannot be read (a note names it): leave it out.
        """
        self.refuse(train, test)
        classes = number_of_classes(train, test)
        labelled = train if self.labels is None else few(train, self.labels, seed)
        net, loss = self.tuned(encoder, labelled, classes, seed, test)

        answers = Encoder(
            Answers(net, self.average), encoder.fabric, encoder.workers, encoder.batch, encoder.progress
        ).features(test, self.views.resolved(encoder.trunk))
        clips, shares = answers.values.argmax(-1), answers.values.mean(1)
        scores = classified([int(r["label"]) for r in labelled], {}, answers, clips, shares, classes)
        if loss is not None:
            scores.metrics["train_loss"] = loss
        return scores

    def tuned(
        self, encoder: Encoder, train: Sequence[dict], classes: int, seed: int, test: Sequence[dict] = ()
    ) -> tuple["ActionNet", float | None]:
        """The fine-tuned network, on the encoder's device, and the mean loss of its last epoch; the encoder's trunk
        stays as it is, and so do torch's random generators."""
        views, fabric = self.views.resolved(encoder.trunk), encoder.fabric
        question = Action(classes, views.length, views.stride, views.size, self.area, self.dropout)
        judges: Sequence[dict] = test if self.choose == "test" else ()
        if self.choose == "held_out":
            out = held_out(train, HELD_OUT, seed)
            if not out.any():
                raise ValueError("no group of the training videos can be held out: choose the last epoch")
            train, judges = ([r for r, o in zip(train, out, strict=True) if o == which] for which in (False, True))
        steps = math.ceil(self.epochs * len(train) / self.batch)
        epoch = math.ceil(len(train) / self.batch)
        with torch.random.fork_rng([encoder.device] if encoder.device.type == "cuda" else []):
            torch.manual_seed(seed)
            net = question.build(copy.deepcopy(encoder.trunk)).requires_grad_()
            if self.frozen is not None:
                net.freeze(self.frozen)
            groups = [{"params": net.trunk.parameters()}, {"params": net.linear.parameters(), "scale": self.head}]
            optimizer = OPTIMIZERS[self.optimizer](groups, lr=self.rate, weight_decay=self.decay)
            rate = falling(self.rate, self.drops) if self.drops or self.constant else cosine(self.rate)
            rank, world = (0, 1) if fabric is None else (fabric.global_rank, fabric.world_size)
            batches = loader(
                Draws(train, question.sample, seed), self.batch, workers=encoder.workers, rank=rank, world=world
            )
            loop = fit(net, batches, optimizer, steps, rate, seed=seed, fabric=fabric)
            last, best = [], (-1.0, net.state_dict())
            for step, metrics in encoder.bar(while_finite(loop, fabric), steps, "fine-tuning"):
                if step > steps - epoch:
                    last.append(metrics["loss"])
                if judges and (step % epoch == 0 or step == steps):
                    right = accuracy(net, encoder, judges, views)
                    if right > best[0]:
                        best = right, copy.deepcopy(net.state_dict())
            if judges:
                net.load_state_dict(best[1])
            if world > 1:  # each process has its own running statistics
                net.load_state_dict(fabric.broadcast(net.state_dict()))
        if not last:
            return net, None
        loss = torch.stack(last).mean()
        return net, (loss if fabric is None else fabric.all_reduce(loss)).item()


def accuracy(net: "ActionNet", encoder: Encoder, records: Sequence[dict], views: Views) -> float:
    """Share of videos of which the middle clip's centre is classified rightly."""
    middle = replace(views, clips=1, crops=1, every=None)
    quiet = Encoder(Answers(net, "softmax"), encoder.fabric, encoder.workers, encoder.batch, progress=False)
    found = quiet.features(records, middle)
    return (found.values[:, 0].argmax(-1) == found.labels).double().mean().item()


@dataclass(frozen=True)
class Action:
    """Which class is this clip of? Asked with labels, so it is no pretext question."""

    classes: int
    length: int  # frames in a clip
    stride: int  # frames from one frame of a clip to its next
    size: int  # side of a clip in pixels, after the crop
    area: tuple[float, float] | None = None  # see `FineTune`
    dropout: float = 0.0

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
        self.trunk, self.size, self.area = trunk, question.size, question.area
        self.dropout = nn.Dropout(question.dropout)
        self.linear = nn.Linear(trunk.dim, question.classes)
        self.still: list[nn.Module] = []  # parts of the trunk that stay in eval mode

    def freeze(self, layer: str) -> None:
        """What the trunk computes up to a layer learns no more: the weights on its way, and running means.

        Raises:
            ValueError: the trunk has no such layer.
        """
        ran: list[nn.Module] = []
        parts = [module for module in self.trunk.modules() if not list(module.children())]
        hooks = [part.register_forward_hook(lambda module, *_: ran.append(module)) for part in parts]
        weights = [weight for weight in self.trunk.parameters() if weight.requires_grad]
        clips = self.trunk.mean.new_zeros(1, self.trunk.length, 3, self.trunk.size, self.trunk.size)
        self.trunk.eval()
        try:
            maps = self.trunk.layer(clips, layer)
        finally:
            for hook in hooks:
                hook.remove()
        on_the_way = torch.autograd.grad(maps.sum(), weights, allow_unused=True)
        for weight, gradient in zip(weights, on_the_way, strict=True):
            weight.requires_grad_(gradient is None)
        self.still = ran
        self.train()

    def train(self, mode: bool = True) -> "ActionNet":
        super().train(mode)
        for part in self.still:
            part.eval()
        return self

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        clips = augment.pixels(batch["clips"])  # (B, T, C, H, W)
        if self.training:
            cut = augment.crop(clips, self.size, self.area) if self.area else augment.shift_crop(clips, self.size)
            clips = augment.flip(cut)
        else:
            clips = augment.centre(clips, self.size)
        return classify(self.linear(self.dropout(self.trunk(clips))), batch["label"])


class Answers(nn.Module):
    """A fine-tuned network as a trunk whose features are its classes' probabilities, or logits."""

    def __init__(self, net: ActionNet, average: Literal["softmax", "logits"]):
        super().__init__()
        self.net, self.length, self.size = net, net.trunk.length, net.trunk.size
        self.average = average

    def forward(self, clips: Tensor) -> Tensor:
        logits = self.net.linear(self.net.trunk(clips))
        return logits if self.average == "logits" else logits.softmax(-1)
