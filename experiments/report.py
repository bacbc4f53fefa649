"""One HTML page of runs and their scores: `videossl report`.

The page needs nothing but itself: style, charts (SVG) and pictures (JPEG) are part of the file, and nothing is fetched
or run. Its layout is in report.html, beside this file.
"""

import base64
import importlib.metadata
import io
import itertools
import json
import re
import shlex
import statistics
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import matplotlib
import numpy as np
import torch
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from torchvision.io import encode_jpeg
from tyro.conf import Positional

from videossl.experiments.console import console
from videossl.experiments.published import PUBLISHED, Published
from videossl.experiments.results import (
    UNTRAINED,
    Group,
    Row,
    as_key,
    grouped,
    judge,
    read_results,
    rows,
    short,
    told_apart,
)
from videossl.experiments.runs import read_json, read_log
from videossl.methods.base import Method
from videossl.training.checkpoints import restore, write

METRICS = {
    **{"video_accuracy": "video", "clip_accuracy": "clip"},
    **{"rho": "ρ, 0 is best, not %", "composed_rho": "ρ composed, not %"},
    **{"one_view": "one view", "random_view": "two, random", "chosen_view": "two, chosen", "best_view": "two, best"},
}
BOOKKEEPING = ("step", "rate", "examples_per_second", "waiting")  # in a line of the log beside losses and metrics
POINTS = 150  # of a curve: a longer log is averaged over as many equal stretches of steps
COLOURS = ("#0b559f", "#c1510c", "#2f7d4f", "#7b4fa0", "#7a6a00")  # of curves, and their marks: in charts, in text
MARKS = (("o", "○"), ("s", "□"), ("^", "△"), ("D", "◇"), ("v", "▽"))
# As their papers spell them, where the class's name does not tell that.
WHOLE = {name: name for name in ("SimSiam", "DeepCluster", "MaskFeat")} | {"IJEPA": "I-JEPA", "IBOT": "iBOT"}
NAMED = 40  # classes of which a confusion matrix gives the names; of more, the caption names the most frequent mistakes
KINDS = {".png": "image/png", ".webp": "image/webp"}  # of pictures that others wrote
LOOK = {
    "font.family": ["STIXGeneral", "DejaVu Sans"],  # both come with matplotlib
    "mathtext.fontset": "stix",
    "font.size": 10,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#444",
    "xtick.color": "#444",
    "ytick.color": "#444",
    "svg.hashsalt": "videossl",
}


@dataclass(frozen=True)
class Report:
    """Write one HTML page that needs nothing but itself: scores beside the paper's, curves, examples, neighbours.

    PNG and WebP files that lie in these folders are shown too: what `videossl map`, `attention` and `search` write there.
    """

    folders: Positional[tuple[Path, ...]]  # of runs, their evaluation/ with them, or of results of `videossl evaluate`
    out: Path = Path("report.html")  # the page; one that is there is replaced


def report(config: Report) -> Path:
    """Write the page; returns its path.

    Raises:
        FileNotFoundError: a folder is not there.
        ValueError: no folder was named, one holds neither a run nor results, or a file in it is broken.
    """
    runs, results = read(config.folders)
    if config.out.is_dir():
        raise ValueError(f"{config.out} is a folder: name the file to write, as in --out {config.out / 'report.html'}")
    layout = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    with matplotlib.rc_context(LOOK):
        page = environment.from_string(layout).render(content(config, runs, results))
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write(config.out, page)
    console.print(f"report: {config.out} ({len(page.encode()) / 1e6:.1f} MB; {len(runs)} runs, {len(results)} results)")
    return config.out


# What there is to report


@dataclass(frozen=True)
class Run:
    """The folder of a pretraining run, as far as the run went."""

    folder: Path
    config: dict  # config.json: "config", "data", "versions"
    log: list[dict]
    result: dict | None  # result.json, once it is finished
    examples: dict[str, np.ndarray] | None  # examples.npz, of methods that ask for one of a few answers
    panels: dict[str, np.ndarray] | None  # panels.npz, of methods that make pictures

    @property
    def learned(self) -> dict:
        """Its method, with its fields and the steps."""
        return {**self.config["config"]["method"], "steps": self.config["config"]["steps"]}

    @property
    def measured(self) -> dict | None:
        """Its result, where it is finished and videos were held out to measure it on."""
        return self.result if self.result and "held_out_loss" in self.result else None

    @property
    def trunk(self) -> str:
        return short(self.config["config"]["trunk"])

    @property
    def method(self) -> Method | None:
        """Its method itself, prepared on its records; None where another version wrote it."""
        try:
            return restore(self.config.get("prepared", self.config["config"]["method"]))
        except ValueError:
            return None

    @property
    def chance(self) -> dict[str, float]:
        """What knowing nothing scores, by metric."""
        return self.result["chance"] if self.result else getattr(self.method, "chance", {})


def read(folders: tuple[Path, ...]) -> tuple[list[Run], list[dict]]:
    """All runs, and all results, in these folders; what is named twice is read once."""
    if not folders:
        raise ValueError("name at least one run folder: `videossl report runs/pretrain`")
    runs, results = {}, {}
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(
                f"there is no folder {folder}: name runs of `videossl pretrain`, or folders of results"
            )
        found = [*read_results(folder), *read_results(folder / "evaluation")]
        if (folder / "config.json").exists():
            runs[folder.resolve()] = read_run(folder)
        elif not found:
            raise ValueError(
                f"{folder} is no run (it has no config.json, which `videossl pretrain` writes) and holds no results of "
                "`videossl evaluate`"
            )
        results |= {Path(result["file"]).resolve(): result for result in found}
    return list(runs.values()), list(results.values())


def read_run(folder: Path) -> Run:
    """What a run's folder holds."""
    config = read_json(folder / "config.json")
    missing = {"config", "data", "versions"} - config.keys()
    if missing or not {"method", "trunk", "steps"} <= config["config"].keys():
        raise ValueError(f"{folder}/config.json is not of a run of `videossl pretrain`: it lacks what that writes")
    result = read_json(folder / "result.json") if (folder / "result.json").exists() else None
    examples, panels = (read_arrays(folder / name) for name in ("examples.npz", "panels.npz"))
    return Run(folder, config, read_log(folder / "log.jsonl"), result, examples, panels)


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """A file of arrays; None where there is none."""
    if not path.exists():
        return None
    with np.load(path) as file:
        return dict(file)


def pictures(folders: tuple[Path, ...]) -> list[Path]:
    """The pictures that lie in these folders."""
    return [path for folder in dict.fromkeys(folders) for path in sorted(folder.iterdir()) if path.suffix in KINDS]


# What the page says


def content(config: Report, runs: list[Run], results: list[dict]) -> dict:
    """All that report.html shows, by name."""
    groups = grouped(results)
    numbers = rows(results)
    names = told_apart([run.learned for run in runs])
    series: dict[tuple[str, str], list[Run]] = {}  # runs that differ in seed (and videos) alone
    for run in runs:
        series.setdefault((spoken(names[as_key(run.learned)]), run.trunk), []).append(run)
    subjects = [*(name for name, _ in series), *(spoken(g.subject) for g in groups if g.subject not in UNTRAINED)]
    return {
        "title": ", ".join(dict.fromkeys(name.partition(",")[0] for name in subjects)) or "Random initialisation",
        "date": f"{(now := datetime.now(UTC)).day} {now:%B %Y}",
        "counts": (len(runs), len(results)),
        "questions": dict.fromkeys(question(run) for run in runs if question(run)),
        "sections": [
            section(name, {g: of for g, of in groups.items() if g.dataset == name}, numbers)
            for name in dict.fromkeys(group.dataset for group in groups)
        ],
        "pretext": [pretext(name, trunk, of) for (name, trunk), of in series.items()],
        "all_curves": [found for of in by_method(series) if (found := curves(of))],
        "examples": [
            examples(name, trunk, shown)
            for (name, trunk), of in series.items()
            if (shown := next((run for run in of if run.examples), None))
        ],
        "panels": [
            panels(name, trunk, shown)
            for (name, trunk), of in series.items()
            if (shown := next((run for run in of if run.panels), None))
        ],
        "pictures": [{"name": str(path), "picture": as_it_is(path)} for path in pictures(config.folders)],
        "runs": [details(run) for run in runs],
        "versions": versions([*(run.config for run in runs), *results]),
        "command": shlex.join(["videossl", "report", *map(str, config.folders), "--out", str(config.out)]),
        "again": repr(str(runs[0].folder)) if runs else None,
        "version": importlib.metadata.version("videossl"),
    }


def spoken(name: str) -> str:
    """A class's name as words: "ShuffleAndLearn, far 30" is "Shuffle and Learn, far 30", and SimCLR stays one."""
    first, comma, rest = name.partition(",")
    small = {"And", "Of", "The", "To", "By"}
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?(?:[^A-Z]|(?<=\d)[A-Z])+", first)
    if any(len(word) < 3 or word.isupper() for word in words if word not in small) or first in WHOLE:
        return WHOLE.get(first, first) + comma + rest
    return " ".join(w.lower() if w in small else w for w in words) + comma + rest


def question(run: Run) -> str | None:
    """The first sentence of the method's file, and its source."""
    about = sys.modules[type(run.method).__module__].__doc__ if run.method else None
    return " ".join(about.split()) if about else None


def percent(value: float) -> str:
    """A share in per cent, one decimal."""
    return f"{100 * value:.1f}"


# Scores


def section(dataset: str, groups: dict[Group, list[list[dict]]], numbers: list[Row]) -> dict:
    """What was scored on one list of videos."""
    results = [result for runs in groups.values() for splits in runs for result in splits]
    about = results[0]["dataset"]
    return {
        "name": dataset,
        "title": re.sub("^a subset", "A subset", dataset).partition(" (")[0],
        "complete": about["complete"],
        "benchmark": about["benchmark"],
        "table": table(dataset, results, [row for row in numbers if row.dataset == dataset]),
        "settings": settings(groups),
        "neighbours": neighbours(groups),
        "confusions": confusions(groups),
        "videos": videos(results),
    }


def table(dataset: str, results: list[dict], numbers: list[Row]) -> dict:
    """Pretrained trunks, each above the same trunk with random weights; then chance; then what papers print."""
    protocols = sorted({row.protocol for row in numbers}, key=str.casefold)
    columns = [
        (protocol, metric)
        for protocol in protocols
        for metric in dict.fromkeys(row.metric for row in numbers if row.protocol == protocol and row.headline)
    ]
    cells = {(row.subject, row.trunk, row.protocol, row.metric): row for row in numbers}
    kinds = sorted({(row.trunk, row.subject in UNTRAINED, row.subject) for row in numbers})
    body = []
    for trunk, _, subject in kinds:
        found = [cells.get((subject, trunk, *column)) for column in columns]
        counts = sorted({row.count for row in found if row})
        body.append(
            {
                "name": spoken(subject),
                "trunk": trunk,
                "cells": [row and row.words.partition(" ")[::2] for row in found],
                "count": "–".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else "",
            }
        )
    chance = [
        next((r.chance_words for r in numbers if (r.protocol, r.metric) == c and r.chance is not None), None)
        for c in columns
    ]
    about = results[0]["dataset"]
    methods = {row.subject.split(",")[0] for row in numbers}
    splits = tuple(sorted({result["asked"]["split"] for result in results}))
    printed = [p for p in PUBLISHED if p.method in methods]
    here = [p for p in printed if p.benchmark == about["benchmark"] and (p.protocol, p.metric) in columns]
    return {
        "heads": [{"name": p, "width": sum(column[0] == p for column in columns)} for p in protocols],
        "columns": [METRICS.get(metric, metric) for _, metric in columns],
        "firsts": [n for n, c in enumerate(columns) if n and c[0] != columns[n - 1][0]],
        "body": body,
        "chance": chance,
        "published": [
            {
                "name": p.subject,
                "trunk": f"{p.trunk}, {split_words(p.splits)}",
                "cells": [f"{p.percent:.1f}" if column == (p.protocol, p.metric) else None for column in columns],
                "marks": ("" if not differences(p, about, splits, numbers) else "†") + ("" if p.verified else "‡"),
            }
            for p in here
        ],
        "differences": list(dict.fromkeys(d for p in here for d in differences(p, about, splits, numbers))),
        "sources": list(dict.fromkeys(p.source for p in here)),
        "unverified": any(not p.verified for p in here),
        "elsewhere": [] if here else elsewhere(printed, about["benchmark"]),
    }


def differences(printed: Published, about: dict, splits: tuple[int, ...], numbers: list[Row]) -> list[str]:
    """Why a paper's number is no match for ours."""
    found = []
    if not about["complete"]:
        found.append(f"they are of all of {printed.benchmark}, ours of a part of it")
    if printed.trunk not in {row.trunk.split(" (")[0] for row in numbers}:
        found.append(f"they are of another trunk, {printed.trunk}")
    if printed.splits != splits:
        found.append(f"some are of other splits ({split_words(printed.splits)})")
    return found


def elsewhere(printed: list[Published], benchmark: str | None) -> list[str]:
    """What is printed of other protocols, or of the first benchmark of a paper where ours is of none."""
    return [
        f"{p.subject} {p.percent:.1f} on {p.benchmark} ({p.protocol}, {split_words(p.splits)})"
        for p in printed
        if len(p.splits) > 1 and p.benchmark == (benchmark or printed[0].benchmark)
    ]


def split_words(splits: tuple[int, ...]) -> str:
    """Which splits a printed number is of."""
    return f"split {splits[0]}" if len(splits) == 1 else f"mean of {len(splits)} splits"


def settings(groups: dict[Group, list[list[dict]]]) -> list[str]:
    """A line for each protocol's options, and one for each way in which trunks were shown a video."""
    lines, views = {}, {}
    for group, runs in sorted(groups.items(), key=lambda item: item[0].protocol.casefold()):
        asked = runs[0][0]["asked"]
        lines[group.protocol] = f"{group.protocol}: {fields(asked['protocol'], ('labels', 'views'))}"
        views.setdefault(fields(asked["views"]), {})[f"{group.protocol} of {group.trunk}"] = True
    for seen, users in views.items():
        who = f" ({', '.join(users)})" if len(views) > 1 else ""
        lines[seen] = f"Views of a video{who}: {seen}"
    return list(lines.values())


def fields(config: dict, without: tuple[str, ...] = ()) -> str:
    """A configuration's fields that are not None, in words."""
    chosen = {k: v for k, v in config.items() if v is not None and k not in ("is", *without)}
    words = {k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in chosen.items()}
    inner = {k: f"({fields(v, without)})" for k, v in chosen.items() if isinstance(v, dict)}
    return ", ".join(f"{k} {v}" for k, v in (words | inner).items())


def videos(results: list[dict]) -> list[dict]:
    """For each split and list: how many of its videos were used, and why others were not."""
    found = {}
    for result in results:
        for part in ("train", "test"):
            counts = result["dataset"][part]
            found.setdefault((result["asked"]["split"], part), {**counts, "videos": result["asked"]["data"][part]})
    return [{"split": split, "part": part, **counts} for (split, part), counts in sorted(found.items(), key=str)]


def neighbours(groups: dict[Group, list[list[dict]]]) -> dict | None:
    """Query videos, each with its nearest neighbours for every kind of trunk: of the first run, seed and split of it."""
    panels = {}
    for group, runs in groups.items():
        arrays = read_arrays(Path(runs[0][0]["file"]).with_suffix(".npz"))
        if arrays is not None:
            panel = (arrays["pictures"], arrays["labels"])  # (Q, 1 + k, C, H, W), (Q, 1 + k)
            panels.setdefault((spoken(group.subject), group.trunk), panel)
    if not panels:
        return None
    panels = dict(sorted(panels.items(), key=lambda item: (item[0][0] in UNTRAINED, item[0][1])))
    several = len({trunk for _, trunk in panels}) > 1
    classes = next(iter(groups.values()))[0][0]["dataset"]["classes"]
    pictures, labels = next(iter(panels.values()))
    same = {  # all that were asked about the same videos
        f"{name}, {trunk}" if several else name: panel
        for (name, trunk), panel in panels.items()
        if np.array_equal(panel[1][:, 0], labels[:, 0])
    }
    found = []
    for n, query in enumerate(labels[:, 0]):
        lines = [
            {
                "name": name,
                "found": [
                    {"picture": jpeg(picture), "name": class_name(classes, label), "same": bool(label == query)}
                    for picture, label in zip(shown[n, 1:], known[n, 1:], strict=True)
                ],
            }
            for name, (shown, known) in same.items()
        ]
        found.append({"picture": jpeg(pictures[n, 0]), "name": class_name(classes, query), "lines": lines})
    tally = [
        f"{int((known[:, 1:] == known[:, :1]).sum())} of {known[:, 1:].size} for {name}"
        for name, (_, known) in same.items()
    ]
    return {"queries": found, "tally": tally}


def class_name(classes: list[str], label: int) -> str:
    """The name of a label; a number where the list names none."""
    return classes[label] if label < len(classes) else f"class {label}"


def confusions(groups: dict[Group, list[list[dict]]]) -> list[dict]:
    """For each protocol that trains something, or else for k-NN, a matrix of every kind of trunk."""
    having = {group: runs for group, runs in groups.items() if runs[0][0].get("confusion")}
    protocols = sorted({group.protocol for group in having}, key=str.casefold, reverse=True)
    found = []
    trained = {group.protocol for group, runs in having.items() if judge(runs[0][0]).draws}
    for protocol in [p for p in protocols if p in trained] or protocols:
        of = {group: runs for group, runs in having.items() if group.protocol == protocol}
        trunks = {group.trunk for group in of}
        counts = {}
        for group, runs in sorted(of.items(), key=lambda item: (item[0].trunk, item[0].subject in UNTRAINED)):
            title = spoken(group.subject) if len(trunks) == 1 else f"{spoken(group.subject)}, {group.trunk}"
            counts[title] = sum(np.array(result["confusion"]) for splits in runs for result in splits)
        classes = next(iter(of.values()))[0][0]["dataset"]["classes"]
        occur = np.flatnonzero(sum(matrix.sum(0) + matrix.sum(1) for matrix in counts.values()))
        found.append(
            {
                "protocol": protocol,
                "matrices": [
                    {
                        "title": title,
                        "right": f"{int(np.trace(matrix))} of {int(matrix.sum())}",
                        "picture": heat_map(matrix[np.ix_(occur, occur)], [class_name(classes, n) for n in occur]),
                    }
                    for title, matrix in counts.items()
                ],
                "several": max(len(runs) for runs in of.values()) > 1,
                "part": len(occur) < len(classes),
                "mistakes": [] if len(occur) <= NAMED else [(t, mistakes(m, classes)) for t, m in counts.items()],
            }
        )
    return found


def mistakes(matrix: np.ndarray, classes: list[str], count: int = 3) -> list[str]:
    """The most frequent ones of a confusion matrix, (true, predicted), in words."""
    wrong = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [divmod(int(n), len(matrix)) for n in order]
    return [
        f"{class_name(classes, i)} for {class_name(classes, j)} ({wrong[i, j]} of {matrix[i].sum()})"
        for i, j in pairs
        if wrong[i, j]
    ]


def heat_map(counts: np.ndarray, classes: list[str]) -> str:
    """A confusion matrix, (true, predicted), as shares of each true class."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    n = len(classes)
    side = min(2.0 + 0.22 * n, 5.5)  # inches
    figure = Figure(figsize=(side + 0.7, side), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    named = n <= NAMED
    axes.set_xticks(range(n) if named else [], classes if named else [], rotation=90, fontsize=9)
    axes.set_yticks(range(n) if named else [], classes if named else [], fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_linewidth(0.5)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if n <= 15:
        for i, j in np.argwhere(counts):
            ink = "white" if shares[i, j] > 0.55 else "#222"
            axes.text(j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", color=ink, fontsize=8)
    bar = figure.colorbar(picture, fraction=0.046, pad=0.03, ticks=[0, 0.5, 1], format=lambda v, _: f"{100 * v:.0f} %")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8)
    return svg(figure)


# Pretraining


def pretext(name: str, trunk: str, runs: list[Run]) -> dict:
    """How well each of these runs answers its own question on held-out videos, and their mean."""
    chance = next((run.chance for run in runs if run.chance), {})
    measured = next((run.measured for run in runs if run.measured), {})
    others = [name.removeprefix("held_out_") for name in measured if name.startswith("held_out_")]
    shares = {name for name, value in chance.items() if value < 1}  # of an error or a ratio, 1 is to know nothing
    metrics = list(chance) + [name for name in others if name not in chance and name != "loss"]
    lines = []
    for run in runs:
        speed = [line["examples_per_second"] for line in run.log]
        waiting = [line["waiting"] for line in run.log]
        done = run.log[-1]["step"] if run.log else 0
        steps = run.config["config"]["steps"]
        lines.append(
            {
                "run": run.folder.name,
                "seed": run.config["config"].get("seed"),
                "steps": f"{steps:,}" if done >= steps else f"{done:,} of {steps:,}",
                "videos": f"{run.config['data'].get('train')} + {run.config['data'].get('held_out')}",
                "loss": f"{run.measured['held_out_loss']:.3f}" if run.measured else None,
                "scores": [
                    written(run.measured[f"held_out_{m}"], m in shares) if run.measured else None for m in metrics
                ],
                "speed": f"{statistics.median(speed):,.0f}" if speed else None,
                "waiting": f"{100 * statistics.fmean(waiting):.0f}" if waiting else None,
            }
        )
    finished = [run.measured for run in runs if run.measured]
    means = None
    if len(finished) > 1:
        means = [spread([result[f"held_out_{m}"] for result in finished], m in shares) for m in metrics]
    return {
        "name": name,
        "trunk": trunk,
        "metrics": [m.replace("_", " ") + ", %" * (m in shares) for m in metrics],
        "chance": [written(chance[m], m in shares) if m in chance else None for m in metrics],
        "lines": lines,
        "means": means,
        "data": ", ".join(dict.fromkeys(run.config["data"]["name"] for run in runs)),
        "listed": run.config["data"]["listed"] if (run := runs[0]) else None,
    }


def written(value: float, share: bool) -> str:
    """A metric: a share in per cent, any other number as it is."""
    return percent(value) if share else f"{value:.4g}"


def spread(values: list[float], share: bool) -> str:
    """Mean and standard deviation."""
    return f"{written(statistics.fmean(values), share)} ± {written(statistics.stdev(values), share)}"


def by_method(series: dict[tuple[str, str], list[Run]]) -> list[dict[tuple[str, str], list[Run]]]:
    """The series of each method by themselves: others have other losses, metrics and chances."""
    kinds = dict.fromkeys(runs[0].config["config"]["method"]["is"] for runs in series.values())
    return [
        {k: runs for k, runs in series.items() if runs[0].config["config"]["method"]["is"] == kind} for kind in kinds
    ]


def curves(series: dict[tuple[str, str], list[Run]]) -> dict | None:
    """Charts over the steps: losses and metrics, in training and held out, then how fast it went."""
    lines = [line for runs in series.values() for run in runs for line in run.log]
    if not lines:
        return None
    names = dict.fromkeys(key for line in lines for key in line if key not in BOOKKEEPING)
    chance = {metric: value for runs in series.values() for run in runs for metric, value in run.chance.items()}
    metrics = [name for name in names if not name.startswith("held_out_")]
    charts = [chart(series, metric, metric.replace("_", " "), chance.get(metric)) for metric in metrics]
    charts.append(chart(series, "examples_per_second", "examples / s"))
    charts.append(chart(series, "waiting", "waiting for data"))
    return {
        "method": ", ".join(dict.fromkeys(name for name, _ in series)),
        "charts": charts,
        "series": [
            {"name": f"{name}, {trunk}", "runs": len(runs), "colour": colour, "mark": mark}
            for (name, trunk), runs, colour, (_, mark) in styled(series)
        ],
        "several": any(len(runs) > 1 for runs in series.values()),
    }


def styled(series: dict[tuple[str, str], list[Run]]) -> list[tuple]:
    """Each series with its colour and its mark: (name, trunk), runs, colour, (mark in charts, the same as a letter)."""
    looks = zip(itertools.cycle(COLOURS), itertools.cycle(MARKS), strict=True)
    return [(names, runs, *look) for (names, runs), look in zip(series.items(), looks, strict=False)]


def chart(series: dict[tuple[str, str], list[Run]], metric: str, label: str, chance: float | None = None) -> dict:
    """One metric of all runs over the steps; where a series has several runs, their mean stands out."""
    side, share = metric in BOOKKEEPING, chance is not None or metric == "waiting"
    figure = Figure(figsize=(4.4, 1.6 if side else 2.6), layout="constrained")
    axes = figure.subplots()
    words = set()
    for _, runs, colour, (mark, _) in styled(series):
        last = max((line["step"] for run in runs for line in run.log), default=0)
        for key, word, style in ((metric, "training", "-"), (f"held_out_{metric}", "held out", "--")):
            found = [binned(run.log, key, last) for run in runs if any(key in line for line in run.log)]
            look = {"linestyle": style, "color": colour}
            for x, y in found if len(found) > 1 else []:
                axes.plot(x[np.isfinite(y)], y[np.isfinite(y)], linewidth=0.6, alpha=0.4, **look)
            if found:
                words.add(word)
                x, y = (np.mean(values, 0) for values in zip(*found, strict=True))  # where every run has a value
                look |= {"marker": mark if style == "--" else None, "markersize": 3, "markerfacecolor": "white"}
                axes.plot(x[np.isfinite(y)], y[np.isfinite(y)], linewidth=1.4, **look)
    if chance is not None:
        axes.axhline(chance, color="#555", linewidth=0.8, linestyle=":")
        place = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "ha": "right", "va": "bottom"}
        axes.annotate("chance", (1, chance), (0, 2), color="#555", fontsize=8, **place)
    if side:
        axes.set_ylim(0, 1 if share else 1.25 * axes.get_ylim()[1])
    else:
        ink = COLOURS[0] if len(series) == 1 else "#333"
        marks = {
            "training": {"linestyle": "-"},
            "held out": {"linestyle": "--", "marker": "o" if len(series) == 1 else None},
        }
        look = {"color": ink, "linewidth": 1.4, "markersize": 3, "markerfacecolor": "white"}
        handles = [Line2D([], [], label=word, **look, **style) for word, style in marks.items() if word in words]
        axes.legend(handles=handles, frameon=False, fontsize=8)
    axes.set_xlabel("step")
    axes.set_ylabel(label + ", %" * share)
    axes.set_xlim(left=0)
    if share:
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    axes.grid(axis="y", linewidth=0.3, color="#ccc")
    return {"name": label, "picture": svg(figure)}


def binned(log: list[dict], key: str, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a curve, each the mean over one of POINTS equal stretches up to step `last`; NaN where none."""
    of = [(line["step"], line[key]) for line in log if key in line]
    steps, values = np.array(of, float).reshape(-1, 2).T
    where = np.minimum((steps * POINTS / last).astype(int), POINTS - 1)
    count = np.bincount(where, minlength=POINTS).astype(float)
    count[count == 0] = np.nan
    return tuple(np.bincount(where, weights, POINTS) / count for weights in (steps, values))


def examples(name: str, trunk: str, run: Run) -> dict:
    """What a run was shown of held-out videos, the answers, and its own."""
    clips, answers, predicted = (run.examples[key] for key in ("clips", "answers", "predicted"))
    words = getattr(run.method, "answers", [f"answer {n}" for n in range(predicted.shape[1])])
    shown = [
        {
            "pictures": [jpeg(picture) for picture in pictures],
            "answer": words[answer],
            "said": words[shares.argmax()],
            "sure": percent(shares.max()),
            "right": bool(shares.argmax() == answer),
        }
        for pictures, answer, shares in zip(clips, answers, predicted, strict=True)
    ]
    right = sum(example["right"] for example in shown)
    return {"name": name, "trunk": trunk, "run": run.folder.name, "shown": shown, "right": f"{right} of {len(shown)}"}


def panels(name: str, trunk: str, run: Run) -> dict:
    """The pictures that a run made of held-out examples, beside what it was shown and the truth, moving."""
    count = len(next(iter(run.panels.values())))
    shown = [
        [{"title": title, "picture": moving(clips[n])} for title, clips in run.panels.items()] for n in range(count)
    ]
    return {"name": name, "trunk": trunk, "run": run.folder.name, "shown": shown}


def details(run: Run) -> dict:
    """A run's configuration, for who wants to run it again."""
    return {
        "name": str(run.folder),
        "config": json.dumps(run.config["config"], indent=2),
        "data": run.config["data"],
    }


def versions(contents: list[dict]) -> list[tuple[str, str]]:
    """Of what the runs and results depended on: each with all versions that occur."""
    found: dict[str, dict] = {}
    for of in contents:
        for name, version in of.get("versions", {}).items():
            found.setdefault(name, {})[version or "not installed"] = True
    return [(name, ", ".join(seen)) for name, seen in found.items()]


# Pictures in the page


def jpeg(picture: np.ndarray) -> str:
    """A data URI of a picture, (C, H, W) uint8, grey or red, green, blue."""
    return uri("image/jpeg", encode_jpeg(torch.from_numpy(np.ascontiguousarray(picture)), quality=88).numpy().tobytes())


def moving(clip: np.ndarray, height: int = 96, pause: int = 160) -> str:
    """A data URI of a clip, (T, C, H, W) uint8, grey or colour, that plays without end, `pause` milliseconds a frame."""
    size = round(height * clip.shape[3] / clip.shape[2]), height
    colours = np.broadcast_to(clip, (len(clip), 3, *clip.shape[2:])).transpose(0, 2, 3, 1)
    first, *others = (Image.fromarray(frame).resize(size, Image.Resampling.NEAREST) for frame in colours)
    file = io.BytesIO()
    first.save(file, "WEBP", save_all=True, append_images=others, duration=pause, loop=0, quality=80)
    return uri("image/webp", file.getvalue())


def as_it_is(path: Path) -> str:
    """A data URI of a file."""
    return uri(KINDS[path.suffix], path.read_bytes())


def svg(figure: Figure) -> str:
    """A data URI of a chart; the same chart gives the same bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return uri("image/svg+xml", file.getvalue())


def uri(kind: str, data: bytes) -> str:
    """Bytes as part of the page itself."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
