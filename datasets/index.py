"""The index of a folder of videos: what is in each file, found once by decoding it from start to end.

`videossl index ROOT` writes it as ROOT/index.json, a JSON file with one video a line:
    {"format": 2, "kinds": {...}, "videos": {
    "YoYo/v_YoYo_g01_c01.avi": {"bytes": 371908, "modified": 1412345678000000000, "frames": 166, ...},
    ...}}
Names are paths relative to ROOT, of files and of folders that hold a video as numbered images. Beside what `survey`
finds, an entry holds the file's "bytes" and its "modified" (time of last change, in nanoseconds since 1970), by which a
changed file is noticed, and its "decoder" (see `choice`, which also writes "kinds").

The index of a folder that `videossl pack` wrote names packed files, YoYo/v_YoYo_g01_c01.avi.vpk, and holds under "packed"
what they were made from (see `pack`). Originals that could not be packed are in it too, by their own names, with their
"error" and "packed": false.
"""

import json
import os
import shlex
import time
from collections import Counter
from pathlib import Path
from typing import Literal

import joblib
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from videossl.datasets.choice import choose, require
from videossl.datasets.decoders import Name
from videossl.datasets.frames import image_names
from videossl.datasets.packed import SUFFIX
from videossl.datasets.survey import survey

FORMAT = 2
SUFFIXES = (
    *(".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv"),
    *(".ts", ".mts", ".m2ts", ".vob", SUFFIX),
)
SAVED = 60  # seconds between two writings of an unfinished index


def index_videos(
    root: str | Path,
    out: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
    decoder: Name | Literal["auto"] = "auto",
) -> dict:
    """Decode every video under a folder once, and write what was found.

    An index that is there already is continued: entries of files whose size and time of change are the same are kept;
    those of unreadable files are tried again. The file is replaced in one step, so that it is whole at any time. When
    interrupted, what is done is kept and marked as unfinished.

    Args:
        root: looked through with its sub-folders (links followed) for files with one of `SUFFIXES` and folders of
            numbered images; what begins with a dot is passed over.
        out: the index, by default `root`/index.json.
        workers: processes that decode; by default one for each core.
        progress: show a bar on standard error, where that is a terminal.
        decoder: who is to read the files from now on, where it gives the same frames; "auto" is the fastest.

    Returns a summary, a dict: "out" (Path), "videos" (name -> entry), "unreadable" (name -> why), "warnings" (name ->
    what is odd), "others" (suffix -> how many files were left out), "kinds" (see `choose`), "decoded", "kept" (numbers
    of videos), "seconds".

    Raises:
        FileNotFoundError, NotADirectoryError: `root` is no folder.
        ValueError: no readable video is there, `out` is a file of another kind or of another folder, or the decoder is
            not there. Nothing is written then.
        OSError: `out` cannot be written.
    """
    root = folder(root)
    out = root / "index.json" if out is None else Path(out)
    if workers is None:
        workers = joblib.cpu_count()
    if workers < 1:
        raise ValueError(f"workers is {workers}, but at least 1 is needed to decode")
    if decoder != "auto":
        require(decoder)
    began = time.perf_counter()
    names, others = find(root)
    if not names:
        found = ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in others.most_common(5))
        raise ValueError(
            f"{root} holds no file named as a video ({', '.join(SUFFIXES)}), "
            f"but {f'other files: {found}' if found else 'no files at all'}"
        )
    _check_writable(out)
    old = _load(out) if out.exists() else {}
    old = old if old.get("format") == FORMAT else {}
    if again := _packing(old, root):
        raise ValueError(f"{root} is not packed to its end, which also indexes it. Run `{again}` again")
    kinds, packed, old = old.get("kinds", {}), old.get("packed"), old.get("videos", {})
    if old and old.keys().isdisjoint(names):
        raise ValueError(
            f"{out} is the index of another folder: it names {len(old)} videos, such as {min(old)}, none of which is "
            f"in {root}. Give another place with --out FILE, or remove it"
        )
    videos = {
        name: old[name] for name in names if name in old and not old[name]["error"] and same(root / name, old[name])
    }
    kept, todo = len(videos), [name for name in names if name not in videos]
    packed_too = {original(name) for name in names}
    unpacked = {n: entry for n, entry in old.items() if entry.get("packed") is False and n not in packed_too}
    videos, names = videos | unpacked, sorted([*names, *unpacked])
    try:
        _survey_all(root, out, todo, videos, workers, progress, kinds, packed)
        kinds = choose(root, videos, decoder, workers, kinds)
    finally:  # also when interrupted
        videos = {name: videos[name] for name in names if name in videos}
        readable = any(entry["error"] is None for entry in videos.values())
        if readable:
            save_index(out, videos, len(names) - len(videos), kinds, packed)
    bad = {name: entry["error"] for name, entry in videos.items() if entry["error"]}
    if not readable:
        first = "; ".join(f"{name} {why}" for name, why in list(bad.items())[:3])
        raise ValueError(f"{root} holds no readable video, so no index was written. Of {len(bad)} unreadable: {first}")
    return {
        "out": out,
        "videos": videos,
        "unreadable": bad,
        "warnings": {name: entry["warning"] for name, entry in videos.items() if entry["warning"]},
        "others": dict(others),
        "kinds": kinds,
        "decoded": len(todo),
        "kept": kept,
        "seconds": time.perf_counter() - began,
    }


def _survey_all(
    root: Path, out: Path, todo: list[str], videos: dict, workers: int, progress: bool, kinds: dict, packed: dict | None
):
    """Add the entries of these files to `videos`, in several processes, with a bar; write the index now and then."""
    console = Console(stderr=True)
    bar = Progress(
        *(TextColumn("indexing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")),
        TimeRemainingColumn(),
        console=console,
        disable=not (progress and console.is_terminal),
    )
    pool = joblib.Parallel(
        min(workers, 1 + len(todo) // 16), return_as="generator_unordered"
    )  # a process takes a second
    unreadable, start = 0, time.perf_counter()
    saved = start
    with bar:
        task = bar.add_task("", total=len(todo), note="")
        for n, (name, entry) in enumerate(pool(joblib.delayed(_entry)(root, name) for name in todo), 1):
            videos[name] = entry
            unreadable += entry["error"] is not None
            rate = n / (time.perf_counter() - start)
            bar.update(task, advance=1, note=f"{rate:.1f} files/s, {unreadable} unreadable")
            if time.perf_counter() - saved > SAVED and len(videos) > unreadable:
                save_index(out, videos, len(todo) - n, kinds, packed)
                saved = time.perf_counter()


def read_index(root: str | Path, index: str | Path | None = None) -> dict[str, dict]:
    """The entries of a folder's index: path relative to `root` -> what `survey` found, "bytes", "modified" and "decoder".

    Args:
        root: the folder of videos.
        index: the file, where it is not `root`/index.json.

    Raises:
        FileNotFoundError: there is no such folder, or no index yet.
        ValueError: the file is no index, or one whose writing was interrupted.
    """
    root = folder(root)
    path = root / "index.json" if index is None else Path(index)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: the videos are indexed once, by `{command(root, index)}`")
    found = _load(path)
    if found["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {found['format']}, but {FORMAT} is needed: run `{command(root, index)}` again"
        )
    if "unfinished" in found:
        raise ValueError(
            f"{path} is unfinished: {found['unfinished']} of {found['unfinished'] + len(found['videos'])} videos are "
            f"not in it yet. Run `{_packing(found, root) or command(root, index)}` again: it goes on where it stopped"
        )
    return found["videos"]


def packed_from(root: str | Path, index: str | Path | None = None) -> dict | None:
    """What the videos of a folder were packed from, as `pack` notes it in the index; None for a folder of originals."""
    path = Path(root) / "index.json" if index is None else Path(index)
    return _load(path).get("packed") if path.is_file() else None


def _packing(found: dict, root: Path) -> str | None:
    """What to type to go on with the packing into a folder, where its index says that it was stopped."""
    note = found.get("packed")
    if not note or "videos" in note:
        return None
    return f"videossl pack {shlex.quote(note['from'])} --out {shlex.quote(str(root))}"


def original(name: str) -> str:
    """The name of the video that a file shows: a packed one's original, otherwise its own."""
    return name.removesuffix(SUFFIX)


def command(root: str | Path, index: str | Path | None = None) -> str:
    """What to type to have `root` indexed, into `index` where it is elsewhere."""
    return f"videossl index {shlex.quote(str(root))}" + (f" --out {shlex.quote(str(index))}" if index else "")


def folder(root: str | Path) -> Path:
    """The folder as a Path, if it is one."""
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"{root} is not there: give the folder that holds the videos")
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is a file: give the folder that holds the videos")
    return root


def find(root: Path) -> tuple[list[str], Counter]:
    """What is named as a video under a folder: sorted paths relative to it, and the count of other files by suffix.

    Whatever bears a video's suffix is named, a folder or a broken link too, so that none is lost in silence; and so is
    a sub-folder that may not be looked into. A sub-folder with two numbered images or more is one video.
    """
    names, others = [], Counter()

    def look(place: Path, prefix: str, above: tuple):
        info = place.stat()
        here = (info.st_dev, info.st_ino)
        if here in above:  # a link back up
            return
        for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            inside = entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))
            suffix = os.path.splitext(entry.name)[1].lower()
            if suffix in SUFFIXES:
                names.append(prefix + entry.name)
            elif not inside and prefix + entry.name != "index.json":
                others[suffix] += 1
            if inside:
                try:
                    inner = place / entry.name
                    if suffix not in SUFFIXES and len(image_names(str(inner), inner.stat().st_mtime_ns)) > 1:
                        names.append(prefix + entry.name)
                    else:
                        look(inner, f"{prefix}{entry.name}/", (*above, here))
                except PermissionError:
                    names.append(prefix + entry.name)

    look(root, "", ())
    return sorted(set(names)), others


def passed_over(name: str) -> bool:
    """Whether indexing leaves out a file that is so named, a path relative to the folder."""
    return os.path.splitext(name)[1].lower() not in SUFFIXES or any(part.startswith(".") for part in name.split("/"))


def same(path: Path, entry: dict) -> bool:
    """Whether a file is as it was when indexed, by its size and the time of its last change."""
    try:
        info = path.stat()
    except OSError:
        return False
    return (info.st_size, info.st_mtime_ns) == (entry["bytes"], entry["modified"])


def _entry(root: Path, name: str) -> tuple[str, dict]:
    path = root / name
    entry = {"bytes": None, "modified": None}
    try:
        info = path.stat()
        entry = {"bytes": info.st_size, "modified": info.st_mtime_ns}
        entry |= survey(path)
        if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
            entry["error"] = "is a folder that may not be looked into"
    except FileNotFoundError:
        link = f"is a link to {os.readlink(path)}, which is not there" if path.is_symlink() else "is gone"
        entry |= survey(path) | {"error": link}
    except OSError as e:  # a link to itself, a folder that may not be entered
        entry |= survey(path) | {"error": f"cannot be opened ({e.strerror})"}
    return name, entry | {"decoder": "packed" if entry["codec"] == "packed" else "pyav", "agrees": {}}


def _load(path: Path) -> dict:
    try:
        found = json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as e:
        raise ValueError(f"{path} is no index of videos, nor JSON at all ({e}): give another, or remove it") from e
    if not isinstance(found, dict) or not isinstance(found.get("videos"), dict) or "format" not in found:
        raise ValueError(f"{path} is no index of videos, but some other JSON: give another, or remove it")
    return found


def _check_writable(out: Path):
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder: --out is the file to write, such as {out / 'index.json'}")
    if not out.parent.is_dir():
        raise FileNotFoundError(
            f"{out.parent} is not there, so {out.name} cannot be written in it: make the folder first"
        )
    try:
        _beside(out).touch(exist_ok=False)
    except OSError as e:
        raise OSError(f"{out} cannot be written ({e.strerror}): give the index another place with --out FILE") from e
    _beside(out).unlink()


def _beside(out: Path) -> Path:
    return out.with_name(f".{out.name}.{os.getpid()}")


def save_index(out: Path, videos: dict, unfinished: int, kinds: dict, packed: dict | None = None) -> None:
    """Replace the index in one step: at any time there is the old one or the new one, whole.

    Args:
        out: the file.
        videos: name -> entry.
        unfinished: how many videos are not among them yet.
        kinds: see `choose`.
        packed: what the videos were packed from, if they were (see `pack`).

    Raises:
        OSError: it cannot be written.
    """
    head = {"format": FORMAT} | ({"unfinished": unfinished} if unfinished else {})
    head |= ({"packed": packed} if packed else {}) | {"kinds": kinds}
    lines = (f"{json.dumps(name)}: {json.dumps(videos[name], separators=(',', ':'))}" for name in sorted(videos))
    beside = _beside(out)
    try:
        with open(beside, "w") as file:
            file.write(json.dumps(head)[:-1] + ', "videos": {\n' + ",\n".join(lines) + "\n}}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, out)
    except OSError as e:
        old = "the old one is as it was" if out.exists() else "there is none yet"
        raise OSError(
            f"the index {out} cannot be written ({e.strerror}): {old}. Make room, or give it another place with "
            "--out FILE, and run this again"
        ) from e
    finally:
        beside.unlink(missing_ok=True)
