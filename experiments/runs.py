"""A run's folder: config.json, log.jsonl, tensorboard/, checkpoint.pt, result.json."""

import importlib.metadata
import json
import math
import platform
import re
import shlex
import sys
import time
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch.utils.tensorboard import SummaryWriter

from videossl.experiments.console import bar, console
from videossl.training.checkpoints import write

PACKAGES = (
    *("videossl", "torch", "torchvision", "timm", "lightning", "numpy", "numba", "pybullet"),
    *("av", "opencv-python", "torchcodec", "decord"),
)


def command() -> str:
    """What was typed to start this program."""
    spec = sys.modules["__main__"].__spec__
    start = [Path(sys.argv[0]).name] if spec is None else ["python", "-m", spec.name]
    return shlex.join([*start, *sys.argv[1:]])


def versions() -> dict[str, str | None]:
    """Of what a result depends on; None for what is not installed."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "processor": processor()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def processor() -> str | None:
    """What the processor is called, by which speeds differ; None where the system does not say."""
    listed = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.+)$", listed.read_text(), re.MULTILINE) if listed.exists() else None
    return named[1] if named else platform.processor() or None


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file whole or not at all."""
    write(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path) -> dict:
    """Read a JSON file.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error


def read_log(path: Path, until: int | None = None) -> list[dict]:
    """Lines of a log.jsonl up to step `until`; a line that a crash cut short is left out."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if until is None or line["step"] <= until:
            lines.append(line)
    return lines


class Log:
    """Metrics of a training run: averages to log.jsonl and TensorBoard, and a progress bar for who is watching."""

    def __init__(self, folder: Path, title: str, start: int, stop: int, batch: int, chance: dict, fabric: Fabric):
        """Args:
        folder: the run's; lines after step `start`, of a run that was cut off later, are dropped.
        title: of the progress bar.
        start: steps done before; `stop` is the last.
        batch: examples in a step.
        chance: what knowing nothing scores, by metric, to show beside them.
        fabric: all its processes take part, the first one writes.
        """
        self.batch, self.chance, self.stop, self.fabric = batch, chance, stop, fabric
        self.active = fabric.is_global_zero
        self.sums: dict[str, torch.Tensor | float] = {}
        self.count = 0
        self.waiting = self.seconds = 0.0
        self.reported = time.perf_counter()
        if self.active:
            kept = read_log(folder / "log.jsonl", start)
            write(folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in kept))
            self.file = (folder / "log.jsonl").open("a")
            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)
        self.progress = bar(disable=not self.active)
        self.task = self.progress.add_task(title, total=stop, completed=start, text="")
        self.progress.start()

    def add(self, step: int, metrics: dict) -> None:
        """Take up what `fit` yielded; nothing is read off the device."""
        metrics = dict(metrics)
        self.rate, seconds, waiting = metrics.pop("rate"), metrics.pop("seconds"), metrics.pop("waiting")
        self.seconds, self.waiting = self.seconds + seconds, self.waiting + waiting
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1
        self.progress.update(self.task, completed=step)

    def line(self, step: int, more: dict[str, float]) -> None:
        """Write averages since the last line.

        Raises:
            FloatingPointError: one of them is not finite.
        """
        sums = {name: total / self.count for name, total in self.sums.items()}
        averages = {name: float(value) for name, value in self.fabric.all_reduce(sums).items()}  # the mean over devices
        line = {
            "step": step,
            **averages,
            **more,
            "rate": self.rate,
            "examples_per_second": self.batch * self.count / self.seconds,
            "waiting": self.waiting / self.seconds,
        }
        self.sums, self.count, self.seconds, self.waiting = {}, 0, 0.0, 0.0
        if self.active:
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
            for name, value in line.items():
                if name != "step":
                    self.board.add_scalar(name, value, step)
            self._show(step, line)
        if not math.isfinite(line["loss"]):
            raise FloatingPointError(f"the loss is {line['loss']} at step {step}: lower --rate, or set --clip")

    def _show(self, step: int, line: dict) -> None:
        """On a terminal in the bar; elsewhere a line, at most every ten seconds."""
        words = [f"loss {line['loss']:.3f}"]
        for name, chance in self.chance.items():
            words.append(f"{name} {line[name]:.3f} (chance {chance:.3f})")
        words += [f"{line['examples_per_second']:.0f} examples/s", f"waiting for data {line['waiting']:.0%}"]
        self.progress.update(self.task, text=", ".join(words))
        if self.progress.disable and (time.perf_counter() - self.reported > 10 or step == self.stop):
            console.print(f"  step {step}/{self.stop}: {', '.join(words)}")
            self.reported = time.perf_counter()

    def close(self) -> None:
        """Stop the bar and close the files."""
        self.progress.stop()
        if self.active:
            self.file.close()
            self.board.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
