"""What `fit` costs over a bare PyTorch loop, and how long it waits for data: `videossl bench fit`."""

import sys
import time
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from lightning.fabric import Fabric
from rich.table import Table

from videossl.experiments.bench.rounds import keep, spread
from videossl.experiments.console import console, quiet
from videossl.experiments.devices import Devices
from videossl.experiments.pretrain import TrunkChoice
from videossl.experiments.runs import command, versions
from videossl.methods.base import Net
from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.models.small import Small
from videossl.training.checkpoints import plain
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit

HELD = 8  # batches in memory, taken in turn
VIDEOS = 16  # records of noise, in memory
READY = 4  # batches that each of a loader's workers makes ahead, at most
RATE = 1e-3  # of learning: what is learned from noise does not matter


@dataclass(frozen=True)
class BenchFit:
    """Time `fit` against a bare PyTorch loop on the same batches, and how long it waits for the loader.

    It trains the demo's method, Shuffle and Learn, with AdamW on noise held in memory: no videos are needed.
    """

    out: Path | None = Path("runs/bench_fit.json")  # file to write; None prints only
    steps: int = 5  # of each loop in a round; few, so that what else the machine does slows all loops alike
    rounds: int = 51  # at least 5: in each round every loop runs once
    batch: int = 32  # examples in a step, as in the demo
    workers: int = 1  # processes of the loader
    trunk: TrunkChoice = field(default_factory=lambda: Small(length=1))
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"  # auto is a GPU where there is one
    threads: int = 1  # of torch, on the CPU
    seed: int = 0  # of weights and noise

    def __post_init__(self):
        for name, least in {"steps": 1, "rounds": 5, "batch": 2, "workers": 0, "threads": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is a whole number from {least}, but {getattr(self, name)} was given")


def bench_fit(config: BenchFit) -> dict:
    """Measure, print a table and write `config.out`; returns what it writes.

    "steps_per_second" is of four loops: "bare" and "fit" on batches held in memory, "loader" alone, and "fed", which is
    `fit` on the loader's batches. "fit_over_bare" is of the two in the same round. "waiting" is the share of "fed"'s time
    in which it had no batch, "waiting_ms" the milliseconds a step: what it takes to receive a batch that is ready where
    the loader is faster than the model, and, where all cores are busy, what workers run for in this process's place.
    Each with median, least and largest over the rounds.
    """
    quiet()
    fabric = Devices(config.accelerator, devices=1, threads=config.threads).launch()
    torch.manual_seed(config.seed)
    trunk = config.trunk.build()
    length, far = trunk.length, 4 * trunk.length
    method = ShuffleAndLearn(far, far, length, negatives=0.5, motion=False, jitter=2, head="pairs")
    net = method.build(trunk).to(fabric.device)

    draws = Draws(noise(method.span + 16, trunk.resize), method.sample, config.seed)
    pin = fabric.device.type == "cuda"
    held = list(loader(draws, config.batch, stop=HELD, pin=pin))
    loops = {"bare": bare(deepcopy(net), cycle(held), fabric.device), "fit": ours(deepcopy(net), cycle(held), fabric)}
    training = in_turn(loops, 1, config, fabric.device)
    # Only now, so that no worker takes a core from one of those two.
    alone, feeding = (loader(draws, config.batch, start=HELD, workers=config.workers, pin=pin) for _ in range(2))
    loops = {"loader": iter(alone), "fed": ours(net, feeding, fabric)}
    loading = in_turn(loops, READY * config.workers + 1, config, fabric.device)

    speeds = {name: [1 / r.seconds for r in rounds] for name, rounds in {**training, **loading}.items()}
    waits = [sum(metrics["waiting"] for _, metrics in r.yielded) / config.steps for r in loading["fed"]]  # seconds
    found = {
        "command": command(),
        "config": plain(config),
        "device": torch.cuda.get_device_name(fabric.device) if pin else fabric.device.type,
        "steps_per_second": {name: spread(values) for name, values in speeds.items()},
        "fit_over_bare": spread([a / b for a, b in zip(speeds["fit"], speeds["bare"], strict=True)]),
        "waiting": spread([wait / r.seconds for wait, r in zip(waits, loading["fed"], strict=True)]),
        "waiting_ms": spread([1000 * wait for wait in waits]),
        "versions": versions(),
    }
    show(found)
    if config.out is not None:
        keep(found, config.out)
    return found


def noise(frames: int, size: tuple[int, int]) -> list[dict]:
    """Records of so many frames of this height and width, in pixels."""
    return [{"frames": torch.randint(256, (frames, 3, *size), dtype=torch.uint8)} for _ in range(VIDEOS)]


def adamw(net: Net) -> torch.optim.Optimizer:
    """The optimizer of every loop."""
    return torch.optim.AdamW(net.parameters(), RATE)


def bare(net: Net, batches: Iterable[dict], device: torch.device) -> Iterator[None]:
    """What one would write without `fit`, and no more: no seeds, no schedule, no metrics."""
    optimizer = adamw(net)
    net.train()
    for batch in batches:
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        optimizer.zero_grad()
        loss, _ = net(batch)
        loss.backward()
        optimizer.step()
        yield


def ours(net: Net, batches: Iterable[dict], fabric: Fabric) -> Iterator[tuple[int, dict]]:
    """`fit`, for as long as it is asked for steps."""
    return fit(net, batches, adamw(net), sys.maxsize, lambda progress: RATE, fabric=fabric)


class Round(NamedTuple):
    """One loop's steps in one round."""

    seconds: float  # a step
    yielded: list  # by each step


def in_turn(loops: dict[str, Iterator], settle: int, config: BenchFit, device: torch.device) -> dict[str, list[Round]]:
    """Each loop's rounds: in every one each takes its steps, first to last, then last to first.

    `settle` steps go before, untimed: caches are warm then, and what workers made ahead is used up.
    """
    rounds = {name: [] for name in loops}
    for turn in range(config.rounds):
        for name in reversed(loops) if turn % 2 else loops:
            for _ in islice(loops[name], settle):
                pass
            wait_for(device)
            begin = time.perf_counter()
            yielded = list(islice(loops[name], config.steps))
            wait_for(device)
            rounds[name].append(Round((time.perf_counter() - begin) / config.steps, yielded))
    return rounds


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was given; the CPU always has."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def show(found: dict) -> None:
    """Print the table."""
    config, speeds = found["config"], found["steps_per_second"]
    table = Table(title=f"{config['rounds']} rounds of {config['steps']} steps of {config['batch']} examples")
    for column in ("on " + found["device"], "median", "min", "max"):
        table.add_column(column, justify="left" if column.startswith("on") else "right")
    rows = [
        ("bare PyTorch loop, batches in memory, steps/s", speeds["bare"], ".1f"),
        ("fit, the same batches, steps/s", speeds["fit"], ".1f"),
        ("fit / bare, in the same round", found["fit_over_bare"], ".3f"),
        (f"loader alone, workers={config['workers']}, steps/s", speeds["loader"], ".1f"),
        ("fit on the loader's batches, steps/s", speeds["fed"], ".1f"),
        ("of its time, waiting for data", found["waiting"], ".2%"),
        ("in a step, ms", found["waiting_ms"], ".2f"),
    ]
    for title, values, form in rows:
        table.add_row(title, *(format(values[key], form) for key in ("median", "min", "max")))
    console.print(table)
