"""Which decoder reads which files: the fastest of those that give the same frames, as measured on the files themselves.

Files of one kind (suffix, codec and size) are decoded alike, so speed is measured on a few of each kind. Whether frames
are the same is asked of every file that is not left to PyAV, which is the measure. All that is done in processes that may
die of it (see `jobs`): a decoder that crashes or hangs on one file reads none of its kind.
"""

import os
import time
from collections import defaultdict
from collections.abc import Mapping, MutableMapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from videossl.datasets.bar import file_bar
from videossl.datasets.decoders import DECODERS, Name, missing, version
from videossl.datasets.frames import VideoFile
from videossl.datasets.jobs import LIMIT, Fault, in_processes, worth_starting

FEW = 8  # files of a kind, under which PyAV reads them without a measurement
TRIED = 3  # files of a kind that are measured
CLIP = 2 * np.arange(16)  # frames that are read together, from a random one on
SIZE = (128, 171)  # height and width that they are scaled to
LOW = (60, 80)  # and to tell frames apart
MARGIN = 1.1  # by how much another decoder must be faster than PyAV
COLOURS = 4.0  # grey levels that two decoders' colours may lie apart, on average
NEEDED = ("frames", "jumps", "bytes", "modified", "decoder", "motion")  # of an entry, to read the file and to compare
PARTS = 4  # of a video, in each of which frames are compared where it moves most
SHARE = 10_000_000  # bytes of videos that take about as long to compare as a process to import another decoder


@dataclass(eq=False)
class _Kind:
    """Files of one kind, and what is known of those who may read them."""

    answers: dict[str, dict[Name, str | None]]  # name of a file -> its "agrees"
    speeds: dict[Name, float]  # clips a second
    refused: dict[Name, str]  # a file on which a decoder crashed or hung
    versions: dict[Name, str]  # of those that were asked
    decoder: Name = "pyav"

    def choose(self, wanted: Name | Literal["auto"]) -> None:
        """Settle who is to read the files."""
        if wanted == "auto":
            self.decoder = fastest({name: speed for name, speed in self.speeds.items() if name not in self.refused})
        else:
            self.decoder = "pyav" if wanted in self.refused else wanted

    def refuse(self, decoder: Name, name: str, fault: Fault) -> None:
        """Note what a decoder did on a file."""
        self.answers[name][decoder] = fault.of(decoder)
        self.refused[decoder] = name

    def noted(self) -> dict:
        """What the index keeps of it."""
        own = {"files": len(self.answers), "clips a second": self.speeds, "decoder": self.decoder}
        return own | {"refused": self.refused, "versions": self.versions}


def choose(
    root: Path,
    videos: MutableMapping[str, dict],
    decoder: Name | Literal["auto"],
    workers: int,
    kinds: dict,
    limit: float = LIMIT,
    progress: bool = False,
) -> None:
    """Give each readable video its "decoder", and remember in "agrees" what was found out about others.

    When interrupted, what was found out is kept.

    Args:
        root: the folder.
        videos: name -> entry of the index; entries are replaced.
        decoder: who is to read all files where it can; "auto" measures.
        workers: processes that compare.
        kinds: what was found out before, by kind, which counts as long as decoders have the same versions; changed to
            what is now: "files", "clips a second" (name of a decoder -> speed), "decoder", "refused" (name of a decoder
            -> a file on which it crashed or hung), "versions" (name of a decoder -> version).
        limit: seconds without a frame after which a decoder hangs.
        progress: show a bar on standard error, where that is a terminal.
    """
    files = _by_kind(videos)
    many = any(len(names) >= FEW or kinds.get(kind, {}).get("clips a second") for kind, names in files.items())
    if decoder == "pyav" or (decoder == "auto" and not many):  # nobody else is asked
        versions = {"pyav": version("pyav")}
    else:
        versions, _ = look(*(DECODERS if decoder == "auto" else ("pyav", decoder)))
    found = {kind: _known(kinds.get(kind, {}), files[kind], versions, decoder == "auto") for kind in files}
    try:
        if decoder == "auto":
            _measure(root, videos, found, versions, limit)
        for kind in found.values():
            kind.choose(decoder)
        _ask_all(root, videos, found, decoder, workers, limit, progress)
    finally:
        kinds.clear()
        kinds |= {name: kind.noted() for name, kind in found.items()}
        for kind in found.values():
            for name, answers in kind.answers.items():
                entry, agrees = videos[name], answers.get(kind.decoder, "not asked") is None
                now = entry | {"decoder": kind.decoder if agrees else "pyav", "agrees": answers}
                if now != entry:
                    videos[name] = now


def _by_kind(videos: Mapping[str, dict]) -> dict[str, dict[str, dict]]:
    """Of each kind the files that others than PyAV may read: name -> "agrees"."""
    files = defaultdict(dict)
    for name, entry in videos.items():
        if entry["codec"] in ("images", "packed"):  # which are read in one way alone
            continue
        if entry["error"] is None and entry["warning"] is None:  # what is damaged has made decord abort
            files[kind_of(name, entry)][name] = entry["agrees"]
    return files


def _known(old: dict, answers: dict[str, dict], versions: dict[Name, str], auto: bool) -> _Kind:
    """What still counts of what was found out about a kind; the answers of decoders that changed are dropped."""
    before = old.get("versions", {})
    changed = {name for name in versions if before.get(name) != versions[name]}
    if "pyav" in changed:  # by which the others are measured
        changed |= DECODERS.keys()
    for given in answers.values():
        for name in changed & given.keys():
            del given[name]
    speeds = {name: speed for name, speed in old.get("clips a second", {}).items() if name in versions or not auto}
    if changed & speeds.keys() or (auto and changed):
        speeds = {}
    refused = {name: file for name, file in old.get("refused", {}).items() if answers.get(file, {}).get(name)}
    return _Kind(answers, speeds, refused, before | versions)


def _measure(root: Path, videos: Mapping[str, dict], found: dict[str, _Kind], versions: dict[Name, str], limit: float):
    """Measure those kinds that were not yet: clips a second with each decoder that agrees with PyAV on some files."""
    pending = [kind for kind in found.values() if not kind.speeds and len(kind.answers) >= FEW]
    tried = [(kind, name) for kind in pending for name in list(kind.answers)[:: -(-len(kind.answers) // TRIED)]]
    for decoder in versions if tried else ():
        jobs = ((root / name, _needed(videos[name]), decoder) for _, name in tried)
        speeds = defaultdict(list)
        for n, result in in_processes(timed, jobs, 1, limit):  # one at a time, for others would slow it down
            kind, name = tried[n]
            if isinstance(result, Fault):
                kind.refuse(decoder, name, result)
            speeds[kind].append(None if isinstance(result, Fault) else result)
        for kind in pending:
            if None not in speeds[kind]:
                kind.speeds[decoder] = round(float(np.median(speeds[kind])), 1)


def _ask_all(
    root: Path,
    videos: Mapping[str, dict],
    found: dict[str, _Kind],
    wanted: Name | Literal["auto"],
    workers: int,
    limit: float,
    progress: bool,
):
    """Ask whether each file's decoder agrees with PyAV on it; where one crashes or hangs, the next is asked instead."""
    while ask := [
        (kind, kind.decoder, name)
        for kind in found.values()
        for name, answers in kind.answers.items()
        if kind.decoder not in ("pyav", *answers)
    ]:
        jobs = ((root / name, _needed(videos[name]), decoder) for _, decoder, name in ask)
        few = worth_starting(workers, (videos[name]["bytes"] for _, _, name in ask), SHARE)
        with file_bar("comparing", progress) as shown, closing(in_processes(_ask, jobs, few, limit)) as answers:
            task = shown.add_task("", total=len(ask), note="")
            for n, why in answers:
                kind, decoder, name = ask[n]
                shown.update(task, advance=1)
                if isinstance(why, Fault):
                    kind.refuse(decoder, name, why)
                    kind.choose(wanted)
                    break  # so that it is not asked of the others
                kind.answers[name][decoder] = why


def _needed(entry: dict) -> dict:
    return {key: entry[key] for key in NEEDED}


def require(decoder: Name) -> None:
    """Raise a ValueError if a decoder is not there, with those that are."""
    if decoder in look("pyav", decoder)[1]:
        there, absent = look(*DECODERS)
        raise ValueError(f"{decoder} is not there ({absent[decoder]}): the others are {', '.join(there)}")


@cache
def look(*names: Name) -> tuple[dict[Name, str], dict[Name, str]]:
    """Which of these decoders are there, with their versions; and why the others are not.

    Each is imported in a process of its own, for torchcodec alone takes half a gigabyte.
    """
    there, absent = {}, {}
    for n, found in in_processes(_imported, names, 1, batch=1):
        why, release = (found.of("Python"), None) if isinstance(found, Fault) else found
        if why:
            absent[names[n]] = why
        else:
            there[names[n]] = release
    return there, absent


def _imported(name: Name) -> tuple[str | None, str | None]:
    why = missing(name)
    return why, None if why else version(name)


def kind_of(name: str, entry: dict) -> str:
    """Such as ".avi mpeg4 320x240"."""
    return f"{os.path.splitext(name)[1].lower()} {entry['codec']} {entry['width']}x{entry['height']}"


def fastest(speeds: dict[str, float]) -> Name:
    """PyAV, unless another is faster by more than measurements differ."""
    best = max(speeds, key=speeds.get, default="pyav")
    return best if speeds.get(best, 0) > MARGIN * speeds.get("pyav", 0) else "pyav"


def video_file(path: Path, entry: dict, size: tuple[int, int] | None, decoder: Name | None = None) -> VideoFile:
    """A file's frames as its entry in the index says."""
    keys = tuple(map(tuple, entry["jumps"]))
    stamp = entry["bytes"], entry["modified"]
    return VideoFile(str(path), entry["frames"], size, decoder or entry["decoder"], keys, stamp)


def timed(job: tuple[Path, dict, Name]) -> float | None:
    """Clips a second from a file with a decoder; None if it does not agree with PyAV."""
    path, entry, decoder = job
    return None if decoder != "pyav" and _ask(job) else speed(path, entry, decoder)


def speed(path: Path, entry: dict, decoder: Name, clips: int = 8) -> float:
    """Random clips a second of processor time from one file, each scaled: other programs do not change it much."""
    video, rng = video_file(path, entry, SIZE, decoder), np.random.default_rng(0)
    starts = rng.integers(max(1, len(video) - CLIP[-1]), size=clips + 1)
    wanted = [np.minimum(start + CLIP, len(video) - 1) for start in starts]
    video.array(wanted[0])  # imports, compiles, and has the file in memory
    began = time.process_time()
    for index in wanted[1:]:
        video.array(index)
    return clips / (time.process_time() - began)


def disagreement(path: Path, entry: dict, decoder: Name, numbers: np.ndarray) -> tuple[str | None, float]:
    """Whether a decoder reads a file as PyAV does, which decodes it from its start.

    Where nothing moves, a frame looks like those beside it, and a wrong number cannot be told from the right one: such
    frames count as right. To find a decoder out, frames are to be asked for where the video moves.

    Args:
        numbers: frames to compare, (N,).

    Returns: what is different, in words, or None; and the mean distance of colours, in grey levels.
    """
    try:
        other = video_file(path, entry, LOW, decoder).array(numbers).astype(np.int16)
    except (ValueError, OSError) as e:
        return str(e).removeprefix(f"{path} "), float("nan")
    around = np.clip(numbers[:, None] + [-1, 0, 1], 0, entry["frames"] - 1)
    own = VideoFile(str(path), entry["frames"], LOW).array(around).astype(np.int16)
    apart = np.abs(own - other[:, None]).mean((2, 3, 4))  # (N, 3): from the frame before, the same, the next
    moved = np.abs(own - own[:, [1]]).mean((2, 3, 4))  # (N, 3): of these, from the same
    mistaken = (apart[:, [1]] - apart > moved / 2) & (moved > 0.5)  # under that, decoders' rounding tells nothing
    if mistaken.any():
        n, other_one = np.argwhere(mistaken)[0]
        return f"gives frame {around[n, other_one]} as frame {numbers[n]}", float(apart[:, 1].mean())
    if (apart[:, 1] > COLOURS).any():
        n = int(apart[:, 1].argmax())
        return f"gives frame {numbers[n]} in colours {apart[n, 1]:.1f} grey levels away", float(apart[:, 1].mean())
    return None, float(apart[:, 1].mean())


def _ask(job: tuple[Path, dict, Name]) -> str | None:
    """Whether a decoder agrees on the frames that tell most."""
    path, entry, decoder = job
    return disagreement(path, entry, decoder, telling(entry["motion"]))[0]


def telling(motion: list[float]) -> np.ndarray:
    """Numbers of the first frame, the last, and, in each of `PARTS` of the video, the two with most motion between them.

    So a decoder that is a frame off from somewhere on is found out, if anything moves behind that place.

    Args:
        motion: between successive frames, `frames - 1` numbers.

    Returns: ascending, (N,).
    """
    parts = [part for part in np.array_split(np.arange(len(motion)), PARTS) if part.size]
    most = [int(part[np.argmax(np.take(motion, part))]) for part in parts]
    return np.unique([0, len(motion), *most, *(n + 1 for n in most)])
