"""Rebuild a picture from a few numbers: an autoencoder, plain, denoising or sparse.

Source: Hinton, Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 2006; the denoising
one: Vincent, Larochelle, Bengio, Manzagol, "Extracting and Composing Robust Features with Denoising Autoencoders",
ICML 2008, section 2. The decoder is DCGAN's generator.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.images import Painter, one_frame, shrunk


@dataclass(frozen=True)
class ImageAutoencoder:
    """The trunk's features are squeezed into a code, from which a decoder paints the picture again.

    Nothing but the code's size keeps the answer from being a copy, and squared errors ask for what is large, not for what
    tells things apart: the baseline that other methods are to beat. With `noise` or `hidden` the trunk sees a spoiled
    picture, and the whole one is asked for. Its own trivial answer is each picture's mean colour.
    """

    code: int = 64  # numbers that a picture is squeezed into
    noise: float = 0.0  # standard deviation of what is added to each pixel, in [0, 1]
    hidden: float = 0.0  # share of the pixels that are shown black
    sparse: float = 0.0  # weight of the mean size of the code's numbers
    decoder: Literal["deconvolutions", "linear"] = "deconvolutions"
    size: int | None = None  # pixels a side of the rebuilt picture; None rebuilds what the trunk sees
    width: int = 64  # channels of the finest transposed convolution

    chance: ClassVar[dict[str, float]] = {}  # the mean colour is measured beside it

    def __post_init__(self):
        if min(self.code, self.width) < 1 or (self.size is not None and self.size < 1):
            raise ValueError(f"code, width and size are counts from 1: {self}")
        if min(self.noise, self.sparse) < 0 or not 0 <= self.hidden < 1:
            raise ValueError(f"noise and sparse are from 0, hidden is a share under 1: {self}")

    def check(self, record):
        """Any picture will do."""

    def sample(self, record, rng):
        return {"clips": one_frame(record, rng)}

    def build(self, trunk):
        return ImageAutoencoderNet(trunk, self)


class ImageAutoencoderNet(Net):
    """The network of an `ImageAutoencoder`."""

    def __init__(self, trunk, method):
        super().__init__()
        self.trunk = trunk
        self.noise, self.hidden, self.sparse = method.noise, method.hidden, method.sparse
        self.size = method.size or trunk.size
        self.code = nn.Linear(trunk.dim, method.code)
        if method.decoder == "linear":
            pixels = nn.Linear(method.code, 3 * self.size**2)
            self.decoder = nn.Sequential(pixels, nn.Unflatten(1, (3, self.size, self.size)))
        else:
            self.decoder = Painter(method.code, self.size, method.width)

    def view(self, batch: dict) -> Tensor:
        """Pictures as they are: (B, 1, 3, H, W)."""
        return augment.standard(augment.pixels(batch["clips"]), self.trunk.size, self.training)

    def spoiled(self, clips: Tensor) -> Tensor:
        """Pictures as the trunk sees them, in the same shape."""
        if self.hidden:
            clips = clips * (torch.rand_like(clips[:, :, :1]) >= self.hidden)
        return clips + self.noise * torch.randn_like(clips) if self.noise else clips

    def forward(self, batch):
        """The loss is the mean squared error over pixels; "mean_mse" is that of each picture's mean colour."""
        clips = self.view(batch)
        truth = shrunk(clips[:, 0], self.size)
        code = self.code(self.trunk(self.spoiled(clips)))
        mse = F.mse_loss(self.decoder(code), truth)
        mean = truth.var((2, 3), correction=0).mean()
        return mse + self.sparse * code.abs().mean(), {"mse": mse.detach(), "mean_mse": mean}

    @torch.no_grad()
    def panels(self, batch: dict) -> dict[str, Tensor]:
        """The picture, what the trunk saw of it, and what was rebuilt."""
        clips = self.view(batch)
        seen = self.spoiled(clips)
        rebuilt = self.decoder(self.code(self.trunk(seen)))
        panels = {"input": clips[:, 0], "seen": seen[:, 0], "rebuilt": rebuilt}
        return {title: shrunk(p, self.size).clamp(0, 1).unsqueeze(1) for title, p in panels.items()}
