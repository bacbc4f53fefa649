"""How many interactions a core collects in an hour, pictures and files included, beside PyBullet's own KUKA environment."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.table import Table

from videossl.datasets.shards import pack, write
from videossl.experiments.bench import kuka
from videossl.experiments.bench.rounds import keep, spread
from videossl.experiments.console import console
from videossl.experiments.runs import command, versions
from videossl.robot.collect import TASKS, Collect, episodes, make

ASKED = (("grasp", 128), ("grasp", 224), ("push", 224), ("poke", 128), ("identity", 128))  # task, pixels a side
THEIRS = "PyBullet's KUKA environment, grasp"


@dataclass(frozen=True)
class BenchCollect:
    """Interactions an hour of one process, and the share of the time that physics and drawing take."""

    out: Path = Path("bench_collect.json")
    kuka: Path | None = None  # a Python in which pybullet and gym 0.25 are installed (bench/kuka.py says how)
    seconds: float = 5.0  # of each in a round, at least
    rounds: int = 5

    def __post_init__(self):
        if not self.seconds > 0 or self.rounds < 1:
            raise ValueError(f"seconds are over 0 and rounds from 1, but {self.seconds} and {self.rounds} were given")


def bench_collect(config: BenchCollect) -> None:
    """Measure in rounds, one after the other, and write what was found.

    Raises:
        ValueError: the Python given by --kuka cannot run it.
    """
    hourly: dict[str, list[float]] = {}
    inside: dict[str, list[float]] = {}
    for number in range(config.rounds):
        console.print(f"round {number + 1} of {config.rounds}")
        for task, size in ASKED:
            rate, share = ours(task, size, config.seconds, number)
            hourly.setdefault(f"{task}, {size} pixels", []).append(rate)
            inside.setdefault(f"{task}, {size} pixels", []).append(share)
        if config.kuka is not None:
            hourly.setdefault(THEIRS, []).append(theirs(config.kuka, 2 * config.seconds))
    beside = {
        name: spread([ours / theirs for ours, theirs in zip(rates, hourly[THEIRS], strict=True)], 1)
        for name, rates in hourly.items()
        if THEIRS in hourly and name.startswith("grasp")
    }
    found = {
        "command": command(),
        "interactions an hour, one process": {name: spread(rates, 0) for name, rates in hourly.items()},
        "share in PyBullet and the renderer": {name: spread(shares, 3) for name, shares in inside.items()},
        f"times as many as {THEIRS}": beside,
        "versions": versions(),
    }
    show(found, beside)
    keep(found, config.out)


def ours(task: str, size: int, seconds: float, seed: int) -> tuple[float, float]:
    """Interactions an hour as a worker of `videossl collect` makes them, and the share of PyBullet and the renderer."""
    collected = Collect(task, Path(), size=size, seed=seed)
    env = make(TASKS[task], collected)
    list(episodes(env, seed, 0, env.trials))  # compiles what is compiled
    batch = 25 * env.trials
    with tempfile.TemporaryDirectory() as folder, timed(env) as spent:
        done, first, began = 0, env.trials, time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            records = list(episodes(env, seed, first + done, batch))
            about = {"task": task, "first": first + done, "trials": env.trials, "config": "{}"}
            write(Path(folder) / f"{done}.h5", pack(env.fields, records, about))
            done += batch
    env.close()
    return 3600 * done / took, spent[0] / took


@contextmanager
def timed(env: Any):
    """Seconds spent in PyBullet and the rasteriser meanwhile, as a list of one number."""
    spent = [0.0]

    def watched(function: Callable) -> Callable:
        def call(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            result = function(*args, **options)
            spent[0] += time.perf_counter() - began
            return result

        return call

    client = Watched(env.world.client, watched)
    with (
        patch.object(env.world, "client", client),
        patch.object(env.world, "_simulate", client.stepSimulation),
        patch("videossl.robot.tabletop.raster", watched(env.picture.__globals__["raster"])),
    ):
        yield spent


class Watched:
    """A client of PyBullet each of whose functions is watched."""

    def __init__(self, client: Any, watched: Callable[[Callable], Callable]):
        self._client, self._watched = client, watched

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        found = self._watched(found) if callable(found) else found
        self.__dict__[name] = found
        return found


def theirs(python: Path, seconds: float) -> float:
    """Grasps an hour of the KUKA environment, in a Python of its own."""
    done = subprocess.run([python, kuka.__file__, str(seconds)], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise ValueError(f"{python} cannot run {kuka.__file__}: {(done.stderr or 'nothing printed').splitlines()[-1]}")
    found = json.loads(lines[-1])
    return 3600 * found["grasps"] / found["seconds"]


def show(found: dict, beside: dict) -> None:
    """As a table."""
    table = Table("one process", "an hour, median", "min to max", "in PyBullet and renderer", "/ KUKA")
    for name, rate in found["interactions an hour, one process"].items():
        share = found["share in PyBullet and the renderer"].get(name)
        times = f"{beside[name]['median']:.0f}" if name in beside else ""
        middle = f"{share['median']:.2f}" if share else ""
        table.add_row(name, f"{rate['median']:,.0f}", f"{rate['min']:,.0f} to {rate['max']:,.0f}", middle, times)
    console.print(table)
