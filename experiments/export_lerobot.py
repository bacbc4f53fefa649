"""Interactions as a LeRobotDataset v3.0: Parquet, with pictures as PNG inside it or as MP4 beside it.

An interaction is an episode; its pictures are the episode's frames, "observation.image". Action, labels and all else that
is known of it stand at each of its frames. Between pictures no time is told, so they are set a second apart.

Numbers are stored in their own types. Matrices are stored row by row, since lerobot's tools (delete_episodes, ...) fail
on what has more than one dimension. What its reader gives are tensors of float32 and int64: of float64 (poses) the
nearest float32, while the Parquet files, and `dataset.hf_dataset.with_format("numpy")`, hold all digits.

PNG and MP4 of factor 0 are exact. Pictures of a simulation are flat, so PNG is small: 459 grasps of 128 px take 3.1 MB, with
MP4 of factor 0 4.5, of 15 2.7, of 23 2.1 MB. At 23, colours are off by 1.7 of 255 on average, and 1 in 100 by more than 8.

Source: lerobot 0.4.4, datasets/lerobot_dataset.py, utils.py and compute_stats.py, for files, names and statistics.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from videossl.datasets.shards import Field
from videossl.experiments.export import png

FPS = 1  # frames a second, of LeRobot's clock
PICTURE = "observation.image"
BATCH, BYTES = 1000, 100e6  # episodes, and bytes of pictures before PNG, in a Parquet file: lerobot aims at 100 MB too
CHUNK = 1000  # files in a folder
VIDEO = 200e6  # bytes after which another MP4 begins
QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
CLOCK = {  # columns that LeRobot asks for
    "timestamp": Field((), "float32", "seconds"),
    **{name: Field((), "int64", "") for name in ("frame_index", "episode_index", "index", "task_index")},
}


def write_lerobot(
    episodes: Iterable[tuple[np.ndarray, dict[str, Any]]],
    fields: dict[str, Field],
    shape: tuple[int, int, int, int],
    task: str,
    out: Path,
    mp4: int | None = None,
) -> None:
    """Write the data set into an empty folder.

    Args:
        episodes: pictures (T, H, W, 3) uint8 and values of each interaction.
        fields: what the values are.
        shape: of the pictures of one.
        task: what LeRobot calls the task: a word, such as "grasp".
        out: the folder.
        mp4: constant rate factor of H.264, 0 (exact: RGB) to 51 (with colours at half the size); None for PNG.

    Raises:
        ValueError: pictures of an odd size are to be MP4 that is not exact.
        OSError: the disk is full.
    """
    frames, height, width, _ = shape
    if mp4 and (height % 2 or width % 2):
        raise ValueError(f"pictures are {height}x{width}, but MP4 needs even sizes: take --mp4 0, or PNG")
    video = None if mp4 is None else _Video(out, height, width, mp4)
    with nullcontext() if video is None else closing(video):
        columns, histogram = _write_episodes(episodes, fields, shape, task, out, video)
    rows = {name: _rows(column) for name, column in columns.items()}
    count = len(columns["index"])
    found = _statistics(rows, fields | CLOCK, axis=0) | {PICTURE: _shades(histogram, count * frames)}
    _write_json(found, out / "meta/stats.json")
    _write_json(_info(fields, shape, count, video), out / "meta/info.json")
    pd.DataFrame({"task_index": [0]}, index=[task]).to_parquet(out / "meta/tasks.parquet")


def _write_episodes(
    episodes: Iterable[tuple[np.ndarray, dict[str, Any]]],
    fields: dict[str, Field],
    shape: tuple[int, int, int, int],
    task: str,
    out: Path,
    video: "_Video | None",
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Write what grows with the episodes; all columns (episodes, frames, ...), and how often each shade occurs (3, 256)."""
    frames, written, histogram, first = shape[0], [], np.zeros((3, 256), int), 0
    for file, batch in enumerate(_batches(episodes, min(BATCH, int(BYTES // np.prod(shape))))):
        place = dict(zip(("chunk_index", "file_index"), divmod(file, CHUNK), strict=True))
        pictures = np.stack([pictures for pictures, _ in batch])
        columns = {name: np.stack([_flat(values[name]) for _, values in batch]) for name in fields}
        columns = {name: np.repeat(column[:, None], frames, 1) for name, column in columns.items()}
        columns |= _clock(first, len(batch), frames)
        shades = _histogram(pictures)
        about = _about(columns, task, place)
        about |= _as_columns(_statistics(columns, fields | CLOCK, axis=1) | {PICTURE: _shades(shades, frames)})
        table = {name: pa.array(_rows(column).tolist(), _arrow(fields, name)) for name, column in columns.items()}
        if video is None:
            images = [{"bytes": png(picture), "path": None} for picture in _rows(pictures)]
            table |= {PICTURE: pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()}))}
        else:
            about |= {f"videos/{PICTURE}/{name}": value for name, value in video.add(pictures).items()}
        _write_table(table, out / "data" / FILE.format(**place))
        _write_table(about, out / "meta/episodes" / FILE.format(**place))
        written, histogram, first = [*written, columns], histogram + shades.sum(0), first + len(batch)
    return {name: np.concatenate([columns[name] for columns in written]) for name in written[0]}, histogram


def _batches(episodes: Iterable[tuple[np.ndarray, dict]], size: int) -> Iterator[list[tuple[np.ndarray, dict]]]:
    episodes = iter(episodes)
    while batch := list(islice(episodes, size)):
        yield batch


def _flat(value: Any) -> np.ndarray:
    return np.ravel(value) if np.ndim(value) else np.asarray(value)


def _rows(column: np.ndarray) -> np.ndarray:
    """(episodes, frames, ...) to (rows, ...)."""
    return column.reshape(-1, *column.shape[2:])


def _clock(first: int, episodes: int, frames: int) -> dict[str, np.ndarray]:
    """LeRobot's own columns, (episodes, frames)."""
    numbers = np.tile(np.arange(frames), (episodes, 1))
    of_episodes = np.arange(first, first + episodes)[:, None]
    return {
        "timestamp": np.float32(numbers / FPS),
        "frame_index": numbers,
        "episode_index": np.repeat(of_episodes, frames, 1),
        "index": of_episodes * frames + numbers,
        "task_index": np.zeros_like(numbers),
    }


def _about(columns: Mapping[str, np.ndarray], task: str, place: Mapping[str, int]) -> dict[str, list]:
    """What is told of each episode, but for statistics and videos."""
    index = columns["index"]
    return {
        "episode_index": columns["episode_index"][:, 0].tolist(),
        "tasks": [[task]] * len(index),
        "length": [index.shape[1]] * len(index),
        "dataset_from_index": index[:, 0].tolist(),
        "dataset_to_index": (index[:, -1] + 1).tolist(),
        **{f"{kind}/{name}": [n] * len(index) for kind in ("data", "meta/episodes") for name, n in place.items()},
    }


def _arrow(fields: dict[str, Field], name: str) -> pa.DataType:
    field = (fields | CLOCK)[name]
    kind = pa.string() if field.dtype == "str" else pa.from_numpy_dtype(field.dtype)
    return pa.list_(kind) if field.shape else kind


def _statistics(columns: Mapping[str, np.ndarray], fields: dict[str, Field], axis: int) -> dict[str, dict]:
    """As lerobot has them: of each place of a vector, and of a number as of a vector of one.

    Args:
        columns: of all rows, or (episodes, frames, ...).
        fields: which are wanted; texts have none.
        axis: over which: 0, of all rows, or 1, of each episode by itself.
    """
    found = {}
    for name, field in fields.items():
        if field.dtype == "str":
            continue
        values = columns[name].astype(np.float64)
        values = values[..., None] if not field.shape else values
        found[name] = {
            **{"min": values.min(axis), "max": values.max(axis), "mean": values.mean(axis), "std": values.std(axis)},
            "count": np.full((*values.shape[:axis], 1), values.shape[axis]),
            **dict(zip(QUANTILES, np.quantile(values, list(QUANTILES.values()), axis), strict=True)),
        }
    return found


def _histogram(pictures: np.ndarray) -> np.ndarray:
    """How often each shade occurs in pictures (N, T, H, W, 3), of each episode: (N, 3, 256)."""
    channels = np.moveaxis(pictures, -1, 1).reshape(len(pictures) * 3, -1)
    return np.stack([np.bincount(channel, minlength=256) for channel in channels]).reshape(-1, 3, 256)


def _shades(histogram: np.ndarray, pictures: int) -> dict[str, np.ndarray]:
    """Statistics of red, green and blue in [0, 1], (..., 3, 1, 1), from a histogram (..., 3, 256) of so many pictures."""
    shades, total, upto = np.arange(256) / 255, histogram.sum(-1, keepdims=True), histogram.cumsum(-1)
    mean = (histogram * shades).sum(-1, keepdims=True) / total
    std = np.sqrt((histogram * (shades - mean) ** 2).sum(-1, keepdims=True) / total)
    least, most = shades[(upto > 0).argmax(-1)], shades[(upto == total).argmax(-1)]
    found = {"min": least[..., None], "max": most[..., None], "mean": mean, "std": std}
    found |= {name: shades[(upto >= q * total).argmax(-1)][..., None] for name, q in QUANTILES.items()}
    counts = np.full((*histogram.shape[:-2], 1), pictures)
    return {name: value[..., None] for name, value in found.items()} | {"count": counts}


def _as_columns(statistics: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, list]:
    return {
        f"stats/{name}/{which}": values.tolist()
        for name, found in statistics.items()
        for which, values in found.items()
    }


def _write_table(columns: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), f"{path}.parquet")


def _write_json(content: dict, path: Path) -> None:
    path.write_text(json.dumps(content, indent=4, default=lambda array: array.tolist()) + "\n")


class _Video:
    """MP4 files with the pictures of all episodes, one after the other, a frame of FPS each."""

    def __init__(self, out: Path, height: int, width: int, factor: int):
        self.out, self.height, self.width, self.factor = out, height, width, factor
        self.files, self.container, self.bytes = 0, None, 0
        self.codec, self.format = ("libx264", "yuv420p") if factor else ("libx264rgb", "rgb24")

    def add(self, pictures: np.ndarray) -> dict[str, list]:
        """Append the pictures (N, T, H, W, 3); where each episode's are."""
        places = {name: [] for name in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")}
        for episode in pictures:
            if self.bytes > VIDEO:
                self.close()
            if self.container is None:
                self._open()
            chunk, file = divmod(self.files - 1, CHUNK)
            seconds = self.frames / FPS, (self.frames + len(episode)) / FPS
            for name, value in zip(places, (chunk, file, *seconds), strict=True):
                places[name].append(value)
            for picture in episode:
                self._mux(av.VideoFrame.from_ndarray(picture, "rgb24"))
            self.frames += len(episode)
        return places

    def _open(self) -> None:
        chunk, file = divmod(self.files, CHUNK)
        path = self.out / "videos" / PICTURE / f"{FILE.format(chunk_index=chunk, file_index=file)}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.container = av.open(path, "w", options={"fflags": "+bitexact"})
        # g: each second frame at least is a key frame, as lerobot has it; bf: frames are stored in their order
        options = {"crf": str(self.factor), "g": "2", "bf": "0", "flags": "+bitexact"}
        self.stream = self.container.add_stream(self.codec, rate=FPS, options=options)
        self.stream.height, self.stream.width, self.stream.pix_fmt = self.height, self.width, self.format
        self.stream.thread_count = 1
        self.files, self.frames = self.files + 1, 0

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self.stream.encode(frame):
            self.bytes += packet.size
            self.container.mux(packet)

    def close(self) -> None:
        """End the file that is open, if one is."""
        if self.container is not None:
            self._mux(None)
            self.container.close()
        self.container, self.bytes = None, 0

    @property
    def info(self) -> dict[str, Any]:
        """What lerobot tells of a video, where it wrote it."""
        return {
            **{"video.height": self.height, "video.width": self.width, "video.channels": 3, "video.fps": FPS},
            **{"video.codec": "h264", "video.pix_fmt": self.format, "video.is_depth_map": False, "has_audio": False},
        }


def _explained(field: Field) -> dict[str, Any]:
    """What is said of a field beyond what lerobot asks for."""
    matrix = {"matrix": field.shape} if len(field.shape) > 1 else {}
    return {"about": field.about} | matrix | ({"names": field.names} if field.names else {})


def _info(fields: dict[str, Field], shape: tuple[int, ...], count: int, video: _Video | None) -> dict[str, Any]:
    features = {
        PICTURE: {
            **{"dtype": "image" if video is None else "video", "shape": shape[1:]},
            **{"names": ["height", "width", "channels"], **({} if video is None else {"info": video.info})},
        }
    }
    for name, field in (fields | CLOCK).items():
        dtype = "string" if field.dtype == "str" else field.dtype
        features[name] = {"dtype": dtype, "shape": (int(np.prod(field.shape)),), "names": None}
        if field.about:
            features[name]["info"] = _explained(field)
    return {
        **{"codebase_version": "v3.0", "robot_type": None, "fps": FPS},
        **{"total_episodes": count, "total_frames": count * shape[0], "total_tasks": 1},
        **{"chunks_size": CHUNK, "data_files_size_in_mb": 100, "video_files_size_in_mb": VIDEO // 1e6},
        "splits": {"train": f"0:{count}"},
        "data_path": f"data/{FILE}.parquet",
        "video_path": None if video is None else f"videos/{{video_key}}/{FILE}.mp4",
        "features": features,
    }
