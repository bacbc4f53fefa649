"""Packing a folder of videos: a small copy of each, read several times as fast (see `packed` for the files themselves)."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import joblib
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from videossl.datasets.decoders import PyAV, missing
from videossl.datasets.frames import image_names, read_image
from videossl.datasets.index import command, find, packed_from, read_index, same, save_index
from videossl.datasets.packed import (
    GOP,
    NOTED,
    STEPS,
    SUFFIX,
    ColoursChange,
    Header,
    Packed,
    in_rgb,
    packed_size,
    write_packed,
)
from videossl.datasets.scaling import Picture
from videossl.datasets.survey import EMPTY

LISTS = ("ucfTrainTestlist", "testTrainMulti_7030_splits")  # folders of lists, in the videos' or beside it


def pack(
    root: str | Path,
    out: str | Path,
    short: int = 128,
    step: int = 4,
    workers: int | None = None,
    index: str | Path | None = None,
    progress: bool = True,
) -> dict:
    """Pack every readable video of an indexed folder into another folder, which is then read as the first is.

    A video is packed as its name with ".vpk" appended, a folder of images too. The new folder has an index: frames,
    motion and the rest as of the originals, so that a seed draws the same examples from both. Videos that are unreadable
    are in it as such, so that they are counted. The lists of a data set, text files in `root` and in `LISTS` in it or
    beside it, are copied, so that it is read by `ucf101(out)` as the originals are by `ucf101(root)`.

    Files are written to a side and renamed when they are whole. Those that are there already, from the same original and
    with the same `short` and `step`, are kept, so that an interrupted run goes on; those whose original is gone are
    removed. A packed file has its original's time of change: packing gives the same bytes and the same index each time.

    Args:
        root: the folder, indexed by `videossl index`.
        out: the folder to write, new, empty, or begun by this.
        short: shorter side of the packed videos in pixels; the other follows. Smaller
            videos keep their size.
        step: grey levels that become one, 1 to 16: the brightness and the two planes of colour of the scaled video are
            off by at most step - 1 afterwards. With 1 the packed video is exact, and larger.
        workers: processes that pack; by default one for each core.
        index: the index, where it is not `root`/index.json.
        progress: show a bar on standard error, where that is a terminal.

    Returns a summary, a dict: "out" (Path), "note" (what the index holds under "packed": "from", the folder; "short",
    "step", "gop", the frames in a group of pictures; "videos", how many; "bytes"; "bytes of the originals"), "frames"
    (in all), "packed", "kept" (numbers of videos), "unreadable" (name -> why), "packed frames" (now), "seconds".

    Raises:
        FileNotFoundError, NotADirectoryError: `root` or its index is not there.
        ValueError: an option makes no sense; `out` is in `root`, or holds something else; another process packs into it;
            videos changed since they were indexed; or none is readable.
        OSError: a file cannot be written. Those that are whole stay.
    """
    root, out, began = Path(root), Path(out), time.perf_counter()
    if short < 1:
        raise ValueError(f"short is {short}, but should be a number of pixels, from 1")
    if step not in STEPS:
        raise ValueError(f"step is {step}, but should be a whole number of grey levels from 1 to {STEPS[-1]}")
    workers = joblib.cpu_count() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers is {workers}, but at least 1 is needed to pack")
    if why := missing("packed"):
        raise ValueError(f"packing needs lz4, which is not there ({why}): pip install lz4")
    videos = read_index(root, index)
    _check_originals(root, videos, command(root, index))
    options = {"from": str(root.resolve()), "short": short, "step": step, "gop": GOP}
    with _alone(root, out):
        if not (out / "index.json").exists():
            save_index(out / "index.json", {}, len(videos), {}, options)  # whose folder this is from now on
        entries = {}  # of packed files, by the original's name
        for name, entry in videos.items():
            if entry["error"] is None and (whole := _whole(out, name, entry, short, step)):
                entries[name] = whole
        todo = [name for name, entry in videos.items() if entry["error"] is None and name not in entries]
        kept, failed = len(entries), {}
        try:
            for name, found in _packed(root, out, {n: videos[n] for n in todo}, short, step, workers, progress):
                if isinstance(found, str):
                    failed[name] = found
                else:
                    entries[name] = found
        except OSError as e:
            raise OSError(
                f"{e.filename or out} cannot be written ({e.strerror}): {len(entries)} of {kept + len(todo)} videos are "
                "packed and stay. Make room and run this again: it goes on where it stopped"
            ) from e
        bad = {name: failed.get(name) or entry["error"] for name, entry in videos.items() if name not in entries}
        if not entries:
            first = "; ".join(f"{name} {why}" for name, why in list(bad.items())[:3])
            raise ValueError(f"{root} holds no video that could be packed. Of {len(bad)} unreadable: {first}")
        _copy_lists(root, out, {Path(name).stem for name in videos})
        wanted = {name + SUFFIX for name in entries}
        for name in find(out)[0]:
            if name.endswith(SUFFIX) and name not in wanted and (out / name).is_file():
                (out / name).unlink()
        note = options | {
            "videos": len(entries),
            "bytes": sum(entry["bytes"] for entry in entries.values()),
            "bytes of the originals": sum(_bytes(root, name, videos[name]) for name in entries),
        }
        lines = {name + SUFFIX: entry for name, entry in entries.items()}
        lines |= {name: videos[name] | {"error": why, "packed": False, "jumps": []} for name, why in bad.items()}
        save_index(out / "index.json", lines, 0, {}, note)
    return {
        "out": out,
        "note": note,
        "frames": sum(entry["frames"] for entry in entries.values()),
        "packed": len(entries) - kept,
        "kept": kept,
        "unreadable": bad,
        "packed frames": sum(entries[name]["frames"] for name in todo if name in entries),
        "seconds": time.perf_counter() - began,
    }


def _check_originals(root: Path, videos: dict[str, dict], again: str):
    """Raise a ValueError where videos are not as they were indexed, or packed already."""
    packed = [name for name, entry in videos.items() if entry["codec"] == "packed"]
    if packed:
        raise ValueError(
            f"{root} holds packed videos ({packed[0]}): what is lost in packing is lost twice. Give originals"
        )
    changed = [name for name, entry in videos.items() if entry["error"] is None and not same(root / name, entry)]
    new = sorted(set(find(root)[0]) - videos.keys())
    for what, names in (("changed since they were indexed", changed), ("are not in the index yet", new)):
        if names:
            raise ValueError(
                f"{len(names)} of the videos in {root} {what}: {', '.join(names[:3])}{', ...' * (len(names) > 3)}. "
                f"Run `{again}` again"
            )


@contextmanager
def _alone(root: Path, out: Path) -> Iterator[None]:
    """Have the folder made, and for this process alone, if it is one to pack into."""
    here, there = root.resolve(), out.resolve()
    if here == there or here in there.parents:
        raise ValueError(f"{out} lies in {root}, whose videos are to be packed: give a folder elsewhere")
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file: give a folder for the packed videos")
    if out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        try:
            note = packed_from(out)
        except ValueError:  # some other JSON
            note = None
        if not isinstance(note, dict) or "from" not in note:
            raise ValueError(
                f"{out} is not empty, and has no index that says what it was packed from: give a new folder"
            )
        if note["from"] != str(here):
            raise ValueError(f"{out} holds videos packed from {note['from']}, not from {here}: give a new folder")
    out.mkdir(parents=True, exist_ok=True)
    lock = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however it ends
        except BlockingIOError as e:
            raise ValueError(f"{out} is being packed into by another process: wait for it, or stop it") from e
        try:
            _sweep(out)
            yield
        finally:
            _sweep(out)
    finally:
        os.close(lock)


def _sweep(out: Path):
    """Remove what a stopped process was writing."""
    for part in out.glob(".*.part"):
        part.unlink(missing_ok=True)


def _part(out: Path) -> Path:
    """Where a process writes before it renames; its own, for one of a stopped run may still be writing."""
    return out / f".{os.getpid()}.part"


def _packed(
    root: Path, out: Path, videos: dict[str, dict], short: int, step: int, workers: int, progress: bool
) -> Iterator[tuple[str, dict | str]]:
    """Pack these, in several processes, with a bar: each name, and the entry of its file or why there is none."""
    console = Console(stderr=True)
    bar = Progress(
        *(TextColumn("packing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")),
        TimeRemainingColumn(),
        console=console,
        disable=not (progress and console.is_terminal),
    )
    jobs = (joblib.delayed(_pack)(root, out, name, entry, short, step) for name, entry in videos.items())
    pool = joblib.Parallel(min(workers, 1 + len(videos) // 4), return_as="generator_unordered")
    start, frames = time.perf_counter(), 0
    with bar:
        task = bar.add_task("", total=len(videos), note="")
        for name, found in pool(jobs):
            frames += videos[name]["frames"]
            bar.update(task, advance=1, note=f"{frames / (time.perf_counter() - start):.0f} frames/s")
            yield name, found


def _pack(root: Path, out: Path, name: str, entry: dict, short: int, step: int) -> tuple[str, dict | str]:
    """Pack one video: its name, and the entry of its file or why there is none."""
    path, part = out / (name + SUFFIX), _part(out)
    size = packed_size(entry["height"], entry["width"], short)
    notes = {key: entry[key] for key in NOTED}
    pictures = partial(_pictures, str(root / name), entry)
    why = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for again in (pictures, lambda: map(in_rgb, pictures())):
            try:
                with open(part, "wb") as file:
                    write_packed(file, again(), _source(name, entry), entry["frames"], size, short, step, notes)
                break
            except ColoursChange:  # somewhere in the video: it is packed as R, G, B then
                continue
        if same(root / name, entry):
            os.utime(part, ns=(entry["modified"], entry["modified"]))
            os.replace(part, path)
            return name, _described(path)[1]
    except (ValueError, MemoryError) as e:
        why = str(e) or "asks for more memory than there is"
    except OSError:
        if same(root / name, entry):
            raise
    finally:
        part.unlink(missing_ok=True)
    if not same(root / name, entry):
        raise ValueError(
            f"{root / name} changed while it was packed: run `videossl index` on its folder again, then this"
        )
    return name, why


def _pictures(path: str, entry: dict) -> Iterator[Picture]:
    """All frames of a video file or a folder of images."""
    if entry["codec"] == "images":
        for name in image_names(path, entry["modified"]):
            yield Picture(tuple(read_image(os.path.join(path, name))))
        return
    file = PyAV(path, ())
    try:
        yield from file.read(range(entry["frames"]), whole=False)
    finally:
        file.close()


def _source(name: str, entry: dict) -> dict:
    return {"name": name, "bytes": entry["bytes"], "modified": entry["modified"]}


def _described(path: Path) -> tuple[Header, dict]:
    """A packed file's header and what an index holds of it; a ValueError says what is wrong with it."""
    info, file = path.stat(), Packed(path)
    try:
        found = EMPTY | file.described() | {"decoder": "packed", "agrees": {}}
        return file.header, {"bytes": info.st_size, "modified": info.st_mtime_ns} | found
    finally:
        file.close()


def _whole(out: Path, name: str, entry: dict, short: int, step: int) -> dict | None:
    """The entry of a packed file that is there already, if it is what would be written now."""
    path = out / (name + SUFFIX)
    if not path.is_file():
        return None
    try:
        header, found = _described(path)
    except ValueError:  # it is another, or was damaged
        return None
    if found["modified"] != entry["modified"]:  # it was changed since it was written, or damaged
        return None
    made = (header.source, header.short, header.step, header.gop) == (_source(name, entry), short, step, GOP)
    return found if made and all(found[key] == entry[key] for key in ("frames", *NOTED)) else None


def _bytes(root: Path, name: str, entry: dict) -> int:
    """What a video takes on the disk; for a folder of images, all of them."""
    if entry["codec"] != "images":
        return entry["bytes"]
    return sum((root / name / image).stat().st_size for image in image_names(str(root / name), entry["modified"]))


def _copy_lists(root: Path, out: Path, stems: set[str]):
    """Copy the text files beside the videos, and the `LISTS` that name one of them.

    Args:
        stems: names of the videos, without folder and suffix.
    """
    copies = [(path, out / path.name) for path in root.glob("*.txt")]
    for usual in LISTS:
        place = next((p for p in (root / usual, root.absolute().parent / usual) if p.is_dir()), None)
        texts = {path: path.read_text(errors="replace") for path in place.glob("*.txt")} if place else {}
        if any(
            os.path.splitext(os.path.basename(word))[0] in stems for text in texts.values() for word in text.split()
        ):
            copies += [(path, out / usual / path.name) for path in texts]
    for here, there in copies:
        there.parent.mkdir(exist_ok=True)
        shutil.copyfile(here, _part(out))
        os.replace(_part(out), there)
