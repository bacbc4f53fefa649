"""Features as a file, and what is near in it: `videossl embed` and `videossl search`."""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F
from tyro.conf import Positional

from videossl.datasets.frames import Frames
from videossl.datasets.index import SUFFIXES, index_videos
from videossl.datasets.records import Records
from videossl.datasets.video_folder import video_folder
from videossl.evaluation.features import Encoder, nearest
from videossl.evaluation.views import Views
from videossl.experiments.console import console, quiet
from videossl.experiments.data import Videos
from videossl.experiments.devices import Devices
from videossl.experiments.evaluate import weights
from videossl.experiments.pictures import show
from videossl.training.checkpoints import load_trunk, plain

HDF5 = (".h5", ".hdf5")


@dataclass(frozen=True)
class Embed:
    """Write what a trunk makes of videos: a row for each clip, with its video, first frame and feature."""

    trunk: Positional[Path]  # a run, or a checkpoint file
    out: Path  # .parquet (pip install 'videossl[export]') or .h5
    data: Annotated[Videos, tyro.conf.arg(name="")] = field(default_factory=lambda: Videos(dataset="video_folder"))
    split: int = 1
    test: bool = False  # the data set's test list, not its training list
    views: Views = field(default_factory=lambda: Views(crops=1))  # which clips; a feature is the mean over its crops
    workers: int = 2  # processes that decode
    batch: int = 64  # clips that go through the trunk at once
    engine: Annotated[Devices, tyro.conf.arg(name="")] = field(default_factory=Devices)

    def __post_init__(self):
        if self.out.suffix not in (".parquet", *HDF5):
            raise ValueError(f"{self.out} should end in .parquet or .h5, which says how it is written")
        if self.views.every:
            raise ValueError("with views.every a video's clips count as one: give views.clips")


@dataclass(frozen=True)
class Search:
    """Find the clips that are most like a video's, and draw them."""

    query: Positional[str]  # a video file, or the name of a video in the features; all its folders may be left out
    features: Path  # file that `videossl embed` wrote
    frame: int | None = None  # first frame of the query's clip; None: the middle clip
    k: int = 8  # clips to find
    again: bool = False  # several clips of one video
    out: Path = Path("search.png")  # picture to write


@dataclass(frozen=True)
class Table:
    """Features of clips, as a file holds them."""

    names: list[str]  # (N,) videos
    first: np.ndarray  # (N,) first frame of each clip
    values: Tensor  # (N, D) float32
    about: dict  # where they come from: "trunk", "weights", "views", "data", "split", "test", "size"


def embed(config: Embed) -> None:
    """Compute and write; a video that cannot be read is named and has no rows.

    Raises:
        FileNotFoundError: the run or the videos are not there.
        ImportError: Parquet is asked for without pyarrow.
        ValueError: features are not finite.
    """
    quiet()
    trunk = load_trunk(config.trunk)
    records = config.data.records(not config.test, config.split, trunk.resize)
    fabric = config.engine.launch()
    encoder = Encoder(trunk, fabric, config.workers, config.batch)
    views = config.views.resolved(trunk)
    found = encoder.features(records, views)
    if not fabric.is_global_zero:
        return
    names, first = [], []
    for n in found.kept:
        starts = views.indices(len(records[n]["frames"]))[: found.values.shape[1], 0]
        names += [records[n]["name"]] * len(starts)
        first += starts.tolist()
    values = found.values.flatten(0, 1)
    about = {
        "trunk": str(config.trunk.resolve()),
        "weights": weights(trunk),
        "views": plain(views),
        "data": {**plain(config.data), "root": str(config.data.root.resolve()) if config.data.root else None},
        "split": config.split,
        "test": config.test,
    }
    keep(Table(names, np.array(first), values, about), config.out)
    console.print(f"{len(names)} clips of {len(found.kept)} of {len(records)} videos, {values.shape[1]} numbers each")
    for name, why in found.failed.items():
        console.print(f"not read: {name}: {why}")
    console.print(f"written: {config.out}")


def keep(table: Table, path: Path) -> None:
    """Write a file of features, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    if path.suffix in HDF5:
        with h5py.File(part, "w") as file:
            file["video"], file["first_frame"] = table.names, table.first
            file["feature"] = table.values.numpy()
            file.attrs["videossl"] = json.dumps(table.about)
    else:
        pa, pq = parquet()
        features = pa.FixedSizeListArray.from_arrays(pa.array(table.values.numpy().ravel()), table.values.shape[1])
        columns = {"video": table.names, "first_frame": table.first, "feature": features}
        rows = pa.table(columns).replace_schema_metadata({"videossl": json.dumps(table.about)})
        pq.write_table(rows, part)
    os.replace(part, path)


def read_features(path: Path) -> Table:
    """A file of features.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is none of `videossl embed`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: `videossl embed RUN --root VIDEOS --out {path}` writes it")
    if path.suffix in HDF5:
        if not h5py.is_hdf5(path):
            raise ValueError(f"{path} is no HDF5 file: `videossl embed` writes it")
        with h5py.File(path) as file:
            if "videossl" not in file.attrs:
                raise ValueError(f"{path} is no file of `videossl embed`")
            names, values = [name.decode() for name in file["video"]], torch.from_numpy(file["feature"][:])
            return Table(names, file["first_frame"][:], values, json.loads(file.attrs["videossl"]))
    _, pq = parquet()
    rows = pq.read_table(path)
    if b"videossl" not in (rows.schema.metadata or {}):
        raise ValueError(f"{path} is no file of `videossl embed`")
    feature = rows["feature"].combine_chunks()
    values = torch.from_numpy(feature.values.to_numpy().reshape(len(feature), -1).copy())
    about = json.loads(rows.schema.metadata[b"videossl"])
    return Table(rows["video"].to_pylist(), rows["first_frame"].to_numpy(), values, about)


def parquet():
    """pyarrow and its Parquet.

    Raises:
        ImportError: they are not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow: pip install 'videossl[export]', or write a .h5 file") from error
    return pyarrow, pyarrow.parquet


def search(config: Search) -> list[tuple[str, int, float]]:
    """Print and draw the clips most like the query's; returns their videos, first frames and cosines.

    Raises:
        FileNotFoundError: the features, their videos, their trunk or the query are not there.
        ValueError: the trunk is not the one of the features, k is more than there is, or no such frame is there.
    """
    table = read_features(config.features)
    known = np.array(table.names)
    if not Path(config.query).exists():
        config = replace(config, query=whole_name(config, table))
    if config.query in table.names:
        rows = np.flatnonzero(known == config.query)
        row = rows[len(rows) // 2] if config.frame is None else rows[np.abs(table.first[rows] - config.frame).argmin()]
        query, first, others = table.values[row], int(table.first[row]), known != config.query
        shown = by_name(table)[config.query]
    else:
        query, first, shown = encoded(table, config)
        others = np.ones(len(known), bool)
    places = np.flatnonzero(others)
    count = len(places) if config.again else len(set(known[places]))
    if not 1 <= config.k <= count:
        raise ValueError(f"k is {config.k}, but there are {count} {'clips' if config.again else 'videos'} to find")
    similarity, index = nearest(F.normalize(query[None], dim=1), F.normalize(table.values[places], dim=1), len(places))
    found: list[tuple[str, int, float]] = []
    for value, place in zip(similarity[0].tolist(), index[0].tolist(), strict=True):
        name, start = str(known[places[place]]), int(table.first[places[place]])
        if config.again or name not in {other for other, *_ in found}:
            found.append((name, start, value))
        if len(found) == config.k:
            break
    draw(config, (config.query, first, shown), found, by_name(table))
    for name, start, value in found:
        console.print(f"{value:.3f}  {name}, from frame {start} on")
    console.print(f"picture: {config.out}")
    return found


def whole_name(config: Search, table: Table) -> str:
    """The name, with its folders, of the embedded video that is asked for.

    Raises:
        FileNotFoundError: there is none.
        ValueError: there are several of that name, in different folders.
    """
    if config.query in table.names:
        return config.query
    same = sorted({name for name in table.names if Path(name).name == config.query})
    if not same:
        raise FileNotFoundError(f"{config.query} is neither a file nor the name of a video in {config.features}")
    if len(same) > 1:
        raise ValueError(f"{len(same)} videos in {config.features} are called {config.query}: say which, {same[0]}?")
    return same[0]


def by_name(table: Table) -> dict[str, dict]:
    """The records of the videos, by name.

    Raises:
        FileNotFoundError: the trunk, or one of the videos, is not there any more.
    """
    data = table.about["data"]
    paths = {key: None if data[key] is None else Path(data[key]) for key in ("root", "lists", "index")}
    size = None if data["size"] is None else tuple(data["size"])
    videos = Videos(**paths, dataset=data["dataset"], size=size)
    records = videos.records(
        not table.about["test"], table.about["split"], load_trunk(Path(table.about["trunk"])).resize
    )
    found = {record["name"]: record for record in records}
    if lost := sorted(set(table.names) - found.keys()):
        raise FileNotFoundError(
            f"{len(lost)} of {len(set(table.names))} videos that were embedded are not among {records.name}'s now, such as "
            f"{lost[0]}: embed the videos again"
        )
    return found


def encoded(table: Table, config: Search) -> tuple[Tensor, int, dict]:
    """Feature, first frame and record of a video file's clip."""
    path = Path(config.query)
    trunk = load_trunk(Path(table.about["trunk"]))
    if weights(trunk) != table.about["weights"]:
        raise ValueError(f"{table.about['trunk']} has changed since {config.features} was made: embed the videos again")
    views = Views(**{key: value for key, value in table.about["views"].items() if key != "is"})
    record = one_video(path, tuple(table.about["data"]["size"] or trunk.resize))
    frames = len(record["frames"])
    starts = views.indices(frames)[:, 0]
    first = int(starts[len(starts) // 2]) if config.frame is None else config.frame
    if not 0 <= first < frames:
        raise ValueError(f"{path} has frames 0 to {frames - 1}, but frame {first} was asked for")
    first = max(0, min(first, frames - (views.length - 1) * views.stride - 1))
    features, failed = Encoder(trunk, progress=False).moments([record], [np.array([first])], views)
    if failed:
        raise ValueError(f"{path} cannot be read: {failed[record['name']]}")
    return features[0][0], first, record


def one_video(path: Path, size: tuple[int, int]) -> dict:
    """The record of a video file that is not indexed.

    Raises:
        ValueError: it is a file that is not named as a video.
    """
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} is no video by its name: a query is a file such as x.avi, or the name of a video")
    with tempfile.TemporaryDirectory(prefix="videossl-search-") as place:
        folder = Path(place)
        (folder / path.name).symlink_to(path.resolve())
        index_videos(folder, progress=False, decoder="pyav", workers=1)
        records: Records = video_folder(folder, size=size)
        record = records[0]
    return record | {"frames": replace(record["frames"], path=path)}


def draw(
    config: Search, query: tuple[str, int, dict], found: Sequence[tuple[str, int, float]], records: dict[str, dict]
) -> None:
    """The query's clip and those that were found, their first frames side by side."""
    shown = [query, *((name, start, records[name]) for name, start, _ in found)]
    titles = ["query", *(f"{value:.2f}" for *_, value in found)]
    figure = Figure(figsize=(1.5 * len(shown), 1.7))
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.14, top=0.88, wspace=0.05)
    for axis, (name, start, record), title in zip(figure.subplots(1, len(shown)), shown, titles, strict=True):
        frames = record["frames"]
        whole = replace(frames, size=None) if isinstance(frames, Frames) else frames
        show(axis, whole[np.array(start)].numpy())
        axis.set_axis_off()
        axis.set_title(title, fontsize=8, pad=2)
        axis.annotate(
            f"{Path(name).stem}, {start}"[-34:], (0.5, -0.1), xycoords="axes fraction", ha="center", fontsize=5
        )
    config.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(config.out, dpi=140)
