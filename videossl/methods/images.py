"""Questions about single pictures: drawing one from a record, and heads that paint one."""

from itertools import pairwise
from math import ceil, log2

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl import augment
from videossl.lab import coloured, rgb_to_lab
from videossl.methods.parts import tried
from videossl.models.base import Trunk


def one_frame(record: dict, rng: np.random.Generator) -> Tensor:
    """Any of a record's frames, as a clip of one: (1, 3, H, W) uint8. An image is a video of one frame.

    Raises:
        ValueError: it has not three colours.
    """
    frame = record["frames"][rng.integers(len(record["frames"]), size=1)]
    if frame.shape[1] != 3:
        raise ValueError(f"a picture has three colours, but got {tuple(frame.shape[1:])}: repeat grey three times")
    return frame


def some_frames(records: list[dict], count: int) -> list[Tensor]:
    """The middle frames (3, H, W), floats in [0, 1], of so many records, evenly spread: for what is found in the data.

    Raises:
        ValueError: all are grey.
    """
    chosen = np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
    frames = []
    for n in chosen:
        video = records[n]["frames"]
        frames.append(augment.pixels(video[np.array(len(video) // 2)]))
    if not any(len(frame) == 3 and coloured(rgb_to_lab(frame)) for frame in frames):
        raise ValueError(
            f"none of the {len(frames)} pictures looked at has colours (more than grey), which are asked for here: take "
            "other records, or another method"
        )
    return frames


def maps_of(trunk: Trunk, clips: Tensor) -> Tensor:
    """The trunk's last maps of clips (N, T, 3, H, W), mean over moments: (N, channels, H', W')."""
    return trunk.maps(clips).mean(2)


def map_shape(trunk: Trunk, question: str) -> tuple[int, int, int]:
    """Channels, height and width of the trunk's maps for a picture of its size.

    Args:
        question: who asks, for the error's words: "Colourisation".

    Raises:
        ValueError: it has none.
    """
    if "maps" not in trunk.layers:
        raise ValueError(
            f"{question} paints from feature maps, so its trunk must have maps(): {type(trunk).__name__} has none,"
            " convolutional trunks do (CaffeNet, ResNet, Small)"
        )
    return tuple(tried(trunk, lambda clip: maps_of(trunk, clip), 1).shape[1:])


class Painter(nn.Module):
    """A picture from a code, by transposed convolutions that double its sides: the generator of DCGAN.

    Source: Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
    Networks", ICLR 2016, figure 1; it begins with a side of 4 to 8 pixels, so that whole doublings reach `size`.
    """

    def __init__(self, inputs: int, size: int, width: int):
        """Args:
        inputs: numbers in a code.
        size: pixels a side of the picture.
        width: channels before the last layer; each layer before has twice as many, at most 8 * width.
        """
        super().__init__()
        doublings = max(0, int(log2(size / 4)))
        self.size, side = size, ceil(size / 2**doublings)
        widths = [width * 2 ** min(n, 3) for n in reversed(range(max(1, doublings)))]
        self.start = nn.Sequential(
            nn.Linear(inputs, widths[0] * side**2, bias=False),
            nn.Unflatten(1, (widths[0], side, side)),
            *norm(widths[0]),
        )
        kernel, stride, padding = (4, 2, 1) if doublings else (3, 1, 1)
        layers = []
        for before, after in pairwise(widths):
            layers += [nn.ConvTranspose2d(before, after, kernel, stride, padding, bias=False), *norm(after)]
        layers.append(nn.ConvTranspose2d(width, 3, kernel, stride, padding))
        self.up = nn.Sequential(*layers)

    def forward(self, code: Tensor) -> Tensor:
        """(N, inputs) to (N, 3, size, size), not cut to [0, 1]."""
        picture = self.up(self.start(code))
        if picture.shape[-1] == self.size:
            return picture
        return F.interpolate(picture, (self.size, self.size), mode="bilinear", align_corners=False)


class Dense(nn.Module):
    """Values for each place of a picture from a trunk's maps, which transposed convolutions enlarge."""

    def __init__(self, maps: tuple[int, int, int], size: int, width: int, outputs: int):
        """Args:
        maps: channels, height and width of the maps for a picture of the trunk's size.
        size: places a side.
        width: channels of each transposed convolution.
        outputs: values for each place.
        """
        super().__init__()
        channels, self.size, layers = maps[0], size, []
        for _ in range(max(0, int(log2(size / max(maps[1:]))))):
            layers += [nn.ConvTranspose2d(channels, width, 4, 2, 1, bias=False), *norm(width)]
            channels = width
        self.up = nn.Sequential(*layers)
        self.out = nn.Conv2d(channels, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, channels, H', W') to (N, outputs, size, size)."""
        maps = self.up(maps)
        if maps.shape[2:] != (self.size, self.size):
            maps = F.interpolate(maps, (self.size, self.size), mode="bilinear", align_corners=False)
        return self.out(maps)


def judging_layers(size: int, width: int) -> tuple[nn.Sequential, int]:
    """DCGAN's discriminator up to its last layer, (N, 3, size, size) to (N, numbers), and how many numbers it gives.

    Four convolutions halve the picture's side, of `width` channels and twice as many each; fewer where it is small.
    """
    layers, channels = [], 3
    for n in range(min(4, int(log2(size / 2)))):
        norms = [nn.BatchNorm2d(width << n)] if n else []
        layers += [nn.Conv2d(channels, width << n, 4, 2, 1, bias=not n), *norms, nn.LeakyReLU(0.2)]
        channels, size = width << n, size // 2
    return nn.Sequential(*layers, nn.Flatten()), channels * size**2


def norm(channels: int) -> list[nn.Module]:
    """Batch norm and ReLU."""
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def shrunk(pictures: Tensor, size: int) -> Tensor:
    """Pictures (N, C, H, W) at this side, each pixel the mean of the area it covers."""
    return pictures if pictures.shape[-1] == size else F.interpolate(pictures, (size, size), mode="area")


def frozen(net: nn.Module, *inputs: Tensor) -> Tensor:
    """What a net makes of inputs, with gradients for these but none for its weights: how a generator is judged.

    So both sides of a game learn from one backward pass, and neither from the other's loss.
    """
    weights = {name: weight.detach() for name, weight in net.named_parameters()}
    return torch.func.functional_call(net, weights, inputs)


def judged(logits: Tensor, truth: float) -> Tensor:
    """Cross entropy of what a discriminator said, if all of it should be true (1) or false (0).

    True and false ones are judged in calls of their own: its batch norm would tell them apart where they are mixed, and
    painters lose the game at once.
    """
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))
