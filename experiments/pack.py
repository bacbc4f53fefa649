"""`videossl pack ROOT --out DIR`: small copies of a folder's videos, from which clips are read several times as fast."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from videossl.datasets.index import index_videos, read_index
from videossl.datasets.jobs import LIMIT
from videossl.datasets.pack import pack
from videossl.experiments.index import listed, say


@dataclass(frozen=True)
class Pack:
    """Pack every video of a folder: scaled down once, and stored so that clips are read several times as fast.

    The packed folder takes the place of the first: give it as root wherever videos are read. Lists of a data set that lie
    beside the videos are copied. A folder without an index is indexed first. Run it again to go on after an
    interruption, or when videos were added, with the same short and step: only what is missing is packed.
    """

    root: Positional[Path]  # folder of videos
    out: Path  # folder to write: a new one, or one begun by this
    short: int = 128  # shorter side in pixels; smaller videos keep their size
    # grey levels that become one, 1 to 16: values are off by at most this less 1; 1 is exact, and larger on the disk
    step: int = 4
    workers: int | None = None  # processes that pack; by default one for each core
    index: Path | None = None  # the index, where it is not index.json in the folder
    limit: float = LIMIT  # seconds within which a file's next frame must come, or it is unreadable
    progress: bool = True  # show a bar


def pack_videos(run: Pack) -> None:
    """Pack, and print what became of it.

    Raises:
        ValueError, OSError: as `index_videos` and `pack` do.
    """
    try:
        read_index(run.root, run.index)
    except FileNotFoundError:
        try:
            # PyAV reads them once, for packing
            index_videos(run.root, run.index, run.workers, run.progress, "pyav", run.limit)
        except OSError as e:
            if "--out" in str(e):
                e.add_note("for packing, that FILE is given with --index")
            raise
    found = pack(run.root, run.out, run.short, run.step, run.workers, run.index, run.progress, run.limit)
    note, seconds = found["note"], found["seconds"]
    videos, megabytes = note["videos"], note["bytes"] / 1e6
    speed = f" in {seconds:.1f} s, {found['packed frames'] / seconds:.0f} frames a second" if found["packed"] else ""
    rows = [
        ("videos", f"{videos + len(found['unreadable'])}: {videos} packed, {len(found['unreadable'])} unreadable"),
        ("now", f"{found['packed']} packed{speed}; {found['kept']} kept as they were"),
        ("size", f"{megabytes:.1f} MB, {note['bytes'] / note['bytes of the originals']:.2f} of the originals"),
        ("frames", f"{found['frames']}, of {note['bytes'] / found['frames']:.0f} bytes on average"),
        ("folder", f"{found['out']}: shorter side {note['short']}, step {note['step']}, packed from {note['from']}"),
    ]
    for title, text in rows:
        say(f"{title:<10}{text}")
    listed("Unreadable, and counted as such:", found["unreadable"], found["out"] / "index.json")
