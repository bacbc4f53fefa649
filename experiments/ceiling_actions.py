"""Real videos, small enough for a CPU: 188 clips of 7 actions under a ceiling camera, pretrained against random.

    python -m videossl.experiments.ceiling_actions --root ceiling_actions --out runs/ceiling_actions

The clips (cut from Zhang's "FIR-Image-Action-Dataset", 2020) come in UCF101's layout; 10 recordings train, 3 test. Any
other folder of that layout does as well. The numbers are in results/ceiling_actions.json.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from videossl.datasets.index import index_videos
from videossl.evaluation.finetune import FineTune
from videossl.evaluation.knn import KNN
from videossl.evaluation.probe import LinearProbe
from videossl.evaluation.retrieval import Retrieval
from videossl.evaluation.views import Views
from videossl.experiments.cli import one_line_errors
from videossl.experiments.comparison import Clock, compare
from videossl.experiments.data import Videos
from videossl.experiments.devices import Devices
from videossl.experiments.evaluate import Evaluate
from videossl.experiments.pretrain import Pretrain
from videossl.experiments.runs import command, write_json
from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.models.small import Small
from videossl.training.checkpoints import plain

VIEWS = Views(clips=16, crops=1)
CLIPS = Views(clips=4, length=8, stride=2, crops=1)  # for fine-tuning: the mean over 8 frames of a moment
ENGINE = Devices(accelerator="cpu", threads=1)


@dataclass(frozen=True)
class CeilingActions:
    """Temporal order verification on a folder of UCF101's layout, by all four protocols, beside random weights."""

    root: Path  # folder with the classes and the lists
    out: Path = Path("runs/ceiling_actions")  # for the index, the runs, the scores and the report
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 500  # of pretraining
    epochs: int = 20  # of fine-tuning
    workers: int = 2  # processes that decode


def run(config: CeilingActions) -> None:
    """Do what has not been done yet; out/ceiling_actions.json holds the numbers."""
    config.out.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    clock.start("index", "index")
    index = config.out / "index.json"
    index_videos(config.root, index, workers=config.workers, decoder="pyav")  # the same pixels on every machine
    videos = Videos(config.root, index=index)
    found = compare(
        config.out,
        config.seeds,
        lambda seed, folder: Pretrain(
            videos,
            folder,
            method=ShuffleAndLearn(far=8, near=6, negatives=0.5, jitter=2, head="pairs"),
            trunk=Small(length=1, size=64),
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
        ),
        lambda seed, folder: Evaluate(
            (str(folder), "random"),
            videos,
            seeds=(seed,),
            out=config.out / "evaluation",
            workers=config.workers,
            knn=KNN(views=VIEWS),
            retrieval=Retrieval(views=VIEWS),
            linear=LinearProbe(views=VIEWS),
            finetune=FineTune(epochs=config.epochs, batch=16, rate=2e-3, head=50.0, views=CLIPS),
            engine=ENGINE,
        ),
        clock,
    )
    write_json(config.out / "ceiling_actions.json", {"command": command(), "config": plain(config), **found})


if __name__ == "__main__":
    with one_line_errors():
        run(tyro.cli(CeilingActions))
