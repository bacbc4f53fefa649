"""Pretrained beside random initialisation under one protocol, over several seeds: what most scripts here do."""

import time
from collections.abc import Callable
from pathlib import Path

from videossl.experiments.console import console
from videossl.experiments.evaluate import Evaluate, score
from videossl.experiments.pretrain import Pretrain, Resume, pretrain, resume
from videossl.experiments.report import Report, report
from videossl.experiments.results import print_table, rows
from videossl.experiments.runs import read_json, versions
from videossl.training.checkpoints import plain


class Clock:
    """Says what begins, and counts the seconds that each part takes."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.name, self.since = None, 0.0

    def start(self, name: str, title: str) -> None:
        """The part before ends, this one begins."""
        self.stop()
        console.print(f"[bold]{title}[/bold]")
        self.name, self.since = name, time.perf_counter()

    def stop(self) -> None:
        """The part ends."""
        if self.name is not None:
            spent = time.perf_counter() - self.since
            self.seconds[self.name] = round(self.seconds.get(self.name, 0.0) + spent, 1)
        self.name = None


def compare(
    out: Path,
    seeds: tuple[int, ...],
    pretraining: Callable[[int, Path], Pretrain],
    evaluation: Callable[[int, Path], Evaluate],
    clock: Clock,
) -> dict:
    """For every seed pretrain a trunk, and score it and a random one of that seed; then write a report.

    What is there already is not done again, so a comparison that was stopped goes on where it was.

    Args:
        out: folder for the runs (seed0, ...), the evaluation and the report.
        seeds: of pretraining, of the random trunks, and of the protocols.
        pretraining: seed and run folder -> what to run.
        evaluation: seed and run folder -> what to score it by.
        clock: goes on counting.

    Returns: the "pretext" on held-out videos, the "rows" of the table, "versions", and
        "seconds" of each part; None where it went on from an earlier start.
    """
    runs, results = [], []
    fresh = not any((out / f"seed{seed}").exists() for seed in seeds)
    for seed in seeds:
        clock.start("pretrain", f"pretrain, without labels (seed {seed})")
        runs.append(pretrained(pretraining(seed, out / f"seed{seed}")))
    for seed, run in zip(seeds, runs, strict=True):
        clock.start("evaluate", f"evaluate beside random initialisation (seed {seed})")
        results += score(evaluation(seed, run))
    clock.start("report", "report")
    report(Report((*runs, out / "evaluation"), out / "report.html"))
    clock.stop()
    print_table(results)
    pretext = [read_json(run / "result.json") for run in runs]
    return {
        "pretext": {key: [result[key] for result in pretext] for key in pretext[0]},
        "rows": [plain(row) for row in rows(results)],
        "seconds": clock.seconds if fresh else None,
        "versions": versions(),
    }


def pretrained(config: Pretrain) -> Path:
    """A run's folder: one that is done is left as it is, one that was stopped is gone on with.

    Raises:
        ValueError: the folder holds a run with other options.
    """
    if (config.out / "config.json").exists():
        stored, asked = read_json(config.out / "config.json")["config"], plain(config)
        other = [name for name in asked if name not in ("out", "workers", "engine") and stored.get(name) != asked[name]]
        if other:
            raise ValueError(f"{config.out} is a run with another {', '.join(other)}: name another --out")
        return config.out if (config.out / "result.json").exists() else resume(Resume(config.out))
    return pretrain(config)
