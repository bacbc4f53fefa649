"""The contract of every trunk, and the few pieces that trunks share.

A trunk is configured by a frozen dataclass with `build() -> Trunk`; its fields are what the command line shows and what
a checkpoint stores. Weights are drawn from torch's generator: `torch.manual_seed(seed)` before `build()` fixes them.
"""

from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Mean and standard deviation of red, green and blue, as torchvision's and timm's own weights expect them.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINETICS = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)


class Trunk(nn.Module):
    """What is pretrained and kept: clips in, features out. It takes any T >= 1, height and width (from 32 pixels).

    Attributes:
        dim: features of a clip.
        length: frames in the clips it is made for; 1 for a frame trunk, which takes the mean over the frames of a clip.
        size: side of the frames it is made for, in pixels.
        resize: (height, width) to which frames are scaled before the crop to `size`, in pixels.
        mean, std: (3, 1, 1), of red, green and blue in [0, 1], by which it normalises clips itself.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        dim: int,
        length: int,
        size: int,
        resize: tuple[int, int],
        colours: tuple[tuple[float, float, float], tuple[float, float, float]],
    ):
        super().__init__()
        self.dim, self.length, self.size, self.resize = dim, length, size, resize
        for name, values in zip(("mean", "std"), colours, strict=True):  # the class knows them: no need to store them
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def normalise(self, clips: Tensor) -> Tensor:
        """Clips with their colours at about zero mean and unit variance, in the same shape (N, T, 3, H, W).

        Raises:
            ValueError: if they are not clips of floats in three colours.
        """
        if clips.ndim != 5 or clips.shape[2] != 3 or not clips.shape[1]:
            raise ValueError(
                f"a trunk takes clips (N, T, 3, H, W) of at least one frame, but got {tuple(clips.shape)}: flatten"
                " what is in front of T (`encode` in methods/parts.py does), repeat grey three times"
            )
        if not clips.is_floating_point():
            raise ValueError(f"a trunk takes floats in [0, 1], but got {clips.dtype}: call augment.pixels first")
        return (clips - self.mean) / self.std

    def maps(self, clips: Tensor) -> Tensor:
        """The last feature maps: (N, T, 3, H, W), floats in [0, 1], to (N, channels, T', H', W').

        Raises:
            ValueError: this trunk has none (`layers` tells).
        """
        raise ValueError(f"{type(self).__name__} has no maps()")

    def stages(self, clips: Tensor) -> list[Tensor]:
        """The last feature maps of each resolution, for decoders: (N, channels, T', H', W') each, the finest first.

        They end in those of `maps`, which are all there is of a trunk that does not tell the others.
        """
        return [self.maps(clips)]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names that `layer` knows, in the order in which they are computed."""
        return ("features",) if type(self).maps is Trunk.maps else ("maps", "features")

    def layer(self, clips: Tensor, name: str) -> Tensor:
        """What a layer makes of clips, computed no further: maps (N, channels, T', H', W') or features (N, dim).

        Raises:
            ValueError: there is no such layer.
        """
        if name not in self.layers:
            raise ValueError(f"{type(self).__name__} has no layer {name!r}; it has: {', '.join(self.layers)}")
        return self(clips) if name == "features" else self.maps(clips)

    def forward(self, clips: Tensor) -> Tensor:
        """Features: (N, T, 3, H, W), floats in [0, 1], to (N, dim); the mean of `maps` if a trunk has no other way."""
        return self.maps(clips).mean((2, 3, 4))


def by_frame(net: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """A net for images on every frame: (N, T, ...) to (N, T, ...). Each frame counts as an example for batch norm."""
    return net(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])


def before_each(
    pooling: type[nn.Module] | tuple[type[nn.Module], ...], net: nn.Sequential, maps: Tensor
) -> list[Tensor]:
    """What each pooling layer of a chain is given, and the result of the chain."""
    found = []
    for layer in net:
        if isinstance(layer, pooling):
            found.append(maps)
        maps = layer(maps)
    return [*found, maps]


class Pool(nn.Module):
    """Max pooling in steps of its window, which shrinks to what is there: no short clip or small frame vanishes.

    The same as `nn.MaxPool3d(window)` wherever that has a result at all.
    """

    def __init__(self, *window: int):
        super().__init__()
        self.window = window  # frames, height, width

    def forward(self, maps: Tensor) -> Tensor:
        there = [min(size, left) for size, left in zip(self.window, maps.shape[2:], strict=True)]
        return F.max_pool3d(maps, there)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.window))


def load_weights(net: nn.Module, path: Path, classifier: str) -> None:
    """Copy a state dict as torchvision or timm saves it (.pth, .safetensors) into a net without its classifier.

    Args:
        net: torchvision's or timm's, with the classifier taken off.
        path: a file the user has; nothing is downloaded.
        classifier: what the names of the classifier's weights begin with; those are left out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if weights are missing, left over or of another shape.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights at {path}: give the file, or leave `weights` out to start from random ones"
        )
    found = {name: w for name, w in timm.models.load_state_dict(path).items() if not name.startswith(classifier)}
    needed = net.state_dict()
    counters = {name for name in needed if name.endswith("num_batches_tracked")}  # older files have none
    problems = {
        "missing": sorted(needed.keys() - found.keys() - counters),
        "unexpected": sorted(found.keys() - needed.keys()),
        "of another shape": [
            f"{name} {tuple(found[name].shape)} for {tuple(needed[name].shape)}"
            for name in needed
            if name in found and found[name].shape != needed[name].shape
        ],
    }
    said = [
        f"{len(names)} {problem}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        for problem, names in problems.items()
        if names
    ]
    if said:
        raise ValueError(f"the weights in {path} are of another net than this trunk's ({'; '.join(said)})")
    net.load_state_dict(found, strict=False)  # not strict: the counters
