"""What a simulated robot did to things, and what came of it: records of a folder that `videossl collect` made.

`shards` says how the folder looks inside.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zlib import crc32

import h5py
import numpy as np

from videossl.datasets.frames import Frames
from videossl.datasets.records import Records
from videossl.datasets.scaling import scaled
from videossl.datasets.shards import Field, check, fields_of, open_shard, read_field, read_manifest

FOLDS = 5  # of scenes: each is held out for tests in one split
OPEN = 64  # shards that a process keeps open
AGAIN = "collect again with the same command, which makes it anew, or read with skip_damaged=True"


@dataclass(frozen=True)
class Pictures(Frames):
    """The pictures of one episode, read from its shard when they are asked for; each process opens it for itself."""

    path: str | Path
    row: int  # of the episode in its shard
    views: tuple[str, ...]  # fields that are the frames, in this order
    size: tuple[int, int] | None = None  # height and width in pixels to scale to; None: as they are

    @property
    def frames(self) -> int:
        return len(self.views)

    def _read(self, wanted):
        shard = _opened(str(self.path), os.getpid())
        try:
            images = [shard[self.views[n]][self.row].transpose(2, 0, 1) for n in wanted]
        except (OSError, KeyError, RuntimeError) as error:
            raise ValueError(f"is damaged at episode {self.row} of its own ({error}): {AGAIN}") from error
        return np.stack([scaled(np.ascontiguousarray(image), self.size) for image in images] if self.size else images)


@lru_cache(maxsize=OPEN)
def _opened(path: str, process: int) -> dict[str, h5py.Dataset]:
    """The data sets of a shard. Each process has its own: what is open must not pass to a fork."""
    file = open_shard(Path(path))
    return {name: file[name] for name in file}


class Interactions(Records):
    """Records that also know what is stored of them.

    Attributes:
        task: whose interactions they are.
        fields: what is stored of each episode, in its order: shape, type, unit and the names of an index.
        views: which of the fields the frames are.
    """

    def __init__(self, records: Iterable[dict], root: Path, task: str, fields: dict[str, Field], **rest):
        super().__init__(records, f"{root.resolve().name} {task}", **rest)
        self.task, self.fields = task, fields
        self.views = tuple(name for name, field in fields.items() if field.is_picture)


def tasks(root: str | Path) -> list[str]:
    """Names of the tasks of which interactions lie in a folder, in alphabetical order.

    Raises:
        FileNotFoundError: there are none.
    """
    root = Path(root)
    found = sorted({path.parent.name for path in root.glob("*/*.h5")})
    if not found:
        raise FileNotFoundError(
            f"{root} holds no interactions: give a folder that `videossl collect` made"
            if root.is_dir()
            else f"{root} is not there, or is no folder"
        )
    return found


def interactions(
    root: str | Path,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
    task: str | None = None,
    skip_damaged: bool = False,
    guided: bool | None = None,
) -> Interactions:
    """Interactions of one task, a record an episode, in their order.

    Scenes are dealt into five folds: of `split` s, scenes s - 1, s + 4, s + 9, ... are for tests. To test on objects that
    were never touched, collect a folder of its own with `--unseen`.

    Args:
        root: the folder that `videossl collect` made, or the task's folder in it, such as DIR/grasp.
        split: 1 to 5, which fifth of the scenes is held out.
        train: the other four fifths, otherwise that one.
        size: height and width that pictures are scaled to; None leaves them as they are.
        lists, index: as of the other data sets, but shards list what they hold: leave them out.
        task: "grasp", "push", "poke" or "identity"; may be left out where `root` holds one only.
        skip_damaged: leave out shards that are missing, cut short or damaged, which `missing` then names, and take a
            folder that is not finished as it is. Every byte is looked at; without it, damage to pictures is noticed when
            they are read.
        guided: only grasps that a trained net chose (True: those of them that fail are hard negatives), or only those at
            random (False). A folder without a net has none of the former.

    Records hold "frames" (the pictures, in the order of their fields: a grasp's or a poke's patch; before and after a
    push; an identity's pair), "name", "group" (the scene), "label" (index of the object's category in `classes`),
    "episode", "scene", and every other field of the task, as arrays and scalars of numpy: see `Interactions.fields`.

    Raises:
        FileNotFoundError: the folder is not there, or holds no interactions.
        ValueError: it holds several tasks or not the one asked for, is not finished, or a shard is damaged; no such
            split; lists or an index are given; `guided` is given, but a net chooses grasps alone.
    """
    if not 1 <= split <= FOLDS:
        raise ValueError(f"split is which of {FOLDS} parts is held out, 1 to {FOLDS}, but {split} was asked for")
    if lists is not None or index is not None:
        raise ValueError(
            f"shards list what they hold, so lists or an index ({lists or index}) mean nothing: leave them out"
        )
    root, task = _place(Path(root), task)
    files, missing = _shards(root, task, skip_damaged)
    records, fields, whole = [], {}, 0
    for path in files:
        try:
            if skip_damaged:
                check(path)
            found, fields = _episodes(path, size)
        except (ValueError, OSError) as error:
            if not skip_damaged:
                raise ValueError(f"{error}. {AGAIN.capitalize()}") from error
            missing[f"{task}/{path.name}"] = f"unreadable: {error}"
            continue
        whole += 1
        records += [record for record in found if (record["scene"] % FOLDS != split - 1) == train]
    if not whole:
        raise ValueError(
            f"none of the {len(files)} shards in {root / task} can be read: {next(iter(missing.values()))}"
        )
    if guided is not None:
        if "guided" not in fields:
            raise ValueError(f"{root / task} does not tell which of its episodes a net chose: leave out `guided`")
        records = [record for record in records if record["guided"] == guided]
    classes = fields["category"].names if "category" in fields else ()
    part = "train" if train else "test"
    return Interactions(records, root, task, fields, split=split, part=part, classes=classes, missing=missing)


def square(size: tuple[int, int]) -> tuple[int, int]:
    """What a robot's pictures are scaled to for a trunk that asks for frames of this height and width.

    They are square, and stay so: angles and places in them are what is asked about, which stretching changes, and a crop
    from the middle of what was stretched would leave a third of the table out.
    """
    return (min(size),) * 2


def _place(root: Path, task: str | None) -> tuple[Path, str]:
    """The folder of a collection, and the task that is meant."""
    if any(root.glob("*.h5")) and task in (None, root.absolute().name):
        return root.absolute().parent, root.absolute().name
    there = tasks(root)
    if task is None and len(there) > 1:
        raise ValueError(f"{root} holds {', '.join(there)}: say which, by its folder {root / there[0]} or as `task`")
    if task is not None and task not in there:
        raise ValueError(f"{root} holds no interactions of {task!r}, but of {', '.join(there)}")
    return root, task or there[0]


def _shards(root: Path, task: str, as_it_is: bool) -> tuple[list[Path], dict[str, str]]:
    """The shards of a task that are there, and why others are not."""
    listed = read_manifest(root)
    if listed is None and not as_it_is:
        raise ValueError(
            f"{root} is not finished, for it has no manifest.json: collect again with the same command, which goes on, or "
            "take it as it is with skip_damaged=True"
        )
    if listed is None:
        return sorted((root / task).glob("*.h5")), {}
    files = [root / shard["file"] for shard in listed if shard["task"] == task]
    missing = {str(path.relative_to(root)): "not there" for path in files if not path.is_file()}
    if missing and not as_it_is:
        raise ValueError(
            f"{root} lacks {len(missing)} of its shards, such as {next(iter(missing))}. {AGAIN.capitalize()}"
        )
    return [path for path in files if path.is_file()], missing


def _episodes(path: Path, size: tuple[int, int] | None) -> tuple[list[dict], dict[str, Field]]:
    """Records of all episodes of a shard, and the fields that it stores."""
    with open_shard(path) as file:
        fields = fields_of(file)
        task, first, trials = str(file.attrs["task"]), int(file.attrs["first"]), int(file.attrs["trials"])
        made = f"{task}-{crc32(str(file.attrs['config']).encode()):08x}"  # apart from those of other collections
        views = tuple(name for name, field in fields.items() if field.is_picture)
        columns = {name: read_field(file, name) for name in fields if name not in views}
        count = len(file[next(iter(fields))])
    records = []
    for row, episode in enumerate(range(first, first + count)):
        record = {"frames": Pictures(path, row, views, size), "name": f"{made}/{episode:06}"}
        record |= {"group": f"{made} scene {episode // trials}", "episode": episode, "scene": episode // trials}
        if "category" in columns:
            record["label"] = int(columns["category"][row])
        records.append(record | {name: column[row] for name, column in columns.items()})
    return records, fields
