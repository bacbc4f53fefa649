"""Find the code from which a generator would paint a picture: adversarial feature learning.

Source: Donahue, Krähenbühl, Darrell, "Adversarial Feature Learning", ICLR 2017, section 3 (BiGAN), and its appendix for
encoders that see more pixels than the generator paints; settings after the release (github.com/jeffdonahue/bigan).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.images import Painter, frozen, judged, judging_layers, one_frame, shrunk


@dataclass(frozen=True)
class BiGAN:
    """The trunk makes a code of a picture, a generator a picture of a code, and a discriminator is shown pairs.

    True pairs are a picture and its code, false ones a painted picture and the code it was painted from. Where they
    cannot be told apart, encoder and generator undo each other, though neither has ever seen what the other made.
    The metric "rebuilt" is how far pictures painted from the codes of pictures are from these, as a share of how far they
    are from other pictures of the batch: 1 where a code tells nothing.

    Where we leave the paper: both sides of the game learn at once from one backward pass, by one optimizer, each from its
    own loss alone (the release: in turns). AdamW with `--rate 2e-4` is near the release's Adam, whose first momentum is
    0.5.
    """

    code: int = 200  # numbers, even between -1 and 1
    size: int = 64  # pixels a side of painted pictures, at most what the trunk sees
    width: int = 64  # channels of the finest layers of generator and discriminator
    joint: int = 1024  # units of the layers in which the discriminator sees a picture and its code together

    chance: ClassVar[dict[str, float]] = {"rebuilt": 1.0}

    def __post_init__(self):
        if min(self.code, self.size, self.width, self.joint) < 1:
            raise ValueError(f"code, size, width and joint are counts from 1: {self}")

    def check(self, record):
        """Any picture will do."""

    def sample(self, record, rng):
        return {"clips": one_frame(record, rng), "code": rng.uniform(-1, 1, self.code).astype(np.float32)}

    def build(self, trunk):
        return BiGANNet(trunk, self)


class BiGANNet(Net):
    """The network of a `BiGAN`."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk = trunk
        self.size = min(method.size, trunk.size)
        self.encoder = nn.Linear(trunk.dim, method.code)
        self.generator = Painter(method.code, self.size, method.width)
        self.critic = JointCritic(self.size, method)

    def pairs(self, batch: dict) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pictures (B, 3, size, size) and their codes (B, code), painted pictures and the codes they are painted from."""
        clips = augment.standard(augment.pixels(batch["clips"]), self.trunk.size, self.training)
        drawn = torch.as_tensor(batch["code"], device=clips.device)
        true = shrunk(clips[:, 0], self.size)
        return true, self.encoder(self.trunk(clips)), self.paint(drawn), drawn

    def paint(self, code: Tensor) -> Tensor:
        """(B, code) to pictures (B, 3, size, size) in [0, 1]."""
        return torch.sigmoid(self.generator(code))

    def forward(self, batch):
        """The loss is the sum of both sides' cross entropies; "accuracy" is the discriminator's."""
        true, code, false, drawn = self.pairs(batch)
        told = self.critic(true, code.detach()), self.critic(false.detach(), drawn)
        critic = (judged(told[0], 1.0) + judged(told[1], 0.0)) / 2
        makers = (judged(frozen(self.critic, true, code), 0.0) + judged(frozen(self.critic, false, drawn), 1.0)) / 2
        with torch.no_grad():
            painted = self.paint(code)
            accuracy = torch.cat([told[0] > 0, told[1] <= 0]).float().mean()
            rebuilt = (painted - true).square().mean() / (painted - true.roll(1, 0)).square().mean().clamp(min=1e-12)
        return critic + makers, {
            "discriminator": critic.detach(),
            "fooling": makers.detach(),
            "accuracy": accuracy,
            "rebuilt": rebuilt,
        }

    @torch.no_grad()
    def panels(self, batch: dict) -> dict[str, Tensor]:
        """Pictures, what is painted from their codes, and what is painted from random codes."""
        true, code, false, _ = self.pairs(batch)
        panels = {"input": true, "rebuilt": self.paint(code), "generated": false}
        return {title: picture.unsqueeze(1) for title, picture in panels.items()}


class JointCritic(nn.Module):
    """Whether a picture's code was made of it, or it of its code: (N, 3, size, size) and (N, code) to logits (N, 1)."""

    def __init__(self, size: int, method: BiGAN):
        super().__init__()
        self.picture, inputs = judging_layers(size, method.width)
        self.code = nn.Sequential(nn.Linear(method.code, method.joint), nn.LeakyReLU(0.2))
        self.joint = nn.Sequential(
            nn.Linear(inputs + method.joint, method.joint), nn.LeakyReLU(0.2), nn.Linear(method.joint, 1)
        )

    def forward(self, pictures: Tensor, codes: Tensor) -> Tensor:
        return self.joint(torch.cat([self.picture(pictures), self.code(codes)], 1))
