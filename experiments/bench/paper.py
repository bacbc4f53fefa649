"""How long a data set of the paper's size takes and how large it is, and whether memory stays flat on the way."""

import multiprocessing
import re
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from videossl.experiments.bench.rounds import keep
from videossl.experiments.console import console
from videossl.experiments.runs import command, versions
from videossl.robot.collect import PAPER, TASKS, Collect, collect, make_shard, shards_of

EARLY = 0.1  # share of the episodes of one process after which its memory is looked at first


@dataclass(frozen=True)
class BenchPaper:
    """Collect as many grasps, pushes, pokes and pairs as The Curious Robot's, and fewer in one process alone."""

    out: Path = Path("bench_paper_size.json")
    episodes: int = sum(PAPER.values())  # by all workers
    workers: int = 2  # processes
    alone: int = 20_000  # episodes by one process, whose memory is looked at
    folder: Path | None = None  # where the data set is made and kept; None: somewhere for a while
    size: int = 128  # side of the pictures in pixels
    seed: int = 0

    def __post_init__(self):
        if self.alone < 100:
            raise ValueError(f"{self.alone} episodes by one process are too few: at least 100")


def bench_paper(config: BenchPaper) -> dict:
    """Measure, and write what was found.

    Raises:
        FileExistsError: `folder` is not empty: what is there takes no time.
    """
    if config.folder is not None and config.folder.exists() and any(config.folder.iterdir()):
        raise FileExistsError(f"{config.folder} is not empty, so its time could not be told: give a new --folder")
    with tempfile.TemporaryDirectory() as spare:
        whole = Collect(
            "all", config.folder or Path(spare) / "all", config.episodes, config.workers, config.seed, size=config.size
        )
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            one = Collect("all", Path(spare) / "one", config.alone, 1, config.seed, size=config.size)
            alone = fresh.submit(alone_in_a_process, one).result()
        began = time.perf_counter()
        collect(whole)
        seconds = time.perf_counter() - began
        files = [path for path in whole.out.rglob("*") if path.is_file()]
        found = {
            "command": command(),
            "episodes": whole.counts,
            "pixels": config.size,
            "workers": config.workers,
            "seconds": round(seconds, 1),
            "megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 1),
            "files": len(files),
            "episodes an hour": round(3600 * config.episodes / seconds),
            "one process": alone,
            "times as fast as one process": round(config.episodes / seconds / (config.alone / alone["seconds"]), 2),
            "versions": versions(),
        }
    console.print(
        f"{config.episodes} episodes in {seconds / 60:.1f} minutes by {config.workers} workers, {found['megabytes']} MB, "
        f"{found['times as fast as one process']} times as fast as one process; whose memory was "
        f"{alone['peak MB, early']} MB at {alone['early']} episodes and {alone['peak MB']} MB at {alone['episodes']}"
    )
    keep(found, config.out)
    return found


def alone_in_a_process(config: Collect) -> dict:
    """Make a collection in this process, which has done nothing else: seconds and peaks of memory in MB."""
    early, done, began = None, 0, time.perf_counter()
    for shard in shards_of(config.counts, TASKS):
        (config.out / shard.task).mkdir(parents=True, exist_ok=True)
        make_shard(config, TASKS[shard.task], shard)
        done += shard.episodes
        if early is None and done >= EARLY * config.episodes:
            early = {"early": done, "peak MB, early": peak()}
    seconds = round(time.perf_counter() - began, 1)
    return {"episodes": done, "seconds": seconds, **early, "peak MB": peak()}


def peak() -> float:
    """MB that this process held at most so far."""
    status = Path("/proc/self/status")
    if status.exists():  # where the other number begins with what the process held that this one was forked from
        return round(int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024 / 1e6, 1)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
