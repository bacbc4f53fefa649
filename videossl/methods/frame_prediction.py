"""Repaint the frames that were read, last one first, and paint those that follow, from the state of an LSTM.

Source: Srivastava, Mansimov, Salakhutdinov, "Unsupervised Learning of Video Representations using LSTMs", ICML 2015,
sections 2 and 3; details after the authors' release (lstm_combo.py of github.com/emansim/unsupervised-videos). The
convolutional decoder: Shi et al., "Convolutional LSTM Network", NIPS 2015, section 3.2.
"""

import copy
from abc import abstractmethod
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure
from torchvision.transforms.v2 import functional as vision

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.parts import encode
from videossl.models.base import Trunk, by_frame
from videossl.models.lstm import PeepholeLSTM, State

UNITS = 2048  # of the paper's LSTMs
WINDOW = 11  # pixels a side, over which SSIM compares


@dataclass(frozen=True)
class FramePrediction:
    """The composite model; with one of `reconstruct` and `predict` the autoencoder or the future predictor.

    An LSTM reads the past, and its state is copied into an LSTM for each of both questions. What reads depends on the
    trunk. One that reads frame by frame (LSTM, ConvLSTM) is the paper's encoder itself. A frame trunk sees each frame,
    and an LSTM of the net's reads its features: the paper's model on percepts, but with a trunk that learns. A clip
    trunk sees the past at once, and a linear map of its feature is the state that decoders start from (not the paper's).

    Pixels are predicted as they are seen by the trunk, or smaller (`size`), which is quicker. Percepts are the features
    that the trunk gave each frame before pretraining, standardised: a copy of it, never trained, says what is to be
    predicted, so that features cannot become easy to predict by all becoming the same. The paper's copy is a VGG that
    knows ImageNet (trunk:resnet --trunk.weights FILE); of random weights the percepts are random projections.

    Defaults are those of the paper on two moving digits. It says of the conditional decoder that it can do without the
    state, since a frame resembles the one before. Where we leave the paper: crops are drawn at random in training (no
    crop where frames are of the trunk's size, as moving digits are); features go through batch norm before they are read,
    without which nothing was learned of a bar that moves in as many steps as do with it; `gap` and `stride` are ours.
    """

    past: int = 10  # frames that are read
    future: int = 10  # frames that follow
    stride: int = 1  # frames of the video from one frame to the next
    gap: int = 0  # frames of the video that are left out between past and future
    reconstruct: bool = True  # repaint the past, last frame first
    predict: bool = True  # paint the future
    # which decoder is shown the frame before the one that it is to paint: the true one in training; in evaluation, too,
    # where the past is repainted, while the future is then painted from its own frames
    conditional: Literal["neither", "past", "future", "both"] = "future"
    target: Literal["pixels", "percepts"] = "pixels"  # what is painted: frames, or what the trunk makes of them
    # bernoulli: cross entropy, for pixels that are mostly black or white; squared: half the squared error, for others
    loss: Literal["bernoulli", "squared"] = "bernoulli"
    # paint only the change from the last frame read, beginning with none: what stands still need not be remembered (ours)
    onto: bool = False
    size: int | None = None  # pixels a side of the painted frames; None paints what the trunk sees
    grey: bool = True  # paint one grey value a pixel; else three colours
    mirror: bool = False  # show half of the clips mirrored; a mirrored digit is none
    # of each layer of the net's own LSTMs (decoders of a trunk that reads have its widths); None is as many as the trunk
    # has features, and at most the paper's 2048
    units: int | None = None
    layers: int = 1  # of the net's own LSTMs

    @property
    def span(self) -> int:
        """Frames a video must have."""
        return int(self.numbers()[-1]) + 1

    @property
    def chance(self) -> dict[str, float]:
        """None is known before: copying the last frame and the mean frame are measured beside it."""
        return {}

    def __post_init__(self):
        counts = (self.past, self.future, self.stride, self.layers, 1 if self.units is None else self.units)
        if min(counts) < 1 or self.gap < 0:
            raise ValueError(f"past, future, stride, units and layers are counts from 1, gap from 0: {self}")
        if not (self.reconstruct or self.predict):
            raise ValueError("nothing is asked for: set reconstruct, predict or both")
        if self.target == "percepts" and self.loss != "squared":
            raise ValueError("percepts are no probabilities of black and white: set loss to squared")

    def numbers(self) -> np.ndarray:
        """Frames shown, counted from the first: (past + future,), or (past,) where no future is asked for."""
        steps = self.stride * np.arange(self.past + (self.future if self.predict else 0))
        return steps + np.where(np.arange(len(steps)) < self.past, 0, self.gap)

    def check(self, record):
        """Raise a ValueError if the record is too short."""
        if len(record["frames"]) < self.span:
            raise ValueError(f"fewer than the {self.span} frames asked for: lower past, future, stride or gap")

    def sample(self, record, rng):
        self.check(record)
        frames = record["frames"]
        start = rng.integers(len(frames) - self.span + 1)
        return {"video": frames[start + self.numbers()]}

    def build(self, trunk):
        """The net for the trunk's kind.

        Raises:
            ValueError: frames of this `size` cannot be painted or measured; or percepts are asked of a clip trunk.
        """
        return (FramePredictionNet if self.target == "pixels" else PerceptPredictionNet)(trunk, self)


class Decoder(nn.Module):
    """Unrolls a copied state into items, pictures (C, S, S) or vectors (D,)."""

    def __init__(
        self, widths: tuple[int, ...], kernel: int | None, patch: int, item: tuple[int, ...], conditional: bool
    ):
        """Args:
        widths, kernel: of the LSTM whose state is copied (`PeepholeLSTM`); this one has weights of its own.
        patch: pixels of a picture that make a cell, a side, where the state is maps.
        item: shape of what comes out at each step.
        conditional: whether it is shown the item before.
        """
        super().__init__()
        self.patch, self.item, self.conditional = patch, item, conditional
        channels = prod(item) if kernel is None else item[0] * patch**2
        self.stack = PeepholeLSTM(channels if conditional else 0, widths, kernel)
        if kernel is None:
            self.out = nn.Linear(widths[-1], channels)
        else:
            self.out = nn.Conv2d(sum(widths), channels, 1)  # Shi et al.: of the states of all layers

    def forward(
        self, state: State, steps: int, squash: nn.Module, shown: Tensor | None, base: Tensor | float = 0.0
    ) -> Tensor:
        """Args:
            state: what was read. The first step sees nothing else.
            squash: makes of what comes out what could be shown.
            shown: (N, steps, *item), shown to a conditional decoder a step late; None shows it its own.
            base: what all that comes out is added to, (N, *item).

        Returns: (N, steps, *item), before `squash`.
        """
        before, items = None, []
        for t in range(steps):
            state = self.stack(before, state)
            items.append(base + self.emit(state))
            if self.conditional and t + 1 < steps:
                before = self.take(squash(items[t]) if shown is None else shown[:, t])
        return torch.stack(items, 1)

    def take(self, item: Tensor) -> Tensor:
        """An item (N, *item) as the LSTM is shown it."""
        return item.flatten(1) if self.stack.kernel is None else F.pixel_unshuffle(item, self.patch)

    def emit(self, state: State) -> Tensor:
        """The item (N, *item) that a state paints."""
        if self.stack.kernel is None:
            return self.out(state[-1][0]).unflatten(1, self.item)
        return F.pixel_shuffle(self.out(torch.cat([h for h, _ in state], 1)), self.patch)


class PredictionNet(Net):
    """The network of a `FramePrediction`: trunk, what makes a state of its features, and two decoders."""

    def __init__(self, trunk: Trunk, method: FramePrediction, item: tuple[int, ...]):
        super().__init__()
        self.trunk, self.method = trunk, method
        self.standard = self.reader = self.start = None
        units = min(trunk.dim, UNITS) if method.units is None else method.units
        widths, kernel, patch = (units,) * method.layers, None, 1
        if hasattr(trunk, "read"):
            widths, kernel, patch = trunk.stack.widths, trunk.stack.kernel, patch_of(trunk, item)
        else:
            self.standard = nn.BatchNorm1d(trunk.dim)
            if trunk.length == 1:
                self.reader = PeepholeLSTM(trunk.dim, widths)
            else:
                self.start = nn.Linear(trunk.dim, 2 * sum(widths))
        self.bernoulli = method.loss == "bernoulli"
        self.squash = nn.Sigmoid() if self.bernoulli else nn.Identity()
        asked = {"past": method.reconstruct, "future": method.predict}
        self.decoders = nn.ModuleDict(
            {
                name: Decoder(widths, kernel, patch, item, conditional=method.conditional in (name, "both"))
                for name, wanted in asked.items()
                if wanted
            }
        )
        if method.onto:
            for decoder in self.decoders.values():
                nn.init.zeros_(decoder.out.weight)
                nn.init.zeros_(decoder.out.bias)

    @abstractmethod
    def items(self, clips: Tensor) -> Tensor:
        """What is to be predicted of clips (B, T, 3, H, W): (B, T, *item)."""

    def read(self, clips: Tensor) -> State:
        """The state after the past, (B, past, 3, H, W)."""
        if self.reader is not None:
            return self.reader.read(by_frame(self.standard, encode(self.trunk, clips.unsqueeze(2))))[1]
        if self.start is None:
            return self.trunk.read(clips)
        parts = self.start(self.standard(self.trunk(clips))).chunk(2 * self.method.layers, 1)
        return [(torch.tanh(h), c) for h, c in zip(parts[::2], parts[1::2], strict=True)]

    def view(self, batch: dict) -> Tensor:
        """The clips as the trunk sees them: cropped, (B, T, 3, size, size)."""
        clips = augment.pixels(batch["video"])
        if not self.training:
            return augment.centre(clips, self.trunk.size)
        clips = augment.shift_crop(clips, self.trunk.size)
        return augment.flip(clips) if self.method.mirror else clips

    def targets(self, clips: Tensor) -> dict[str, Tensor]:
        """What each decoder should give, (B, steps, *item): the past runs backwards."""
        items = self.items(clips)
        past, future = items[:, : self.method.past], items[:, self.method.past :]
        return {name: item for name, item in (("past", past.flip(1)), ("future", future)) if name in self.decoders}

    def decode(self, clips: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """What each decoder gives, (B, steps, *item), before `squash`. In evaluation the future is not shown."""
        state = self.read(clips[:, : self.method.past])
        base = self.raw(self.last(clips)) if self.method.onto else 0.0
        shown = {**targets, **({} if self.training else {"future": None})}
        return {
            name: decoder(state, targets[name].shape[1], self.squash, shown[name], base)
            for name, decoder in self.decoders.items()
        }

    def error(self, found: Tensor, target: Tensor) -> Tensor:
        """Of each item, summed over its pixels or features: (B, T, *item), before `squash`, to (B, T)."""
        if self.bernoulli:
            return F.binary_cross_entropy_with_logits(found, target, reduction="none").flatten(2).sum(2)
        return 0.5 * (found - target).square().flatten(2).sum(2)

    def raw(self, pictures: Tensor) -> Tensor:
        """Pictures in [0, 1] as if a decoder had given them; certainty is that of 256 grey levels."""
        return torch.logit((255 * pictures + 0.5) / 256) if self.bernoulli else pictures

    def forward(self, batch):
        """The loss is the sum of both errors, each summed over a frame and averaged over frames and examples.

        Metrics are "past_error" and "future_error"; in evaluation also, of the future, "copy_error" (the last frame
        read, ever again), "mean_error" (for every example the mean over the batch of what follows) and those of `steps`,
        averaged over time.
        """
        clips = self.view(batch)
        targets = self.targets(clips)
        found = self.decode(clips, targets)
        errors = {f"{name}_error": self.error(found[name], targets[name]).mean() for name in found}
        metrics = {name: error.detach() for name, error in errors.items()}
        if not self.training and "future" in found:
            truth = targets["future"]
            last = self.last(clips).unsqueeze(1).expand_as(truth)
            mean = truth.mean((0, 1), keepdim=True).expand_as(truth)
            metrics["copy_error"] = self.error(self.raw(last), truth).mean()
            metrics["mean_error"] = self.error(self.raw(mean), truth).mean()
            steps = self.compare(self.squash(found["future"]), last, truth)
            metrics |= {name: values.mean() for name, values in steps.items()}
        return sum(errors.values()), metrics

    def last(self, clips: Tensor) -> Tensor:
        """The last item read: (B, *item)."""
        return self.items(clips[:, self.method.past - 1 : self.method.past])[:, 0]

    @torch.no_grad()
    def steps(self, batch: dict) -> dict[str, Tensor]:
        """How far predictions and copies of the last frame are from the truth at each step: name -> (future,).

        "future_mse" and "copy_mse" are means over pixels in [0, 1], or features; of pixels also "..._psnr" in decibels
        and "..._ssim". In evaluation mode.
        """
        clips = self.view(batch)
        targets = self.targets(clips)
        found, truth = self.decode(clips, targets)["future"], targets["future"]
        return self.compare(self.squash(found), self.last(clips).unsqueeze(1).expand_as(truth), truth)

    def compare(self, found: Tensor, copies: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Metrics at each step, of predictions and copies (B, future, *item)."""
        squares = {"future": (found - truth).square(), "copy": (copies - truth).square()}
        return {f"{name}_mse": values.flatten(2).mean((0, 2)) for name, values in squares.items()}


class FramePredictionNet(PredictionNet):
    """Predicts pixels."""

    def __init__(self, trunk: Trunk, method: FramePrediction):
        size = trunk.size if method.size is None else method.size
        if size < WINDOW:
            raise ValueError(f"frames of {size} pixels a side are asked for, but SSIM needs {WINDOW}: raise size")
        super().__init__(trunk, method, (1 if method.grey else 3, size, size))
        self.size = size

    def items(self, clips):
        clips = vision.rgb_to_grayscale(clips) if self.method.grey else clips
        if clips.shape[-1] == self.size:
            return clips
        return F.interpolate(clips.flatten(0, 1), (self.size, self.size), mode="area").unflatten(0, clips.shape[:2])

    def compare(self, found, copies, truth):
        metrics = super().compare(found, copies, truth)
        for name, pictures in (("future", found), ("copy", copies)):
            errors = (pictures - truth).square().flatten(2).mean(2)
            # Of two equal frames it would be infinite, so nothing counts as nearer than rounding to 256 grey levels.
            metrics[f"{name}_psnr"] = -10 * errors.clamp(min=1 / (12 * 255**2)).log10().mean(0)
            metrics[f"{name}_ssim"] = ssim(pictures, truth).mean(0)
        return metrics

    @torch.no_grad()
    def panels(self, batch: dict) -> dict[str, Tensor]:
        """What was shown (then grey), the truth, what was painted, and the last frame again: past, then future."""
        clips = self.view(batch)
        targets = self.targets(clips)
        found = self.decode(clips, targets)
        truth, past = self.items(clips), self.method.past
        painted = truth.clone()  # what is not asked for is as it was
        if "past" in found:
            painted[:, :past] = self.squash(found["past"]).flip(1)
        panels = {"input": truth.clone(), "truth": truth, "prediction": painted}
        panels["input"][:, past:] = 0.5
        if "future" in found:
            painted[:, past:] = self.squash(found["future"])
            last = self.last(clips).unsqueeze(1).expand_as(truth[:, past:])
            panels["copy of the last frame"] = torch.cat([truth[:, :past], last], 1)
        return {name: strip.clamp(0, 1).expand(-1, -1, 3, -1, -1) for name, strip in panels.items()}


class PerceptPredictionNet(PredictionNet):
    """Predicts the features that the trunk gave each frame before it was trained, standardised over a frame's."""

    def __init__(self, trunk: Trunk, method: FramePrediction):
        if trunk.length > 1:
            raise ValueError(
                f"percepts are features of single frames, but {type(trunk).__name__} reads clips: take a frame trunk "
                "(caffenet, resnet, small with length 1), or set target to pixels"
            )
        super().__init__(trunk, method, (trunk.dim,))
        self.teacher = copy.deepcopy(trunk).requires_grad_(False).eval()

    def train(self, mode: bool = True):
        super().train(mode)
        self.teacher.eval()  # the same frame, the same percepts
        return self

    @torch.no_grad()
    def items(self, clips):
        return F.layer_norm(encode(self.teacher, clips.unsqueeze(2)), (self.teacher.dim,))


def patch_of(trunk: Trunk, item: tuple[int, ...]) -> int:
    """Pixels of a painted frame that make a cell of the trunk's state, a side; 1 where its state has no cells."""
    if trunk.cells is None:
        return 1
    if item[-1] % trunk.cells:
        raise ValueError(
            f"the state of {type(trunk).__name__} has {trunk.cells} cells a side, so frames of {trunk.cells} pixels or "
            f"a multiple of that can be painted, but size {item[-1]} was asked for"
        )
    return item[-1] // trunk.cells


def ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each picture: (B, T, C, H, W), values in [0, 1], to (B, T)."""
    flat = pictures.flatten(0, 1).float(), truth.flatten(0, 1).float()
    with torch.autocast(pictures.device.type, enabled=False):  # its variances are lost in 16 bits
        values = structural_similarity_index_measure(*flat, kernel_size=WINDOW, data_range=1.0, reduction="none")
    return values.view(pictures.shape[:2])
