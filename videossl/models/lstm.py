"""Trunks that read a clip frame by frame and remember: LSTMs over whole frames or over maps.

Besides features they have a state, (h, c) of each layer, which `read(clips)` gives after the last frame: what a decoder
starts from that is to repaint what was read, or to paint what comes next (`methods/frame_prediction.py`).

Sources: Srivastava et al., "Unsupervised Learning of Video Representations using LSTMs", ICML 2015, section 2.1, and
lstm.py of github.com/emansim/unsupervised-videos; Shi et al., "Convolutional LSTM Network: A Machine Learning Approach
for Precipitation Nowcasting", NIPS 2015, section 3.1.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as vision

from videossl.models.base import Trunk

State = list[tuple[Tensor, Tensor]]  # (h, c) of each layer, the lowest first; (N, width) or (N, width, H, W) each

RAW = (0.0,) * 3, (1.0,) * 3  # the papers' LSTMs see pixels as they are, in [0, 1]


@dataclass(frozen=True)
class LSTM:
    """The LSTM encoder of Srivastava et al. over raw pixels, `units` features; the default is Moving MNIST's.

    Frames are read whole, so they are scaled to squares; others than `size` pixels a side are averaged down to it. The
    feature of a clip is the top layer's h, mean over its frames: the paper's classifier sits on h at every frame and
    averages what it says. For its patches of UCF101: LSTM(size=32, grey=False, length=16).
    """

    size: int = 64  # pixels a side
    units: int = 2048  # of each layer
    layers: int = 1
    length: int = 10  # frames in the clips it is made for
    grey: bool = True  # read one grey value a pixel, as there are in Moving MNIST; else three colours

    def build(self) -> Trunk:
        return LSTMTrunk(self)


@dataclass(frozen=True)
class ConvLSTM:
    """The convolutional LSTM encoder of Shi et al., which keeps places; the default is their net of three layers.

    The feature of a clip is the top layer's h, mean over its frames and over the cells of a `grid`.
    """

    size: int = 64  # pixels a side
    widths: tuple[int, ...] = (128, 64, 64)  # channels of each layer
    kernel: int = 5  # cells a side, odd
    patch: int = 4  # pixels a side of what makes a cell
    length: int = 10  # frames in the clips it is made for
    grey: bool = True  # read one grey value a pixel; else three colours
    grid: int = 2  # cells a side of the features; 1 averages over the whole frame

    def build(self) -> Trunk:
        return ConvLSTMTrunk(self)


class Layer(nn.Module):
    """One layer of LSTM cells whose gates see the cell itself (peepholes), over vectors, or over maps by convolution.

        i = sigmoid(Wxi x + Whi h + wi * c + bi)    c' = f * c + i * tanh(Wxa x + Wha h + ba)
        f = sigmoid(Wxf x + Whf h + wf * c + bf)    o = sigmoid(Wxo x + Who h + wo * c' + bo)    h' = o * tanh(c')

    torch.nn.LSTM has no peepholes, so this is written out. Where we leave the papers: weights start as torch's, uniform
    within 1 / sqrt(inputs), which is 0.016 to 0.022 for the 4096 pixels and 2048 units of the first paper, for its 0.01,
    and fits other sizes; a peephole over maps has one weight a channel, so that maps may be of any size (Shi et al.: one
    a cell). Peepholes within 0.1 and biases of 0 are the release's.
    """

    def __init__(self, inputs: int, width: int, kernel: int | None = None):
        """Args:
        inputs: channels of x; 0 for a layer that is never shown any.
        width: units, or channels of h and c.
        kernel: cells a side, odd, over maps; None for vectors.
        """
        super().__init__()
        self.width = width
        self.of_x = transform(inputs, 4 * width, kernel, bias=False) if inputs else None
        self.of_h = transform(width, 4 * width, kernel, bias=True)
        self.peepholes = nn.Parameter(torch.empty(3, width).uniform_(-0.1, 0.1))  # to i, f and o
        nn.init.zeros_(self.of_h.bias)

    def forward(self, x: Tensor | None, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The next (h, c). Without x (None), from the state alone."""
        gates = self.of_h(h) if x is None else self.of_h(h) + self.of_x(x)
        i, f, a, o = gates.chunk(4, 1)
        to_i, to_f, to_o = self.peepholes.view(3, -1, *[1] * (c.ndim - 2))
        c = torch.sigmoid(f + to_f * c) * c + torch.sigmoid(i + to_i * c) * torch.tanh(a)
        return torch.sigmoid(o + to_o * c) * torch.tanh(c), c


def transform(inputs: int, outputs: int, kernel: int | None, bias: bool) -> nn.Module:
    """A linear map of vectors, or a convolution that keeps the maps' size."""
    if kernel is None:
        return nn.Linear(inputs, outputs, bias=bias)
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)


class PeepholeLSTM(nn.Module):
    """Layers on top of each other: each reads the h of the one below.

    Attributes:
        widths: of the layers, from the lowest.
        kernel: cells a side of the convolutions; None where vectors are read.
    """

    def __init__(self, inputs: int, widths: Sequence[int], kernel: int | None = None):
        super().__init__()
        if not widths or min(widths) < 1 or (kernel is not None and kernel % 2 == 0):
            raise ValueError(
                f"an LSTM has one layer or more, and odd kernels, but widths {widths} and kernel {kernel} were given"
            )
        self.widths, self.kernel = tuple(widths), kernel
        below = (inputs, *widths[:-1])
        self.layers = nn.ModuleList(Layer(n, width, kernel) for n, width in zip(below, widths, strict=True))

    def forward(self, x: Tensor | None, state: State) -> State:
        """The state after one more step, in which the lowest layer sees x, or nothing."""
        after = []
        for layer, (h, c) in zip(self.layers, state, strict=True):
            after.append(layer(x, h, c))
            x = after[-1][0]
        return after

    def read(self, frames: Tensor) -> tuple[Tensor, State]:
        """Read (N, T, C) or (N, T, C, H, W) from a state of zeros.

        Returns: the top layer's h after every frame, (N, T, width, ...), and the state after the last.
        """
        zeros = [frames.new_zeros(frames.shape[0], width, *frames.shape[3:]) for width in self.widths]
        state, tops = [(zero, zero) for zero in zeros], []
        for t in range(frames.shape[1]):
            state = self(frames[:, t], state)
            tops.append(state[-1][0])
        return torch.stack(tops, 1), state


class ReadingTrunk(Trunk, ABC):
    """What both have in common: `stack` reads what `frames` makes of clips.

    Attributes:
        stack: the `PeepholeLSTM`.
        cells: a side of the state's maps for frames of `size` pixels; None where the state is vectors.
    """

    stack: PeepholeLSTM

    def __init__(self, dim: int, size: int, length: int, grey: bool, cells: int | None):
        super().__init__(dim, length=length, size=size, resize=(size, size), colours=RAW)
        if length < 2:
            raise ValueError(f"an LSTM reads clips, of 2 frames or more, but length {length} was asked for")
        self.grey, self.cells = grey, cells

    @abstractmethod
    def frames(self, clips: Tensor) -> Tensor:
        """What is read at each step, (N, T, C) or (N, T, C, H, W)."""

    def normalise(self, clips: Tensor) -> Tensor:
        clips = super().normalise(clips)
        return vision.rgb_to_grayscale(clips) if self.grey else clips

    def read(self, clips: Tensor) -> State:
        """(h, c) of each layer after the last frame of clips (N, T, 3, H, W), floats in [0, 1]."""
        return self.stack.read(self.frames(clips))[1]

    def maps(self, clips: Tensor) -> Tensor:
        """The top layer's h after each frame, (N, width, T, H', W'); an LSTM over whole frames has one cell."""
        tops = self.stack.read(self.frames(clips))[0].transpose(1, 2)
        return tops if tops.ndim == 5 else tops[..., None, None]


class LSTMTrunk(ReadingTrunk):
    """The network of an `LSTM`."""

    def __init__(self, config: LSTM):
        if min(config.size, config.units, config.layers) < 1:
            raise ValueError(f"size, units and layers are counts from 1, but were given as {config}")
        super().__init__(config.units, config.size, config.length, config.grey, cells=None)
        self.stack = PeepholeLSTM((1 if config.grey else 3) * config.size**2, (config.units,) * config.layers)

    def frames(self, clips: Tensor) -> Tensor:
        """Pixels in a row: (N, T, 3, H, W) to (N, T, C * size * size)."""
        clips = self.normalise(clips)
        if clips.shape[-2:] != (self.size, self.size):
            clips = F.adaptive_avg_pool3d(clips, (None, self.size, self.size))
        return clips.flatten(2)


class ConvLSTMTrunk(ReadingTrunk):
    """The network of a `ConvLSTM`."""

    def __init__(self, config: ConvLSTM):
        if min(config.size, config.patch, config.grid) < 1 or not config.widths:
            raise ValueError(f"size, patch and grid are counts from 1, widths one or more, but were given as {config}")
        cells = ceil(config.size / config.patch)
        super().__init__(config.widths[-1] * config.grid**2, config.size, config.length, config.grey, cells)
        self.patch, self.grid = config.patch, config.grid
        self.stack = PeepholeLSTM((1 if config.grey else 3) * config.patch**2, config.widths, config.kernel)

    def frames(self, clips: Tensor) -> Tensor:
        """Patches as channels, as in section 4.1: (N, T, 3, H, W) to (N, T, C * patch ** 2, H / patch, W / patch)."""
        clips = self.normalise(clips)
        height, width = clips.shape[-2:]
        clips = F.pad(clips, (0, -width % self.patch, 0, -height % self.patch))  # black, so that patches are whole
        return F.pixel_unshuffle(clips, self.patch)

    def forward(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) to (N, dim)."""
        return F.adaptive_avg_pool3d(self.maps(clips), (1, self.grid, self.grid)).flatten(1)
