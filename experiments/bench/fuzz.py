"""What damaged files do to us: real clips with random bytes changed, each read in a process that may die of it.

`videossl bench fuzz ROOT`. File k is drawn from (seed, k) alone, so one that crashed, hung or found a bug can be made
again: `damaged(source, seed, k)`.
"""

import os
import re
import shlex
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich.table import Table
from tyro.conf import Positional

from videossl.datasets.choice import disagreement, video_file
from videossl.datasets.decoders import DECODERS, missing
from videossl.datasets.frames import VideoFile
from videossl.datasets.index import find
from videossl.datasets.jobs import Fault, in_processes
from videossl.datasets.survey import survey
from videossl.experiments.console import bar, console

LARGEST = 700_000  # bytes of a clip to damage: larger ones take long and show nothing else
FLIPS = 1000  # bytes changed in a file at most
LOW = (60, 80)  # height and width that frames are read at
SURVEYED = {"whole": "read to the end", "odd": "readable, with a warning", "unreadable": "not to be read"}
READ = {"same": "frames as PyAV decodes them from the start", "other": "others", "refused": "a clear error instead"}
FAULTS = {"crash": "the process died", "hang": "over the time limit", "bug": "an exception that is none of bad input"}


@dataclass(frozen=True)
class BenchFuzz:
    """Change random bytes in real clips and read them: count what is refused, and what crashes or hangs.

    `survey` looks at every file; those that it finds readable are then read with each decoder that is there.
    """

    root: Positional[Path]  # folder with videos to damage, looked through with its sub-folders
    out: Path | None = Path("runs/bench_fuzz.json")  # JSON to write; None prints only
    files: int = 10_000
    others: int | None = None  # of them, the first so many are read with other decoders than PyAV too; None: all
    seed: int = 0  # of the damage
    batch: int = 250  # files that share a process
    limit: float = 20.0  # seconds a file may take
    workers: int = 2  # processes at a time

    def __post_init__(self):
        for name, least in {"files": 1, "others": 0, "seed": 0, "batch": 1, "workers": 1}.items():
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise ValueError(f"{name} is a whole number from {least}, but {getattr(self, name)} was given")
        if not self.limit > 0:
            raise ValueError(f"limit is {self.limit}, but should be seconds that a file may take")


@dataclass(frozen=True)
class Job:
    """One damaged file for one reader."""

    number: int
    seed: int
    source: Path
    reader: str  # "survey" or a decoder's name
    folder: str  # for the file, while it is read
    entry: dict | None = None  # what `survey` found, for decoders


def bench_fuzz(config: BenchFuzz) -> dict:
    """Read all files, print a table, write `config.out`; returns what is written there.

    Raises:
        ValueError: there is no clip to damage.
    """
    from videossl.experiments.runs import versions, write_json  # here: the processes that read need none of torch
    from videossl.training.checkpoints import plain

    began = time.perf_counter()
    clips = sources(config.root)
    decoders = [name for name in DECODERS if missing(name) is None]
    counts, faults, entries = {}, [], {}
    with tempfile.TemporaryDirectory() as folder:
        chosen = [source_of(clips, config.seed, k) for k in range(config.files)]
        for reader in ("survey", *decoders):
            last = config.files if reader in ("survey", "pyav") or config.others is None else config.others
            jobs = [
                Job(k, config.seed, chosen[k], reader, folder, entries.get(k))
                for k in range(last)
                if reader == "survey" or k in entries
            ]
            results = [None] * len(jobs)
            with bar() as progress:
                task = progress.add_task(reader, total=len(jobs), text="")
                limit = config.limit
                for n, result in in_processes(examine, jobs, config.workers, limit, total=limit, batch=config.batch):
                    results[n] = asdict(result) if isinstance(result, Fault) else result
                    progress.update(task, advance=1)
            for job, result in zip(jobs, results, strict=True):
                if "entry" in result:
                    entries[job.number] = result.pop("entry")
            counts[reader] = tally(jobs, results, SURVEYED if reader == "survey" else READ, config.root)
            faults += named(jobs, results, config.root)
    show(counts, faults)
    options = {field.name: (getattr(config, field.name), field.default) for field in fields(config)[1:]}
    words = [f"--{name}={value}" for name, (value, usual) in options.items() if value != usual]
    found = {
        "command": shlex.join(["videossl", "bench", "fuzz", str(config.root), *words]),
        "config": plain(config),
        "versions": versions() | {name: version(name) for name in ("decord", "torchcodec") if name in decoders},
        "clips": dict(sorted(Counter(path.suffix for paths in clips.values() for path in paths).items())),
        "readers": counts,
        "faults": faults,
        "seconds": round(time.perf_counter() - began, 1),
    }
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(config.out, found)
        console.print(f"written: {config.out}")
    return found


def sources(root: Path) -> dict[str, list[Path]]:
    """Clips under a folder that are small enough, by suffix."""
    found = defaultdict(list)
    for name in find(root)[0]:
        path = root / name
        if path.is_file() and 0 < path.stat().st_size <= LARGEST:
            found[path.suffix.lower()].append(path)
    if not found:
        raise ValueError(f"{root} holds no video file of up to {LARGEST // 1000} kB: give a folder with some")
    return dict(sorted(found.items()))


def source_of(clips: dict[str, list[Path]], seed: int, number: int) -> Path:
    """The clip that file `number` is made from: each suffix is as likely, however many clips bear it."""
    rng = np.random.default_rng([seed, number, 0])
    suffix = list(clips)[rng.integers(len(clips))]
    return clips[suffix][rng.integers(len(clips[suffix]))]


def damaged(source: Path, seed: int, number: int) -> bytes:
    """A file's bytes, some of them changed: log-uniformly 1 to `FLIPS`, anywhere, or in a part at its start or end."""
    data, rng = np.frombuffer(source.read_bytes(), np.uint8).copy(), np.random.default_rng([seed, number, 1])
    where = rng.choice(["anywhere", "start", "end"], p=[0.5, 0.3, 0.2])
    size = len(data) if where == "anywhere" else round(np.exp(rng.uniform(np.log(16), np.log(max(16, len(data))))))
    flips = round(np.exp(rng.uniform(0, np.log(max(1, min(FLIPS, size / 8))))))
    at = np.unique(rng.integers(min(size, len(data)), size=flips))
    if where == "end":
        at = len(data) - 1 - at
    data[at] ^= rng.integers(1, 256, len(at), dtype=np.uint8)
    return data.tobytes()


def examine(job: Job) -> dict:
    """In a process of its own: make the file and read it. Returns "what" came of it, "why", "seconds", "megabytes"."""
    warm(job.reader, job.source, job.folder)
    return timed(job, damaged(job.source, job.seed, job.number))


def timed(job: Job, content: bytes) -> dict:
    """What comes of a file with this content."""
    path = Path(job.folder) / f"{job.number}-{job.reader}{job.source.suffix}"
    path.write_bytes(content)
    held, began = megabytes(peak=False), time.perf_counter()
    try:
        result = surveyed(path) if job.reader == "survey" else read(path, job)
    finally:
        path.unlink()
    result["seconds"] = time.perf_counter() - began
    if held is not None:
        result["megabytes"] = megabytes(peak=True) - held
    if result["why"]:
        result["why"] = result["why"].replace(str(path), path.name)
    return result


@cache
def warm(reader: str, source: Path, folder: str) -> None:
    """Import and compile what reading an undamaged file needs, that it is not counted as the first file's time."""
    if source.stat().st_size:
        job = Job(-1 - os.getpid(), 0, source, "survey", folder)
        found = timed(job, source.read_bytes())
        if reader != "survey" and "entry" in found:
            timed(Job(job.number, 0, source, reader, folder, found["entry"]), source.read_bytes())


def surveyed(path: Path) -> dict:
    """What `survey` says of a file, and whether decoders are to read it."""
    found = survey(path)
    if found["error"]:
        return {"what": "unreadable", "why": found["error"]}
    entry = {name: found[name] for name in ("frames", "jumps", "warning")}
    return {"what": "odd" if found["warning"] else "whole", "why": found["warning"], "entry": entry}


def read(path: Path, job: Job) -> dict:
    """What a decoder makes of some frames of a file, as a data worker would read them."""
    frames = job.entry["frames"]
    rng = np.random.default_rng([job.seed, abs(job.number), 2])
    numbers = np.unique([*rng.integers(frames, size=5), frames - 1])
    info = path.stat()
    entry = job.entry | {"bytes": info.st_size, "modified": info.st_mtime_ns, "decoder": job.reader}
    try:
        if job.reader == "pyav":
            why = jumped(path, entry, numbers)
        else:
            why = disagreement(path, entry, job.reader, numbers)[0]
    except (ValueError, OSError) as error:
        why = str(error).removeprefix(f"{path} ")
    if why is None:
        return {"what": "same", "why": None}
    return {"what": "other" if why.startswith("gives frame") else "refused", "why": why}


def jumped(path: Path, entry: dict, numbers: np.ndarray) -> str | None:
    """Whether jumps to key frames, forwards and back, lead to other frames than decoding from the start."""
    expected = VideoFile(str(path), entry["frames"], LOW).array(numbers)
    later = entry["modified"] + 1
    os.utime(path, ns=(later, later))  # so that the file is opened anew
    video = video_file(path, entry | {"modified": later}, LOW)
    for part in np.array_split(np.arange(len(numbers)), 2)[::-1]:
        same = (video.array(numbers[part]) == expected[part]).all((1, 2, 3))
        if not same.all():
            return f"gives frame {numbers[part][~same][0]} otherwise than when it decodes from the start"
    return None


def megabytes(peak: bool) -> float | None:
    """What this process holds; or the most it held since it was last asked. None where only Linux would say."""
    try:
        status = Path("/proc/self/status").read_text()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    except OSError:
        return None
    return int(re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s*(\d+) kB", status)[1]) / 1000


def tally(jobs: Sequence[Job], results: Sequence[dict], kinds: dict[str, str], root: Path) -> dict:
    """Counts of what came of a reader's files, the commonest reasons, and the slowest and largest of them."""
    counts = Counter(result["what"] for result in results)
    reasons = Counter((result["what"], general(result["why"])) for result in results if result["why"])
    found = {"files": len(jobs), **{kind: counts[kind] for kind in (*kinds, *FAULTS)}}
    found["reasons"] = {
        kind: dict(Counter({why: n for (what, why), n in reasons.items() if what == kind}).most_common(12))
        for kind in (*kinds, *FAULTS)
        if any(what == kind for what, _ in reasons)
    }
    for title, key in (("slowest", "seconds"), ("largest", "megabytes")):
        ended = [n for n, result in enumerate(results) if result.get(key) is not None]
        if ended:
            n = max(ended, key=lambda n: results[n][key])
            found[title] = {key: round(results[n][key], 2), **whose(jobs[n], root)}
    return found


def named(jobs: Sequence[Job], results: Sequence[dict], root: Path) -> list[dict]:
    """The files that show a fault: crashes, hangs, bugs; and where PyAV, by which `survey` counts, has not what it found."""
    return [
        {"reader": job.reader, **whose(job, root), "what": result["what"], "why": result["why"]}
        | ({"warning": job.entry["warning"]} if job.entry else {})
        for job, result in zip(jobs, results, strict=True)
        if result["what"] in FAULTS or (job.reader == "pyav" and result["what"] != "same")
    ]


def whose(job: Job, root: Path) -> dict:
    """By what a damaged file is made again."""
    return {"file": job.number, "source": job.source.relative_to(root).as_posix()}


def general(why: str) -> str:
    """A reason without its numbers, so that equal ones are counted together."""
    return re.sub(r"(?<![a-wyz\d])(0x[0-9a-f]+|\d+(\.\d+)?)", "#", re.sub(r"\S*/", "", why.split("; ")[0]))


def show(counts: dict[str, dict], faults: list[dict]) -> None:
    """The table, and the files that show a fault."""
    table = Table(title="damaged files", title_justify="left", title_style="bold")
    heads = ("", "files", "whole\nsame", "odd\nother", "unreadable\nrefused", "crashes", "hangs", "bugs")
    for n, head in enumerate((*heads, "slowest", "largest")):
        table.add_column(head, justify="right" if n else "left")
    for reader, found in counts.items():
        kinds = SURVEYED if reader == "survey" else READ
        table.add_row(
            reader,
            *(str(found[key]) for key in ("files", *kinds, *FAULTS)),
            *(f"{found[t][key]:.1f} {unit}" if t in found else "" for t, key, unit in UNITS),
        )
    console.print(table)
    for kinds in (SURVEYED, READ, FAULTS):
        console.print("  " + "; ".join(f"{kind}: {words}" for kind, words in kinds.items()))
    for fault in faults[:20]:
        console.print(f"{fault['what']}: {fault['reader']}, file {fault['file']} of {fault['source']}: {fault['why']}")
    if len(faults) > 20:
        console.print(f"... and {len(faults) - 20} more")


UNITS = (("slowest", "seconds", "s"), ("largest", "megabytes", "MB"))
