"""The index of a folder of videos: what is in each file, found once by decoding it from start to end.

`videossl index ROOT` writes it as ROOT/index.json (see `entries`). Names are paths relative to ROOT, of files and of
folders that hold a video as numbered images. Beside what `survey` finds, an entry holds the file's "bytes" and its
"modified" (see `stamp`), by which a changed file is noticed, and its "decoder" (see `choice`, which also writes "kinds").
A file that makes the decoder crash or hang is unreadable for that reason: files are read in processes that may die (see
`jobs`).

The index of a folder that `videossl pack` wrote names packed files, YoYo/v_YoYo_g01_c01.avi.vpk, and holds under "packed"
what they were made from (see `pack`). Originals that could not be packed are in it too, by their own names, with their
"error" and "packed": false.
"""

import os
import shlex
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import joblib

from videossl.datasets.bar import file_bar
from videossl.datasets.choice import choose, require
from videossl.datasets.decoders import Name
from videossl.datasets.entries import FORMAT, Entries, check_writable, load_head, load_index, save_index
from videossl.datasets.frames import is_numbered_image, stamp
from videossl.datasets.jobs import LIMIT, Fault, check_limit, in_processes, worth_starting
from videossl.datasets.packed import SUFFIX
from videossl.datasets.survey import EMPTY, survey

SUFFIXES = (
    *(".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv"),
    *(".ts", ".mts", ".m2ts", ".vob", ".hevc", SUFFIX),
)
SAVED = 60  # seconds between two writings of an unfinished index, at least
SAVING = 0.05  # share of the time that goes into them, at most


@dataclass
class _Made:
    """An index as it stands."""

    root: Path
    out: Path
    videos: Entries
    kinds: dict  # see `choose`
    packed: dict | None  # see `pack`

    def save(self, unfinished: int) -> None:
        save_index(self.out, self.videos, unfinished, self.kinds, self.packed)


def index_videos(
    root: str | Path,
    out: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
    decoder: Name | Literal["auto"] = "auto",
    limit: float = LIMIT,
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
        limit: seconds, from 1, within which the next frame of a file must come, or it is unreadable. So a film of hours
            is indexed, however long that takes, and a file on which the decoder hangs keeps nobody waiting.

    Returns a summary, a dict: "out" (Path), "videos" (`Entries`: name -> entry), "unreadable" (name -> why), "warnings"
    (name -> what is odd), "others" (suffix -> how many files were left out), "kinds" (see `choose`), "decoded", "kept"
    (numbers of videos), "seconds".

    Raises:
        FileNotFoundError, NotADirectoryError: `root` is no folder.
        ValueError: no readable video is there, `out` is a file of another kind or of another folder, or the decoder is
            not there or has nothing to read. Nothing is written then.
        OSError: `out` cannot be written, or no process can be started.
    """
    root, began = folder(root), time.perf_counter()
    out = root / "index.json" if out is None else Path(out)
    workers = joblib.cpu_count() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers is {workers}, but at least 1 is needed to decode")
    check_limit(limit)
    names, others = _find_some(root)
    _check_decoder(root, names, decoder)
    check_writable(out)
    made, unpacked = _begun(root, out, names)
    kept, todo = len(made.videos), [name for name in names if name not in made.videos]
    made.videos.update(unpacked)
    try:
        _survey_all(made, todo, workers, progress, limit)
        choose(root, made.videos, decoder, workers, made.kinds, limit, progress)
    finally:  # also when interrupted
        bad, warnings = _complaints(made.videos)
        if len(bad) < len(made.videos):
            made.save(len(names) + len(unpacked) - len(made.videos))
    if len(bad) == len(made.videos):
        first = "; ".join(f"{name} {why}" for name, why in list(bad.items())[:3])
        raise ValueError(f"{root} holds no readable video, so no index was written. Of {len(bad)} unreadable: {first}")
    return {
        "out": out,
        "videos": made.videos,
        "unreadable": bad,
        "warnings": warnings,
        "others": dict(others),
        "kinds": made.kinds,
        "decoded": len(todo),
        "kept": kept,
        "seconds": time.perf_counter() - began,
    }


def _find_some(root: Path) -> tuple[list[str], Counter]:
    names, others = find(root)
    if not names:
        found = ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in others.most_common(5))
        raise ValueError(
            f"{root} holds no file named as a video ({', '.join(SUFFIXES)}), "
            f"but {f'other files: {found}' if found else 'no files at all'}"
        )
    return names, others


def _check_decoder(root: Path, names: list[str], decoder: Name | Literal["auto"]):
    if decoder in ("auto", "pyav"):
        return
    require(decoder)
    if all(name.endswith(SUFFIX) or os.path.isdir(root / name) for name in names):
        raise ValueError(
            f"{root} holds packed videos and folders of images alone, which are read in one way, not with {decoder}: "
            "leave the decoder out"
        )


def _begun(root: Path, out: Path, names: list[str]) -> tuple[_Made, dict[str, dict]]:
    """The index that is there, with what it has of unchanged files; and what it has of originals that were not packed."""
    old, head = Entries(), {}
    if out.exists():
        head = load_index(out, old)
    if head.get("format") != FORMAT:
        old, head = Entries(), {}
    if again := _packing(head, root):
        raise ValueError(f"{root} is not packed to its end, which also indexes it. Run `{again}` again")
    if old and old.keys().isdisjoint(names):
        raise ValueError(
            f"{out} is the index of another folder: it names {len(old)} videos, such as {min(old)}, none of which is "
            f"in {root}. Give another place with --out FILE, or remove it"
        )
    there, packed_too = set(names), {original(name) for name in names}
    videos, unpacked = Entries(), {}
    for name, entry in old.items():
        if name in there and not entry["error"] and same(root / name, entry):
            videos[name] = entry
        elif entry.get("packed") is False and name not in packed_too:
            unpacked[name] = entry
    return _Made(root, out, videos, head.get("kinds", {}), head.get("packed")), unpacked


def _survey_all(made: _Made, todo: list[str], workers: int, progress: bool, limit: float):
    """Add the entries of these files, read in several processes, with a bar; write the index now and then."""
    jobs = ((made.root, name) for name in todo)
    few = worth_starting(workers, (_identity(made.root / name)["bytes"] or 0 for name in todo))
    unreadable, start = 0, time.perf_counter()
    saved, pause = start, SAVED
    with file_bar("indexing", progress) as shown, closing(in_processes(_entry, jobs, few, limit, tries=2)) as answers:
        task = shown.add_task("", total=len(todo), note="")
        for n, (number, entry) in enumerate(answers, 1):
            name = todo[number]
            if isinstance(entry, Fault):
                entry = _identity(made.root / name) | EMPTY | {"error": entry.of("the decoder")}
            made.videos[name] = entry | {"decoder": "packed" if entry["codec"] == "packed" else "pyav", "agrees": {}}
            unreadable += entry["error"] is not None
            now = time.perf_counter()
            shown.update(task, advance=1, note=f"{n / (now - start):.1f} files/s, {unreadable} unreadable")
            if now - saved > pause and len(made.videos) > unreadable:
                made.save(len(todo) - n)
                saved = time.perf_counter()
                pause = max(SAVED, (saved - now) / SAVING)


def _complaints(videos: Entries) -> tuple[dict[str, str], dict[str, str]]:
    """Of files in the order of their names, why they are unreadable, or what is odd about them."""
    bad, warnings = {}, {}
    for name in videos:
        entry = videos[name]
        if entry["error"]:
            bad[name] = entry["error"]
        if entry["warning"]:
            warnings[name] = entry["warning"]
    return bad, warnings


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
    videos: dict[str, dict] = {}
    head = load_index(path, videos)
    if head["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {head['format']}, but {FORMAT} is needed: run `{command(root, index)}` again"
        )
    if "unfinished" in head:
        raise ValueError(
            f"{path} is unfinished: {head['unfinished']} of {head['unfinished'] + len(videos)} videos are not in it "
            f"yet. Run `{_packing(head, root) or command(root, index)}` again: it goes on where it stopped"
        )
    return videos


def packed_from(root: str | Path, index: str | Path | None = None) -> dict | None:
    """What the videos of a folder were packed from, as `pack` notes it in the index; None for a folder of originals."""
    path = Path(root) / "index.json" if index is None else Path(index)
    return load_head(path).get("packed") if path.is_file() else None


def _packing(head: dict, root: Path) -> str | None:
    """What to type to go on with the packing into a folder, where its index says that it was stopped."""
    note = head.get("packed")
    if not note or "videos" in note:
        return None
    options = f"--short {note['short']} --step {note['step']}"
    return f"videossl pack {shlex.quote(note['from'])} --out {shlex.quote(str(root))} {options}"


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
    a sub-folder that may not be looked into. A sub-folder with two numbered images or more is one video, unless something
    in it, at any depth, bears a video's suffix: then its images are pictures beside videos, and count as other files.
    """
    names, others, _ = _look(root, "", ())
    return sorted(set(names)), others


def _look(place: Path, prefix: str, above: tuple) -> tuple[list[str], Counter, int]:
    """What `find` gives of a folder and those in it, and how many numbered images lie in it itself.

    Args:
        prefix: what its files' names begin with.
        above: device and inode of the folders that it lies in.
    """
    names, others, images = [], Counter(), 0
    info = place.stat()
    here = (info.st_dev, info.st_ino)
    if here in above:  # a link back up
        return names, others, images
    for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        name, named = prefix + entry.name, _named_as_video(entry.name)
        inside = entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))
        if named:
            names.append(name)
        elif not inside and name != "index.json":
            others[os.path.splitext(name)[1].lower()] += 1
            images += is_numbered_image(entry.name)
        if inside:
            try:
                inner, rest, pictures = _look(place / entry.name, f"{name}/", (*above, here))
            except PermissionError:
                names.append(name)
                continue
            if pictures > 1 and not named and not any(map(_named_as_video, inner)):
                names.append(name)
            else:
                names += inner
                others += rest
    return names, others, images


def _named_as_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def passed_over(name: str) -> bool:
    """Whether indexing leaves out a file that is so named, a path relative to the folder."""
    return not _named_as_video(name) or any(part.startswith(".") for part in name.split("/"))


def same(path: Path, entry: dict) -> bool:
    """Whether a file, or a folder of images, is as it was when indexed, by its `stamp`."""
    try:
        return stamp(path) == (entry["bytes"], entry["modified"])
    except OSError:
        return False


def _identity(path: Path) -> dict:
    """By what a change of the file is noticed; nothing where it is not there."""
    try:
        size, modified = stamp(path)
    except OSError:
        size = modified = None
    return {"bytes": size, "modified": modified}


def _entry(job: tuple[Path, str]) -> dict:
    """In a process of its own: what becomes of a file's entry, without its decoder."""
    root, name = job
    path = root / name
    entry = _identity(path) | survey(path)
    try:
        path.stat()
    except FileNotFoundError:
        link = f"is a link to {os.readlink(path)}, which is not there" if path.is_symlink() else "is gone"
        return entry | {"error": link}
    except OSError as e:  # a link to itself, a folder that may not be entered
        return entry | {"error": f"cannot be opened ({e.strerror})"}
    if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
        return entry | {"error": "is a folder that may not be looked into"}
    return entry
