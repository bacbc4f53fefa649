"""Packing a folder of videos: a small copy of each, read several times as fast (see `packed` for the files themselves)."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib

from videossl.datasets.bar import file_bar
from videossl.datasets.decoders import PyAV, missing
from videossl.datasets.entries import Entries, save_index
from videossl.datasets.frames import image_names, read_image
from videossl.datasets.index import command, find, packed_from, read_index, same
from videossl.datasets.jobs import LIMIT, Fault, check_limit, in_processes, sign_of_life, worth_starting
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


@dataclass(frozen=True)
class _Packing:
    """What is packed, into which folder, and how."""

    root: Path
    out: Path
    short: int
    step: int

    def note(self) -> dict:
        """What the index of the packed folder says from its beginning."""
        return {"from": str(self.root.resolve()), "short": self.short, "step": self.step, "gop": GOP}


def pack(
    root: str | Path,
    out: str | Path,
    short: int = 128,
    step: int = 4,
    workers: int | None = None,
    index: str | Path | None = None,
    progress: bool = True,
    limit: float = LIMIT,
) -> dict:
    """Pack every readable video of an indexed folder into another folder, which is then read as the first is.

    A video is packed as its name with ".vpk" appended, a folder of images too. The new folder has an index: frames,
    motion and the rest as of the originals, so that a seed draws the same examples from both. Videos that are unreadable
    are in it as such, so that they are counted. The lists of a data set, text files in `root` and in `LISTS` in it or
    beside it, are copied, so that it is read by `ucf101(out)` as the originals are by `ucf101(root)`.

    Files are written to a side and renamed when they are whole. Those that are there already, from the same original, are
    kept, so that an interrupted run goes on; those whose original is gone are removed. Until all is packed the new
    folder's index says that it is unfinished, and the folder is not read. A packed file has its original's time of
    change: packing gives the same bytes and the same index each time.

    Args:
        root: the folder, indexed by `videossl index`.
        out: the folder to write, new, empty, or begun by this with the same `short` and `step`.
        short: shorter side of the packed videos in pixels; the other follows. Smaller
            videos keep their size.
        step: grey levels that become one, 1 to 16: the brightness and the two planes of colour of the scaled video are
            off by at most step - 1 afterwards. With 1 the packed video is exact, and larger.
        workers: processes that pack; by default one for each core.
        index: the index, where it is not `root`/index.json.
        progress: show a bar on standard error, where that is a terminal.
        limit: seconds, from 1, within which the next frame of a file must come, or it counts as unreadable.

    Returns a summary, a dict: "out" (Path), "note" (what the index holds under "packed": "from", the folder; "short",
    "step", "gop", the frames in a group of pictures; "videos", how many; "bytes"; "bytes of the originals"), "frames"
    (in all), "packed", "kept" (numbers of videos), "unreadable" (name -> why), "packed frames" (now), "seconds".

    Raises:
        FileNotFoundError, NotADirectoryError: `root` or its index is not there.
        ValueError: an option makes no sense; `out` is in `root`, or holds something else, or videos packed otherwise;
            another process packs into it; videos changed since they were indexed; or none is readable.
        OSError: a file cannot be written, or no process can be started. Files that are whole stay.
    """
    packing, began = _Packing(Path(root), Path(out), short, step), time.perf_counter()
    workers = joblib.cpu_count() if workers is None else workers
    _check_options(packing, workers, limit)
    videos = read_index(root, index)
    _check_originals(packing.root, videos, command(root, index))
    with _alone(packing):
        entries = _kept(packing, videos)
        kept = len(entries)
        todo = [name for name, entry in videos.items() if entry["error"] is None and name not in entries]
        if todo:
            _mark_unfinished(packing, videos, entries)
        failed = _pack_all(packing, videos, todo, entries, workers, progress, limit)
        bad = {name: failed.get(name) or entry["error"] for name, entry in videos.items() if name not in entries}
        if not entries:
            first = "; ".join(f"{name} {why}" for name, why in list(bad.items())[:3])
            raise ValueError(f"{root} holds no video that could be packed. Of {len(bad)} unreadable: {first}")
        note = _finish(packing, videos, entries, bad)
    return {
        "out": packing.out,
        "note": note,
        "frames": sum(entry["frames"] for entry in entries.values()),
        "packed": len(entries) - kept,
        "kept": kept,
        "unreadable": bad,
        "packed frames": sum(entries[name]["frames"] for name in todo if name in entries),
        "seconds": time.perf_counter() - began,
    }


def _check_options(packing: _Packing, workers: int, limit: float):
    if packing.short < 1:
        raise ValueError(f"short is {packing.short}, but should be a number of pixels, from 1")
    if packing.step not in STEPS:
        raise ValueError(f"step is {packing.step}, but should be a whole number of grey levels from 1 to {STEPS[-1]}")
    if workers < 1:
        raise ValueError(f"workers is {workers}, but at least 1 is needed to pack")
    check_limit(limit)
    if why := missing("packed"):
        raise ValueError(f"packing needs lz4, which is not there ({why}): pip install lz4")


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
def _alone(packing: _Packing) -> Iterator[None]:
    """Have the folder made, and for this process alone, if it is one to pack into."""
    out = packing.out
    _check_folder(packing)
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


def _check_folder(packing: _Packing):
    """Raise a ValueError if a folder is there that is not for this."""
    out, here, there = packing.out, packing.root.resolve(), packing.out.resolve()
    if here == there or here in there.parents:
        raise ValueError(f"{out} lies in {packing.root}, whose videos are to be packed: give a folder elsewhere")
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is a file: give a folder for the packed videos")
    if not out.is_dir() or all(path.name.startswith(".") for path in out.iterdir()):
        return
    try:
        note = packed_from(out)
    except ValueError:  # some other JSON
        note = None
    if not isinstance(note, dict) or "from" not in note:
        raise ValueError(f"{out} is not empty, and has no index that says what it was packed from: give a new folder")
    if note["from"] != str(here):
        raise ValueError(f"{out} holds videos packed from {note['from']}, not from {here}: give a new folder")
    if (note["short"], note["step"]) != (packing.short, packing.step):
        raise ValueError(
            f"{out} holds videos packed with short {note['short']} and step {note['step']}, but short {packing.short} and "
            f"step {packing.step} were asked for: give those again, or a new folder"
        )


def _sweep(out: Path):
    """Remove what a stopped process was writing."""
    for part in out.glob(".*.part"):
        part.unlink(missing_ok=True)


def _part(out: Path) -> Path:
    """Where a process writes before it renames; its own, for one of a stopped run may still be writing."""
    return out / f".{os.getpid()}.part"


def _kept(packing: _Packing, videos: dict[str, dict]) -> dict[str, dict]:
    """The entries of packed files that are there and whole, by the original's name."""
    found = {name: _whole(packing, name, entry) for name, entry in videos.items() if entry["error"] is None}
    return {name: entry for name, entry in found.items() if entry is not None}


def _mark_unfinished(packing: _Packing, videos: dict[str, dict], entries: dict[str, dict]):
    """Write an index that says whose folder this is, and how to go on if this run does not come to its end."""
    lines = Entries({name + SUFFIX: entry for name, entry in entries.items()})
    save_index(packing.out / "index.json", lines, len(videos) - len(entries), {}, packing.note())


def _pack_all(
    packing: _Packing,
    videos: dict[str, dict],
    todo: list[str],
    entries: dict[str, dict],
    workers: int,
    progress: bool,
    limit: float,
) -> dict[str, str]:
    """Pack these, in several processes, with a bar; add to `entries` those of the files. Returns why others have none."""
    jobs = ((packing, name, videos[name]) for name in todo)
    few = worth_starting(workers, (videos[name]["bytes"] for name in todo))
    failed, start, frames, total = {}, time.perf_counter(), 0, len(entries) + len(todo)
    with file_bar("packing", progress) as shown, closing(in_processes(_pack, jobs, few, limit, tries=2)) as answers:
        task = shown.add_task("", total=len(todo), note="")
        for n, found in answers:
            name = todo[n]
            if isinstance(found, OSError):
                raise OSError(
                    f"{found.filename or packing.out} cannot be written ({found.strerror}): "
                    f"{len(entries)} of {total} videos are packed and stay. Make room and run this again: it goes on "
                    "where it stopped"
                ) from found
            if isinstance(found, Exception):
                raise found
            if isinstance(found, Fault):
                failed[name] = found.of("the decoder")
            elif isinstance(found, str):
                failed[name] = found
            else:
                entries[name] = found
            frames += videos[name]["frames"]
            shown.update(task, advance=1, note=f"{frames / (time.perf_counter() - start):.0f} frames/s")
    return failed


def _finish(packing: _Packing, videos: dict[str, dict], entries: dict[str, dict], bad: dict[str, str]) -> dict:
    """Copy the lists, remove what has no original any more, and write the index; returns its note."""
    out = packing.out
    _copy_lists(packing.root, out, {Path(name).stem for name in videos})
    wanted = {name + SUFFIX for name in entries}
    for name in find(out)[0]:
        if name.endswith(SUFFIX) and name not in wanted and (out / name).is_file():
            (out / name).unlink()
    note = packing.note() | {
        "videos": len(entries),
        "bytes": sum(entry["bytes"] for entry in entries.values()),
        "bytes of the originals": sum(videos[name]["bytes"] for name in entries),
    }
    lines = Entries({name + SUFFIX: entry for name, entry in entries.items()})
    lines.update({name: videos[name] | {"error": why, "packed": False, "jumps": []} for name, why in bad.items()})
    save_index(out / "index.json", lines, 0, {}, note)
    return note


def _pack(job: tuple[_Packing, str, dict]) -> dict | str | Exception:
    """In a process of its own: the entry of a packed file, or why there is none, or what is to stop all of it."""
    packing, name, entry = job
    try:
        why = _try_to_pack(packing, name, entry)
        changed = not same(packing.root / name, entry)
    except OSError as e:
        if same(packing.root / name, entry):
            return e
        changed = True
    if changed:
        return ValueError(
            f"{packing.root / name} changed while it was packed: run `videossl index` on its folder again, then this"
        )
    return why or _described(packing.out / (name + SUFFIX))[1]


def _try_to_pack(packing: _Packing, name: str, entry: dict) -> str | None:
    """Write the packed file, if the original is the same afterwards; why it cannot be, if so."""
    root, path, part = packing.root, packing.out / (name + SUFFIX), _part(packing.out)
    size = packed_size(entry["height"], entry["width"], packing.short)
    notes = {key: entry[key] for key in NOTED}
    pictures = partial(_pictures, str(root / name), entry)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for again in (pictures, lambda: map(in_rgb, pictures())):
            try:
                with open(part, "wb") as file:
                    source = _source(name, entry)
                    write_packed(file, again(), source, entry["frames"], size, packing.short, packing.step, notes)
                break
            except ColoursChange:  # somewhere in the video: it is packed as R, G, B then
                continue
        if same(root / name, entry):
            os.utime(part, ns=(entry["modified"], entry["modified"]))
            os.replace(part, path)
        return None
    except (ValueError, MemoryError) as e:
        return str(e) or "asks for more memory than there is"
    finally:
        part.unlink(missing_ok=True)


def _pictures(path: str, entry: dict) -> Iterator[Picture]:
    """All frames of a video file or a folder of images."""
    if entry["codec"] == "images":
        for name in image_names(path, os.stat(path).st_mtime_ns):
            sign_of_life()
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


def _whole(packing: _Packing, name: str, entry: dict) -> dict | None:
    """The entry of a packed file that is there already, if it is what would be written now."""
    path = packing.out / (name + SUFFIX)
    if not path.is_file():
        return None
    try:
        header, found = _described(path)
    except ValueError:  # it is another, or was damaged
        return None
    if found["modified"] != entry["modified"]:  # it was changed since it was written, or damaged
        return None
    made = header.source, header.short, header.step, header.gop
    if made != (_source(name, entry), packing.short, packing.step, GOP):
        return None
    return found if all(found[key] == entry[key] for key in ("frames", *NOTED)) else None


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
