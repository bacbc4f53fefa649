"""What data sets of drives share: which drives are for training, what scene each shows, and which of its frames count."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from videossl.datasets.frames import FrameFolder, Frames, image_names
from videossl.datasets.image_folder import AT_ONCE, unreadable
from videossl.datasets.index import command, read_index, same
from videossl.datasets.records import Records

SCENES = ("City", "Residential", "Road", "Campus", "Person")  # KITTI's categories, in the order of its web page
FOLDS = 5  # without lists, every fifth recording is for testing


@dataclass(frozen=True)
class Drive:
    """A drive that was found.

    Attributes:
        name: by which lists and records know it.
        group: the recording it is of: what is not to be cut in two between training and test.
        path: its folder.
    """

    name: str
    group: str
    path: Path


@dataclass(frozen=True)
class Picked(Frames):
    """Some frames of a video, in their order, as if they were all."""

    whole: Frames
    numbers: tuple[int, ...]  # which of them, ascending

    @property
    def path(self) -> str | Path:
        return self.whole.path

    @property
    def frames(self) -> int:
        return len(self.numbers)

    @property
    def size(self) -> tuple[int, int] | None:
        return self.whole.size

    def _read(self, wanted):
        return self.whole._read([self.numbers[n] for n in wanted])


def gather_drives(
    root: Path,
    wanted: list[Drive | str],
    read: Callable[[Drive], tuple[dict, str]],
    scenes: dict[str, str],
    series: str,
    split: int,
    train: bool,
) -> Records:
    """Records of the drives wanted. One that cannot be read is left out and named, with the file and the line.

    Args:
        root: the folder of the data set.
        wanted: drives, and the names of those that a list has but the folder has not.
        read: gives a drive's record, without "name", "group" and "label", and what is odd about it, or "".
        scenes: category of drives, see `read_scenes`.
        series, split, train: what list they are of, see `Records`.

    Raises:
        ValueError: none can be read.
    """
    classes = classes_of(scenes)
    records, missing, damaged = [], {}, {}
    for drive in wanted:
        if isinstance(drive, str):
            missing[drive] = "not there"
            continue
        try:
            record, odd = read(drive)
        except (ValueError, OSError) as e:
            missing[drive.name] = f"unreadable: {e}"
            continue
        scene = scenes.get(drive.name, scenes.get(drive.group))
        label = {"label": classes.index(scene)} if scene else {}
        records.append({**record, "name": drive.name, "group": drive.group, **label})
        if odd:
            damaged[drive.name] = odd
    if not records:
        told = sorted(missing.items(), key=lambda item: item[1] == "not there")  # what can be mended first
        first = "; ".join(f"{name} {why}" for name, why in told[:3])
        if told[0][1] == "not there":
            first += "; unpack them there, or name those that are there in train.txt and test.txt"
        raise ValueError(f"none of the {len(missing)} drives listed of {root} can be read: {first}")
    part = "train" if train else "test"
    return Records(records, series, split, part, classes, missing=missing, damaged=damaged)


def read_scenes(root: Path) -> dict[str, str]:
    """What scene each drive shows, from `root`/scenes.txt: name of a drive or its recording -> category.

    Its lines are "2011_09_26_drive_0001_sync City". It is ours: KITTI gives the categories on its web page alone. Without
    the file no drive has one.

    Raises:
        ValueError: a line is of another form, or has another category than `SCENES`.
    """
    path, scenes = root / "scenes.txt", {}
    for n, line in enumerate(path.read_text().splitlines() if path.is_file() else (), 1):
        words = line.split()
        if words and (len(words) != 2 or words[1] not in SCENES):
            raise ValueError(
                f"{path}, line {n} is {line.strip()!r}, but should be `DRIVE CATEGORY`, of {', '.join(SCENES)}"
            )
        if words:
            scenes[plain(words[0])] = words[1]
    return scenes


def classes_of(scenes: dict[str, str]) -> list[str]:
    """The categories that occur, in KITTI's order: the same for training and test."""
    return [scene for scene in SCENES if scene in scenes.values()]


def choose_drives(
    root: Path, drives: list[Drive], scenes: dict[str, str], split: int, train: bool, lists: str | Path | None
) -> tuple[list[Drive | str], str]:
    """The drives to train on or to test on.

    With lists (train.txt and test.txt, a drive's name a line, in `lists` or else in `root`) they say which; a listed
    drive that was not found is given by its name. Without, the recordings are sorted by scene and then by name, and
    every fifth is for testing, with all its drives: the fifth, tenth, ... in split 1, the fourth, ninth, ... in split 2.

    Args:
        root: the folder of the data set.
        drives: all that were found.
        scenes: see `read_scenes`.
        split: 1 to 5 without lists, otherwise 1.
        train: those to train on, otherwise to test on.
        lists: the folder with the lists; None looks in `root`.

    Returns: (drives, name of the series they are of).

    Raises:
        FileNotFoundError: `lists` lacks a list.
        ValueError: the list is empty, or names a drive twice or for both uses; or no drive is left for this use.
    """
    place = Path(root if lists is None else lists)
    if lists is not None or (place / "train.txt").is_file():
        if split != 1:
            raise ValueError(f"{place} has one train.txt and one test.txt, but split {split} was asked for: leave it 1")
        return listed(place, train, drives), place.resolve().name
    if not 1 <= split <= FOLDS:
        raise ValueError(f"split is {split}, but without lists there are {FOLDS}, from 1")
    groups = {drive.group: scenes.get(drive.name, scenes.get(drive.group, "")) for drive in drives}
    order = sorted(groups, key=lambda group: (groups[group], group))
    held = {group for n, group in enumerate(order) if n % FOLDS == FOLDS - split}
    chosen = [drive for drive in drives if (drive.group in held) != train]
    if not chosen:
        raise ValueError(
            f"{root} has {len(groups)} recordings, of which every fifth is for testing, so none is for "
            f"{'training' if train else 'testing'} in split {split}: add drives, or put train.txt and test.txt there, "
            "with a drive's name a line"
        )
    return chosen, root.resolve().name


def listed(place: Path, train: bool, drives: Iterable[Drive]) -> list[Drive | str]:
    """The drives that a list names, in its order; those not found as names alone. See `choose_drives`."""
    path, other = place / f"{'train' if train else 'test'}.txt", place / f"{'test' if train else 'train'}.txt"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: it should hold the name of a drive a line")
    names = read_names(path)
    both = set(names) & set(read_names(other)) if other.is_file() else set()
    if both:
        raise ValueError(f"{min(both)} is both in {path} and in {other.name}: take it out of one")
    known = {drive.name: drive for drive in drives}
    return [known.get(name, name) for name in names]


def read_names(path: Path) -> list[str]:
    """The names in a list, each once."""
    names = [plain(line.strip()) for line in path.read_text().splitlines() if line.strip()]
    if not names:
        raise ValueError(f"{path} names no drive: it should hold the name of one a line")
    if twice := [name for n, name in enumerate(names) if name in names[:n]]:
        raise ValueError(f"{path} lists {twice[0]} twice: it would count double")
    return names


def plain(name: str) -> str:
    """A drive's name as it is on any file system: comma.ai's have a "|", for which its own script puts "_"."""
    return name.replace("|", "_")


def numbered(folder: Path) -> list[int]:
    """The numbers of the images in a folder, in the order in which `FrameFolder` has them; none where there is none.

    Raises:
        ValueError: two images have the same number.
    """
    names = image_names(str(folder), folder.stat().st_mtime_ns) if folder.is_dir() else []
    known = {}
    for name in names:
        stem = Path(name).stem
        if not stem.isdigit():
            raise ValueError(f"{folder} holds {name}, but images should be named by their number alone")
        if int(stem) in known:
            raise ValueError(f"{folder} holds {known[int(stem)]} and {name}, of one number: take one away")
        known[int(stem)] = name
    return list(known)


def pair(
    folder: Path, numbers: list[int], posed: Iterable[int], size: tuple[int, int] | None
) -> tuple[FrameFolder | Picked, list[int], str]:
    """The images that have a pose, as frames.

    Args:
        folder: of the images.
        numbers: of the images, see `numbered`.
        posed: numbers for which there is a pose.
        size: what frames are scaled to, (height, width), or None.

    Returns: (frames, the number of each, what is odd: images without a pose, poses without an image, broken images).

    Raises:
        ValueError: fewer than two frames are left.
    """
    posed, broken = set(posed), broken_images(folder)
    kept = [n for n, number in enumerate(numbers) if number in posed and n not in broken]
    if len(kept) < 2:
        raise ValueError(
            f"{folder} has {len(numbers)} images and there are {len(posed)} poses, of which {len(kept)} belong together "
            "by number: motion needs 2 at least, so bring back what is missing, or leave the drive out"
        )
    frames = FrameFolder(str(folder), len(numbers), size)
    odd = [
        f"{len(lacking)} {what}{'s' * (len(lacking) > 1)} without {other} (number {min(lacking)}"
        f"{', ...' * (len(lacking) > 1)})"
        for what, other, lacking in (
            ("image", "a pose", set(numbers) - posed),
            ("pose", "an image", posed - set(numbers)),
        )
        if lacking
    ]
    if broken:
        odd.append(f"{len(broken)} broken image{'s' * (len(broken) > 1)} ({next(iter(broken.values()))})")
    if len(kept) < len(numbers):
        frames = Picked(frames, tuple(kept))
    return frames, [numbers[n] for n in kept], f"has {' and '.join(odd)}" if odd else ""


def broken_images(folder: Path) -> dict[int, str]:
    """Images of a folder that are empty, cut off or none at all: place in the folder -> name and why (see `unreadable`)."""
    names = image_names(str(folder), folder.stat().st_mtime_ns)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        whys = pool.map(unreadable, [folder / name for name in names])
        return {n: f"{name} {why}" for n, (name, why) in enumerate(zip(names, whys, strict=True)) if why}


def motions(root: Path, index: str | Path | None) -> Callable[[Path], dict]:
    """A function that gives what the index knows of a folder of images: {"motion": ...}, or {} where it knows nothing.

    Drives need no index. Where there is one, by `videossl index`, methods that draw clips by motion can be used.
    """
    given = index is not None or (root / "index.json").is_file()
    videos = read_index(root, index) if given else {}

    def motion(folder: Path) -> dict:
        entry = videos.get(folder.relative_to(root).as_posix())
        if entry is None:
            return {}
        if not same(folder, entry):
            raise ValueError(f"{folder} changed since it was indexed: run `{command(root, index)}` again")
        if entry["error"]:
            raise ValueError(f"{folder} {entry['error']}")
        return {"motion": np.array(entry["motion"], np.float32)}

    return motion
