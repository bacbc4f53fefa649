"""Results of `videossl evaluate`, put together: means and spreads over splits, seeds and runs."""

import dataclasses
import json
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from videossl.evaluation.base import Judge
from videossl.evaluation.protocols import mistake
from videossl.experiments.console import console
from videossl.training.checkpoints import restore

RANDOM = "random initialisation"
# By the kind of a trunk that `videossl evaluate` scores beside pretrained ones; for the second see models/data_dependent.py.
BEGINNINGS = {"random": RANDOM, "rescaled": "rescaled initialisation", "loaded": "weights from a file"}
UNTRAINED = tuple(BEGINNINGS.values())


@dataclass(frozen=True)
class Row:
    """One number of a table: a metric of a protocol for one kind of trunk, over runs and seeds."""

    subject: str  # the method, or how the trunk began
    trunk: str
    protocol: str
    dataset: str
    metric: str
    mean: float
    spread: float | None  # standard deviation over runs and seeds; None where there is one
    count: int  # runs and seeds
    chance: float | None
    headline: bool  # one of the metrics that tables show
    unit: str = "share"  # see `Judge`

    @property
    def words(self) -> str:
        """Mean and spread; of shares in per cent."""
        return self.shown(self.mean) + (f" ± {self.shown(self.spread)}" if self.spread is not None else "")

    @property
    def chance_words(self) -> str | None:
        """What knowing nothing scores, where that is known."""
        return None if self.chance is None else self.shown(self.chance)

    @property
    def title(self) -> str:
        """The protocol and the metric, with a note where that is no share in per cent."""
        note = {"error": " (an error: 0 is best)", "number": " (a number)"}.get(self.unit, "")
        return f"{self.protocol}: {self.metric.replace('_', ' ')}{note}"

    def shown(self, value: float) -> str:
        """A number as tables have it: a share in per cent, others as they are."""
        return f"{100 * value:.1f}" if self.unit == "share" else f"{value:.3f}"


class Group(NamedTuple):
    """What results that differ in run, seed and split alone have in common."""

    subject: str  # the method, or "random initialisation"
    trunk: str
    protocol: str  # "Fine-tuning", or "Fine-tuning, 5 labels a class"; and why it is not to be trusted, where it is not
    dataset: str


def read_results(folder: Path) -> list[dict]:
    """All results in a folder of `videossl evaluate`; "file" says where each was read.

    Raises:
        ValueError: a file named like a result is none.
    """
    results = []
    for path in sorted(folder.glob("*-split*-seed*.json")):
        try:
            result = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path} is no JSON file ({error}): move it away and evaluate again") from error
        if not (isinstance(result, dict) and {"asked", "dataset", "metrics"} <= result.keys()):
            raise ValueError(f"{path} is no result of `videossl evaluate`: move it away")
        results.append({**result, "file": str(path)})
    return results


def grouped(results: list[dict]) -> dict[Group, list[list[dict]]]:
    """For each group its runs (and seeds), each with the results of its splits in their order.

    A run is a pretraining seed, so that runs on the training lists of several splits make one, and a protocol's seed
    where it draws anything. Methods of one name are told apart by the fields in which they differ, and so are
    protocols. A result read twice counts once.

    Raises:
        ValueError: different videos go by one name, or two runs cannot be told apart.
    """
    methods = told_apart([method for r in results if (method := learned(r))])
    protocols = told_apart([options(r) for r in results])
    runs: dict[tuple, dict[int, dict]] = defaultdict(dict)
    first: dict[tuple, dict] = {}
    for r in results:
        asked, dataset = r["asked"], r["dataset"]
        other = first.setdefault((dataset["series"], asked["split"], dataset["title"]), r)
        if other["asked"]["data"] != asked["data"]:
            raise ValueError(
                f"{other.get('file')} and {r.get('file')} are of different videos, but both call them "
                f"{dataset['title']!r}: rename a folder of lists and evaluate anew, or report them apart"
            )
        checkpoint = asked["checkpoint"]
        beginning = BEGINNINGS.get(checkpoint.get("kind"), RANDOM)
        subject = methods[as_key(learned(r))] if learned(r) else beginning
        wrong = mistake(judge(r))
        protocol = protocols[as_key(options(r))] + (f" (not to be trusted: {wrong})" if wrong else "")
        kind = (subject, short(asked["trunk"]), protocol, dataset["series"])
        run = (kind, checkpoint.get("seed", checkpoint["weights"]), asked["seed"] if judge(r).draws else None)
        known = runs[run].setdefault(asked["split"], r)
        if known["asked"]["checkpoint"]["weights"] != checkpoint["weights"]:
            raise ValueError(
                f"{known.get('file')} and {r.get('file')} are of two trunks with the same method, seed and split: "
                "report them apart"
            )
    found: dict[Group, list[list[dict]]] = defaultdict(list)
    for (kind, *_), splits in runs.items():
        numbers = sorted(splits)
        ordered = [splits[n] for n in numbers]
        found[Group(*kind[:3], title(ordered))].append(ordered)
    return found


def title(splits: list[dict]) -> str:
    """What one run's results are of: a single result's own title, or one for its splits and what of them was there."""
    datasets = [result["dataset"] for result in splits]
    if len(splits) == 1:
        return datasets[0]["title"]
    name = f"{datasets[0]['series']} splits {', '.join(str(result['asked']['split']) for result in splits)}"
    if all(dataset["complete"] for dataset in datasets):
        return name
    counts = []
    for part in ("train", "test"):
        used, listed = ("/".join(str(dataset[part][key]) for dataset in datasets) for key in ("used", "listed"))
        counts.append(f"{used} of {listed} {part}")
    return f"a subset of {name} ({', '.join(counts)} videos)"


def judge(result: dict) -> Judge:
    """The protocol that scored a result."""
    return restore(result["asked"]["protocol"])


def rows(results: list[dict]) -> list[Row]:
    """The numbers of each group: means over splits of each run and seed, then mean and spread over runs and seeds."""
    found = []
    for group, runs in grouped(results).items():
        metrics, protocol = runs[0][0]["metrics"], judge(runs[0][0])
        for metric in metrics:
            if metric.startswith("chance") or metric in protocol.beside:
                continue
            if any(metric not in r["metrics"] for splits in runs for r in splits):
                continue  # of a motion that does not occur in all splits
            values = [statistics.fmean(r["metrics"][metric] for r in splits) for splits in runs]
            known = [chance for r in runs[0] if (chance := by_chance(metric, r["metrics"])) is not None]
            spread = statistics.stdev(values) if len(values) > 1 else None
            numbers = (statistics.fmean(values), spread, len(values), statistics.fmean(known) if known else None)
            headline = protocol.headlines is None or metric in protocol.headlines
            found.append(Row(*group, metric, *numbers, headline, protocol.unit))
    return found


def by_chance(metric: str, metrics: dict[str, float]) -> float | None:
    """What knowing nothing scores of a metric, where that is known; of five guesses five times as much as of one."""
    if "chance" in metrics:
        return min(1.0, 5 * metrics["chance"]) if metric == "top5_accuracy" else metrics["chance"]
    return metrics.get(f"chance {metric}")


def learned(result: dict) -> dict | None:
    """The method that pretrained a result's trunk, with its fields and the steps it took; None for random weights."""
    checkpoint = result["asked"]["checkpoint"]
    return {**checkpoint["method"], "steps": checkpoint["step"]} if checkpoint["method"] else None


def options(result: dict) -> dict:
    """A result's protocol and its fields, those of its views among them (None is what the trunk asks for)."""
    return {**flat(result["asked"]["protocol"]), "is": f":{judge(result).title}{few(result['asked'])}"}


def flat(config: dict) -> dict:
    """A dataclass's fields, those of dataclasses in it after its own, without the number of labels (see `few`)."""
    inner = [flat(value) for value in config.values() if isinstance(value, dict)]
    own = {k: v for k, v in config.items() if k not in ("is", "labels") and not isinstance(v, dict)}
    return own | {k: v for fields in inner for k, v in fields.items()}


def told_apart(configs: list[dict]) -> dict[str, str]:
    """A name for each (by `as_key`): its class, and where others share that, the fields in which they differ."""
    different = {as_key(config): config for config in configs}
    names = {}
    for key, config in different.items():
        same = [other for other in different.values() if other["is"] == config["is"]]
        fields = [f"{k} {v}" for k, v in config.items() if any(other.get(k) != v for other in same)]
        names[key] = ", ".join([config["is"].split(":")[1], *fields])
    return names


def as_key(config: dict) -> str:
    """A configuration as something to look up by."""
    return json.dumps(config, sort_keys=True)


def short(config: dict) -> str:
    """A dataclass as its name and the fields in which it differs from the defaults."""
    value = restore(config)
    fields = [(f.name, getattr(value, f.name), f.default) for f in dataclasses.fields(value)]
    words = [f"{name} {chosen}" for name, chosen, default in fields if chosen != default]
    return type(value).__name__ + (f" ({', '.join(words)})" if words else "")


def few(asked: dict) -> str:
    """How many labels a class, where not all."""
    labels = asked["protocol"].get("labels")
    if not labels:
        return ""
    return f", {labels:g} label{'s' * (labels != 1)} a class" if labels >= 1 else f", {100 * labels:g} % of the labels"


def print_table(results: list[dict], metrics: tuple[str, ...] = ()) -> None:
    """The headline metrics, and others that are named, on the console: a row for each, a column for each kind of trunk."""
    found = [row for row in rows(results) if row.headline or row.metric in metrics]
    for dataset in dict.fromkeys(row.dataset for row in found):
        here = [row for row in found if row.dataset == dataset]
        trunks = list(dict.fromkeys(row.trunk for row in here))
        shares = any(row.unit == "share" for row in here)
        table = Table(title=dataset + ", per cent" * shares + f"; {trunks[0]}" * (len(trunks) == 1))
        table.title_justify, table.title_style = "left", "bold"
        table.add_column("")
        subjects = list(dict.fromkeys((row.subject, row.trunk) for row in here))
        for subject, trunk in subjects:
            runs = max(row.count for row in here if (row.subject, row.trunk) == (subject, trunk))
            name = subject + f", {trunk}" * (len(trunks) > 1)
            table.add_column(f"{name}\n{runs} run{'s' * (runs > 1)}", justify="right")
        table.add_column("chance", justify="right")
        for metric in dict.fromkeys((row.protocol, row.metric) for row in here):
            cells = {(r.subject, r.trunk): r for r in here if (r.protocol, r.metric) == metric}
            chance = next((row.chance_words for row in cells.values() if row.chance is not None), "")
            words = [cells[key].words if key in cells else "" for key in subjects]
            table.add_row(next(iter(cells.values())).title, *words, chance)
        console.print(table)
