"""`videossl export DIR --format lerobot|rlds --out OUT`: interactions in the formats that robot learning reads."""

import importlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from tyro.conf import Positional

from videossl.datasets.interactions import interactions
from videossl.datasets.shards import Field
from videossl.experiments.console import bar
from videossl.experiments.index import say
from videossl.robot.outputs import part_of

FORMATS = {"lerobot": "LeRobotDataset v3.0", "rlds": "RLDS"}
# What records know besides the fields that are stored.
ORIGIN = {
    "name": Field((), "str", "of the interaction: no other collection has it too"),
    "episode": Field((), "int64", "number of the interaction in its collection, which `videossl replay` takes"),
    "scene": Field((), "int64", "in which it was tried: interactions of one scene begin alike"),
}


@dataclass(frozen=True)
class Export:
    """Write the interactions of one task for readers of LeRobotDataset v3.0 or of RLDS. An interaction is an episode."""

    root: Positional[Path]  # folder that `videossl collect` made, or the task's folder in it
    format: Literal[tuple(FORMATS)]  # lerobot: Parquet, read by lerobot; rlds: TFRecord, read by tensorflow-datasets
    out: Path  # folder to make
    task: str | None = None  # which of those in the folder; may be left out where there is one
    # for lerobot: pictures as MP4 (H.264) of this constant rate factor, 0 (exact) to 51; PNG in the Parquet files if not
    # given, which is exact too
    mp4: int | None = None
    skip_damaged: bool = False  # export what can be read of a damaged or unfinished folder
    progress: bool = True  # show a bar

    def __post_init__(self):
        if self.format not in FORMATS:
            raise ValueError(f"format {self.format!r}, but there are {', '.join(FORMATS)}")
        if self.mp4 is not None and (self.format != "lerobot" or not 0 <= self.mp4 <= 51):
            raise ValueError(f"mp4 {self.mp4} with format {self.format}: lerobot alone has MP4, of a factor of 0 to 51")


def export(run: Export) -> None:
    """Write the folder, all or nothing, and print what became of it.

    Raises:
        FileExistsError: the folder is there already. Nothing is overwritten.
        FileNotFoundError: no interactions are there.
        ValueError: they are of several tasks and none is named, of others than that named, unfinished or damaged.
        ImportError: what the format needs is not installed.
        OSError: the disk is full.
    """
    if run.out.exists():
        raise FileExistsError(f"{run.out} is there already: give a new folder, or remove it")
    found, held_out = (
        interactions(run.root, train=train, task=run.task, skip_damaged=run.skip_damaged) for train in (True, False)
    )
    records = sorted(found + held_out, key=lambda record: record["episode"])
    fields = {name: field for name, field in found.fields.items() if name not in found.views} | ORIGIN
    shape = (len(found.views), *found.fields[found.views[0]].shape)
    writer = _writer(run.format)
    with _whole(run.out) as part, bar(disable=not run.progress) as shown:
        line = shown.add_task(f"exporting {found.task}", text="")
        episodes = shown.track(_episodes(records, fields), total=len(records), task_id=line)
        if run.format == "lerobot":
            writer.write_lerobot(episodes, fields, shape, found.task, part, run.mp4)
        else:
            writer.write_rlds(episodes, fields, shape, found.task, part)
    megabytes = sum(path.stat().st_size for path in run.out.rglob("*") if path.is_file()) / 1e6
    say(f"{run.out}: {len(records)} episodes of {found.task}, {FORMATS[run.format]}, {megabytes:.1f} MB")
    for name, why in found.missing.items():
        say(f"left out: {name} {why}")


def _writer(format: str) -> Any:
    try:
        return importlib.import_module(f"videossl.experiments.export_{format}")
    except ModuleNotFoundError as error:
        raise ImportError(f"no module {error.name}, which export needs: pip install 'videossl[export]'") from error


def _episodes(records: Sequence[dict], fields: dict[str, Field]) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Pictures (T, H, W, 3) and values of each interaction."""
    for record in records:
        pictures = record["frames"].array(np.arange(len(record["frames"])))
        yield pictures.transpose(0, 2, 3, 1), {name: record[name] for name in fields}


def png(picture: np.ndarray) -> bytes:
    """A picture (H, W, 3) as a file: exact, and at this level of compression half the size of OpenCV's usual one."""
    return cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6])[1].tobytes()


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder to write to, which is `out` only when all is in it. What a killed export left is replaced."""
    part = part_of(out)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
