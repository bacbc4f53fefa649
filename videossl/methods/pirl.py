"""Make of a picture's shuffled patches what is made of the picture, unlike what is made of other pictures.

Source: Misra and van der Maaten, "Self-Supervised Learning of Pretext-Invariant Representations", CVPR 2020, equation 5, with
the patches of jigsaw; github.com/facebookresearch/vissl, configs of pirl_jigsaw.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl.methods.base import Net
from videossl.methods.memory import Memory, Remembered
from videossl.methods.parts import encode
from videossl.methods.two_views import seen


@dataclass(frozen=True)
class PIRL(Remembered):
    """The whole softmax over what is remembered of all records; the paper takes 32,000 of them.

    Patches lie side by side, and are shuffled anew each time; the release leaves jigsaw's gaps between them.
    """

    patches: int = 3  # along each side of a picture
    balance: float = 0.5  # weight of the patches' loss; the rest is the picture's
    temperature: float = 0.07
    momentum: float = 0.5  # of what is remembered of a picture
    out: int = 128
    area: tuple[float, float] = (0.6, 1.0)
    blurred: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.patches < 2 or not 0 <= self.balance <= 1:
            raise ValueError(f"patches are two a side or more, balance is a share, but got {self}")

    def build(self, trunk):
        return PIRLNet(trunk, self)


class PIRLNet(Net):
    """Metrics: "accuracy", of telling the record among all from its patches; "guessing", the chance of that."""

    def __init__(self, trunk, method):
        super().__init__()
        if trunk.size // method.patches < 4:
            raise ValueError(f"patches of {trunk.size // method.patches} pixels are too small: lower --method.patches")
        self.trunk, self.method = trunk, method
        self.whole, self.part = nn.Linear(trunk.dim, method.out), nn.Linear(trunk.dim, method.out)
        self.together = nn.Linear(method.patches**2 * method.out, method.out)
        self.memory = Memory(method.counted(), method.out, method.momentum)

    def forward(self, batch):
        views = seen(batch, self.method, self.trunk.size, self.training)
        number, temperature = batch["number"], self.method.temperature
        picture = F.normalize(self.whole(self.trunk(views[:, 0])), dim=1)
        shuffled = F.normalize(self.together(self.part(encode(self.trunk, self.cut(views[:, 1]))).flatten(1)), dim=1)
        loss, right = self.memory.contrast(shuffled, number, picture, temperature)
        own, _ = self.memory.contrast(picture, number, shuffled, temperature)
        if self.training:
            self.memory.remember(picture, number)
        metrics = {"accuracy": right, "guessing": loss.new_tensor(1 / len(self.memory.rows))}
        return self.method.balance * loss + (1 - self.method.balance) * own, metrics

    def cut(self, clips: Tensor) -> Tensor:
        """Patches in a random order for each clip, in the same one in eval mode: (B, T, C, H, W) to (B, K, T, C, h, w)."""
        count, side = self.method.patches, clips.shape[-1] // self.method.patches
        rows = clips[..., : count * side, : count * side].unflatten(-2, (count, side)).unflatten(-1, (count, side))
        patches = rows.movedim((-4, -2), (1, 2)).flatten(1, 2)  # (B, K, T, C, h, w)
        with torch.random.fork_rng(devices=[], enabled=not self.training):
            if not self.training:
                torch.manual_seed(0)
            order = torch.rand(len(clips), count**2).argsort(1).to(clips.device)
        return patches[torch.arange(len(clips), device=clips.device)[:, None], order]
