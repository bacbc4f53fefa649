"""What a transformer attends to over a video, as a strip of pictures: `videossl attention RUN --root VIDEOS`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch.nn import functional as F
from tyro.conf import Positional

from videossl.evaluation.attention import area, attention_of, correlation, middle, overlap
from videossl.evaluation.features import Encoder
from videossl.evaluation.views import Views
from videossl.experiments.console import console, quiet
from videossl.experiments.data import Videos
from videossl.experiments.pictures import show
from videossl.training.checkpoints import load_trunk

SHOWN = 8  # frames of the strip


@dataclass(frozen=True)
class Attend:
    """Draw what the class token attends to, a row for each head of the last block, over a video's consecutive frames.

    A head's area, outlined, is the smallest set of places that has `mass` of its attention. Beside each head stands how
    steady it is: the overlap of its area in a frame and in the next (intersection over union), and the correlation of
    both maps, means over the video. `videossl evaluate RUN random --protocols attention` measures that over all test
    videos.

    Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021, figure 1.
    """

    trunk: Positional[Path]  # a run, or a checkpoint file, of a transformer
    data: Annotated[Videos, tyro.conf.arg(name="")] = field(default_factory=lambda: Videos(dataset="video_folder"))
    split: int = 1
    test: bool = False  # the data set's test list, not its training list
    video: str | None = None  # its name in the list; None: the one in the middle
    frames: int = 32  # consecutive ones in the video's middle, of which eight are drawn
    mass: float = 0.6  # of a head's attention that its area has
    stride: int = 1  # frames from one frame of a clip to its next, of a trunk that sees clips
    out: Path = Path("attention.png")  # picture to write

    def __post_init__(self):
        if not 0 < self.mass <= 1:
            raise ValueError(f"mass is {self.mass}, but it lies between 0 and 1: a share of a head's attention")


def attend(config: Attend) -> list[dict[str, float]]:
    """Draw and print; returns "stability" and "correlation" of each head.

    Raises:
        FileNotFoundError: the run or the videos are not there.
        ValueError: the trunk is no transformer, there is no such video, it cannot be read, or it has one frame.
    """
    quiet()
    trunk = load_trunk(config.trunk)
    records = config.data.records(not config.test, config.split, trunk.resize)
    named = {record["name"]: record for record in records}
    name = config.video or records[len(records) // 2]["name"]
    if name not in named:
        raise ValueError(f"there is no video {name!r} in {records.name}, but {', '.join(list(named)[:3])}, ...")
    numbers = middle(len(named[name]["frames"]), config.frames)
    if len(numbers) < 2:
        raise ValueError(f"{name} is to show {len(numbers)} frame, but what is steady shows in two or more")
    frames = named[name]["frames"][numbers]
    views = Views(clips=1, crops=1, stride=config.stride).resolved(trunk)
    maps = attention_of(Encoder(trunk, progress=False), frames, views)  # (T, heads, h, w)
    areas = area(maps, config.mass)
    steady = overlap(areas[:-1], areas[1:]).mean(0), correlation(maps[:-1], maps[1:]).mean(0)
    told = [{"stability": a, "correlation": b} for a, b in zip(*(s.tolist() for s in steady), strict=True)]
    words = [", ".join(f"{key} {value:.2f}" for key, value in one.items()) for one in told]
    for head, line in enumerate(words, 1):
        console.print(f"head {head}: {line}")
    draw(config.out, name, frames, numbers, maps, areas, words)
    console.print(f"picture: {config.out}")
    return told


def draw(
    out: Path,
    name: str,
    frames: torch.Tensor,
    numbers: np.ndarray,
    maps: torch.Tensor,
    areas: torch.Tensor,
    words: list[str],
) -> None:
    """The strip: a row of frames (T, 3, H, W), and one for each head with its maps and areas (T, heads, h, w)."""
    size = tuple(frames.shape[2:])
    shown = np.unique(np.linspace(0, len(frames) - 1, SHOWN).round().astype(int))
    large = F.interpolate(maps, size, mode="bilinear")
    large = (large / large.amax((0, 2, 3), keepdim=True)).numpy()
    outlines = F.interpolate(areas.float(), size, mode="nearest").numpy()
    rows, width = 1 + maps.shape[1], 1.5 * size[1] / size[0]
    figure = Figure(figsize=(width * len(shown), 1.68 * rows + 0.2), layout="constrained")
    axes = figure.subplots(rows, len(shown), squeeze=False)
    for column, n in enumerate(shown):
        picture = frames[n].numpy()
        show(axes[0, column], picture)
        axes[0, column].set_title(f"frame {numbers[n]}", fontsize=7, pad=2)
        for head in range(maps.shape[1]):
            axis, heat = axes[1 + head, column], large[n, head]
            grey = picture.mean(0) / 255
            mixed = 0.35 * grey[..., None] + 0.65 * colormaps["inferno"](heat)[..., :3]
            axis.imshow(mixed, interpolation="nearest")
            axis.contour(outlines[n, head], [0.5], colors="white", linewidths=0.7)
    for axis in axes.flat:
        axis.set_axis_off()
    for head, line in enumerate(words, 1):
        axes[head, 0].set_title(f"head {head}: {line}", fontsize=7, pad=2, loc="left")
    figure.suptitle(name, fontsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
