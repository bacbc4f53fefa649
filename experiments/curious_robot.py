"""The Curious Robot in simulation: one trunk from grasps, pushes, pokes and second looks, and what it is good for.

    python -m videossl.experiments.curious_robot --scale quick

A robot collects interactions (or --data gives them), trunks learn from them, and from the same pictures by other means;
all are scored on pictures of other things in other scenes, beside random weights and chance, and the paper's three
tables are printed with its own numbers beside ours. What is done is not done again, so a command that was stopped goes on.
OUT holds curious_robot.json with all numbers, tables.md, nearest.png and neurons.png.

Source: Pinto, Gandhi, Han, Park, Gupta, "The Curious Robot: Learning Visual Representations via Physical Interactions",
ECCV 2016. Where we leave it: see `Scale` and `learn`.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import joblib
import numpy as np
import torch
import tyro
from rich.table import Table
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from videossl import augment
from videossl.datasets.image_folder import image_folder
from videossl.datasets.records import Records, by_group
from videossl.evaluation.features import Encoder
from videossl.evaluation.finetune import Action, FineTune
from videossl.evaluation.probe import LinearProbe
from videossl.evaluation.retrieval import Retrieval
from videossl.evaluation.views import Views
from videossl.experiments.act import Act, act
from videossl.experiments.cli import one_line_errors
from videossl.experiments.console import console, quiet
from videossl.experiments.curious_tables import (
    ALL,
    IDENTITY,
    IMAGENET,
    KS,
    LABELS,
    PAPER_TABLES,
    RANDOM,
    REBUILD,
    WITHOUT,
    tables,
)
from videossl.experiments.robot_pictures import draw_nearest, draw_neurons
from videossl.experiments.runs import command, read_json, versions, write_json
from videossl.experiments.touched import TASKS, Touched, collected, read, side_of
from videossl.methods.base import Method, Net
from videossl.methods.grasp import Grasp
from videossl.methods.identity import Identity
from videossl.methods.image_autoencoder import ImageAutoencoder
from videossl.methods.joint import Joint, Zip
from videossl.methods.poke import Poke
from videossl.methods.push import Push
from videossl.models.caffenet import CaffeNet
from videossl.models.resnet import ResNet
from videossl.models.small import Small
from videossl.robot.collect import PAPER
from videossl.robot.things import SimulateObjects, simulate_objects
from videossl.training import checkpoints
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

TUNING = 0.05  # rate of fine-tuning, by SGD
VIEWS = Views(clips=1, crops=1)  # pictures are squares of the trunk's size


@dataclass(frozen=True)
class Scale:
    """How much is collected, learned and tested.

    Where all leave the paper: AdamW along a cosine, with the gradient's norm cut to 1, instead of RMSProp, whose rate is
    not known. Where the small ones do besides: a smaller trunk and smaller heads, grasps asked by turning the patch (see
    `Grasp`), and fewer of everything.
    """

    episodes: Mapping[str, int]  # collected of each task
    unseen: Mapping[str, int]  # with things that are kept for tests, to test the tasks themselves
    picture: int  # pixels a side, as collected
    trunk: Small | CaffeNet
    methods: Mapping[str, Method]
    first: int  # steps of grasping alone, before all tasks together
    steps: int  # of all tasks together
    rebuild: int  # steps of the auto-encoder
    labels: int  # steps of learning the labels of the things
    batch: int  # examples of each task in a step
    rate: float  # of AdamW, at its peak
    objects: SimulateObjects  # pictures to be recognised: train, test and views
    blobs: int  # things of random_urdfs
    epochs: int  # of fine-tuning
    trials: int  # of acting, each

    @property
    def size(self) -> int:
        """Pixels a side that nets see."""
        return self.trunk.size


SMALL_HEADS = {
    "grasp": Grasp(align=True, channels=64, widths=(256,)),
    "push": Push(widths=(256,)),
    "poke": Poke(widths=(128,)),
    "identity": Identity(),
}
SCALES = {
    "quick": Scale(
        episodes={"grasp": 6000, "push": 2000, "poke": 4000, "identity": 4000},
        unseen={"grasp": 1500, "push": 400, "poke": 400, "identity": 400},
        picture=96,
        trunk=Small(length=1, size=48),
        methods=SMALL_HEADS,
        first=150,
        steps=450,
        rebuild=600,
        labels=1500,
        batch=32,
        rate=2e-3,
        objects=SimulateObjects(Path("objects"), size=96),
        blobs=60,
        epochs=5,
        trials=500,
    ),
    "large": Scale(
        episodes={"grasp": 30_000, "push": 8000, "poke": 10_000, "identity": 16_000},
        unseen={"grasp": 4000, "push": 1000, "poke": 1000, "identity": 1000},
        picture=96,
        trunk=Small(length=1, size=48),
        methods=SMALL_HEADS,
        first=600,
        steps=4000,
        rebuild=4000,
        labels=8000,
        batch=32,
        rate=2e-3,
        objects=SimulateObjects(Path("objects"), train=20, views=6, size=96),
        blobs=200,
        epochs=10,
        trials=1000,
    ),
    "paper": Scale(
        episodes=PAPER,
        unseen={"grasp": 4000, "push": 1000, "poke": 1000, "identity": 4000},
        picture=227,
        trunk=CaffeNet(),
        methods={"grasp": Grasp(), "push": Push(), "poke": Poke(), "identity": Identity()},
        first=20_000,
        steps=40_000,
        rebuild=40_000,
        labels=80_000,
        batch=128,
        rate=1e-4,
        objects=SimulateObjects(Path("objects"), train=30, views=6, size=227),
        blobs=200,
        epochs=50,
        trials=1000,
    ),
}


@dataclass(frozen=True)
class CuriousRobot:
    """Collect, learn, score and act; print the paper's three tables beside its own numbers."""

    scale: Literal[tuple(SCALES)] = "quick"
    out: Path = Path("runs/curious_robot")
    data: Path | None = None  # interactions, such as `videossl collect all` makes; None: collected here
    unseen: Path | None = None  # others, of unseen things, to test on; None with --data: its held-out scenes
    without: tuple[str, ...] = ()  # tasks that are left out, where the data lacks them
    images: Path | None = None  # a folder of images to be recognised as well: UW RGB-D, Caltech-256, or any
    imagenet: Path | None = None  # a state dict of torchvision's or timm's ResNet-18, to stand beside
    seeds: int = 3
    workers: int = 2  # processes

    def __post_init__(self):
        if self.seeds < 1 or self.workers < 1:
            raise ValueError(f"seeds and workers are numbers from 1, but {self.seeds} and {self.workers} were given")
        if unknown := set(self.without) - set(TASKS):
            raise ValueError(f"there is no task {min(unknown)!r} to be without; there are: {', '.join(TASKS)}")
        if self.data is None and (self.without or self.unseen):
            raise ValueError("without and unseen are for interactions that are given by --data")

    @property
    def amounts(self) -> Scale:
        return SCALES[self.scale]

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(task for task in TASKS if task not in self.without)

    @property
    def rows(self) -> list[str]:
        """What is compared, in the order of the tables."""
        others = [RANDOM, ALL, *([IDENTITY] if "identity" in self.tasks else []), REBUILD, LABELS]
        return [*others, *([IMAGENET] if self.imagenet else []), *(WITHOUT[task] for task in self.tasks)]


def run(config: CuriousRobot) -> dict:
    """Do what has not been done yet; returns all that is found.

    Raises:
        FileNotFoundError: the data lacks a task; images or weights are not there.
        ValueError: the folder is of another scale or other data; pictures or weights that are given will not do; answers
            of a task are all alike.
    """
    quiet()
    check_given(config)
    began, fresh = time.perf_counter(), not config.out.exists()
    config.out.mkdir(parents=True, exist_ok=True)
    claim(config)
    scale = config.amounts
    if config.data is None:
        collected(config.out / "data", scale.episodes, config.workers, size=scale.picture)
        collected(config.out / "unseen", scale.unseen, config.workers, size=scale.picture, seed=1, unseen=True)
    touched, held_out = interactions_of(config)  # which are in a cache for the workers now
    for part, what in ((touched, "to learn from"), (held_out, "to test on")):
        check_answers(part, what)
    console.print(", ".join(f"{len(records)} of {task}" for task, records in touched.tasks.items()) + " to learn from")
    for name, pictures in pictures_of(config).items():
        simulate_objects(pictures)
        console.print(f"{name}: {len(pictures.pictures())} pictures to be recognised")
    jobs = [joblib.delayed(study)(config, row, seed) for seed in range(config.seeds) for row in config.rows]
    for row, seed, seconds, busy in joblib.Parallel(config.workers, return_as="generator_unordered")(jobs):
        console.print(f"  {row}, seed {seed}: {seconds:.0f} s, {busy:.0f} s of a core")
    found = gathered(config, touched, held_out)
    found["acting"] = acting(config, touched)
    draw(config)
    found |= {
        "command": command(),
        "seconds": round(time.perf_counter() - began) if fresh else None,
        "versions": versions(),
        "paper": PAPER_TABLES,
    }
    write_json(config.out / "curious_robot.json", found)
    tell(config, found)
    return found


def check_given(config: CuriousRobot) -> None:
    """See that the user's own pictures and weights will do, before hours are spent on the rest.

    Raises:
        FileNotFoundError: they are not there.
        ValueError: weights are of another net; pictures have no classes, or too few things of each.
    """
    if config.imagenet is not None:
        trunk_of(config, IMAGENET)
    if config.images is None:
        return
    name = config.images.resolve().name
    if name in pictures_of(config):
        raise ValueError(f"tables have a column {name!r} of their own: give {config.images} another name")
    train, test = pictures_given(config, config.amounts.size)
    if not train.classes or not test:
        raise ValueError(
            f"{config.images} lacks classes or test images: sort images into ROOT/CLASS/, see image_folder"
        )
    if max(things_of(train).values()) < 2:
        raise ValueError(
            f"no class of {config.images} has two things, or pictures, to learn from, and one is needed to choose the"
            " linear probe's penalty by: give more of each"
        )
    tested = {record["label"] for record in test}
    if left := [word for label, word in enumerate(train.classes) if label not in tested]:
        some = f"{', '.join(left[:3])}{', ...' * (len(left) > 3)}"
        console.print(f"{name}: {len(left)} of {len(train.classes)} classes are learned, but not tested: {some}")


def check_answers(part: Touched, what: str) -> None:
    """See that grasps both fail and succeed, and pairs are both of one thing and of two.

    Raises:
        ValueError: they are all alike.
    """
    for task, answer in (("grasp", "success"), ("identity", "same")):
        found = {bool(record[answer]) for record in part.tasks.get(task, [])}
        if len(found) == 1:
            raise ValueError(
                f'"{answer}" is {found.pop()} for all {len(part.tasks[task])} interactions of {task} {what}: there is'
                " nothing to tell apart, collect more"
            )


def claim(config: CuriousRobot) -> None:
    """See that the folder is of the same scale and data."""
    asked = {
        "scale": checkpoints.plain(config.amounts),
        **{name: str(getattr(config, name)) for name in ("data", "unseen", "images", "imagenet")},
        "without": list(config.without),
    }
    path = config.out / "config.json"
    if path.exists() and (known := read_json(path)) != json.loads(json.dumps(asked)):
        other = [name for name in asked if known.get(name) != json.loads(json.dumps(asked[name]))]
        raise ValueError(f"{config.out} was made with another {', '.join(other)}: name another --out")
    write_json(path, asked)


@lru_cache(maxsize=1)  # workers do one row after the other
def interactions_of(config: CuriousRobot) -> tuple[Touched, Touched]:
    """What is learned from, and what the tasks are tested on."""
    folder = config.data or config.out / "data"
    held_out = config.out / "unseen" if config.data is None else config.unseen
    how, cache = (config.amounts.size, config.amounts.methods, config.without), config.out / "pictures"
    if held_out is None:
        return read(folder, cache, *how, part=True), read(folder, cache, *how, part=False)
    return read(folder, cache, *how), read(held_out, cache / "unseen", *how)


# Learning.


def learn(config: CuriousRobot, row: str, seed: int, touched: Touched) -> Net | None:
    """The trained net of a row of the tables; None where nothing is learned here.

    As in the paper grasping is learned first, and all tasks go on from there; without grasping they begin from random
    weights. Of identity alone there is no first stage either.
    """
    scale, folder = config.amounts, config.out / "runs" / f"{row.replace(' ', '_')}-{seed}"
    if row in (RANDOM, IMAGENET):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    trunk = scale.trunk.build()
    if row in (REBUILD, LABELS):
        records = touched.pictures()
        method = ImageAutoencoder() if row == REBUILD else Action(len(touched.classes), 1, 1, scale.size)
        steps = scale.rebuild if row == REBUILD else scale.labels
        return trained(folder / "checkpoint.pt", method, method.build(trunk), records, steps, scale, seed)
    left_out = next((task for task, name in WITHOUT.items() if name == row), None)
    tasks = ("identity",) if row == IDENTITY else tuple(task for task in config.tasks if task != left_out)
    records = {task: touched.tasks[task] for task in tasks}
    methods = {task: m.prepare(records[task]) if hasattr(m := scale.methods[task], "prepare") else m for task in tasks}
    net = Joint(methods).build(trunk)
    if "grasp" in tasks and scale.first:
        alone = Joint({"grasp": methods["grasp"]})
        first = alone.build(trunk_like(trunk, scale))
        first.nets["grasp"].load_state_dict(net.nets["grasp"].state_dict())
        trained(folder / "grasp.pt", alone, first, Zip({"grasp": records["grasp"]}), scale.first, scale, seed)
        net.nets["grasp"].load_state_dict(first.nets["grasp"].state_dict())  # its head, and the trunk that all share
    return trained(folder / "checkpoint.pt", Joint(methods), net, Zip(records), scale.steps, scale, seed)


def trunk_like(trunk: torch.nn.Module, scale: Scale) -> torch.nn.Module:
    """Another trunk with the same weights."""
    other = scale.trunk.build()
    other.load_state_dict(trunk.state_dict())
    return other


def trained(
    path: Path, method: object, net: Net, records: list[dict], steps: int, scale: Scale, seed: int, save: int = 200
) -> Net:
    """The net after so many steps, in eval mode; goes on from `path` where that is there, and leaves it there."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=scale.rate, weight_decay=0.05)
    start = 0
    if path.exists():
        saved = checkpoints.load(path)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        start = saved["step"]
    batches = loader(Draws(records, method.sample, seed), scale.batch, start=start, stop=steps)
    about = {"method": method, "prepared": method, "trunk": scale.trunk, "seed": seed, "split": 1, "seen": []}
    lines = path.with_suffix(".jsonl")
    for step, metrics in fit(net, batches, optimizer, steps, cosine(scale.rate), start=start, seed=seed, clip=1.0):
        if step % save == 0 or step == steps:
            with lines.open("a") as log:
                log.write(json.dumps({"step": step, **{k: round(float(v), 5) for k, v in metrics.items()}}) + "\n")
            checkpoints.save(path, **about, net=net, optimizer=optimizer, step=step)
    return net.eval()


# Scoring.


def study(config: CuriousRobot, row: str, seed: int) -> tuple[str, int, float, float]:
    """Learn and score one row of the tables for one seed, in a process of its own."""
    began, busy = time.perf_counter(), time.process_time()
    path = config.out / "scores" / f"{row.replace(' ', '_')}-{seed}.json"
    if not path.exists():
        torch.set_num_threads(1)
        quiet()
        with console.capture():  # what is said of the data was said before
            touched, held_out = interactions_of(config)
        net = learn(config, row, seed, touched)
        torch.manual_seed(seed)
        trunk = trunk_of(config, row) if net is None else net.trunk
        found = scores(config, row, trunk.eval(), seed) | (asked(net, held_out) if hasattr(net, "nets") else {})
        path.parent.mkdir(exist_ok=True)
        write_json(path, found)
    return row, seed, time.perf_counter() - began, time.process_time() - busy


def trunk_of(config: CuriousRobot, row: str) -> torch.nn.Module:
    """A trunk that learned nothing here."""
    return ResNet(weights=config.imagenet).build() if row == IMAGENET else config.amounts.trunk.build()


@torch.inference_mode()
def asked(net: Net, held_out: Touched) -> dict[str, float]:
    """How well the tasks themselves are answered for things that were never touched.

    "grasp AUC" is of held-out tries, by the difference of the two logits at the angle that was tried; "push error" the mean
    absolute error of the five numbers, each over that of always answering the training mean; "poke rank correlation"
    Spearman's, of predicted and felt slopes; "identity AUC" of pairs by their cosine.
    """
    found = {}
    for task, part in net.nets.items():
        records = held_out.tasks[task]
        clips = torch.stack([record["frames"] for record in records])[:, :, None]  # (N, V, 1, C, H, W)
        pieces = clips.split(128)
        if task == "grasp":
            logits = torch.cat([part.logits(augment.pixels(piece)[:, 0, 0]) for piece in pieces])
            angle = torch.tensor([int(record["angle"]) for record in records])
            score = (logits[..., 1] - logits[..., 0])[torch.arange(len(angle)), angle]
            found["grasp AUC"] = float(roc_auc_score([bool(record["success"]) for record in records], score))
        elif task == "push":
            action = torch.tensor(np.stack([record["action"] for record in records]))
            off = (torch.cat([part.answer(piece) for piece in pieces]) - action).abs().mean(0)
            found["push error"] = float((off / (part.mean - action).abs().mean(0)).mean())
        elif task == "poke":
            slope = torch.cat([part.answer(piece) for piece in pieces])[:, 0]
            felt = [float(record["slope"]) for record in records]
            found["poke rank correlation"] = float(spearmanr(slope, felt).statistic)
        else:
            cosine_of = torch.cat([part.cosine(piece) for piece in pieces])
            found["identity AUC"] = float(roc_auc_score([bool(record["same"]) for record in records], cosine_of))
    return found


def pictures_of(config: CuriousRobot) -> dict[str, SimulateObjects]:
    """The simulated sets to be recognised."""
    wanted = replace(config.amounts.objects, workers=config.workers)
    return {
        "household": replace(wanted, out=config.out / "household"),
        "random_urdfs": replace(
            wanted, out=config.out / "random_urdfs", objects="random_urdfs", train=config.amounts.blobs
        ),
    }


def sets(config: CuriousRobot, size: int) -> dict[str, tuple[list[dict], list[dict]]]:
    """Training and test records of each set of pictures."""
    square = (size, size)
    found = {
        name: (image_folder(made.out, size=square), image_folder(made.out, train=False, size=square))
        for name, made in pictures_of(config).items()
    }
    if config.images is not None:
        found[config.images.resolve().name] = pictures_given(config, size)
    return found


def pictures_given(config: CuriousRobot, size: int) -> tuple[Records, Records]:
    """Training and test records of the user's folder: its own parts, or a quarter of its things held out.

    A class with a single thing, or picture where names tell no things, is learned and not tested.

    Raises:
        ValueError: that is so of all classes.
    """
    every = image_folder(config.images, size=(size, size))
    if every.part:
        return every, image_folder(config.images, train=False, size=(size, size))
    if max(things_of(every).values()) < 2:
        raise ValueError(
            f"every class of {config.images} has a single thing, or picture, so none can be kept for tests: give more of"
            " each, or sort them into train/CLASS and test/CLASS"
        )
    return by_group(every, 0.25)


def things_of(records: list[dict]) -> Counter[int | None]:
    """How many things, or pictures where names tell no things, there are of each label."""
    return Counter(label for label, _ in {(record.get("label"), record["group"]) for record in records})


def scores(config: CuriousRobot, row: str, trunk: torch.nn.Module, seed: int) -> dict[str, float]:
    """Linear probe, fine-tuning and retrieval; each with chance.

    Household things and folders that tell instances are tested on instances of which no picture was trained on. Ablations
    are not fine-tuned.
    """
    found, encoder = {}, Encoder(trunk, progress=False)
    for name, (train, test) in sets(config, trunk.size).items():
        linear = LinearProbe(views=VIEWS).score(encoder, train, test, seed).metrics
        found |= {f"{name} linear": linear["video_accuracy"], f"{name} chance": linear["chance"]}
        if row not in WITHOUT.values():
            tuning = FineTune(config.amounts.epochs, 32, TUNING, views=VIEWS)
            found[f"{name} fine-tuned"] = tuning.score(encoder, train, test, seed).metrics["video_accuracy"]
        if name == "household":
            found |= recalls(encoder, test)
    return found


def recalls(encoder: Encoder, records: list[dict]) -> dict[str, float]:
    """Table 2, on things of which none was touched: of half of the views of each thing, among the other half.

    Raises:
        ValueError: no thing has two pictures.
    """
    gallery, queries = halves(records)
    found = {}
    for level, same in (("instance", ("label", "instance")), ("category", ("label",))):
        protocol = Retrieval(same, KS, views=VIEWS).fitted(len(gallery))
        for key, value in protocol.score(encoder, gallery, queries).metrics.items():
            found[f"{level} {key}"] = value
    return found


def halves(records: list[dict]) -> tuple[list[dict], list[dict]]:
    """Of every thing every other picture, the first first; one with a single picture is only to be found."""
    seen: dict[tuple[int, int], int] = {}
    parts: tuple[list[dict], list[dict]] = ([], [])
    for record in records:
        thing = (record["label"], record["instance"])
        seen[thing] = seen.get(thing, 0) + 1
        parts[(seen[thing] - 1) % 2].append(record)
    if not parts[1]:
        raise ValueError("no thing has two pictures, so none can be found again: give more views")
    return parts


# Acting, pictures and tables.


def acting(config: CuriousRobot, touched: Touched) -> dict:
    """What the first seed's nets can do, on unseen things, in pictures as large as those they learned from were taken."""
    found = {}
    for task in ("grasp", "push", "poke"):
        path = config.out / "acting" / f"{task}.json"
        if task in config.tasks and not path.exists():
            one = config.out / "runs" / f"{ALL.replace(' ', '_')}-0"
            out, side = config.out / "acting", side_of(touched.tasks[task][0])
            act(Act(task, one, out, config.amounts.trials, picture=side, workers=config.workers))
        if path.exists():
            found[task] = read_json(path)
    return found


def draw(config: CuriousRobot) -> None:
    """The paper's figures: nearest neighbours, and what neurons answer to most."""
    if (config.out / "neurons.png").exists():
        return
    checkpoint = config.out / "runs" / f"{ALL.replace(' ', '_')}-0"
    trunk = checkpoints.load_trunk(checkpoint)
    torch.manual_seed(0)
    untrained = config.amounts.trunk.build().eval()
    _, test = sets(config, config.amounts.picture)["household"]
    gallery, queries = halves(test)
    draw_nearest({ALL: trunk, RANDOM: untrained}, gallery, queries, test.classes, config.out / "nearest.png")
    draw_neurons(trunk, test, config.out / "neurons.png")


def gathered(config: CuriousRobot, touched: Touched, held_out: Touched) -> dict:
    """All scores, a list over seeds for each row and measure."""
    rows = {}
    for row in config.rows:
        seeds = [read_json(config.out / "scores" / f"{row.replace(' ', '_')}-{s}.json") for s in range(config.seeds)]
        rows[row] = {key: [one[key] for one in seeds] for key in seeds[0]}
    counts = {
        name: {task: len(records) for task, records in part.tasks.items()}
        for name, part in (("learned from", touched), ("unseen", held_out))
    }
    return {"scale": config.scale, "amounts": checkpoints.plain(config.amounts), "interactions": counts, "rows": rows}


def tell(config: CuriousRobot, found: dict) -> None:
    """Print the tables, and write them as Markdown."""
    text = []
    for title, (columns, lines) in tables(found).items():
        table = Table(*columns, title=title, title_justify="left")
        for line in lines:
            table.add_row(*line)
        console.print(table)
        text += [f"**{title}**", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        text += [f"| {' | '.join(line)} |" for line in lines] + [""]
    text.append(f"Paper: {found['paper']['source']}.")
    (config.out / "tables.md").write_text("\n".join(text) + "\n")
    console.print(f"all numbers: {config.out}/curious_robot.json; tables: {config.out}/tables.md")


if __name__ == "__main__":
    from videossl.experiments import curious_robot  # by its name, by which workers find what they are sent

    with one_line_errors():
        curious_robot.run(tyro.cli(curious_robot.CuriousRobot))
