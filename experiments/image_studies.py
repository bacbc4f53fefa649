"""Design studies of image methods, each with a plot: what freezing, batches, heads, augmentations, masks and colours do.

    python -m videossl.experiments.image_studies rotnet simclr --cifar cifar10

A study is a set of cells, each run with every seed and beside random weights. A cell that is done is not run again, so a
command that was stopped goes on. OUT holds for each study NAME.json with all numbers and NAME.png, and of those that paint
NAME_pictures.png. Every number is a share of test pictures, unless a plot says otherwise.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from lightning.fabric import Fabric
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor, nn

from videossl.datasets.records import Records
from videossl.evaluation.base import few
from videossl.evaluation.features import Encoder
from videossl.evaluation.finetune import Action, ActionNet, Answers
from videossl.evaluation.knn import KNN
from videossl.evaluation.probe import LinearProbe
from videossl.experiments.augmentation_pairs import WAYS, ChangedViews
from videossl.experiments.cli import one_line_errors
from videossl.experiments.comparison import pretrained
from videossl.experiments.console import console
from videossl.experiments.data import fingerprint
from videossl.experiments.image_methods import (
    CONVOLUTIONAL,
    TRANSFORMER,
    VIEW,
    ImageMethods,
    cifar10,
    methods,
    simulated_objects,
)
from videossl.experiments.pictures import side_by_side
from videossl.experiments.report import COLOURS, MARKS
from videossl.experiments.runs import command, read_json, versions, write_json
from videossl.experiments.video_methods import BATCH, ENGINE, Entry, World, pretraining, spread
from videossl.methods.base import Method
from videossl.methods.colourisation import Colourisation
from videossl.methods.rotation import Rotation
from videossl.models.base import Trunk
from videossl.training.checkpoints import load_net, load_trunk
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

LABELLED = (5, 10, 20, 50, 100)  # pictures a class, of those that there are
STEM = 6  # layers of the small trunk up to its second convolution, with norms and ReLUs
BATCHES = (8, 32, 128)  # of SimCLR
SHARES = (0.25, 0.5, 1.0)  # of the pictures that the longest run sees
RATE = 2e-3  # peak of AdamW, in batches of BATCH
MASKS = (("random", 0.25), ("random", 0.5), ("random", 0.75), ("random", 0.9), ("block", 0.5), ("block", 0.75))
MASKS += (("grid", 0.75),)
COLOUR_LOSSES = {
    "squared error": {"loss": "regression"},
    "classes": {"uniform": 1.0},
    "classes, rebalanced": {},
}
WORDS = {"linear": "linear probe", "knn": "k-NN"}
AVERAGED = replace(TRANSFORMER, pool="mean")  # MAE asks nothing of the class token


@dataclass(frozen=True)
class ImageStudies:
    """Run design studies of image methods: rotnet, simclr, augmentations, mae and colour."""

    names: tyro.conf.Positional[tuple[str, ...]]  # of studies
    cifar: Path | None = None  # folder of CIFAR-10; where not given, pictures of simulated things are made
    out: Path = Path("experiments/results/image_studies")  # for numbers and plots
    runs: Path = Path("runs/image_studies")  # for pretraining runs, and for simulated things
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int | None = None  # of pretraining, of 32 pictures each; where not given, a study takes about six minutes
    workers: int = 0  # processes that draw and read pictures; small ones are read as fast without

    def __post_init__(self):
        if unknown := set(self.names) - STUDIES.keys():
            raise ValueError(f"there is no study {min(unknown)!r}; there are: {', '.join(STUDIES)}")
        if not self.names or not self.seeds:
            raise ValueError(f"name one study or more, and a seed: {', '.join(STUDIES)}")
        if self.steps is not None and self.steps < 4:
            raise ValueError(f"steps start at 4, but {self.steps} were given")


@dataclass(frozen=True)
class Setting:
    """What a study works on."""

    config: ImageStudies
    steps: int
    folder: Path  # of its runs
    world: World
    train: Records = field(repr=False)
    test: Records = field(repr=False)
    fabric: Fabric = field(repr=False)

    def run(self, method: Method, trunk: object, seed: int, name: str, batch: int = BATCH, share: float = 1.0) -> Path:
        """The folder of a pretraining run, which sees `share` of the pictures of others, in batches of its own size.

        The rate grows with the root of the batch, as suits AdamW.
        """
        plan = pretraining(self.world, Entry(method, trunk), seed, self.folder / f"{name}-{seed}", self.config)
        steps = max(1, round(share * self.steps * BATCH / batch))
        rate = RATE * (batch / BATCH) ** 0.5
        return pretrained(
            replace(plan, steps=steps, batch=batch, rate=rate, watch=0, probes=128, save=10 * (steps // 10 + 1))
        )

    def scores(self, trunk: nn.Module, seed: int) -> dict[str, float]:
        """Of k-NN and a linear probe on features."""
        encoder = Encoder(trunk, self.fabric, self.config.workers, progress=False)
        judges = {"knn": KNN(views=VIEW).fitted(len(self.train)), "linear": LinearProbe(penalty=0.01, views=VIEW)}
        return {
            name: judge.score(encoder, self.train, self.test, seed).metrics["video_accuracy"]
            for name, judge in judges.items()
        }

    def random(self, trunk: object, seed: int) -> dict[str, float]:
        """Scores of a trunk that was never trained."""
        torch.manual_seed(seed)
        return self.scores(trunk.build(), seed)


class Cell(NamedTuple):
    """What is found once for each seed."""

    at: dict  # where in the plot
    run: Callable[[int], dict[str, float]]  # of a seed


class Study(NamedTuple):
    """A question of design."""

    steps: int  # of pretraining
    cells: Callable[[Setting], dict[str, Cell]]
    draw: Callable[[dict[str, dict]], Figure]
    pictures: Callable[[Setting], dict[str, np.ndarray]] | None = None  # of the first seed's runs


def run(config: ImageStudies) -> dict[str, dict]:
    """Do what has not been done yet; returns what is found, by study.

    Raises:
        ValueError: OUT holds a study of other pictures or steps.
    """
    fabric = ENGINE.launch()
    make = simulated_objects if config.cifar is None else cifar10
    world = make(ImageMethods(config.runs, config.cifar, workers=max(1, config.workers)))  # one at least simulates
    train, test = (world.videos.records(part, 1, CONVOLUTIONAL.build().resize) for part in (True, False))
    config.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in config.names:
        steps = config.steps or STUDIES[name].steps
        folder = config.runs / f"{name}-{train.series}-{steps}"
        setting = Setting(replace(config, steps=steps), steps, folder, world, train, test, fabric)
        found[name] = study(name, setting)
    return found


def study(name: str, setting: Setting) -> dict:
    """All cells of one study, written after each; then its table and plot."""
    out, of = setting.config.out, STUDIES[name]
    path = out / f"{name}.json"
    asked = {
        "pictures": {
            part: fingerprint(records) for part, records in (("train", setting.train), ("test", setting.test))
        },
        "data": setting.train.series,
        "steps": setting.steps,
    }
    known = read_json(path) if path.exists() else {"asked": asked, "cells": {}}
    if known["asked"] != asked:
        other = [key for key in asked if known["asked"].get(key) != asked[key]]
        raise ValueError(f"{path} is of other {' and '.join(other)}: name another --out, or move it away")
    cells = of.cells(setting)
    found = {title: {"at": cell.at, "runs": {}} for title, cell in cells.items()} | known["cells"]
    for seed in setting.config.seeds:
        for title, cell in cells.items():
            if str(seed) in found[title]["runs"]:
                continue
            console.print(f"[bold]{name}: {title}[/bold] (seed {seed})")
            began = time.perf_counter()
            scores = cell.run(seed)
            found[title]["runs"][str(seed)] = scores | {"seconds": round(time.perf_counter() - began, 1)}
            write_json(path, {"asked": asked, "cells": found, "command": command(), "versions": versions()})
    show(name, found)
    of.draw(found).savefig(out / f"{name}.png", dpi=110)
    if of.pictures is not None:
        side_by_side(of.pictures(setting), out / f"{name}_pictures.png")
    seconds = sum(sum(values(cell, "seconds")) for cell in found.values())
    console.print(f"written: {path}, {path.with_suffix('.png')} (its cells took {seconds:.0f} s)")
    return read_json(path)


def values(cell: dict, metric: str) -> list[float]:
    """A metric of every seed."""
    return [scores[metric] for scores in cell["runs"].values()]


def show(name: str, cells: dict[str, dict]) -> None:
    """A table: cells, and the mean and deviation of each metric."""
    metrics = dict.fromkeys(key for cell in cells.values() for scores in cell["runs"].values() for key in scores)
    names = [metric for metric in metrics if metric != "seconds"]
    table = Table("", *(WORDS.get(metric, metric.replace("_", " ")) for metric in names))
    table.title, table.title_justify = name, "left"
    for title, cell in cells.items():
        known = next(iter(cell["runs"].values()))
        table.add_row(title, *(spread(values(cell, metric)) if metric in known else "" for metric in names))
    console.print(table)


def mean(cell: dict, metric: str) -> float:
    """Of a metric over seeds."""
    return statistics.fmean(values(cell, metric))


def deviation(cell: dict, metric: str) -> float:
    """Of a metric over seeds; 0 where there is one."""
    found = values(cell, metric)
    return statistics.stdev(found) if len(found) > 1 else 0.0


def axes_of(figure: Figure, count: int = 1) -> list:
    """Side by side, without the upper and the right line."""
    found = list(figure.subplots(1, count, squeeze=False)[0])
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
    return found


def curve(axes, cells: list[dict], x: str, metric: str, label: str, number: int) -> None:
    """Means over seeds with their deviations."""
    places = [cell["at"][x] for cell in cells]
    heights, errors = ([of(cell, metric) for cell in cells] for of in (mean, deviation))
    look = {"color": COLOURS[number], "marker": MARKS[number][0], "markersize": 4, "capsize": 2, "linewidth": 1.3}
    axes.errorbar(places, heights, errors, label=label, **look)


def bars(axes, cells: dict[str, dict], metric: str) -> None:
    """A bar for each cell, lying, the first on top."""
    heights, errors = ([of(cell, metric) for cell in cells.values()] for of in (mean, deviation))
    axes.barh(range(len(cells)), heights, xerr=errors, color=COLOURS[0], height=0.6, error_kw={"capsize": 2})
    axes.set_yticks(range(len(cells)), cells)
    axes.invert_yaxis()
    axes.set_xlabel(WORDS.get(metric, metric))


def level(axes, cell: dict, metric: str, across: bool = True) -> None:
    """What random weights score, as a dotted line."""
    (axes.axhline if across else axes.axvline)(
        mean(cell, metric), color="#555", linewidth=0.9, linestyle=":", label="random weights"
    )


# RotNet: how many labels make up for learning without any


def rotnet_cells(setting: Setting) -> dict[str, Cell]:
    """The stem frozen after rotation, or random, or trained with the rest; with so many labels a class."""
    fewest = min(
        sum(record["label"] == label for record in setting.train) for label in range(len(setting.train.classes))
    )
    found = {}
    for arm in ("rotation, stem frozen", "random, stem frozen", "supervised"):
        for count in LABELLED:
            if count <= fewest:
                found[f"{arm}, {count} labels a class"] = Cell(
                    {"arm": arm, "labels": count}, partial(with_labels, setting, arm, count)
                )
    return found


def with_labels(setting: Setting, arm: str, count: int, seed: int) -> dict[str, float]:
    """Train what is not frozen on so many labelled pictures a class, the same for all arms.

    Source: Gidaris et al., "Unsupervised Representation Learning by Predicting Image Rotations", ICLR 2018, figure 4.
    """
    stem = None
    if arm.startswith("rotation"):
        stem = load_trunk(setting.run(Rotation(), CONVOLUTIONAL, seed, "rotation")).net[:STEM].state_dict()
    torch.manual_seed(seed)
    trunk = CONVOLUTIONAL.build()
    if stem is not None:
        trunk.net[:STEM].load_state_dict(stem)
    question = Action(len(setting.train.classes), 1, 1, trunk.size)
    net = ActionNet(trunk, question) if arm == "supervised" else FrozenStem(trunk, question)
    labelled = few(setting.train, count, seed)
    batches = loader(Draws(labelled, question.sample, seed), BATCH, workers=setting.config.workers)
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, RATE, weight_decay=0.05)
    for _ in fit(net, batches, optimizer, setting.steps, cosine(RATE), seed=seed, fabric=setting.fabric):
        pass
    answers = Encoder(Answers(net, "softmax"), setting.fabric, setting.config.workers, progress=False)
    asked = answers.features(setting.test, VIEW)
    return {"accuracy": (asked.values.mean(1).argmax(1) == asked.labels).double().mean().item()}


class FrozenStem(ActionNet):
    """Its first two convolutions stay as they are, running means of their norms with them."""

    def __init__(self, trunk: Trunk, question: Action):
        super().__init__(trunk, question)
        trunk.net[:STEM].requires_grad_(False)

    def train(self, mode: bool = True) -> "FrozenStem":
        super().train(mode)
        self.trunk.net[:STEM].eval()
        return self


def draw_rotnet(cells: dict[str, dict]) -> Figure:
    """Accuracy by the number of labels, a line for each way to begin."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    (axes,) = axes_of(figure)
    arms = dict.fromkeys(cell["at"]["arm"] for cell in cells.values())
    for number, arm in enumerate(arms):
        curve(axes, [c for c in cells.values() if c["at"]["arm"] == arm], "labels", "accuracy", arm, number)
    counts = sorted({cell["at"]["labels"] for cell in cells.values()})
    axes.set_xscale("log")
    axes.set_xticks(counts, map(str, counts))
    axes.minorticks_off()
    axes.set_xlabel("labelled pictures a class")
    axes.set_ylabel("accuracy on test pictures")
    axes.legend(frameon=False, fontsize=8)
    return figure


# SimCLR: batches, epochs and heads


def simclr_cells(setting: Setting) -> dict[str, Cell]:
    """Batches against how many pictures are seen; and heads, of which the features before and after count."""
    epochs = setting.steps * BATCH / (0.9 * len(setting.train))  # a tenth is held out
    found = {"random weights": Cell({}, partial(setting.random, CONVOLUTIONAL))}
    for batch in BATCHES:
        for share in SHARES:
            at = {"batch": batch, "epochs": round(share * epochs, 2)}
            found[f"batch {batch}, {at['epochs']:g} epochs"] = Cell(at, partial(contrasted, setting, batch, share))
    for head in ("nonlinear", "linear", "none"):
        found[f"head {head}"] = Cell({"head": head}, partial(headed, setting, head))
    return found


def contrasted(setting: Setting, batch: int, share: float, seed: int) -> dict[str, float]:
    """What SimCLR learns in batches of this size from this share of the pictures."""
    method = methods()["SimCLR"].method
    path = setting.run(method, CONVOLUTIONAL, seed, f"nonlinear-{batch}-{share}", batch, share)
    return setting.scores(load_trunk(path), seed)


def headed(setting: Setting, head: str, seed: int) -> dict[str, float]:
    """Scores of the trunk, and of what the head makes of its features."""
    method = replace(methods()["SimCLR"].method, head=head)
    path = setting.run(method, CONVOLUTIONAL, seed, f"{head}-{BATCH}-1.0")
    _, net = load_net(path)
    projected = setting.scores(Projected(net), seed)
    return setting.scores(net.trunk, seed) | {f"{name}_of_projector": score for name, score in projected.items()}


class Projected(nn.Module):
    """What a projector makes of a trunk's features, as features."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.length, self.size = net, net.trunk.length, net.trunk.size

    def forward(self, clips: Tensor) -> Tensor:
        return self.net.projector(self.net.trunk(clips))


def draw_simclr(cells: dict[str, dict]) -> Figure:
    """Batches against pictures seen, and heads: the trunk beside its projector."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = axes_of(figure, 2)
    for number, batch in enumerate(BATCHES):
        of = [cell for cell in cells.values() if cell["at"].get("batch") == batch]
        curve(left, of, "epochs", "linear", f"batches of {batch}", number)
    level(left, cells["random weights"], "linear")
    left.set_xlabel("epochs")
    left.set_ylabel("linear probe")
    left.legend(frameon=False, fontsize=8)
    heads = [cell for cell in cells.values() if "head" in cell["at"]]
    for number, (metric, label) in enumerate((("linear", "trunk"), ("linear_of_projector", "projector"))):
        heights, errors = ([of(cell, metric) for cell in heads] for of in (mean, deviation))
        places = np.arange(len(heads)) + 0.36 * (number - 0.5)
        right.bar(places, heights, 0.34, yerr=errors, label=label, color=COLOURS[number], error_kw={"capsize": 2})
    level(right, cells["random weights"], "linear")
    right.set_xticks(range(len(heads)), [cell["at"]["head"] for cell in heads])
    right.set_xlabel("head while it learns")
    right.set_ylabel("linear probe")
    right.set_ylim(top=1.2 * right.get_ylim()[1])  # room for the legend
    right.legend(frameon=False, fontsize=8, ncols=3, loc="upper center")
    return figure


# SimCLR: pairs of augmentations


def augmentation_cells(setting: Setting) -> dict[str, Cell]:
    """Every way of changing a view, and every two."""
    found = {"random weights": Cell({}, partial(setting.random, CONVOLUTIONAL))}
    for ways in [*((way,) for way in WAYS), *combinations(WAYS, 2)]:
        found[" and ".join(ways)] = Cell({"ways": list(ways)}, partial(changed_by, setting, ways))
    return found


def changed_by(setting: Setting, ways: tuple[str, ...], seed: int) -> dict[str, float]:
    """What SimCLR learns where views differ in these ways alone."""
    method = ChangedViews(ways=ways, hidden=256, out=64, temperature=0.2)
    return setting.scores(load_trunk(setting.run(method, CONVOLUTIONAL, seed, "-".join(ways))), seed)


def draw_augmentations(cells: dict[str, dict]) -> Figure:
    """A grid of pairs; what one alone gives is on its diagonal."""
    figure = Figure(figsize=(5.4, 4.0), layout="constrained")
    (axes,) = axes_of(figure)
    grid = np.full((len(WAYS), len(WAYS)), np.nan)
    for cell in cells.values():
        if ways := cell["at"].get("ways"):
            first, last = WAYS.index(ways[0]), WAYS.index(ways[-1])
            grid[first, last] = grid[last, first] = mean(cell, "linear")
    picture = axes.imshow(grid, cmap="Blues")
    middle = (np.nanmin(grid) + np.nanmax(grid)) / 2
    for row, column in np.argwhere(np.isfinite(grid)):
        value = grid[row, column]
        ink = "white" if value > middle else "#222"
        axes.text(column, row, f"{100 * value:.1f}", ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks(range(len(WAYS)), WAYS)
    axes.set_yticks(range(len(WAYS)), WAYS)
    axes.set_title(f"linear probe, %; random weights {100 * mean(cells['random weights'], 'linear'):.1f}", fontsize=9)
    figure.colorbar(picture, format=lambda value, _: f"{100 * value:g}")
    return figure


# MAE: how much is hidden, and how


def mae_cells(setting: Setting) -> dict[str, Cell]:
    """Random weights, and each masking."""
    found = {"random weights": Cell({}, partial(setting.random, AVERAGED))}
    for masking, ratio in MASKS:
        at = {"masking": masking, "ratio": ratio}
        found[f"{masking} {100 * ratio:g} %"] = Cell(at, partial(masked_by, setting, masking, ratio))
    return found


def mae_run(setting: Setting, masking: str, ratio: float, seed: int) -> Path:
    """The run of a masking."""
    method = replace(methods()["MAE"].method, masking=masking, ratio=ratio)
    return setting.run(method, AVERAGED, seed, f"{masking}-{ratio}")


def masked_by(setting: Setting, masking: str, ratio: float, seed: int) -> dict[str, float]:
    """Scores, and the error in hidden places, whose pixels have mean 0 and variance 1 each."""
    path = mae_run(setting, masking, ratio, seed)
    return setting.scores(load_trunk(path), seed) | {"error": read_json(path / "result.json")["held_out_error"]}


def draw_mae(cells: dict[str, dict]) -> Figure:
    """The linear probe and the pretext's own error by the share that is hidden."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, metric, label in zip(
        axes_of(figure, 2),
        ("linear", "error"),
        ("linear probe", "error in hidden places, of their variance"),
        strict=True,
    ):
        for number, masking in enumerate(dict.fromkeys(masking for masking, _ in MASKS)):
            of = [cell for cell in cells.values() if cell["at"].get("masking") == masking]
            curve(axes, of, "ratio", metric, masking, number)
        if metric == "linear":
            level(axes, cells["random weights"], metric)
        axes.set_xlabel("share hidden")
        axes.set_ylabel(label)
        axes.legend(frameon=False, fontsize=8)
    return figure


def mae_pictures(setting: Setting) -> dict[str, np.ndarray]:
    """The same pictures, in every way what is seen and beside it what is painted, and the truth."""
    found = {}
    for masking, ratio in MASKS:
        with np.load(mae_run(setting, masking, ratio, setting.config.seeds[0]) / "panels.npz") as panels:
            both = np.concatenate([panels["shown"], panels["painted"]], -1)
            found[f"{masking} {100 * ratio:g} %, painted"] = both
            truth = panels["truth"]
    return found | {"truth": truth}


# Colours: one answer or a distribution


def colour_cells(setting: Setting) -> dict[str, Cell]:
    """Random weights, and each loss."""
    found = {"random weights": Cell({}, partial(setting.random, CONVOLUTIONAL))}
    return found | {loss: Cell({"loss": loss}, partial(coloured_by, setting, loss)) for loss in COLOUR_LOSSES}


def colour_run(setting: Setting, loss: str, seed: int) -> Path:
    """The run of a loss."""
    method = Colourisation(width=32, **COLOUR_LOSSES[loss])
    return setting.run(method, CONVOLUTIONAL, seed, loss.replace(", ", "-").replace(" ", "-"))


def coloured_by(setting: Setting, loss: str, seed: int) -> dict[str, float]:
    """Scores; "error", the root of the mean squared error in a and b; "vivid", how far from grey, in shares of the truth."""
    path = colour_run(setting, loss, seed)
    result = read_json(path / "result.json")
    told = {name: result[f"held_out_{name}"] for name in ("error", "grey_error", "vivid")}
    return setting.scores(load_trunk(path), seed) | told


def draw_colour(cells: dict[str, dict]) -> Figure:
    """Features, and how far from grey the painted colours are, for each loss."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    of = {title: cell for title, cell in cells.items() if cell["at"]}
    for axes, metric, words in zip(
        axes_of(figure, 3),
        ("error", "vivid", "linear"),
        ("error in a and b (dotted: staying grey)", "distance from grey, of the true one", "linear probe"),
        strict=True,
    ):
        bars(axes, of, metric)
        axes.set_xlabel(words, fontsize=8)
        if metric == "error":
            level(axes, next(iter(of.values())), "grey_error", across=False)
        if metric == "linear":
            level(axes, cells["random weights"], metric, across=False)
        if metric != "error":
            axes.set_yticklabels([])
    return figure


def colour_pictures(setting: Setting) -> dict[str, np.ndarray]:
    """The same pictures, in grey, coloured in each way, and as they are."""
    found = {}
    for loss in COLOUR_LOSSES:
        with np.load(colour_run(setting, loss, setting.config.seeds[0]) / "panels.npz") as panels:
            found = {"shown": panels["shown"], **found, loss: panels["coloured"]}
            truth = panels["truth"]
    return found | {"truth": truth}


STUDIES = {
    "rotnet": Study(150, rotnet_cells, draw_rotnet),
    "simclr": Study(140, simclr_cells, draw_simclr),
    "augmentations": Study(80, augmentation_cells, draw_augmentations),
    "mae": Study(90, mae_cells, draw_mae, mae_pictures),
    "colour": Study(300, colour_cells, draw_colour, colour_pictures),
}


if __name__ == "__main__":
    with one_line_errors():
        run(tyro.cli(ImageStudies))
