"""Tell by how much a picture was turned.

Source: Gidaris, Singh, Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations", ICLR 2018,
section 2; batches after the authors' release (github.com/gidariss/FeatureLearningRotNet).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.images import one_frame
from videossl.methods.parts import classify


@dataclass(frozen=True)
class Rotation:
    """A square picture, mirrored or not, is turned by a multiple of 90 degrees, by moving pixels alone.

    All turns of each picture are in the same batch, made by the net of the one in the example, so it sees as many times
    more pictures. Of what looks alike when turned, and of pictures that are turned anyhow, nothing can be told: the loss
    is at best log 4.
    """

    turns: tuple[int, ...] = (0, 90, 180, 270)  # degrees, counter-clockwise
    scale: tuple[float, float] = (0.5, 1.0)  # area that a random crop takes in training, as a share of the picture's

    @property
    def answers(self) -> tuple[str, ...]:
        return tuple(f"{turn} degrees" for turn in self.turns)

    @property
    def chance(self) -> dict[str, float]:
        return {"accuracy": 1 / len(self.turns)}

    def __post_init__(self):
        if len(self.turns) < 2 or len(set(self.turns)) < len(self.turns) or set(self.turns) - {0, 90, 180, 270}:
            raise ValueError(f"turns are two or more of 0, 90, 180 and 270, but {self.turns} were given")

    def check(self, record):
        """Any picture will do."""

    def sample(self, record, rng):
        frame = one_frame(record, rng)  # (1, C, H, W)
        side = min(frame.shape[-2:])
        top, left = (int(rng.integers(length - side + 1)) for length in frame.shape[-2:])
        square = frame[..., top : top + side, left : left + side]
        square = square.flip(-1) if rng.random() < 0.5 else square
        answer = int(rng.integers(len(self.turns)))
        return {"clips": turned(square, self.turns[answer])[None], "answer": answer}  # (1, 1, C, side, side)

    def build(self, trunk):
        return RotationNet(trunk, self)


def turned(clips: Tensor, degrees: int) -> Tensor:
    """Clips (..., H, W), turned counter-clockwise by a multiple of 90 degrees."""
    return torch.rot90(clips, degrees // 90, (-2, -1)).contiguous()


class RotationNet(Net):
    """The trunk and a linear layer."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk, self.turns, self.scale = trunk, method.turns, method.scale
        self.turn = nn.Linear(trunk.dim, len(method.turns))

    def view(self, clips: Tensor) -> Tensor:
        """(B, 1, 1, C, S, S) to (B, 1, C, size, size); no crop or mirror image tells one turn from another."""
        clips = augment.pixels(clips)[:, 0]
        if self.training:
            return augment.crop(clips, self.trunk.size, self.scale)
        return augment.centre(clips, self.trunk.size)

    def predict(self, batch):
        """Logits (B, turns)."""
        return self.turn(self.trunk(self.view(batch["clips"])))

    def forward(self, batch):
        clips, answer = self.view(batch["clips"]), torch.as_tensor(batch["answer"])
        upright = torch.tensor(self.turns, device=answer.device)[answer]
        quarters = torch.stack([torch.rot90(clips, n, (-2, -1)) for n in range(4)])  # (4, B, 1, C, size, size)
        numbers = torch.arange(len(clips), device=answer.device)
        shown = torch.cat([quarters[(turn - upright) % 360 // 90, numbers] for turn in self.turns])
        answers = torch.arange(len(self.turns), device=answer.device).repeat_interleave(len(clips))
        return classify(self.turn(self.trunk(shown)), answers)
