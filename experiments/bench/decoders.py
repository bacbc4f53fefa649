"""Which decoder gives which file's frames under their right numbers: `videossl bench decoders ROOT`."""

import resource
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from tyro.conf import Positional

from videossl.datasets.choice import disagreement
from videossl.datasets.decoders import DECODERS, missing
from videossl.datasets.index import find, folder
from videossl.datasets.survey import survey
from videossl.experiments.bench.rounds import keep
from videossl.experiments.console import bar, console
from videossl.experiments.runs import command, versions

AT_ONCE = 64  # frames that are compared together
APART = 4  # clips of frames far apart, which are jumped to


@dataclass(frozen=True)
class BenchDecoders:
    """Compare every frame of every video that each decoder gives with a sequential decode by FFmpeg's libraries (PyAV).

    A frame is right if it is nearer to the frame of that number than to the one before or after, and its colours lie
    within 4 of 255 grey levels on average. PyAV itself is compared too, jumping to key frames as it does in training: of
    its frames every pixel must be the same.
    """

    root: Positional[Path]  # folder of videos
    opens: int = 10_000  # times that files are opened with each decoder, to see whether memory grows
    out: Path = Path("runs/bench_decoders.json")  # file to write


def bench_decoders(config: BenchDecoders) -> dict:
    """Compare, print a table and write `config.out`; returns what it writes.

    That is for each file and decoder what "differs", or None, and by how many "grey levels apart" colours are; and
    "growth in MB", of memory over all openings but the first tenth.

    Raises:
        FileNotFoundError: the folder is not there.
        ValueError: it has no videos.
    """
    root = folder(config.root)
    there = [name for name in DECODERS if not missing(name)]
    table = Table("file", "codec", "frames", *there)
    files = {}
    names = find(root)[0]
    if not names:
        raise ValueError(f"{root} has no videos: give a folder of them")
    with bar() as progress:
        task = progress.add_task("comparing", total=len(names), text="")
        for name in names:
            progress.update(task, advance=1, text=name)
            entry = look(root / name)
            if entry["codec"] == "images":
                continue
            files[name] = {key: entry[key] for key in ("codec", "frames", "error")}
            if entry["error"]:
                table.add_row(name, entry["codec"], str(entry["frames"]), entry["error"])
                continue
            files[name] |= {decoder: compare(root / name, entry, decoder) for decoder in there}
            words = [files[name][decoder]["differs"] or "same" for decoder in there]
            table.add_row(name, entry["codec"], str(entry["frames"]), *words)
    console.print(table)
    for decoder in DECODERS:
        if why := missing(decoder):
            console.print(f"{decoder} is not there: {why}")
    growth = {name: memory_growth(root, files, name, config.opens) for name in there}
    words = (f"{name} {grown:+.1f}" for name, grown in growth.items())
    console.print(f"memory after {config.opens} openings, in MB: {', '.join(words)}")
    found = {
        "command": command(),
        "files": files,
        "same": {d: sum(d in f and f[d]["differs"] is None for f in files.values()) for d in there},
        "growth in MB": growth,
        "opens": config.opens,
        "versions": versions(),
    }
    keep(found, config.out)
    return found


def look(path: Path) -> dict:
    """What an index would hold of a file."""
    try:
        info = path.stat()
    except OSError as error:  # a broken link
        return survey(path) | {"error": f"cannot be opened ({error.strerror})"}
    return {"bytes": info.st_size, "modified": info.st_mtime_ns, **survey(path)}


def memory_growth(root: Path, files: dict[str, dict], decoder: str, opens: int) -> float:
    """By how many MB this process grows while it opens the files on which a decoder is right, again and again."""
    names = [name for name, file in files.items() if decoder in file and not file[decoder]["differs"]]
    if not names:
        return 0.0
    before = 0.0
    with bar() as progress:
        for n in progress.track(range(opens), description=f"opening with {decoder}"):
            if n == opens // 10:
                before = process_memory()
            file = DECODERS[decoder](str(root / names[n % len(names)]), ())
            for _ in file.read([0], whole=False):
                pass
            file.close()
    return round(process_memory() - before, 1)


def process_memory() -> float:
    """Of this process, in MB (Linux); nan elsewhere."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("nan")
    return pages * resource.getpagesize() / 1e6


def compare(path: Path, entry: dict, decoder: str) -> dict:
    """All frames of a file in their order, then some far apart: what differs, and how far colours lie apart on average."""
    numbers = np.arange(entry["frames"])
    far = np.random.default_rng(0).integers(entry["frames"], size=(APART, 8))
    parts = [*np.split(numbers, range(AT_ONCE, len(numbers), AT_ONCE)), *(np.unique(part) for part in far)]
    apart = []
    for part in parts:
        differs, distance = disagreement(path, entry, decoder, part)
        if decoder == "pyav" and not differs and distance:
            differs = f"gives other pixels in frames {part[0]} to {part[-1]}"
        if differs:
            return {"differs": differs, "grey levels apart": None}
        apart.append(distance)
    return {"differs": None, "grey levels apart": round(float(np.mean(apart)), 2)}
