"""Records of videos, and what is known of the list they come from: its name, its classes, what of it is missing."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from videossl.datasets.choice import video_file
from videossl.datasets.frames import FrameFolder
from videossl.datasets.index import passed_over, same
from videossl.datasets.packed import SUFFIX


class Records(list):
    """Records, as a list, that know how they stand to the list of a data set.

    A slice or a filtered copy is a plain list: no longer that list of a data set.

    A record's "frames" are anything that has a `len` and takes an integer array of any shape (0-d too), in any order
    and with repeats: `frames[index]` is a uint8 tensor (*index.shape, C, H, W). They raise ValueError or OSError where
    a frame cannot be read, and can be pickled, for they are read in data workers. "motion", where an index measured it,
    is how much each frame differs from the one before, in grey levels of 255: float32 (frames - 1,). "digest", of images,
    is a name for the file's bytes. "warning", where it is there, says that the file is cut short or damaged; nothing is
    pretrained on such a one (see `usable`).

    Attributes:
        series: "UCF101", or the name of the folder that the lists or, without lists, the videos are in.
        split: which of the data set's lists, from 1; None where it has only one.
        part: "train", "test", or "" where it has only one.
        name: all three: "UCF101 split 1 test".
        benchmark: "UCF101" where these are the official lists of that benchmark, otherwise None.
        classes: names of the classes, of which "label" is the index; empty where the videos have no labels.
        listed: how many videos the list names.
        missing: name -> why it is not among the records, "not there" or "unreadable: ...".
        damaged: name -> what is odd about it, such as "ends after 27 of 187 declared frames", though it is among them.
    """

    def __init__(
        self,
        records: Iterable[dict],
        series: str,
        split: int | None = None,
        part: str = "",
        classes: Iterable[str] = (),
        benchmark: str | None = None,
        missing: dict[str, str] | None = None,
        damaged: dict[str, str] | None = None,
    ):
        super().__init__(records)
        self.series = series
        self.split = split
        self.part = part
        self.classes = list(classes)
        self.benchmark = benchmark
        self.missing = dict(missing or {})
        self.damaged = dict(damaged or {})
        self.listed = len(self) + len(self.missing)

    @property
    def name(self) -> str:
        return self.series + (f" split {self.split}" if self.split is not None else "") + f" {self.part}".rstrip()

    @property
    def complete(self) -> bool:
        """Whether every video of the list is among the records, whole."""
        return not self.missing and not self.damaged and len(self) == self.listed

    def summary(self) -> str:
        """One line: "UCF101 split 1 train: 22 of 9537 videos (9515 not there, 0 unreadable)"."""
        text = f"{self.name}: {len(self)} of {self.listed} videos"
        absent = sum(why == "not there" for why in self.missing.values())
        bad = {name: why for name, why in self.missing.items() if why != "not there"}
        if self.missing:
            text += f" ({absent} not there, {len(bad)} unreadable"
        if bad:
            name, why = next(iter(bad.items()))
            text += f": {name} {why.removeprefix('unreadable: ')}{', ...' * (len(bad) > 1)}"
        text += ")" * bool(self.missing)
        if captions := sum("caption" in record for record in self):
            text += f", {captions} with a caption"
        if self.damaged:
            name, why = next(iter(self.damaged.items()))
            text += f", {len(self.damaged)} cut short or damaged: {name} {why}{', ...' * (len(self.damaged) > 1)}"
        return text


def by_group(records: list[dict], share: float = 0.2, seed: int = 0) -> tuple[list[dict], list[dict]]:
    """Cut records in two by group, for validation: a person or a film seen in training is not among the held-out ones.

    Groups are drawn until they hold `share` of the records. One with all that is left of some class is passed over.

    Args:
        records: a list with "group" in each, such as a training list.
        share: of the records to hold out, at least; more where groups are large. In (0, 1).
        seed: of the drawing.

    Returns: (to train on, held out), in the order given. `Records`, without a benchmark's name, where `records` is.

    Raises:
        ValueError: there are fewer than two groups, or none can be spared.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}, but should lie between 0 and 1")
    sizes = Counter(record["group"] for record in records)
    if len(sizes) < 2:
        raise ValueError(
            f"{len(records)} records are of {len(sizes)} group{'s' * (len(sizes) != 1)} {sorted(sizes)}, but two are "
            "needed to hold one out: validate on other videos, or hold out none (`--held-out 0`)"
        )
    labels = Counter((record["group"], record["label"]) for record in records if "label" in record)
    left = Counter(record["label"] for record in records if "label" in record)
    out = set()
    groups = sorted(sizes)
    for g in np.random.default_rng(seed).permutation(len(groups)):
        if sum(sizes[group] for group in out) >= share * len(records) or len(out) == len(groups) - 1:
            break
        of_it = Counter({label: n for (group, label), n in labels.items() if group == groups[g]})
        if any(left[label] == n for label, n in of_it.items()):
            continue
        left -= of_it
        out.add(groups[g])
    if not out:
        raise ValueError(
            f"each of the {len(groups)} groups holds all videos of some class, so none can be held out: "
            "validate on other videos, or hold out none (`--held-out 0`)"
        )
    train = [record for record in records if record["group"] not in out]
    held = [record for record in records if record["group"] in out]
    if isinstance(records, Records):
        groups = f"{len(out)} group{'s' * (len(out) != 1)}"
        train = _part(records, train, f"{records.part} (without {groups})")
        held = _part(records, held, f"{records.part} (only {groups})")
    return train, held


def _part(whole: Records, records: list[dict], part: str) -> Records:
    names = {record["name"] for record in records}
    damaged = {name: why for name, why in whole.damaged.items() if name in names}
    return Records(records, whole.series, whole.split, part.strip(), whole.classes, damaged=damaged)


def gather(
    root: Path,
    videos: dict[str, dict],
    wanted: Iterable[tuple[str, list[str], dict]],
    size: tuple[int, int] | None,
    again: str,
) -> tuple[list[dict], dict[str, str], dict[str, str]]:
    """Records of the videos wanted, from the index of their folder.

    Args:
        root: the folder.
        videos: what its index holds.
        wanted: for each video its name, the paths relative to `root` where it may be, and the rest of its record. Where
            no file is there, a packed one is looked for, of the same name or of that without suffix (see `packed`), and
            then a folder of images by the name without suffix.
        size: what frames are scaled to, (height, width); None leaves them as filmed.
        again: the command that indexes the folder, for messages.

    Returns: (records, missing, damaged), the latter two as in `Records`.

    Raises:
        ValueError: none of the videos is there or readable; one is listed twice; or files are not as they were indexed.
    """
    records, missing, damaged, changed, unknown, seen = [], {}, {}, [], [], set()
    for name, places, rest in wanted:
        if name in seen:
            raise ValueError(f"{name} is listed twice: it would count double")
        seen.add(name)
        folders = [os.path.splitext(place)[0] if place not in videos else place for place in places]
        files = (*places, *(place + SUFFIX for place in (*places, *folders)))
        place = next((place for place in files if os.path.isfile(os.path.join(root, place))), None)
        unpacked = next((p for p in (*places, *folders) if videos.get(p, {}).get("packed") is False), None)
        if place is None and unpacked is not None:
            missing[name] = f"unreadable: {videos[unpacked]['error']}"
            continue
        if place is None:
            place = next((f for f in folders if f in videos and videos[f]["codec"] == "images"), None)
        if place is None:
            # What the index found to be a folder or a broken link is unreadable rather than absent.
            known = [videos[place]["error"] for place in places if place in videos and os.path.lexists(root / place)]
            missing[name] = f"unreadable: {known[0]}" if known and known[0] else "not there"
            continue
        entry = videos.get(place)
        if entry is None and passed_over(place):
            missing[name] = f"unreadable: {place} is hidden or not named as a video, so indexing passes it over"
        elif entry is None:
            unknown.append(place)
        elif not same(root / place, entry):
            changed.append(place)
        elif entry["error"]:
            missing[name] = f"unreadable: {entry['error']}"
        else:
            if entry["codec"] == "images":
                frames = FrameFolder(str(root / place), entry["frames"], size, (entry["bytes"], entry["modified"]))
            else:
                frames = video_file(root / place, entry, size)
            record = {"frames": frames, "name": name, **rest, "motion": np.array(entry["motion"], np.float32)}
            if entry["warning"]:
                damaged[name] = entry["warning"]
                record["warning"] = entry["warning"]
            records.append(record)
    for what, files in (("changed since they were indexed", changed), ("are not in the index yet", unknown)):
        if files:
            raise ValueError(
                f"{len(files)} of the videos in {root} {what}: {', '.join(files[:3])}{', ...' * (len(files) > 3)}. "
                f"Run `{again}` again"
            )
    if not records:
        raise ValueError(_none_of(root, videos, missing))
    return records, missing, damaged


def _none_of(root: Path, videos: dict[str, dict], missing: dict[str, str]) -> str:
    """What is said where no video of a list is there whole."""
    bad = [f"{name} {why}" for name, why in missing.items() if why != "not there"]
    listed = f"{next(iter(missing))}, ..." if missing else ""
    way = "bring them back, or give another folder"
    if not missing.keys() <= videos.keys():
        way = "give the folder and the lists of one data set"
    return (
        f"{root} holds none of the {len(missing)} videos listed ({listed}): {len(missing) - len(bad)} not there, "
        f"{len(bad)} unreadable{f' ({bad[0]})' if bad else ''}. Its index names {len(videos)} videos, such as "
        f"{min(videos)}: {way}"
    )


def lists_folder(root: Path, lists: str | Path | None, usual: str, pattern: str) -> Path:
    """The folder of a data set's list files: `lists` if given, else `root`, or `usual` in it or beside it.

    Raises:
        FileNotFoundError: none of them holds a file of this pattern.
    """
    places = [Path(lists)] if lists is not None else [root, root / usual, root.absolute().parent / usual]
    for place in places:
        if any(place.glob(pattern)):
            return place
    way = "" if lists is not None else f", or put it there as {usual}"
    raise FileNotFoundError(
        f"no list files ({pattern}) in {', '.join(map(str, places))}: give their folder as `lists`{way}"
    )


def plain_root(root: str | Path, kind: str, **unused: object) -> Path:
    """The folder of a data set that needs no index, once what means nothing for it is seen to be left out.

    Args:
        root: the folder.
        kind: what errors call the data set.
        unused: what it does not take, of `split`, `lists` and `index`, as it was given.

    Raises:
        FileNotFoundError: it is not there, or no folder.
        ValueError: one of `unused` was given.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not there, or is no folder")
    for word, value in unused.items():
        if value != (1 if word == "split" else None):
            raise ValueError(f"{kind} has no {word}, but {value} was given: leave it out")
    return root


def read_names(path: Path, what: str) -> list[str]:
    """The names in a list file, a line each.

    Args:
        what: is named, for the error where the file is not there.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: a name is there twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: it should name {what}, a line each")
    names = path.read_text().split()
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise ValueError(f"{twice} is listed twice in {path}: it would count double")
    return names


def numbered_group(stem: str) -> str | None:
    """The group in a name as UCF101 forms it: "g07" of "v_YoYo_g07_c02"; None where there is none."""
    found = re.search(r"_(g\d+)(?:_|$)", stem)
    return found[1] if found else None
