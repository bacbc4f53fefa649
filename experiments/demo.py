"""All three jobs on what is simulated, collect, pretrain and evaluate, ending in pages to look at: `videossl demo`."""

from dataclasses import dataclass, replace
from pathlib import Path

from videossl.datasets.index import index_videos
from videossl.evaluation.finetune import FineTune
from videossl.evaluation.knn import KNN
from videossl.evaluation.probe import LinearProbe
from videossl.evaluation.retrieval import Retrieval
from videossl.evaluation.views import Views
from videossl.experiments.comparison import Clock, compare
from videossl.experiments.console import console
from videossl.experiments.data import Videos
from videossl.experiments.devices import Devices
from videossl.experiments.evaluate import Evaluate
from videossl.experiments.inspection import Inspect, inspect
from videossl.experiments.pictures import nearest
from videossl.experiments.pretrain import Pretrain
from videossl.experiments.runs import command, write_json
from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.models.small import Small
from videossl.robot.actions import SimulateActions, simulate_actions
from videossl.robot.collect import Collect, collect
from videossl.training.checkpoints import plain

VIEWS = Views(clips=8, crops=1)  # eight frames of a video, their centre
ENGINE = Devices(accelerator="cpu", threads=1)  # a net this small gains nothing from more, and workers decode beside it
CLIPS = Views(clips=4, length=8, stride=5, crops=1)  # for fine-tuning: the mean over 8 frames
WORLD = 1  # seed of the videos; the options here were chosen on those of seed 0, so that these tests chose nothing
TOUCHES = 600, 96  # interactions of a robot, and pixels a side of their pictures
LABELS = 5  # labelled videos a class, for the linear probe and fine-tuning


@dataclass(frozen=True)
class Demo:
    """Have a robot touch things; film actions, learn a trunk from them without labels, and compare it with a random one.

    Stopped, the same command goes on where it was. It ends with a table and a page to look at.
    """

    out: Path | None = None  # folder for all of it; runs/demo, or runs/demo_quick, where not given
    seeds: tuple[int, ...] = (0, 1, 2)  # each pretrains and evaluates once more
    groups: int = 80  # of actor, room, light and viewpoint; each has a video of every of the 15 actions
    steps: int = 1000  # of pretraining
    epochs: int = 40  # of fine-tuning
    workers: int = 2  # processes that film and decode
    quick: bool = False  # see that it works: few videos, steps and one seed, no result worth quoting


def demo(config: Demo) -> None:
    """Do what has not been done yet, and say what came of it."""
    config = replace(config, out=config.out or Path("runs/demo_quick" if config.quick else "runs/demo"))
    if config.quick:
        config = replace(config, seeds=config.seeds[:1], groups=12, steps=60, epochs=3)
    actions, interactions, clock = config.out / "simulated_actions", config.out / "interactions", Clock()
    episodes, size = TOUCHES
    clock.start("collect", f"have a robot grasp, push and poke things and look at them again, {episodes} times in all")
    collect(Collect("all", interactions, episodes, config.workers, size=size))
    if not (interactions / "inspection.html").exists():
        inspect(Inspect(interactions, sample=20))
    clock.start("simulate", f"film {15 * config.groups} videos of simulated actions")
    simulate_actions(SimulateActions(actions, config.groups, frames=48, size=56, seed=WORLD, workers=config.workers))
    clock.start("index", "index them")
    index_videos(actions, workers=config.workers, decoder="pyav")  # not by speed: the same pixels on every machine

    videos = Videos(actions, size=(56, 56))
    found = compare(
        config.out,
        config.seeds,
        lambda seed, run: pretraining(config, videos, seed, run),
        lambda seed, run: evaluation(config, videos, seed, run),
        clock,
    )
    write_json(config.out / "demo.json", {"command": command(), "config": plain(config), **found})
    draw_nearest(config, videos)
    took = f"{sum(found['seconds'].values()):.0f} s; " if found["seconds"] else ""
    console.print(
        f"{took}all numbers: {config.out}/demo.json; to look at: {config.out}/report.html, {interactions}/inspection.html"
    )


def draw_nearest(config: Demo, videos: Videos) -> None:
    """The README's picture, of the first seed."""
    seed = config.seeds[0]
    scores = [config.out / f"evaluation/{name}-retrieval-split1-seed{seed}.npz" for name in (f"seed{seed}", "random")]
    nearest(*scores, config.out / "nearest.png", videos.records(False, 1, (56, 56)).classes)


def pretraining(config: Demo, videos: Videos, seed: int, run: Path) -> Pretrain:
    """Tuples of about half a second, in which a movement goes one way; a small net on single frames."""
    return Pretrain(
        videos,
        run,
        method=ShuffleAndLearn(far=4, near=4, negatives=0.5, jitter=2, head="pairs"),
        trunk=Small(length=1),
        steps=config.steps,
        batch=32,
        optimizer="adamw",
        rate=2e-3,
        drops=(),
        decay=0.05,
        seed=seed,
        workers=config.workers,
        save=max(10, config.steps // 40 * 10),
        engine=ENGINE,
    )


def evaluation(config: Demo, videos: Videos, seed: int, run: Path) -> Evaluate:
    """That run beside a random initialisation of the same seed."""
    return Evaluate(
        (str(run), "random"),
        videos,
        seeds=(seed,),
        out=run.parent / "evaluation",
        workers=config.workers,
        knn=KNN(views=VIEWS),
        retrieval=Retrieval(views=VIEWS),
        linear=LinearProbe(labels=LABELS, penalty=0.01, views=VIEWS),
        finetune=FineTune(epochs=config.epochs, batch=15, rate=2e-3, head=50.0, labels=LABELS, views=CLIPS),
        engine=ENGINE,
    )
