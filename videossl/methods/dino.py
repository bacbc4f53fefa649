"""Match what a slowly following teacher, centred and sharpened, makes of another crop; nothing is told apart.

Sources: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021, algorithm 1; for iBOT, Zhou et
al., "Image BERT Pre-Training with Online Tokenizer", ICLR 2022, equations 1 to 3 (the same of hidden patches); the term that
spreads features is DINOv2's: Oquab et al., 2023, section 4 (KoLeo).
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from lightly.loss import DINOLoss, IBOTPatchLoss, KoLeoLoss
from torch import Tensor, nn
from torch.nn import functional as F

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.masks import masks
from videossl.methods.parts import encode
from videossl.methods.two_views import Teacher, TwoViews, augmented, rising, two
from videossl.models.vit import Tokens, transformer


@dataclass(frozen=True)
class DINO(TwoViews):
    """Two large crops and several small ones: the teacher sees the large ones, the student all.

    With `apart` the crops are of two moments of a video, small ones of both by turns. The teacher's temperature stays as it
    is; the paper's best runs raise it from 0.04 to 0.07 in their first tenth.
    """

    area: tuple[float, float] = (0.4, 1.0)  # of a large crop, as shares of the frame
    blurred: float = 1.0
    blurred_second: float | None = 0.1
    solarised: float = 0.2
    small: int = 8  # small crops; 0: the two large ones alone, for which the release has an `area` of (0.14, 1)
    small_area: tuple[float, float] = (0.05, 0.4)
    small_size: float = 96 / 224  # side of a small crop, in sides of a large one
    small_blurred: float = 0.5  # share of small crops that are blurred
    prototypes: int = 65536
    hidden: int = 2048  # of the head
    bottleneck: int = 256
    momentum: float = 0.996  # of the teacher, rising to 1
    teacher_temperature: float = 0.04
    temperature: float = 0.1
    held: float = 0.01  # share of the steps in which prototypes stay as they were drawn (the first of 100 epochs)
    centre: float = 0.9  # momentum of the centre; 1 keeps it at 0
    spread: float = 0.0  # weight of DINOv2's term that spreads features (KoLeo); there 0.1

    def __post_init__(self):
        super().__post_init__()
        if self.small < 0 or not 0 < self.small_size <= 1 or self.prototypes < 2:
            raise ValueError(f"small is a count from 0, small_size a share, prototypes are two or more, but got {self}")
        if not 0 <= self.small_blurred <= 1 or not 0 <= self.held <= 1:
            raise ValueError(f"small_blurred and held are shares, but got {self}")

    def build(self, trunk):
        return DINONet(trunk, self)


@dataclass(frozen=True)
class IBOT(DINO):
    """DINO, and the same for the patches that are hidden from the student; its trunk is a transformer.

    An image's share of hidden patches is drawn anew for each batch, between the two of `hide`, in half of the images.
    """

    prototypes: int = 8192
    hide: tuple[float, float] = (0.1, 0.5)
    patches: float = 1.0  # weight of the patches' loss

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.hide[0] <= self.hide[1] < 1:
            raise ValueError(f"hide is a range of shares between 0 and 1, but {self.hide} was given")

    def build(self, trunk):
        return IBOTNet(transformer(trunk, "iBOT"), self)


class DINONet(Net):
    """Metrics: "entropy", of the teacher's answers, over the logarithm of the prototypes: near 1 they are all alike, near 0 one
    prototype has all, if "evenness", the entropy of the mean answer, is near 0 too. Both tell of a collapse.
    """

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.side = max(round(method.small_size * trunk.size), 1)  # of a small crop, in pixels
        if method.small and hasattr(trunk, "unit") and self.side < trunk.unit[1]:
            raise ValueError(
                f"small crops of {self.side} pixels hold no token of {trunk.unit[1]} pixels a side: raise small_size, or"
                " set small to 0"
            )
        self.head = Head(trunk.dim, method.hidden, method.bottleneck, method.prototypes)
        self.head.held.fill_(method.held > 0)
        self.teacher = Teacher(trunk, self.head)
        self.match = DINOLoss(
            method.prototypes,
            warmup_teacher_temp=method.teacher_temperature,
            teacher_temp=method.teacher_temperature,
            student_temp=method.temperature,
            center_momentum=method.centre,
        )
        self.koleo = KoLeoLoss()

    def forward(self, batch):
        large, small = self.crops(batch)
        features = encode(self.trunk, large)  # (B, 2, dim)
        student = self.answers([*features.unbind(1), *(self.trunk(view) for view in small)])
        teacher = list(self.taught(large))
        loss = self.matched(teacher, student)
        if self.method.spread:
            loss = loss + self.method.spread * sum(self.koleo(view) for view in features.unbind(1)) / 2
        return loss, self.told(teacher)

    def answers(self, views: list[Tensor]) -> list[Tensor]:
        """The head's, of features (B, dim) each: all at once, for its many prototypes are made unit vectors."""
        return list(self.head(torch.stack(views)).unbind(0))

    def crops(self, batch: dict) -> tuple[Tensor, list[Tensor]]:
        """Two large crops (B, 2, T, C, size, size), and the small ones, (B, T, C, s, s) each; in eval mode always alike.

        Raises:
            ValueError: features are to be spread, but there is one example.
        """
        clips, method, size = augment.pixels(batch["clips"]), self.method, self.trunk.size
        if method.spread and len(clips) < 2:
            raise ValueError("a batch of one example has no others to spread from: give --batch 2 or more, or spread 0")
        with torch.random.fork_rng(devices=[], enabled=not self.training):
            if not self.training:
                torch.manual_seed(0)
            large = two(clips, size, method)
            looks = (self.side, method.small_area, method.colour, method.small_blurred)
            small = [augmented(clips[:, n % 2], *looks) for n in range(method.small)]
        return large, small

    def taught(self, large: Tensor) -> Tensor:
        """The teacher's answers to the large crops: (2, B, prototypes)."""
        return self.teacher(large.flatten(0, 1)).unflatten(0, large.shape[:2]).transpose(0, 1)

    def matched(self, teacher: list[Tensor], student: list[Tensor]) -> Tensor:
        """Cross entropy of each student's view with each other view of the teacher's; moves the centre in training mode."""
        centre = self.match.center.clone()
        loss = self.match(teacher, student)
        if not self.training:
            self.match.center = centre
        return loss

    @torch.no_grad()
    def told(self, teacher: list[Tensor]) -> dict[str, Tensor]:
        """See the class."""
        answers = torch.cat(teacher).float() - self.match.center[0]
        shares = (answers / self.method.teacher_temperature).softmax(-1)
        most = torch.tensor(float(shares.shape[-1])).log()
        return {"entropy": entropy(shares).mean() / most, "evenness": entropy(shares.mean(0)) / most}

    def update(self, progress: float) -> None:
        self.head.held.fill_(progress < self.method.held)
        self.teacher.follow([self.trunk, self.head], rising(self.method.momentum, progress))

    @torch.no_grad()
    def panels(self, batch: dict) -> dict[str, Tensor]:
        """What a transformer's class token attends to in the centre of the first view, each head's share of its largest.

        Nothing of other trunks. Source: figure 1.
        """
        if not hasattr(self.trunk, "attention"):
            return {}
        clips = augment.centre(augment.pixels(batch["clips"])[:, 0], self.trunk.size)  # (B, T, C, size, size)
        maps = self.trunk.attention(clips)  # (B, heads, T', H', W')
        large = F.interpolate(maps / maps.amax((2, 3, 4), keepdim=True), (clips.shape[1], *clips.shape[3:]))
        heads = {f"head {n}": head.unsqueeze(2) for n, head in enumerate(large.unbind(1), 1)}
        return {"shown": clips, **heads}


class IBOTNet(DINONet):
    """Class token and patches share their head, as in the paper. Metrics: see `DINONet`, and "patches", their loss."""

    def __init__(self, trunk, method):
        super().__init__(trunk, method)
        self.teacher = Teacher(Tokens(trunk), self.head)
        self.hidden = nn.Parameter(torch.zeros(trunk.dim))
        self.patch = IBOTPatchLoss(
            method.prototypes, method.teacher_temperature, method.temperature, center_momentum=method.centre
        )

    def forward(self, batch):
        large, small = self.crops(batch)
        views = large.flatten(0, 1)  # (B * 2, ...)
        hidden = self.hide(views)
        tokens = self.trunk.tokens(views, hide=hidden, token=self.hidden)
        student, teacher = self.head(tokens), self.teacher(views)  # (B * 2, 1 + L, prototypes)
        pairs = [both[:, 0].unflatten(0, large.shape[:2]).unbind(1) for both in (student, teacher)]
        others = self.answers([self.trunk.tokens(view)[:, 0] for view in small]) if small else []
        loss = self.matched(list(pairs[1]), [*pairs[0], *others])
        patches = self.of_patches(teacher[:, 1:], student[:, 1:], hidden)
        if self.method.spread:
            features = tokens[:, 0].unflatten(0, large.shape[:2])
            loss = loss + self.method.spread * sum(self.koleo(view) for view in features.unbind(1)) / 2
        return loss + self.method.patches * patches, {**self.told(list(pairs[1])), "patches": patches.detach()}

    def hide(self, views: Tensor) -> Tensor:
        """Which places are hidden: (N, L) bool; of every other view none."""
        with torch.random.fork_rng(devices=[], enabled=not self.training):
            if not self.training:
                torch.manual_seed(0)
            share = torch.empty(()).uniform_(*self.method.hide).item()
            hidden = masks("block", share, len(views), self.trunk.grid_of(views))
            hidden[torch.randperm(len(views))[: len(views) // 2]] = False
        return hidden.to(views.device)

    def of_patches(self, teacher: Tensor, student: Tensor, hidden: Tensor) -> Tensor:
        """Cross entropy of hidden places, the mean over those of an image, then over images.

        The centre is the mean of the teacher's answers for these places alone, as in DINOv2 (iBOT: for all places).
        """
        centre = self.patch.center.center.clone()
        loss = self.patch(teacher[hidden], student[hidden], hidden.unsqueeze(1))
        if not self.training:
            self.patch.center.center = centre
        return loss

    def update(self, progress: float) -> None:
        self.head.held.fill_(progress < self.method.held)
        self.teacher.follow([Tokens(self.trunk), self.head], rising(self.method.momentum, progress))


class Head(nn.Module):
    """Three layers, a unit vector, and its cosines with unit prototypes: (..., inputs) to (..., prototypes), -1 to 1.

    lightly's cannot be copied for a teacher (torch's old `weight_norm`). While they are `held`, prototypes have a gradient
    of 0; what weight decay does to their length is nothing to their cosines.
    """

    def __init__(self, inputs: int, hidden: int, bottleneck: int, prototypes: int):
        super().__init__()
        widths = (inputs, hidden, hidden, bottleneck)
        layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.GELU())]
        self.layers = nn.Sequential(*layers[:-1])
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        nn.init.trunc_normal_(self.prototypes, std=0.02)
        self.register_buffer("held", torch.zeros((), dtype=torch.bool))

    def forward(self, features: Tensor) -> Tensor:
        prototypes = torch.where(self.held, self.prototypes.detach(), self.prototypes)
        return F.linear(F.normalize(self.layers(features), dim=-1), F.normalize(prototypes, dim=-1))


def entropy(shares: Tensor) -> Tensor:
    """Of distributions (..., K), in nats."""
    return -torch.special.xlogy(shares, shares).sum(-1)
