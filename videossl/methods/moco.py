"""Find the other view of the same image, or video, among many views of the past.

Sources: He et al., "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020, algorithm 1; Chen et
al., "Improved Baselines with Momentum Contrastive Learning", 2020 (version 2: a nonlinear head, blur, a temperature of 0.2);
Chen, Xie, He, "An Empirical Study of Training Self-Supervised Vision Transformers", ICCV 2021, algorithm 1 (version 3: no
queue, a predictor, both directions). With two clips of a video (`apart`) it is rho-MoCo.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from lightly.models.modules import BYOLPredictionHead, MoCoProjectionHead
from torch import Tensor, nn
from torch.distributed.nn import all_gather
from torch.nn import functional as F

from videossl.methods.base import Net
from videossl.methods.parts import encode
from videossl.methods.two_views import Teacher, TwoViews, found, rising, seen, several


@dataclass(frozen=True)
class MoCo(TwoViews):
    """A query is compared with the other view's key and with a queue of keys, which a slowly following teacher made.

    Keys' batch norms are computed over the batch as it is: with several devices the original shuffles it between them.
    Version 1 does without blur; version 3 has `blurred` 1, `blurred_second` 0.1 and `solarised` 0.2.
    """

    version: Literal[1, 2, 3] = 2
    temperature: float = 0.2  # version 1: 0.07; version 3: 0.2 with transformers, 1 with ResNets
    queue: int = 65536  # keys of the past, in versions 1 and 2
    momentum: float = 0.999  # of the teacher; in version 3 (0.99) it rises to 1
    hidden: int = 2048  # version 3: 4096
    out: int = 128  # numbers that are compared; version 3: 256

    def __post_init__(self):
        super().__post_init__()
        if self.queue < 1 or not 0 <= self.momentum <= 1 or self.temperature <= 0:
            raise ValueError(f"queue is a count, momentum a share and temperature over 0, but got {self}")

    def build(self, trunk):
        return MoCoV3Net(trunk, self) if self.version == 3 else MoCoNet(trunk, self)


class MoCoNet(Net):
    """Versions 1 and 2. Metrics: see `found`; the loss begins under ln(queue + 1), and rises until the queue is full."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        linear = method.version == 1
        self.projector = (
            nn.Linear(trunk.dim, method.out) if linear else MoCoProjectionHead(trunk.dim, method.hidden, method.out)
        )
        self.teacher = Teacher(trunk, self.projector)
        self.register_buffer("queue", F.normalize(torch.randn(method.queue, method.out), dim=1))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.long))  # where the next key goes

    def forward(self, batch):
        views = seen(batch, self.method, self.trunk.size, self.training)
        queries = F.normalize(self.projector(self.trunk(views[:, 0])), dim=1)
        keys = F.normalize(self.teacher(views[:, 1]), dim=1)
        own = (queries * keys).sum(1, keepdim=True)
        logits = torch.cat([own, queries @ self.queue.clone().T], 1) / self.method.temperature
        loss = F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))
        if self.training:
            self.enqueue(keys)
        return loss, found(queries, keys)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put keys (N, D) in the place of the oldest ones; those of all processes in all queues."""
        keys = torch.cat(all_gather(keys)) if several() else keys
        keys = keys[-len(self.queue) :]
        places = (self.oldest + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[places] = keys.to(self.queue.dtype)
        self.oldest.copy_((self.oldest + len(keys)) % len(self.queue))

    def update(self, progress: float) -> None:
        self.teacher.follow([self.trunk, self.projector], self.method.momentum)


class MoCoV3Net(Net):
    """Version 3: keys of the batch, in both directions. Metrics: see `found`.

    A transformer's patches are embedded as they were drawn, which is not trained: that keeps learning steady (section 4.2).
    Its projector has three layers, those of other trunks two, and its predictor ends in a norm, as in the release
    (github.com/facebookresearch/moco-v3).
    """

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.method = trunk, method
        transformer = hasattr(trunk, "tokens")
        if transformer:
            trunk.embed.requires_grad_(False)
        layers = 3 if transformer else 2
        self.projector = MoCoProjectionHead(trunk.dim, method.hidden, method.out, layers, batch_norm=True)
        self.projector.layers[-1] = nn.BatchNorm1d(method.out, affine=False)
        self.predictor = BYOLPredictionHead(method.out, method.hidden, method.out)
        if transformer:
            self.predictor.layers.append(nn.BatchNorm1d(method.out, affine=False))
        self.teacher = Teacher(trunk, self.projector)

    def forward(self, batch):
        views = seen(batch, self.method, self.trunk.size, self.training)
        queries = self.predictor(self.projector(encode(self.trunk, views).flatten(0, 1)))
        queries = F.normalize(queries, dim=1).unflatten(0, views.shape[:2])  # (B, 2, D)
        keys = F.normalize(self.teacher(views.flatten(0, 1)), dim=1).unflatten(0, views.shape[:2])
        loss = self.contrast(queries[:, 0], keys[:, 1]) + self.contrast(queries[:, 1], keys[:, 0])
        return loss, found(queries[:, 0], keys[:, 1])

    def contrast(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Cross entropy of each query's own key among the batch's, times twice the temperature, as the release has it."""
        rank = 0
        if several():
            keys, rank = torch.cat(all_gather(keys)), torch.distributed.get_rank()
        own = torch.arange(len(queries), device=keys.device) + rank * len(queries)
        return F.cross_entropy(queries @ keys.T / self.method.temperature, own) * 2 * self.method.temperature

    def update(self, progress: float) -> None:
        self.teacher.follow([self.trunk, self.projector], rising(self.method.momentum, progress))
