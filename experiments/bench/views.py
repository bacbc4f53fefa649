"""What decoding a test video once for all that is seen of it saves: `videossl bench views ROOT`."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.table import Table
from tyro.conf import Positional

from videossl.datasets.decoders import KEPT
from videossl.datasets.frames import VideoFile
from videossl.datasets.video_folder import video_folder
from videossl.evaluation.views import Views
from videossl.experiments.bench.rounds import keep, spread
from videossl.experiments.console import bar, console, quiet
from videossl.experiments.runs import command, versions
from videossl.training.checkpoints import plain


@dataclass(frozen=True)
class BenchViews:
    """Seconds to read all views of a test video: together, as evaluation here does, and one after the other.

    One by one, the file is opened anew for every view. With jumps only the frames from the last key frame before a view
    are decoded; whole, all of the video is, as published code does (VCOP's loader for every clip, VideoMAE's for every
    clip and crop). PyAV decodes throughout, and only frames that are wanted are scaled.

    Both kinds of views are timed: so many clips with one crop each, and one clip with so many crops, for each of which
    the same frames are read again.
    """

    root: Positional[Path]  # folder of indexed videos
    out: Path = Path("runs/bench_views.json")  # file to write
    index: Path | None = None  # the index, where it is not root/index.json
    views: int = 10  # clips, or crops, of a video
    length: int = 16  # frames in a clip
    stride: int = 1  # frames from one frame of a clip to its next
    size: tuple[int, int] = (128, 171)  # height and width that frames are scaled to
    files: int = 35  # videos to read, evenly spread over the list
    rounds: int = 5

    def __post_init__(self):
        if min(self.views, self.length, self.stride, self.files, self.rounds) < 1:
            raise ValueError(f"views, length, stride, files and rounds start at 1, but {self} was given")


def bench_views(config: BenchViews) -> dict:
    """Measure, print a table and write `config.out`; returns what it writes.

    That is for clips and for crops the "seconds a video" of each way, and how many "times as fast" together is as the
    others, of every round: median, least and largest.

    Raises:
        FileNotFoundError: the folder or its index is not there.
        ValueError: fewer than five of its videos are files that are decoded.
    """
    quiet()
    torch.set_num_threads(1)
    records = video_folder(config.root, size=config.size, index=config.index)
    decoded = [r["frames"] for r in records if isinstance(r["frames"], VideoFile) and r["frames"].decoder != "packed"]
    count = min(config.files, len(decoded))
    if count <= KEPT:
        raise ValueError(f"{count} of the videos in {config.root} are to be decoded, but {KEPT} stay open: give more")
    chosen = np.linspace(0, len(decoded) - 1, count).round().astype(int)
    videos = [replace(decoded[n], decoder="pyav") for n in chosen]
    shape = {"length": config.length, "stride": config.stride, "size": 1}  # what is cropped does not matter here
    kinds = {
        f"{config.views} clips": (Views(clips=config.views, crops=1, **shape), 1),
        f"1 clip, {config.views} crops": (Views(clips=1, crops=1, **shape), config.views),
    }
    seconds = {kind: {way: [] for way in WAYS} for kind in kinds}
    with bar() as progress:
        task = progress.add_task("reading", total=config.rounds * len(kinds) * len(WAYS), text="")
        for number in range(config.rounds + 1):  # the first is not counted: files come from the disk
            for kind, (views, again) in kinds.items():
                for way, read in WAYS.items():
                    progress.update(task, text=f"{kind}, {way}")
                    if number == 0 and way != TOGETHER:
                        continue
                    indices = [views.indices(len(video)) for video in videos]
                    began = time.perf_counter()
                    read(videos, indices, again)
                    spent = (time.perf_counter() - began) / len(videos)
                    if number:
                        seconds[kind][way].append(spent)
                        progress.advance(task)
    found = {
        "command": command(),
        "config": plain(config) | {"root": config.root.name},
        "videos": len(videos),
        "frames": spread([len(video) for video in videos]),
        "seconds a video": {kind: {way: spread(s, 4) for way, s in ways.items()} for kind, ways in seconds.items()},
        "times as fast": {
            kind: {way: spread([a / b for a, b in zip(s, ways[TOGETHER], strict=True)], 2) for way, s in ways.items()}
            for kind, ways in seconds.items()
        },
        "versions": versions(),
    }
    show(found)
    keep(found, config.out)
    return found


def together(videos: list[VideoFile], indices: list[np.ndarray], again: int) -> None:
    """All views' frames (V, T) of a video in one read; crops are cut from them."""
    for video, index in zip(videos, indices, strict=True):
        video[index]


def with_jumps(videos: list[VideoFile], indices: list[np.ndarray], again: int) -> None:
    """Of every video its first view, then its second, each `again` times: by then the file is no longer open."""
    for view in np.repeat(np.arange(len(indices[0])), again):
        for video, index in zip(videos, indices, strict=True):
            video[index[view]]


def whole(videos: list[VideoFile], indices: list[np.ndarray], again: int) -> None:
    """The same without jumps, and on to the last frame, which is asked for with the view's."""
    ends = [np.c_[index, np.full(len(index), len(video) - 1)] for video, index in zip(videos, indices, strict=True)]
    with_jumps([replace(video, keys=()) for video in videos], ends, again)


TOGETHER = "together"
WAYS: dict[str, Callable[[list[VideoFile], list[np.ndarray], int], None]] = {
    TOGETHER: together,
    "one by one, with jumps": with_jumps,
    "one by one, whole": whole,
}


def show(found: dict) -> None:
    """Print the table."""
    table = Table("", "read", "ms a video", "times as fast together", title=f"{found['videos']} videos")
    for kind, ways in found["seconds a video"].items():
        for way, seconds in ways.items():
            ratio = found["times as fast"][kind][way]
            words = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})" if way != TOGETHER else ""
            table.add_row(kind, way, f"{1000 * seconds['median']:.1f}", words)
    console.print(table)
