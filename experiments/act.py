"""Let nets choose what the robot does, with things it never touched: `videossl act`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import joblib
import numpy as np
import torch
from rich.table import Table
from scipy.stats import binomtest
from tyro.conf import Positional

from videossl.datasets.interactions import square
from videossl.experiments.console import console, quiet
from videossl.experiments.runs import command, read_json, versions, write_json
from videossl.methods.base import Net
from videossl.robot import act as ways
from videossl.robot.objects import OBJECT_SETS
from videossl.robot.replay import FPS, SHOWN, SLOWER, write_video
from videossl.robot.tabletop import Tabletop
from videossl.robot.tasks.grasp import Grasp
from videossl.robot.tasks.poke import Poke
from videossl.robot.tasks.push import Push
from videossl.training import checkpoints

KINDS = {"grasp": Grasp, "push": Push, "poke": Poke}
NET = "the net"


@dataclass(frozen=True)
class Act:
    """Grasp, push to a goal, or sort by hardness, as a net says, beside chance and a rule; on unseen things."""

    task: Positional[Literal["grasp", "push", "poke"]]
    run: Positional[Path]  # that learned this task, alone or jointly
    out: Path = Path("acting")  # folder for TASK.json and TASK.webp
    trials: int = 500  # of each way to choose, in the same scenes
    size: tuple[int, int] | None = None  # height and width that the net sees; None: as it was trained
    picture: int = 128  # pixels a side that cameras take, as in the collection that was learned from
    objects: Literal[tuple(OBJECT_SETS)] = "household"
    object_seed: int = 0  # of which objects are kept unseen, as that of the collection
    seed: int = 0  # of scenes
    shown: int = 4  # trials in the film; 0 makes none
    workers: int = 2  # processes

    def __post_init__(self):
        if self.trials < 1 or self.workers < 1 or self.shown < 0:
            raise ValueError(f"trials {self.trials}, workers {self.workers}, shown {self.shown}: at least 1, 1 and 0")


def act(config: Act) -> dict:
    """Try, tell and film; returns what came of each way.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: the run did not learn this task.
    """
    net_of(config)  # which says what is wrong before anything is tried
    names = list(choosers(config))
    chunks = [range(n, min(n + 25, config.trials)) for n in range(0, config.trials, 25)]
    jobs = [joblib.delayed(tries)(config, name, chunk) for name in names for chunk in chunks]
    parts = joblib.Parallel(config.workers)(jobs)
    results = {
        name: [r for part in parts[n * len(chunks) :][: len(chunks)] for r in part] for n, name in enumerate(names)
    }
    found = {
        "task": config.task,
        "config": checkpoints.plain(config),
        "rows": {name: told(config.task, results[name]) for name in names},
        "command": command(),
        "versions": versions(),
    }
    config.out.mkdir(parents=True, exist_ok=True)
    write_json(config.out / f"{config.task}.json", found)
    if config.shown:
        write_video(config.out / f"{config.task}.webp", film(config))
    tell(found)
    return found


def net_of(config: Act) -> Net:
    """The task's own net, in eval mode."""
    _, net = checkpoints.load_net(config.run)
    nets = getattr(net, "nets", {type(net).__name__.removesuffix("Net").lower(): net})
    if config.task not in nets:
        raise ValueError(f"{config.run} learned {', '.join(nets)}, but not {config.task}: give another run")
    return nets[config.task]


def size_of(config: Act, net: Net) -> tuple[int, int]:
    """What pictures were scaled to in pretraining: as the run's config.json says, or the trunk's size."""
    path = config.run / "config.json"
    if config.size is None and path.exists():
        return tuple(read_json(path)["config"]["data"]["size"] or square(net.trunk.resize))
    return config.size or (net.trunk.size, net.trunk.size)


def choosers(config: Act) -> dict[str, Callable]:
    """Ways to choose, by their names in tables."""
    net = net_of(config)
    size = size_of(config, net)
    if config.task == "grasp":
        return {
            "at random": ways.at_random,
            "across the shortest side": ways.shortest_side,
            NET: ways.BestGrasp(net, size),
        }
    if config.task == "push":
        return {"at random": ways.any_push, "straight, pose known": ways.straight, NET: ways.PushTo(net, size)}
    return {"at random": ways.any_order, "the darker, the harder": ways.darkness, NET: ways.Hardness(net, size)}


def table(config: Act, **changes) -> Tabletop:
    """An environment with unseen things."""
    usual = {"size": config.picture, "observe": (), "restore": config.task != "push"}
    return KINDS[config.task](config.objects, unseen=True, object_seed=config.object_seed, **{**usual, **changes})


def tries(config: Act, name: str, numbers: range) -> list:
    """What came of some trials."""
    torch.set_num_threads(1)
    quiet()
    choose, env = choosers(config)[name], table(config)
    attempt = {"grasp": ways.grasp, "push": ways.push, "poke": ways.sort}[config.task]
    try:
        return [attempt(env, choose, config.seed, n) for n in numbers]
    finally:
        env.close()


def told(task: str, results: list) -> dict:
    """Successes with the Wilson interval (95 %), and more where there is more to say.

    A grasp succeeds if it lifts, a push to a goal if it ends within 3 cm of it, a sort if all is in order.
    """
    right = {"grasp": lambda r: r, "push": lambda r: r[-1] <= ways.REACHED, "poke": lambda r: r == 1}[task]
    successes = sum(bool(right(r)) for r in results)
    ends = binomtest(successes, len(results)).proportion_ci(method="wilson")
    found = {"trials": len(results), "successes": successes, "share": successes / len(results)}
    found["interval"] = [ends.low, ends.high]
    if task == "push":
        left = np.array([[r[0], r[1], r[-1]] for r in results])
        found |= dict(zip(("metres at first", "after one push", "at the end"), left.mean(0).tolist(), strict=True))
    if task == "poke":
        found["pairs in order"] = float(np.mean(results))
    return found


def film(config: Act) -> np.ndarray:
    """The net's first trials from the side, (T, SHOWN, SHOWN, 3) uint8; of a sort, pokes from soft to hard."""
    choose, env, frames = choosers(config)[NET], table(config), []
    shown = table(config, size=SHOWN)
    try:
        for n in range(config.shown):
            rng = np.random.default_rng([config.seed, n, 1])
            for one in (env, shown):
                one.reset(seed=ways.scene_seed(config.seed, n))
            if config.task == "grasp":
                actions = [choose(env, rng)]
            elif config.task == "push":
                actions = [choose(env, ways.goal_of(env, rng), rng)]
            else:
                actions = [env.world.pose(env.things[0].body)[:2].astype(np.float32)]
            frames += [(choose(env, rng) if config.task == "poke" else n, shown.film(a, FPS * SLOWER)) for a in actions]
    finally:
        env.close()
        shown.close()
    return np.concatenate([one for _, one in sorted(frames, key=lambda item: item[0])])


def tell(found: dict) -> None:
    """A table of the ways."""
    first = next(iter(found["rows"].values()))
    more = [key for key in first if key not in ("trials", "successes", "share", "interval")]
    shown = Table(found["task"], "trials", "successes, %", "95 % interval", *more)
    for name, row in found["rows"].items():
        low, high = row["interval"]
        words = [f"{row['trials']}", f"{100 * row['share']:.1f}", f"{100 * low:.1f} to {100 * high:.1f}"]
        shown.add_row(name, *words, *(f"{row[key]:.3f}" for key in more))
    console.print(shown)
