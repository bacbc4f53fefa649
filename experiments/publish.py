"""A trunk as a file that others read: `videossl publish RUN --out trunk.safetensors`.

What is written is compared with the trunk before it gets its name: a file that gives other features is not left.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from tyro.conf import Positional

from videossl.experiments.console import console, quiet
from videossl.models.base import Trunk
from videossl.training.checkpoints import load, load_trunk, restore, untrained

TOLERANCE = 1e-4  # of features computed by another runtime, relative to their largest


@dataclass(frozen=True)
class Publish:
    """Write a trunk without its training: weights under the names of torchvision or timm, or a whole network."""

    run: Positional[Path]  # a run, or a checkpoint file
    # .safetensors or .pth: weights, which `trunk:... --trunk.weights` and torchvision or timm read; .onnx: clips (N, T, 3,
    # H, W), floats in [0, 1], to features (N, dim), for any N (pip install 'videossl[onnx]')
    out: Path

    def __post_init__(self):
        if self.out.suffix not in WRITERS:
            raise ValueError(f"{self.out} should end in one of {', '.join(WRITERS)}, which says what is written")


def publish(config: Publish) -> None:
    """Write the file, and say how it is read.

    Raises:
        FileNotFoundError: there is no such run.
        FileExistsError: the file is there already.
        ImportError: ONNX is asked for without its packages.
        ValueError: what was written gives other features than the trunk.
    """
    quiet()
    if config.out.exists():
        raise FileExistsError(f"{config.out} is there already: name another --out")
    trunk = load_trunk(config.run).eval()
    clips = torch.rand(2, trunk.length, 3, trunk.size, trunk.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = trunk(clips)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    part = config.out.with_name(f".part.{config.out.name}")
    try:
        found = WRITERS[config.out.suffix](config.run, trunk, clips, part)
        apart = ((found - features).abs().max() / features.abs().max()).item()
        if not apart <= TOLERANCE:
            raise ValueError(f"what was written gives other features ({apart:.2g} apart, relative): nothing is left")
        os.replace(part, config.out)
    finally:
        part.unlink(missing_ok=True)
    mean, std = ([round(value, 4) for value in colours.flatten().tolist()] for colours in (trunk.mean, trunk.std))
    console.print(
        f"written: {config.out}; features of a test clip are {apart:.1e} apart (relative)\n"
        f"it was made for clips of {trunk.length} frame{'s' * (trunk.length > 1)} of {trunk.size} pixels, RGB"
        + ("" if config.out.suffix == ".onnx" else f", less {mean}, divided by {std}")
    )


def net_of(trunk: Trunk) -> torch.nn.Module:
    """torchvision's or timm's network in a trunk, or the trunk where it has none."""
    return getattr(trunk, "net", trunk)


def weights(run: Path, trunk: Trunk, clips: Tensor, out: Path) -> Tensor:
    """Write a state dict; returns the features of a new trunk that has read it."""
    state = {name: value.contiguous() for name, value in net_of(trunk).state_dict().items()}
    safe = out.suffix == ".safetensors"
    save_file(state, out) if safe else torch.save(state, out)
    again = untrained(restore(load(run)["trunk"])).build().eval()
    net_of(again).load_state_dict(load_file(out) if safe else torch.load(out, weights_only=True))
    with torch.inference_mode():
        return again(clips)


def network(run: Path, trunk: Trunk, clips: Tensor, out: Path) -> Tensor:
    """Write an ONNX file; returns the features that onnxruntime computes by it."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise ImportError("ONNX needs its packages: pip install 'videossl[onnx]'") from error
    batch = {"clips": {0: torch.export.Dim("batch")}}
    with adaptive_pooling_by_windows():
        torch.onnx.export(
            trunk,
            (clips,),
            out,
            input_names=["clips"],
            output_names=["features"],
            dynamic_shapes=batch,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    single = [session.run(None, {"clips": clip[None].numpy()})[0] for clip in clips]  # of another N than it was traced
    return torch.cat([torch.from_numpy(features) for features in single])


@contextmanager
def adaptive_pooling_by_windows() -> Iterator[None]:
    """torch's adaptive poolings over the windows that they have at the size at hand: ONNX knows no others."""

    def pooling(reduced: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def pooled(maps: Tensor, sides: int | tuple[int | None, ...], *_) -> Tensor:
            sides = (sides, sides) if isinstance(sides, int) else sides
            for axis, count in zip(range(-len(sides), 0), sides, strict=True):
                size = maps.shape[axis]
                ends = [
                    (n * size // (count or size), -(-(n + 1) * size // (count or size))) for n in range(count or size)
                ]
                windows = [maps.narrow(axis, begin, end - begin) for begin, end in ends]
                maps = torch.cat([reduced(window, axis, keepdim=True) for window in windows], axis)
            return maps

        return pooled

    replaced = {"adaptive_max_pool2d": pooling(torch.amax), "adaptive_avg_pool3d": pooling(torch.mean)}
    known = {name: getattr(F, name) for name in replaced}
    try:
        for name, function in replaced.items():
            setattr(F, name, function)
        yield
    finally:
        for name, function in known.items():
            setattr(F, name, function)


WRITERS = {".safetensors": weights, ".pth": weights, ".onnx": network}
