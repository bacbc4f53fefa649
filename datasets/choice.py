"""Which decoder reads which files: the fastest of those that give the same frames, as measured on the files themselves.

Files of one kind (suffix, codec and size) are decoded alike, so speed is measured on a few of each kind. Whether frames
are the same is asked of every file that is not left to PyAV, which is the measure.
"""

import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Literal

import joblib
import numpy as np

from videossl.datasets.decoders import DECODERS, Name, missing
from videossl.datasets.frames import VideoFile

FEW = 8  # files of a kind, under which PyAV reads them without a measurement
TRIED = 3  # files of a kind that are measured
CLIP = 2 * np.arange(16)  # frames that are read together, from a random one on
SIZE = (128, 171)  # height and width that they are scaled to
LOW = (60, 80)  # and to tell frames apart
MARGIN = 1.1  # by how much another decoder must be faster than PyAV
COLOURS = 4.0  # grey levels that two decoders' colours may lie apart, on average


def choose(root: Path, videos: dict[str, dict], decoder: Name | Literal["auto"], workers: int, kinds: dict) -> dict:
    """Give each readable video its "decoder", and remember in "agrees" what was found out about others.

    Args:
        root: the folder.
        videos: name -> entry of the index; changed in place.
        decoder: who is to read all files where it can; "auto" measures.
        workers: processes that compare.
        kinds: what was measured before, by kind.

    Returns: the same for all kinds of now: "files", "clips a second" (name of a decoder -> speed), "decoder".
    """
    groups = defaultdict(list)
    for name, entry in videos.items():
        if entry["codec"] in ("images", "packed"):  # which are read in one way alone
            continue
        if entry["error"] is None and entry["warning"] is None:  # what is damaged has made decord abort
            groups[kind_of(name, entry)].append(name)
    measured = {}
    for kind, names in groups.items():
        known = kinds.get(kind, {})
        if decoder == "auto" and not known.get("clips a second") and len(names) >= FEW:
            known = {"clips a second": measure(root, videos, names)}
        speeds = {name: speed for name, speed in known.get("clips a second", {}).items() if not missing(name)}
        choice = decoder if decoder != "auto" else fastest(speeds)
        if choice != "pyav":
            ask = [name for name in names if choice not in videos[name]["agrees"]]
            jobs = (joblib.delayed(_ask)(root, name, videos[name], choice) for name in ask)
            for name, why in zip(ask, joblib.Parallel(min(workers, 1 + len(ask) // 16))(jobs), strict=True):
                videos[name]["agrees"][choice] = why
        for name in names:
            videos[name]["decoder"] = choice if videos[name]["agrees"].get(choice) is None else "pyav"
        measured[kind] = {"files": len(names), "clips a second": speeds, "decoder": choice}
    return measured


def require(decoder: Name) -> None:
    """Raise a ValueError if a decoder is not there, with those that are."""
    if why := missing(decoder):
        there = ", ".join(name for name in DECODERS if not missing(name))
        raise ValueError(f"{decoder} is not there ({why}): the others are {there}")


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


def measure(root: Path, videos: dict[str, dict], names: list[str]) -> dict[str, float]:
    """Clips a second with each decoder that is there and agrees with PyAV, on a few of the files."""
    some = names[:: -(-len(names) // TRIED)]
    speeds = {}
    for decoder in DECODERS:
        if missing(decoder):
            continue
        if decoder != "pyav" and any(_ask(root, name, videos[name], decoder) for name in some):
            continue
        speeds[decoder] = round(float(np.median([speed(root / name, videos[name], decoder) for name in some])), 1)
    return speeds


def speed(path: Path, entry: dict, decoder: Name, clips: int = 8) -> float:
    """Random clips a second of processor time from one file, each scaled: other programs do not change it much."""
    video, rng = video_file(path, entry, SIZE, decoder), np.random.default_rng(0)
    starts = rng.integers(max(1, len(video) - CLIP[-1]), size=clips + 1)
    wanted = [np.minimum(start + CLIP, len(video) - 1) for start in starts]
    video[wanted[0]]  # imports, compiles, and has the file in memory
    began = time.process_time()
    for index in wanted[1:]:
        video[index]
    return clips / (time.process_time() - began)


def disagreement(path: Path, entry: dict, decoder: Name, numbers: np.ndarray) -> tuple[str | None, float]:
    """Whether a decoder reads a file as PyAV does, which decodes it from its start.

    Args:
        numbers: frames to compare, (N,).

    Returns: what is different, in words, or None; and the mean distance of colours, in grey levels.
    """
    try:
        other = video_file(path, entry, LOW, decoder)[numbers].numpy().astype(np.int16)
    except (ValueError, OSError) as e:
        return str(e).removeprefix(f"{path} "), float("nan")
    around = np.clip(numbers[:, None] + [-1, 0, 1], 0, entry["frames"] - 1)
    own = VideoFile(str(path), entry["frames"], LOW)[around].numpy().astype(np.int16)
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


def _ask(root: Path, name: str, entry: dict, decoder: Name) -> str | None:
    """Whether a decoder agrees on the first frame, the last and some between."""
    numbers = np.unique(np.linspace(0, entry["frames"] - 1, 6).astype(int))
    return disagreement(root / name, entry, decoder, numbers)[0]
