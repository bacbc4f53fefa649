"""Whether scores depend on who decodes, or on packing: `videossl bench evaluation ROOT`."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.table import Table
from tyro.conf import Positional

from videossl.datasets.decoders import DECODERS, missing, reading
from videossl.datasets.frames import VideoFile
from videossl.datasets.index import index_videos
from videossl.datasets.pack import pack
from videossl.datasets.ucf101 import ucf101
from videossl.evaluation.base import Judge
from videossl.evaluation.features import Encoder
from videossl.evaluation.knn import KNN
from videossl.evaluation.probe import LinearProbe
from videossl.evaluation.views import Views
from videossl.experiments.bench.loader import exact_rgb
from videossl.experiments.bench.rounds import keep
from videossl.experiments.console import console, quiet
from videossl.experiments.runs import command, versions
from videossl.models.small import Small
from videossl.training.checkpoints import load_trunk, plain

VIEWS = Views(clips=16, crops=1)
FRAMES = 8  # of each test video, in which colours are compared
STEPS = (1, 4)  # of the packed copies: grey levels that become one
EXACT = "PyAV, scaled exactly"


@dataclass(frozen=True)
class BenchEvaluation:
    """Score the same trunks on the same videos, read by each decoder, scaled exactly, and from packed copies.

    Trunks are random ones of each seed, and those of the runs that are named.
    """

    root: Positional[Path]  # labelled videos in UCF101's layout, with lists
    runs: tuple[Path, ...] = ()  # of `videossl pretrain`: their trunks are scored too
    seeds: tuple[int, ...] = (0, 1, 2)  # of the random trunks
    trunk: Small = field(default_factory=lambda: Small(length=1, size=64))
    short: int = 128  # shorter side in pixels of the packed copies
    workers: int = 2  # processes that decode
    out: Path = Path("runs/bench_evaluation.json")  # file to write


def bench_evaluation(config: BenchEvaluation) -> dict:
    """Score, print a table and write `config.out`; returns what it writes.

    For every source: "accuracy" of each protocol and trunk, on videos; "other answers", how many test videos are
    classified otherwise than when PyAV reads them, of all trunks'; and how far its pixels lie from PyAV's ("grey levels
    apart").

    Raises:
        FileNotFoundError: the folder, a list or a run is not there.
    """
    quiet()
    torch.set_num_threads(1)
    trunks = dict(built(config))
    judges = {"k-NN": KNN(views=VIEWS), "linear probe": LinearProbe(views=VIEWS)}
    found, first = {}, None
    with tempfile.TemporaryDirectory(prefix="videossl-bench-") as place:
        for source, root, index in sources(config, Path(place)):
            console.print(f"scoring videos from {source}")
            scored = score(config, trunks, judges, root, index, exact=source == EXACT)
            first = first or scored
            found[source] = {
                "test videos": len(scored["test"]),
                "accuracy": scored["accuracy"],
                "other answers": {
                    judge: int(sum((a != b).sum() for a, b in zip(answers, first["answers"][judge], strict=True)))
                    for judge, answers in scored["answers"].items()
                },
                "grey levels apart": apart(scored["test"], first["test"]),
            }
    show(found, len(trunks))
    found = {
        "command": command(),
        "config": plain(config) | {"root": config.root.name},
        "sources": found,
        "versions": versions(),
    }
    keep(found, config.out)
    return found


def built(config: BenchEvaluation) -> Iterator[tuple[str, torch.nn.Module]]:
    """The trunks and their names."""
    for seed in config.seeds:
        torch.manual_seed(seed)
        yield f"random {seed}", config.trunk.build().eval()
    for run in config.runs:
        yield run.name, load_trunk(run)


def sources(config: BenchEvaluation, place: Path) -> Iterator[tuple[str, Path, Path]]:
    """Name, folder and index of the videos as each decoder reads them, PyAV first, exactly scaled, and of packed copies."""
    for decoder in DECODERS:
        if not missing(decoder):
            index = place / f"{decoder}.json"
            index_videos(config.root, index, config.workers, decoder=decoder)
            yield decoder, config.root, index
    yield EXACT, config.root, place / "pyav.json"
    for step in STEPS:
        out = place / f"packed{step}"
        pack(config.root, out, config.short, step, config.workers, place / "pyav.json")
        yield f"packed, step {step}", out, out / "index.json"


class Exact(VideoFile):
    """Frames of yuv420p, computed in floating point: colours of all pixels, then their mean over each new pixel's area."""

    def _read(self, wanted):
        with reading(self.decoder, str(self.path), self.keys, self.stamp) as file:
            whole = [exact_rgb(picture.planes) for picture in file.read(wanted, whole=False)]
        small = [cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA) for image in whole]
        return np.stack(small).round().astype(np.uint8).transpose(0, 3, 1, 2)


def score(
    config: BenchEvaluation, trunks: dict, judges: dict[str, Judge], root: Path, index: Path, exact: bool
) -> dict:
    """Accuracies and answers of every trunk and protocol, and the test records."""
    accuracy, answers = {judge: {} for judge in judges}, {judge: [] for judge in judges}
    for name, trunk in trunks.items():
        train, test = (ucf101(root, 1, part, trunk.resize, index=index) for part in (True, False))
        for record in [*train, *test] if exact else ():
            record["frames"] = Exact(**vars(record["frames"]))
        encoder = Encoder(trunk, workers=config.workers)
        for title, judge in judges.items():
            scores = fit_to(judge, train).score(encoder, train, test)
            accuracy[title][name] = round(scores.metrics["video_accuracy"], 4)
            answers[title].append(np.array(scores.predictions))
    return {"accuracy": accuracy, "answers": answers, "test": test}


def fit_to(judge: Judge, train: list[dict]) -> Judge:
    """With options that so few training videos allow."""
    return judge.fitted(len(train)) if hasattr(judge, "fitted") else judge


def apart(test: list[dict], other: list[dict]) -> float:
    """Mean absolute distance of the same frames of both, in grey levels of 255."""
    distances = []
    for one, two in zip(test, other, strict=True):
        numbers = np.linspace(0, len(one["frames"]) - 1, FRAMES).astype(int)
        distances.append((one["frames"][numbers].int() - two["frames"][numbers].int()).abs().float().mean().item())
    return round(float(np.mean(distances)), 2)


def show(found: dict, trunks: int) -> None:
    """Print the table."""
    table = Table("videos from", "grey levels apart")
    judges = next(iter(found.values()))["accuracy"]
    for judge in judges:
        table.add_column(f"{judge}, %, of {trunks} trunks")
        table.add_column("other answers")
    for source, row in found.items():
        cells = []
        for judge in judges:
            values = 100 * np.array(list(row["accuracy"][judge].values()))
            cells += [f"{values.mean():.1f} ± {values.std(ddof=len(values) > 1):.1f}"]
            cells += [f"{row['other answers'][judge]} of {row['test videos'] * trunks}"]
        table.add_row(source, f"{row['grey levels apart']:.2f}", *cells)
    console.print(table)
