"""What a robot saw and felt, as `curious_robot` learns from it: its tasks' records, with their pictures at hand."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from videossl.datasets.interactions import Interactions, interactions
from videossl.experiments.console import console
from videossl.methods.base import Method
from videossl.robot.collect import PAPER, Collect, collect
from videossl.training.draws import askable

TASKS = tuple(PAPER)  # grasp, push, poke, identity
ALIKE = 1.25  # times as much of the table as another may a camera of one task see: what lies nearer is seen smaller


@dataclass(frozen=True)
class Touched:
    """Records of each task; "frames" are tensors."""

    tasks: Mapping[str, list[dict]]
    classes: list[str]  # categories of the things, of which "label" is the index

    def __len__(self) -> int:
        return sum(map(len, self.tasks.values()))

    def pictures(self) -> list[dict]:
        """Every picture as a record of its own, with the label of the thing it shows."""
        found = []
        for task, records in self.tasks.items():
            for record in records:
                labels = [record["label"]] * len(record["frames"])
                if task == "identity":
                    labels[1] = int(record["other_category"])
                for n, label in enumerate(labels):
                    found.append({"frames": record["frames"][n : n + 1], "label": label, "name": record["name"]})
        return found


def collected(folder: Path, episodes: Mapping[str, int], workers: int, **options) -> Path:
    """A folder with a collection of each task, made where it is not there yet; `options` are those of `Collect`."""
    for task, count in episodes.items():
        if not (folder / task / "manifest.json").exists():
            collect(Collect(task, folder / task, count, workers, **options))
    return folder


def read(
    folder: Path,
    cache: Path,
    size: int,
    methods: Mapping[str, Method],
    without: tuple[str, ...] = (),
    part: bool | None = None,
) -> Touched:
    """The interactions of a folder: FOLDER/TASK/*.h5, or FOLDER/TASK/TASK/*.h5 as `collected` makes it.

    Args:
        cache: folder in which pictures are kept, scaled: files that are not read into memory, however large.
        size: pixels a side to scale to.
        methods: what is asked of each task; what cannot be asked is left out, and a line says how much and why.
        without: tasks that are left out.
        part: True: scenes to train on, False: held-out scenes, None: all.

    Raises:
        FileNotFoundError: a task is not there, and not in `without`.
        ValueError: no scene of a task is in this part; nothing can be asked of any record of it; its pictures differ in
            size or in how much of the table they show.
    """
    wanted = [task for task in TASKS if task not in without]
    missing = [task for task in wanted if _place(folder, task) is None]
    if missing or not wanted:
        some = f", or say that it is to be done --without {' '.join(missing)}" if len(missing) < len(wanted) else ""
        raise FileNotFoundError(
            f"{folder} holds no interactions of {' and '.join(missing) or 'any task'}: collect them (`videossl collect"
            f" {(missing or TASKS)[0]}`){some}"
        )
    found, classes = {}, []
    for task in wanted:
        lists = [_records(folder, task, train) for train in ((True, False) if part is None else (part,))]
        records, classes = [record for one in lists for record in one], lists[0].classes
        found[task] = _asked(_at_hand(records, cache, f"{task}-{part}-{size}", size), methods[task], task)
    return Touched(found, classes)


def _place(folder: Path, task: str) -> Path | None:
    """The collection that holds a task."""
    return next((place for place in (folder, folder / task) if any((place / task).glob("*.h5"))), None)


def _records(folder: Path, task: str, train: bool) -> Interactions:
    return interactions(_place(folder, task), train=train, task=task)


def side_of(record: dict) -> int:
    """Pixels a side of a record's pictures, as they were taken."""
    return round(2 * float(record["intrinsics"][0, 2])) + 1


def _seen(record: dict) -> float:
    """Metres of the table that a record's first picture shows from side to side, in its middle."""
    pose = record["T_world_camera"]
    return side_of(record) * float(pose[2, 3] / -pose[2, 2] / record["intrinsics"][0, 0])


def _at_hand(records: list[dict], cache: Path, name: str, size: int) -> list[dict]:
    task = name.split("-")[0]
    if not records:
        raise ValueError(
            f"there is no scene of {task} in this part of the data (every fifth is held out): collect more"
        )
    sides = Counter(map(side_of, records))
    if len(sides) > 1:
        raise ValueError(
            f"{task} has pictures of {' and '.join(map(str, sorted(sides)))} pixels: collect all in one size"
        )
    seen = [_seen(record) for record in records]
    if max(seen) > ALIKE * min(seen):
        raise ValueError(
            f"{task} has pictures of cameras that see {min(seen):.2f} and {max(seen):.2f} m of the table: collect all with"
            " one"
        )
    file, names = cache / f"{name}.npy", cache / f"{name}.txt"
    key = "\n".join(record["name"] for record in records)
    if not names.exists() or names.read_text() != key:
        cache.mkdir(parents=True, exist_ok=True)
        names.unlink(missing_ok=True)
        shape = (len(records), len(records[0]["frames"]), 3, size, size)
        stored = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
        for n, record in enumerate(records):
            stored[n] = replace(record["frames"], size=(size, size))[np.arange(shape[1])].numpy()
        stored.flush()
        names.write_text(key)  # last: where it is, all is there
    pictures = torch.from_numpy(np.load(file, mmap_mode="c"))  # read from the file when they are looked at
    return [{**record, "frames": frames} for record, frames in zip(records, pictures, strict=True)]


def _asked(records: list[dict], method: Method, task: str) -> list[dict]:
    """Those that can be asked."""
    kept, reasons = askable(records, method.check)
    for reason, names in reasons.items():
        console.print(f"  {task}: {len(names)} of {len(records)} are left out: {reason}")
    if not kept:
        raise ValueError(f"none of {len(records)} interactions of {task} can be learned from: {'; '.join(reasons)}")
    return kept
