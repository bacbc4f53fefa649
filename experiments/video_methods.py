"""Every video method shown to learn, on made and on real videos, beside random weights and trivial answers.

    python -m videossl.experiments.video_methods --real ceiling_actions --kitti kitti_odometry

Each method pretrains a small trunk, in as many steps as the others where nothing else is said. It is asked its own
question on held-out and on test videos, beside the trivial answer, and again with its shortcut closed (see `Closing`). Its
features are scored by the protocols that suit the data. What is done is not done again, so a command that was stopped goes on. OUT holds
video_methods.json with all numbers, and a report.html for each world.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from rich.table import Table
from torch.utils.data import default_collate

from videossl.datasets.index import index_videos
from videossl.evaluation.equivariance import EquivarianceError
from videossl.evaluation.features import Encoder
from videossl.evaluation.finetune import FineTune
from videossl.evaluation.knn import KNN
from videossl.evaluation.next_best_view import NextBestView
from videossl.evaluation.probe import LinearProbe
from videossl.evaluation.views import Views
from videossl.experiments.cli import one_line_errors
from videossl.experiments.comparison import pretrained
from videossl.experiments.console import console
from videossl.experiments.data import Videos
from videossl.experiments.devices import Devices
from videossl.experiments.evaluate import Evaluate, score
from videossl.experiments.pictures import same_motion
from videossl.experiments.pretrain import Pretrain, measure, usable
from videossl.experiments.report import Report, report
from videossl.experiments.results import rows
from videossl.experiments.runs import command, read_json, versions, write_json
from videossl.methods.base import Method, Net
from videossl.methods.clip_order import ClipOrder
from videossl.methods.ego_motion import EgoMotion
from videossl.methods.equivariance import Equivariance
from videossl.methods.frame_prediction import FramePrediction
from videossl.methods.parts import standing_still
from videossl.methods.sequence_sorting import OPN
from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.methods.temporal_coherence import DrLIM, TemporalCoherence
from videossl.methods.tracking import Tracking
from videossl.methods.video_autoencoder import VideoAutoencoder
from videossl.methods.voxel2voxel import Voxel2Voxel
from videossl.models.lstm import LSTM
from videossl.models.small import Small
from videossl.robot.actions import SimulateActions, simulate_actions
from videossl.robot.driving import SimulateDriving, simulate_driving
from videossl.robot.scenes import SimulateScenes, simulate_scenes
from videossl.training.checkpoints import load_net, load_trunk, plain
from videossl.training.draws import Draws

ENGINE = Devices(accelerator="cpu", threads=1)  # nets this small gain nothing from more, and workers decode beside them
WORLD = 1  # seed of what is simulated; options were chosen on seed 0, so that these tests choose nothing
BATCH = 32  # examples in a step of pretraining
SLOW = 0.5  # share of the steps for what takes several times as long: to track, and to paint clips
DRIFT = (1.0, 0.0, -1.0)  # grey levels that red, green and blue gain a frame where videos stand still


@dataclass(frozen=True)
class VideoMethods:
    """Pretrain by every video method, and compare with random weights, trivial answers and closed shortcuts."""

    out: Path = Path("runs/video_methods")
    real: Path | None = None  # labelled real videos in UCF101's layout, such as ceiling_actions; None leaves them out
    kitti: Path | None = None  # KITTI odometry, on which nets that learned from simulated drives are asked as well
    only: tuple[str, ...] = ()  # worlds; none named: all
    # of those worlds, by their names in the tables, beside those that were done before; none named: all
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)  # of pretraining, of random trunks, and of the protocols
    steps: int = 400  # of pretraining
    groups: int = 60  # of simulated actors; each has a video of every of the 15 actions
    drives: int = 80  # simulated
    epochs: int = 20  # of fine-tuning
    workers: int = 2  # processes that simulate and decode

    def __post_init__(self):
        if unknown := set(self.only) - WORLDS.keys():
            raise ValueError(f"there is no world {min(unknown)!r}; there are: {', '.join(WORLDS)}")
        refuse_unknown(self.methods, [METHODS[world]() for world in self.only or WORLDS])


def refuse_unknown(methods: tuple[str, ...], worlds: list[dict[str, "Entry"]]) -> None:
    """Raise a ValueError if one of the names is no method of any of the worlds."""
    known = {title: entry for world in worlds for title, entry in world.items()}
    if unknown := set(methods) - known.keys():
        raise ValueError(f"there is no method {min(unknown)!r}; there are: {', '.join(known)}")


# How a shortcut is closed: of a method and test records, what draws examples from a record, and the records for it.
Closing = Callable[[Method, list[dict]], tuple[Callable, list[dict]]]


def drifting(method: Method, records: list[dict]) -> tuple[Callable, list[dict]]:
    """Videos that stand still but for their colours: nothing else tells the order."""
    return method.sample, [standing_still(record, DRIFT) for record in records]


def still(method: Method, records: list[dict]) -> tuple[Callable, list[dict]]:
    """Videos that stand still: what is answered as well as of moving ones is answered without motion."""
    return method.sample, [standing_still(record, (0.0, 0.0, 0.0)) for record in records]


def last_frame_alone(method: Method, records: list[dict]) -> tuple[Callable, list[dict]]:
    """All frames that are shown are the last of them: what follows is known as well as before where motion was not used."""

    def sample(record: dict, rng: np.random.Generator) -> dict:
        example = method.sample(record, rng)
        name, shown = ("clips", method.length) if "clips" in example else ("video", method.past)
        frames = example[name]
        last = frames[shown - 1 : shown].expand(shown, *frames.shape[1:])
        return {**example, name: torch.cat([last, frames[shown:]])}

    return sample, records


def background(method: Tracking, records: list[dict]) -> tuple[Callable, list[dict]]:
    """Pairs are told apart by what is around the patch alone."""
    return replace(method, background=True).sample, records


class Entry(NamedTuple):
    """A method with the fields that suit such videos, and by what it is told whether it answers its own question."""

    method: Method
    trunk: Small | LSTM
    metric: str = "accuracy"
    trivial: str | None = None  # the same metric of the trivial answer, where that depends on the example; None: chance
    closed_metric: str | None = None  # measured with the shortcut closed; None: it is not
    closing: Closing = drifting  # how it is closed
    steps: float = 1.0  # of pretraining, as a share of what others get
    rate: float = 2e-3  # peak learning rate of AdamW


class World(NamedTuple):
    """Videos to learn from, the methods that are asked of them, and on what their features are scored."""

    videos: Videos
    methods: dict[str, Entry]
    scored: tuple[Callable[[Path, Path, int], Evaluate], ...] = ()  # run, folder for scores and seed -> what to score
    elsewhere: Videos | None = None  # real videos on which the nets are asked their own question, too
    split: int = 1  # of the videos
    # the first run and the PNG to draw -> what it shows, in numbers
    picture: Callable[[Path, Path], dict] | None = None


def run(
    config: VideoMethods,
    worlds: dict[str, Callable] | None = None,
    methods: dict[str, Callable[[], dict[str, Entry]]] | None = None,
    file: str = "video_methods.json",
) -> dict:
    """Do what has not been done yet; returns what is found of all worlds, those of earlier starts with them.

    Args:
        worlds: a world's name -> what makes it of the config, or None where it lacks a folder; None: `WORLDS`.
        methods: a world's name -> what gives its methods; None: `METHODS`.
        file: to write in the config's folder.
    """
    worlds, methods = worlds or WORLDS, methods or METHODS
    config.out.mkdir(parents=True, exist_ok=True)
    for name in config.only or worlds:
        began, fresh = time.perf_counter(), not (config.out / name).exists()
        console.print(f"[bold]{name}[/bold]")
        if config.methods and not methods[name]().keys() & set(config.methods):
            console.print(f"{name}: left out, since it has none of the methods named")
            continue
        world = worlds[name](config)
        if world is None:
            console.print(f"{name}: left out, since no folder was given")
            continue
        world = world._replace(methods=chosen(config, name, world.methods))
        found = study(name, world, config)
        show(name, world, found)
        found |= {
            "command": command(),
            "config": plain(config),
            "seconds": round(time.perf_counter() - began) if fresh else None,
        }
        write_json(config.out / name / "found.json", found)
    there = [name for name in worlds if (config.out / name / "found.json").exists()]
    known = {name: read_json(config.out / name / "found.json") for name in there}
    write_json(config.out / file, {"worlds": known, "versions": versions()})
    console.print(f"all numbers: {config.out / file}")
    return known


def chosen(config: VideoMethods, world: str, methods: dict[str, Entry]) -> dict[str, Entry]:
    """The methods that were named (none: all), and those that were done in this world before, of as many steps and all
    these seeds."""

    def done(title: str, entry: Entry) -> bool:
        runs = [folder_of(config, world, title, seed) for seed in config.seeds]
        steps = round(entry.steps * config.steps)
        return all(
            (run / "result.json").exists() and read_json(run / "config.json")["config"]["steps"] == steps
            for run in runs
        )

    named = config.methods or methods
    return {title: entry for title, entry in methods.items() if title in named or done(title, entry)}


def folder_of(config: VideoMethods, world: str, title: str, seed: int) -> Path:
    """Of a run."""
    return config.out / world / f"{title.replace(' ', '_')}-{seed}"


def study(name: str, world: World, config: VideoMethods) -> dict:
    """What came of the methods of one world: of each its own question, and the "scores" of all and of random trunks."""
    folder, found, results, runs = config.out / name, {}, [], []
    for title, entry in world.methods.items():
        console.print(f"[bold]{name}: {title}[/bold]")
        mine = []
        for seed in config.seeds:
            mine.append(pretrained(pretraining(world, entry, seed, folder_of(config, name, title, seed), config)))
            for number, evaluation in enumerate(world.scored):
                kind = f"{type(entry.trunk).__name__}-{entry.trunk.build().length}"  # random ones are scored once
                results += score(evaluation(mine[-1], folder / f"evaluation{number}-{kind}", seed))
        asked = [asked_again(world, entry, path, config) for path in mine]
        found[title] = gathered(
            [{"held out": read_json(path / "result.json"), **a} for path, a in zip(mine, asked, strict=True)]
        )
        runs += mine
    report(Report((*runs, *sorted(folder.glob("evaluation*"))), folder / "report.html"))
    drawn = {} if world.picture is None else {"picture": world.picture(runs[0], folder / "picture.png")}
    return {"methods": found, "scores": [plain(row) for row in rows(results)], **drawn}


def pretraining(world: World, entry: Entry, seed: int, folder: Path, config: VideoMethods) -> Pretrain:
    """The same for all methods but for what their entries say."""
    steps = round(entry.steps * config.steps)
    return Pretrain(
        world.videos,
        folder,
        method=entry.method,
        trunk=entry.trunk,
        split=world.split,
        steps=steps,
        batch=BATCH,
        optimizer="adamw",
        rate=entry.rate,
        drops=(),
        decay=0.05,
        clip=1.0,
        seed=seed,
        workers=config.workers,
        save=max(10, steps // 20 * 10),
        engine=ENGINE,
    )


def asked_again(world: World, entry: Entry, path: Path, config: VideoMethods) -> dict[str, dict]:
    """A run's own question on test videos with the shortcut closed, on real videos, and of each predicted frame."""
    method, net = load_net(path)
    fabric = ENGINE.launch()
    plan = pretraining(world, entry, 0, path, config)
    test = usable(world.videos.records(False, world.split, net.trunk.resize), method, fabric)
    found = {"test": measure(net, Draws(test, method.sample, 0), plan, fabric)}
    if entry.closed_metric is not None:
        sample, records = entry.closing(method, test)
        found["shortcut closed"] = measure(net, Draws(records, sample, 0), plan, fabric)
    if world.elsewhere is not None:
        real = usable(world.elsewhere.records(True, 1, net.trunk.resize), method, fabric)
        found["elsewhere"] = measure(net, Draws(real, method.sample, 0), plan, fabric)
    if hasattr(net, "steps"):
        found["steps"] = by_step(net, Draws(test, method.sample, 0))
    return found


@torch.no_grad()
def by_step(net: Net, draws: Draws, batches: int = 8) -> dict[str, list[float]]:
    """What a net that predicts frames scores for each of them, on some examples."""
    found = [net.steps(default_collate([draws[BATCH * n + k] for k in range(BATCH)])) for n in range(batches)]
    return {name: torch.stack([one[name] for one in found]).mean(0).tolist() for name in found[0]}


def gathered(found: list[dict]) -> dict:
    """Dicts of the same keys as one dict, of lists."""
    if isinstance(found[0], dict):
        return {key: gathered([one[key] for one in found]) for key in found[0]}
    return found


def show(name: str, world: World, found: dict) -> None:
    """Two tables: each method's own question, and what its features are good for."""
    parts = ("held out", "test", "shortcut closed", "elsewhere")
    table = Table("own question (trivial answer, or chance)", "metric", *parts)
    table.title, table.title_justify = name, "left"
    for title, entry in world.methods.items():
        asked = found["methods"][title]
        cells = (
            beside(asked[part], entry, part, asked["held out"]["chance"]) if part in asked else "" for part in parts
        )
        table.add_row(title, entry.metric, *cells)
    console.print(table)
    scores = [row for row in found["scores"] if row["headline"]]
    columns = list(dict.fromkeys((row["protocol"], row["metric"]) for row in scores))
    table = Table("", *(f"{protocol}: {metric.replace('_', ' ')}" for protocol, metric in columns))
    for subject in dict.fromkeys((row["subject"], row["trunk"]) for row in scores):
        cells = {(r["protocol"], r["metric"]): r for r in scores if (r["subject"], r["trunk"]) == subject}
        values = (cells.get(column) for column in columns)
        table.add_row(", ".join(subject), *(value_of(v) if v else "" for v in values))
    console.print(table)


def beside(found: dict, entry: Entry, part: str, chance: dict) -> str:
    """A method's own metric, and in brackets what the trivial answer scores on the same examples."""
    metric, trivial = entry.metric, entry.trivial
    if part == "shortcut closed" and metric != entry.closed_metric:
        metric, trivial = entry.closed_metric, None
    known = found.get(f"held_out_{trivial}") or chance.get(metric)
    return spread(found[f"held_out_{metric}"]) + (f" ({statistics.fmean(known):.3f})" if known else "")


def value_of(row: dict) -> str:
    """A score and its spread over seeds."""
    return f"{row['mean']:.3f}" + (f" ± {row['spread']:.3f}" if row["spread"] is not None else "")


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{deviation}"


SORTING = {"jitter": 2, "dropout": 0.0, "pairs": "difference"}  # heads that learn within minutes (README)
PREDICTION = {"past": 5, "future": 5, "conditional": "neither", "loss": "squared", "size": 32, "units": 256}
PLACES = Small(length=1, grid=3)  # where things are tells how the camera moves
VOXELS = {
    "length": 4,
    "stride": 3,
    "channels": 16,
    "skips": 0,
    "onto": True,
}  # with skips the trunk learns less (README)


def action_methods(stride: int, size: int) -> dict[str, Entry]:
    """What is asked of videos of actions: `stride` frames are as far apart as a movement takes to be seen."""
    frames, clips = Small(length=1, size=size), Small(length=4, size=size)
    predicted = "future_mse", "copy_mse", "future_mse", last_frame_alone
    near = ShuffleAndLearn(4 * stride // 3, stride + 1, negatives=0.5, jitter=2, head="pairs")
    return {
        "Shuffle and Learn": Entry(near, frames, closed_metric="accuracy"),
        "OPN": Entry(OPN(gap=stride, region=1.0, slack=8, fc7=128, **SORTING), frames, closed_metric="accuracy"),
        "clip order": Entry(ClipOrder(length=1, gap=stride - 1, pair=128, **SORTING), frames, closed_metric="accuracy"),
        "frame prediction": Entry(FramePrediction(stride=stride, **PREDICTION), frames, *predicted),
        "tracking": Entry(
            Tracking(frames=12, moved=0.25),
            frames,
            trivial="pixels_accuracy",
            closed_metric="background_accuracy",
            closing=background,
            steps=SLOW,
        ),
        "video autoencoder": Entry(
            VideoAutoencoder(length=4, stride=stride, width=16), clips, "mse", "mean_mse", "mse", still, steps=SLOW
        ),
        "colour": Entry(Voxel2Voxel("colour", **VOXELS), clips, "mse", "grey_mse", "mse", still, steps=SLOW),
        "future voxels": Entry(
            Voxel2Voxel("future", **VOXELS), clips, "mse", "copy_mse", "mse", last_frame_alone, steps=SLOW
        ),
    }


def simulated_actions(config: VideoMethods) -> World:
    """PyBullet's humanoid in 15 actions."""
    folder = config.out / "actions"
    simulate_actions(SimulateActions(folder, config.groups, frames=48, size=56, seed=WORLD, workers=config.workers))
    index_videos(folder, workers=config.workers, decoder="pyav")  # not by speed: the same pixels on every machine
    videos = Videos(folder, size=(56, 56))
    return World(videos, METHODS["simulated_actions"](), (partial(score_actions, videos, config, 5),))


def real_actions(config: VideoMethods) -> World | None:
    """The folder of real videos, if one was given."""
    if config.real is None:
        return None
    videos = real_videos(config)
    return World(videos, real_action_methods(), (partial(score_actions, videos, config, None),))


def real_action_methods() -> dict[str, Entry]:
    """What is asked of real videos of actions: the two that read a drift of colours there also with channels split."""
    methods = action_methods(4, 64)
    for title in ("Shuffle and Learn", "clip order"):
        entry = methods[title]
        methods[f"{title}, split"] = entry._replace(method=replace(entry.method, split=True))
    return methods


def real_videos(config: VideoMethods) -> Videos:
    """The folder of real videos, with an index of its own."""
    index = config.out / "real.json"
    index_videos(config.real, index, workers=max(1, config.workers), decoder="pyav")
    return Videos(config.real, index=index)


def score_actions(
    videos: Videos, config: VideoMethods, labels: int | None, path: Path, out: Path, seed: int
) -> Evaluate:
    """A run beside a random trunk, by the protocols that need labels."""
    views, clips = Views(clips=8, crops=1), Views(clips=4, length=4, stride=4, crops=1)
    return Evaluate(
        (str(path), "random"),
        videos,
        protocols=("knn", "linear", "finetune"),
        seeds=(seed,),
        out=out,
        workers=config.workers,
        knn=KNN(views=views),
        linear=LinearProbe(labels=labels, penalty=0.01, views=views),
        finetune=FineTune(epochs=config.epochs, batch=15, rate=2e-3, head=50.0, labels=labels, views=clips),
        engine=ENGINE,
    )


def simulated_drives(config: VideoMethods) -> World:
    """Streets in KITTI's layout, and 16 kinds of scenes in SUN397's."""
    drives, scenes = config.out / "drives", config.out / "scenes"
    simulate_driving(SimulateDriving(drives, config.drives, size=(60, 100), seed=WORLD, workers=config.workers))
    simulate_scenes(SimulateScenes(scenes, size=(48, 64), seed=WORLD, workers=config.workers))
    videos, pictures = (Videos(folder, dataset=name) for folder, name in ((drives, "kitti_raw"), (scenes, "sun397")))
    scored = (partial(score_drives, videos, config), partial(score_scenes, pictures, config))
    real = None if config.kitti is None else Videos(config.kitti, dataset="kitti_odometry", size=(60, 198))
    return World(videos, drive_methods(), scored, real, picture=partial(draw_motion, videos))


def drive_methods() -> dict[str, Entry]:
    """What is asked of drives."""
    trunk = PLACES
    few = Equivariance(gap=5, patterns=4, mirror=True, pull=3.0)
    told = "accuracy", "frequent_accuracy", "accuracy"
    motion = EgoMotion(head="match", norm=True, mirror=True, dropout=0.2)
    return {
        "equivariance": Entry(few, trunk, *told, rate=5e-3),
        "equivariance and DrLIM": Entry(replace(few, drlim=0.1), trunk, *told, rate=5e-3),
        "ego-motion, classified": Entry(motion, trunk, *told),
        "temporal coherence": Entry(TemporalCoherence(near=5), trunk, trivial="pixels_accuracy"),
        "DrLIM": Entry(DrLIM(near=5), trunk, trivial="pixels_accuracy"),
    }


def draw_motion(videos: Videos, path: Path, out: Path) -> dict[str, float]:
    """Pairs of frames found by what changes in features; the shares that underwent the same motion."""
    learned = load_trunk(path)
    torch.manual_seed(0)
    trunks = {"learned": learned, "random": PLACES.build().eval()}
    encoders = {title: Encoder(trunk, ENGINE.launch()) for title, trunk in trunks.items()}
    return same_motion(encoders, videos.records(False, 1, learned.resize), out, EquivarianceError(pairs=200))


def score_drives(videos: Videos, config: VideoMethods, path: Path, out: Path, seed: int) -> Evaluate:
    """A run beside a random trunk, by what motion does to features."""
    error = EquivarianceError(pairs=200)
    protocols, view = ("equivariance", "next_best_view"), NextBestView(error)
    trunks, options = (str(path), "random"), {"seeds": (seed,), "out": out, "workers": config.workers}
    return Evaluate(trunks, videos, protocols, **options, equivariance=error, next_best_view=view, engine=ENGINE)


def score_scenes(pictures: Videos, config: VideoMethods, path: Path, out: Path, seed: int) -> Evaluate:
    """A run beside a random trunk, on scenes with 6 labelled pictures a class."""
    trunks, options = (str(path), "random"), {"seeds": (seed,), "out": out, "workers": config.workers}
    return Evaluate(
        trunks, pictures, ("knn", "linear"), **options, linear=LinearProbe(labels=6, penalty=0.01), engine=ENGINE
    )


def moving(config: VideoMethods) -> World:
    """Two digits that move, as in Srivastava et al., at half the size."""
    return World(Videos(dataset="moving_digits", size=(32, 32)), digit_methods(), split=2)


def digit_methods() -> dict[str, Entry]:
    """What is asked of digits that move."""
    lstm = LSTM(size=32, units=256)
    predicted = "future_mse", "copy_mse", "future_mse", last_frame_alone
    return {
        "composite LSTM": Entry(FramePrediction(conditional="neither"), lstm, *predicted, rate=5e-3),
        "future predictor": Entry(
            FramePrediction(reconstruct=False, conditional="neither"), lstm, *predicted, rate=5e-3
        ),
    }


WORLDS = {
    "simulated_actions": simulated_actions,
    "real_actions": real_actions,
    "simulated_drives": simulated_drives,
    "moving_digits": moving,
}
METHODS = {
    "simulated_actions": partial(action_methods, 3, 48),
    "real_actions": real_action_methods,
    "simulated_drives": drive_methods,
    "moving_digits": digit_methods,
}


if __name__ == "__main__":
    with one_line_errors():
        run(tyro.cli(VideoMethods))
