"""What the simulated robot's trials are worth: how often they succeed, how true their labels are, what a poke tells."""

from collections.abc import Callable
from dataclasses import dataclass
from math import atanh, cos, pi, sin, sqrt, tanh
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from rich.table import Table
from scipy.stats import binomtest, norm, spearmanr

from videossl.experiments.bench.rounds import keep
from videossl.experiments.console import console
from videossl.experiments.runs import command, versions
from videossl.robot.collect import chance_of, scene_of
from videossl.robot.objects import OBJECT_SETS
from videossl.robot.tabletop import Tabletop
from videossl.robot.tasks.grasp import Grasp
from videossl.robot.tasks.poke import Poke
from videossl.robot.tasks.push import Push
from videossl.robot.world import PHYSICS, Physics

CENTRE = 0.01  # metres from the object's centre
FINER = Physics(1 / 1000, 150)  # seconds and iterations of the reference for labels
SURE = 0.95  # of the intervals
ALMOST = 1 - 1e-9  # a perfect correlation, of which atanh is finite
CHUNK = 50  # scenes that a worker does at a time


@dataclass(frozen=True)
class BenchRobot:
    """Success of grasps, truth of their labels, contact of pushes and what pokes tell, on both sets of objects."""

    out: Path = Path("bench_robot.json")
    trials: int = 2000  # of each, one a scene, so that they tell nothing of each other
    workers: int = 2  # processes
    seed: int = 0  # of the scenes

    def __post_init__(self):
        if self.trials < 20 or self.workers < 1 or self.seed < 0:
            raise ValueError(
                f"trials {self.trials}, workers {self.workers}, seed {self.seed}: at least 20 trials and 1 worker are "
                "needed, and seeds start at 0"
            )


# Trials, of a scene that was just laid. Each returns what is counted.


def at_random(env: Tabletop, rng: np.random.Generator) -> bool:
    """Whether a grasp that the task itself would try succeeds."""
    return env.step(env.sample(rng))[-1]["record"]["success"]


def at_centre(env: Tabletop, rng: np.random.Generator) -> bool:
    """As at random, but so near to the centre that it is no farther than `CENTRE`."""
    angle, away, around = env.sample(rng)[2], CENTRE * sqrt(rng.uniform()), rng.uniform(0, 2 * pi)
    x, y = env.world.pose(env.things[0].body)[:2] + away * np.array([cos(around), sin(around)])
    return env.step(np.float32([x, y, angle]))[-1]["record"]["success"]


def as_finer(env: Tabletop, rng: np.random.Generator) -> bool:
    """Whether the same trial succeeds, or fails, in a finer simulation too."""
    action, found = env.sample(rng), []
    for env.physics in (PHYSICS, FINER):
        found.append(env.step(action)[-1]["record"]["success"])
    env.physics = PHYSICS
    return found[0] == found[1]


def touched(env: Tabletop, rng: np.random.Generator) -> bool:
    """Whether a push touches the thing."""
    return env.step(env.sample(rng))[-1]["record"]["contact"]


def felt(env: Tabletop, rng: np.random.Generator) -> tuple[bool, float, float]:
    """Whether a poke is valid, the slope of its line, and the true stiffness, both in N/m."""
    record = env.step(env.sample(rng))[-1]["record"]
    return bool(record["valid"]), float(record["slope"]), float(record["stiffness"])


# What is told of many.


def share(answers: list[bool]) -> dict:
    """How many are yes, with Wilson's interval."""
    yes = sum(map(bool, answers))
    ends = binomtest(yes, len(answers)).proportion_ci(SURE, method="wilson")
    return {"n": len(answers), "value": yes / len(answers), "interval": [float(ends.low), float(ends.high)]}


def valid(pokes: list[tuple[bool, float, float]]) -> dict:
    """How many pokes gave a line."""
    return share([fine for fine, _, _ in pokes])


def correlation(pokes: list[tuple[bool, float, float]]) -> dict:
    """Spearman's of valid pokes, with the interval of Bonett and Wright, Psychometrika 65 (2000)."""
    slopes, truths = np.array([(slope, truth) for fine, slope, truth in pokes if fine]).T
    found = float(spearmanr(slopes, truths)[0])
    wide = norm.ppf((1 + SURE) / 2) * sqrt((1 + found**2 / 2) / (len(slopes) - 3))
    middle = atanh(max(-ALMOST, min(found, ALMOST)))
    return {"n": len(slopes), "value": found, "interval": [tanh(middle - wide), tanh(middle + wide)]}


class Measure(NamedTuple):
    """What is measured, how it is told, and between what it is to lie, if anything is asked of it."""

    task: type[Tabletop]
    trial: Callable[[Tabletop, np.random.Generator], Any]
    told: Callable[[list], dict]
    asked: tuple[float, float] | None = None


MEASURES = {
    "random grasps that succeed": Measure(Grasp, at_random, share, (0.15, 0.30)),
    "of those within 1 cm of the centre": Measure(Grasp, at_centre, share, (0.45, 1.0)),
    "grasps with the label of a 1/1000 s simulation": Measure(Grasp, as_finer, share, (0.95, 1.0)),
    "pushes that touch the object": Measure(Push, touched, share, (0.95, 1.0)),
    "pokes that are valid": Measure(Poke, felt, valid),
    "rank correlation of slope and stiffness, valid pokes": Measure(Poke, felt, correlation, (0.9, 1.0)),
}


def bench_robot(config: BenchRobot) -> dict:
    """Measure, and write what was found."""
    found = {objects: measured(config, objects) for objects in OBJECT_SETS}
    show(found)
    about = {"intervals": SURE, "reference": f"{FINER.step} s, {FINER.iterations} iterations"}
    found = {"command": command(), **found, **about, "versions": versions()}
    keep(found, config.out)
    return found


def measured(config: BenchRobot, objects: str) -> dict[str, dict]:
    """Each measure on a set of objects."""
    trials = {measure.trial: measure.task for measure in MEASURES.values()}
    starts = range(0, config.trials, CHUNK)
    jobs = [
        joblib.delayed(tries)(task, trial, objects, config.seed, start, min(CHUNK, config.trials - start))
        for trial, task in trials.items()
        for start in starts
    ]
    parts = joblib.Parallel(config.workers)(jobs)
    results = {
        trial: [one for part in parts[n * len(starts) : (n + 1) * len(starts)] for one in part]
        for n, trial in enumerate(trials)
    }
    rows = {name: measure.told(results[measure.trial]) for name, measure in MEASURES.items()}
    for name, row in rows.items():
        if asked := MEASURES[name].asked:
            row |= {"asked": asked, "met": asked[0] <= row["value"] <= asked[1]}
    return rows


def tries(task: type[Tabletop], trial: Callable, objects: str, seed: int, first: int, count: int) -> list:
    """What a trial gives in each of some scenes, those of `videossl collect` with this seed."""
    env = task(objects=objects, size=8, observe=())
    found = []
    try:
        for scene in range(first, first + count):
            scene_of(env, seed, scene)
            found.append(trial(env, chance_of(env, seed, scene, 0)))
    finally:
        env.close()
    return found


def show(found: dict[str, dict]) -> None:
    """As a table."""
    table = Table("objects", "measure", "n", "value", f"{SURE:.0%} interval", "asked")
    for objects, rows in found.items():
        for name, row in rows.items():
            low, high = row["interval"]
            asked = (
                "{:.2f} to {:.2f}".format(*row["asked"]) + (", met" if row["met"] else ", missed")
                if "asked" in row
                else ""
            )
            table.add_row(objects, name, f"{row['n']}", f"{row['value']:.3f}", f"{low:.3f} to {high:.3f}", asked)
    console.print(table)
