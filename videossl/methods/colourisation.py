"""Colour a picture that is shown in grey.

Source: Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016, section 2; grey pictures and the smoothing after the
authors' release (github.com/richzhang/colorization).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from videossl import augment
from videossl.lab import annealed_mean, colour_bins, coloured, lab_to_rgb, rgb_to_lab, soft_code
from videossl.methods.base import Net
from videossl.methods.images import Dense, map_shape, maps_of, one_frame, shrunk, some_frames

SCALE = 50.0  # units of a and b to one of the regression's: about what strong colours measure
LOOKED_AT = 256  # pictures in which frequencies of colours are counted
PLACES = 64  # of these pictures, a side


@dataclass(frozen=True)
class Colourisation:
    """From lightness alone, tell the colour of each place: one of the classes of `lab.colour_bins`.

    The mean of a thing's possible colours is a greyish brown, at which squared errors ("regression") aim; a distribution
    can hold several. Most of what pictures show is nearly grey, so rare colours count for more (`uniform`).

    Where we leave the paper: any trunk, which sees lightness as a grey picture and normalises it; and the loss is a mean
    over the places of pictures with colours. Grey ones count nothing, as in the release.
    """

    loss: Literal["classes", "regression"] = "classes"
    step: int = 10  # between classes, in units of a and b: 10 makes 313 classes
    neighbours: int = 5  # classes that share a true colour
    sigma: float = 5.0  # of the Gaussian by which they share it, and which smooths frequencies; in units of a and b
    # share of even frequencies that is mixed into those counted, before rare colours are weighted up; 1 weighs all alike
    uniform: float = 0.5
    temperature: float = 0.38  # of the mean that makes one colour of a distribution
    width: int = 64  # channels of the head
    prior: tuple[float, ...] | None = None  # frequency of each class, smoothed; None: found in the records

    chance: ClassVar[dict[str, float]] = {}  # the best answer that is the same everywhere is measured beside it

    def __post_init__(self):
        if min(self.step, self.neighbours, self.width) < 1 or min(self.sigma, self.temperature) <= 0:
            raise ValueError(f"step, neighbours and width are from 1, sigma and temperature over 0: {self}")
        if not 0 <= self.uniform <= 1:
            raise ValueError(f"uniform is a share, within [0, 1], but {self.uniform} was given")

    def check(self, record):
        """Any picture will do; whether they have colours is seen in `prepare`."""

    def prepare(self, records):
        """With the frequencies of colours in some of the records' pictures.

        Raises:
            ValueError: these are all grey.
        """
        if self.prior is not None:
            return self
        bins = colour_bins(self.step)
        count = torch.zeros(len(bins))
        for frame in some_frames(records, LOOKED_AT):
            every = max(1, min(frame.shape[1:]) // PLACES)
            colours = rgb_to_lab(frame)[1:, ::every, ::every].flatten(1).T
            count += soft_code(colours, bins, 1, self.sigma)[0].flatten().bincount(minlength=len(bins))
        near = torch.exp(-torch.cdist(bins, bins).square() / (2 * self.sigma**2))
        smooth = near / near.sum(0) @ count
        return replace(self, prior=tuple((smooth / smooth.sum()).tolist()))

    def sample(self, record, rng):
        return {"clips": one_frame(record, rng)}

    def build(self, trunk):
        """The trunk and a head on its maps.

        Raises:
            ValueError: the trunk has no maps, or frequencies of colours are needed and were not counted.
        """
        return ColourisationNet(trunk, self)


def class_weights(prior: Tensor, uniform: float) -> Tensor:
    """What a place counts, by the class of its colour: inverse to the frequency, and 1 in the mean over all places.

    Args:
        prior: (Q,) frequencies, which sum to 1.
        uniform: share of even frequencies that is mixed in.

    Returns: (Q,).

    Source: section 2.2, equation 4.
    """
    weights = 1 / ((1 - uniform) * prior + uniform / len(prior))
    return weights / (prior * weights).sum()


class ColourisationNet(Net):
    """The trunk, and a head that answers at a quarter of the picture's resolution."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk = trunk
        self.neighbours, self.sigma, self.temperature = method.neighbours, method.sigma, method.temperature
        self.classes = method.loss == "classes"
        bins = colour_bins(method.step)
        if not self.classes or method.uniform == 1:
            weights = torch.ones(len(bins))
        elif method.prior is None:
            raise ValueError("how frequent colours are is not known: call prepare(records), or set uniform to 1")
        else:
            weights = class_weights(torch.tensor(method.prior), method.uniform)
        self.register_buffer("bins", bins, persistent=False)
        self.register_buffer("weights", weights, persistent=False)
        maps = map_shape(trunk, "Colourisation")
        self.side = max(trunk.size // 4, *maps[1:])
        self.head = Dense(maps, self.side, method.width, len(bins) if self.classes else 2)

    def view(self, batch: dict) -> Tensor:
        """Pictures in Lab: (B, 3, H, W)."""
        clips = augment.standard(augment.pixels(batch["clips"]), self.trunk.size, self.training)
        return rgb_to_lab(clips[:, 0])

    def answer(self, lab: Tensor) -> Tensor:
        """Logits (B, Q, side, side) of the classes, or a and b (B, 2, side, side)."""
        grey = (lab[:, :1] / 100).expand(-1, 3, -1, -1)
        answer = self.head(maps_of(self.trunk, grey.unsqueeze(1)))
        return answer if self.classes else SCALE * answer

    def colours(self, answer: Tensor) -> Tensor:
        """The colours that an answer stands for: a and b, (B, 2, side, side)."""
        return annealed_mean(answer, self.bins, self.temperature) if self.classes else answer

    def forward(self, batch):
        """The loss is a cross entropy in nats, or a squared error in units of 50 of a and b.

        "constant_loss" is that of the best answer that is the same at all places of the batch. "error" is the root of the
        mean squared error in a and b, "grey_error" that of staying grey, and "vivid" how far from grey the answered
        colours are, as a share of how far the true ones are.
        """
        lab = self.view(batch)
        truth, answer = shrunk(lab[:, 1:], self.side), self.answer(lab)
        if self.classes:
            numbers, shares = soft_code(truth.movedim(1, -1), self.bins, self.neighbours, self.sigma)  # (B, h, w, k)
            weight = self.weights[numbers[..., 0]] * coloured(lab)[:, None, None]
            places = coloured(lab).sum().clamp(min=1) * self.side**2
            loss = (weight * soft_cross_entropy(answer, numbers, shares)).sum() / places
            constant = constant_cost(numbers, shares, weight, len(self.bins)) / places
        else:
            loss = F.mse_loss(answer / SCALE, truth / SCALE)
            constant = truth.var((0, 2, 3), correction=0).mean() / SCALE**2
        with torch.no_grad():
            painted = self.colours(answer)
            metrics = {
                "constant_loss": constant,
                "error": (painted - truth).square().mean().sqrt(),
                "grey_error": truth.square().mean().sqrt(),
                "vivid": painted.norm(dim=1).mean() / truth.norm(dim=1).mean().clamp(min=1e-3),
            }
        return loss, metrics

    @torch.no_grad()
    def panels(self, batch: dict) -> dict[str, Tensor]:
        """The picture in grey, as it is, and coloured."""
        lab = self.view(batch)
        colours = F.interpolate(self.colours(self.answer(lab)), lab.shape[2:], mode="bilinear", align_corners=False)
        grey = torch.cat([lab[:, :1], torch.zeros_like(lab[:, 1:])], 1)
        panels = {"shown": grey, "truth": lab, "coloured": torch.cat([lab[:, :1], colours], 1)}
        return {title: lab_to_rgb(picture).unsqueeze(1) for title, picture in panels.items()}


def soft_cross_entropy(logits: Tensor, numbers: Tensor, shares: Tensor) -> Tensor:
    """Of each place: logits (B, Q, H, W) for classes `numbers` with `shares`, (B, H, W, k) both, to (B, H, W)."""
    log = F.log_softmax(logits, 1).movedim(1, -1)
    return -(shares * log.gather(-1, numbers)).sum(-1)


@torch.no_grad()
def constant_cost(numbers: Tensor, shares: Tensor, weight: Tensor, classes: int) -> Tensor:
    """Weighted sum of cross entropies of one distribution for all places, the best there is: their own mean.

    Args:
        numbers, shares: (B, H, W, k), as in `soft_code`.
        weight: (B, H, W).
        classes: how many there are.
    """
    total = weight.new_zeros(classes).index_add_(0, numbers.flatten(), (weight.unsqueeze(-1) * shares).flatten())
    return torch.special.entr(total / total.sum().clamp(min=1e-12)).sum() * total.sum()
