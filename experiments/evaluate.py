"""Score trunks by what their features are good for: `videossl evaluate`.

Each (trunk, protocol, split, seed) gives one JSON file, written when it is done: a command that was stopped goes on
where it left off. Files say which videos were evaluated, and bear a benchmark's name only if all of its videos were.
"""

import dataclasses
import hashlib
import io
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from torch.nn import functional as F

from videossl.datasets.records import Records
from videossl.evaluation.attention import Attention
from videossl.evaluation.base import Judge, Scores
from videossl.evaluation.clustering import Clustering
from videossl.evaluation.cost import Cost
from videossl.evaluation.depth import Depth
from videossl.evaluation.detection import Detection
from videossl.evaluation.equivariance import EquivarianceError
from videossl.evaluation.features import Encoder
from videossl.evaluation.finetune import FineTune
from videossl.evaluation.geometry import Geometry
from videossl.evaluation.kept import Kept
from videossl.evaluation.knn import KNN
from videossl.evaluation.layers import LayerProbe
from videossl.evaluation.next_best_view import NextBestView
from videossl.evaluation.probe import LinearProbe
from videossl.evaluation.propagation import Propagation
from videossl.evaluation.protocols import PUBLISHED, Published, between, mistake
from videossl.evaluation.retrieval import Retrieval
from videossl.evaluation.robustness import Robustness
from videossl.evaluation.segmentation import Segmentation
from videossl.evaluation.semi_supervised import SemiSupervised
from videossl.evaluation.zero_shot import ZeroShot
from videossl.experiments.console import console, quiet
from videossl.experiments.data import Videos, content, fingerprint
from videossl.experiments.devices import Devices
from videossl.experiments.protocols import published
from videossl.experiments.results import print_table
from videossl.experiments.runs import read_json, versions, write_json
from videossl.methods.base import Net
from videossl.models.base import Trunk
from videossl.models.data_dependent import looked_at, rescale
from videossl.training import checkpoints

UNTRAINED = ("random", "rescaled", "loaded")  # trunks that are scored beside pretrained ones


@dataclass(frozen=True)
class Evaluate:
    """Score one or several trunks, side by side, by the protocols of the field."""

    # runs, checkpoint files, or their trunks untrained: `random`, `rescaled` (random, then suited to training videos), or
    # `loaded` (with the weights from a file that the run began with)
    trunks: tyro.conf.Positional[tuple[str, ...]]
    data: Annotated[Videos, tyro.conf.arg(name="")]
    # names of those below, such as knn, or of published ones (`videossl protocols` lists them), such as vcop-retrieval;
    # `published`: all of those that suit (of two that ask the same, the first); none named: the usual ones that suit
    protocols: tuple[str, ...] = ()
    # two published protocols of one kind: both, and the first with each field of the second's that differs by itself
    compare: tuple[str, str] | None = None
    splits: tuple[int, ...] = (1,)  # 1 2 3 gives the mean over all official splits, too
    seeds: tuple[int, ...] = (0,)  # of the protocols, and of a random trunk's weights
    out: Path | None = None  # folder for the results; the first run's folder/evaluation where not given
    workers: int = 2  # processes that decode, for each device
    batch: int = 64  # clips that go through the trunk at once
    # folder where features of frozen trunks are kept, so that a later command with the same weights, views and videos reads
    # them; none are kept where not given (of 13,000 videos they take 0.3 GB, of CaffeNet's 25 frames a video 5 GB)
    features: Path | None = None
    knn: KNN = field(default_factory=KNN)
    retrieval: Retrieval = field(default_factory=Retrieval)
    linear: LinearProbe = field(default_factory=LinearProbe)
    finetune: FineTune = field(default_factory=FineTune)
    equivariance: EquivarianceError = field(default_factory=EquivarianceError)
    next_best_view: NextBestView = field(default_factory=NextBestView)
    clustering: Clustering = field(default_factory=Clustering)
    geometry: Geometry = field(default_factory=Geometry)
    layers: LayerProbe = field(default_factory=LayerProbe)
    robustness: Robustness = field(default_factory=Robustness)
    cost: Cost = field(default_factory=Cost)
    propagation: Propagation = field(default_factory=Propagation)
    attention: Attention = field(default_factory=Attention)
    semi_supervised: SemiSupervised = field(default_factory=SemiSupervised)
    detection: Detection = field(default_factory=Detection)
    segmentation: Segmentation = field(default_factory=Segmentation)
    depth: Depth = field(default_factory=Depth)
    zero_shot: ZeroShot = field(default_factory=ZeroShot)
    engine: Annotated[Devices, tyro.conf.arg(name="")] = field(default_factory=Devices)

    def __post_init__(self):
        if not self.splits or not self.seeds or self.batch < 1:
            raise ValueError("at least one split, one seed, and a batch of one clip are needed")
        known = {**self.own, **PUBLISHED}
        for name in self.named:
            if name not in known:
                raise ValueError(f"there is no protocol {name!r}; there are: {', '.join(known)}")

    @property
    def own(self) -> dict[str, Judge]:
        """The fields that are protocols."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Judge)}

    @property
    def judges(self) -> dict[str, Judge]:
        """The fields that are protocols, and the published ones that were named."""
        named = {name: PUBLISHED[name].judge for name in self.named if name in PUBLISHED and name not in self.own}
        return self.own | named | self.compared

    @property
    def compared(self) -> dict[str, Judge]:
        """Those of `compare`."""
        if self.compare is None:
            return {}
        one, other = (published(name).judge for name in self.compare)
        changed = {f"{self.compare[0]} with {fields}": judge for fields, judge in between(one, other).items()}
        return {self.compare[0]: one, **changed, self.compare[1]: other}

    @property
    def named(self) -> list[str]:
        """What was given, and the published ones where all of them were."""
        every = different(PUBLISHED) if "published" in self.protocols else []
        return list(dict.fromkeys([*self.given, *every]))

    @property
    def given(self) -> list[str]:
        """What was given one by one, a field's name with underscores where it was given with hyphens."""
        names = [name for name in self.protocols if name != "published"]
        return [under if (under := name.replace("-", "_")) in self.own else name for name in names]


def different(protocols: dict[str, Published]) -> list[str]:
    """Names of those that ask something else than all before them."""
    judges = [protocol.judge for protocol in protocols.values()]
    return [name for n, name in enumerate(protocols) if judges[n] not in judges[:n]]


@dataclass(frozen=True)
class Subject:
    """A trunk to be scored, and where it comes from."""

    name: str  # in file names and tables
    kind: Literal["pretrained", "random", "rescaled", "loaded"]
    config: object  # the trunk's dataclass
    path: Path | None  # of the checkpoint
    about: dict  # what the result records of the checkpoint: method, step, seed

    seen: frozenset[str]  # what it was pretrained on: `content` of each video

    def trunk(self, seed: int) -> Trunk:
        """With its learned weights, those of a file, or new ones drawn by the seed."""
        if self.path is not None:
            return checkpoints.load_trunk(self.path)
        if self.kind == "loaded":
            return self.config.build().eval()
        torch.manual_seed(seed)
        return checkpoints.untrained(self.config).build().eval()

    @property
    def whole(self) -> Callable[[], Net] | None:
        """Gives the net that the trunk was trained in."""
        path = self.path
        return None if path is None else lambda: checkpoints.load_net(path)[1]


def evaluate(config: Evaluate) -> None:
    """Score all that is asked for, and print the table."""
    print_table(score(config))


def score(config: Evaluate) -> list[dict]:
    """Score all that is asked for; returns the results.

    Raises:
        FileNotFoundError: a run, list or index is not there.
        FileExistsError: the results' folder holds results of other weights, videos or options.
        ValueError: the videos, labels or options do not suit a protocol.
    """
    quiet()
    subjects = find_subjects(config.trunks)
    out = config.out or default_folder(subjects)
    fabric = config.engine.launch()
    out.mkdir(parents=True, exist_ok=True)
    results = []
    for split in config.splits:
        for subject in subjects:
            encoder = None
            for seed in config.seeds:
                if encoder is None or subject.path is None:
                    trunk = subject.trunk(seed)
                    train, test = (config.data.records(part, split, trunk.resize) for part in (True, False))
                    refuse_leak(subject, train, test)
                    if subject.kind == "rescaled":
                        rescale(trunk, looked_at(train, trunk))
                    kept = None
                    if config.features is not None:
                        kept = Kept(config.features / f"{weights(trunk)}-{config.engine.precision}", shown)
                    encoder = Encoder(trunk, fabric, config.workers, config.batch, whole=subject.whole, kept=kept)
                    names, left_out = suited(config, [*train, *test])
                    if fabric.is_global_zero and subject is subjects[0]:
                        console.print("\n".join([train.summary(), test.summary(), *doubts(train, test), *left_out]))
                for name in names:
                    results.append(score_one(config, subject, encoder, name, train, test, split, seed, out))
    if fabric.is_global_zero:
        console.print(f"results: {out}")
    return results


def suited(config: Evaluate, records: list[dict]) -> tuple[list[str], list[str]]:
    """The protocols that were named one by one, else those that can be asked of the records; and a line about others.

    Raises:
        ValueError: there are none.
    """
    lacks = {
        name: [need for need in judge.needs if not all(need in record for record in records)]
        for name, judge in config.judges.items()
    }
    names, choose = config.named or list(config.compared), "published" in config.protocols
    if not names:
        names, choose = [name for name in lacks if config.judges[name].by_default], True
    left_out = {name: lacks[name] for name in names if choose and lacks[name] and name not in config.given}
    names = [name for name in names if name not in left_out]
    if not names:
        raise ValueError(f"no protocol can be asked of these records: {', '.join(words(left_out))}")
    return names, [f"left out: {', '.join(words(left_out))}"] * bool(left_out)


def words(lacks: dict[str, list[str]]) -> list[str]:
    """Which protocol needs what, of which some record has none."""
    return [f"{name} (needs {' and '.join(lacking)})" for name, lacking in lacks.items()]


def shown(record: dict) -> str | None:
    """A name for what a record shows, and how large: see `Kept`. None where only its file's name tells what it shows."""
    if "digest" not in record and not ("motion" in record and record["motion"].any()):
        return None
    return f"{record['name']} {content(record)} {getattr(record['frames'], 'size', None)}"


def refuse_leak(subject: Subject, train: Records, test: Records) -> None:
    """Raise a ValueError if videos that are to test the trunk were pretrained on, or are also in the training list.

    What a benchmark has in both of its own lists is the benchmark's, and told by `doubts`.
    """
    official = train.benchmark is not None and train.benchmark == test.benchmark
    known = {content(record): record["name"] for record in train}
    asked = {record["name"]: content(record) for record in test}
    seen = [name for name, what in asked.items() if what in subject.seen and not (official and what in known)]
    if seen:
        raise ValueError(
            f"{len(seen)} of the {len(test)} videos of {test.name} were pretrained on by {subject.name}, such as "
            f"{seen[0]}: evaluate it on the split whose training list it learned from, and pretrain a run for each split"
        )
    both = [] if official else [name for name, what in asked.items() if what in known]
    if both:
        raise ValueError(
            f"{len(both)} of the {len(test)} videos of {test.name} are in the training list, too, such as {both[0]} (there "
            f"it is {known[asked[both[0]]]}): take them out of one of the lists"
        )


def doubts(train: Records, test: Records) -> list[str]:
    """Lines about what makes numbers on these lists more, or less, than they should be."""
    lines = []
    known = {content(record) for record in train}
    if both := [record["name"] for record in test if content(record) in known]:
        lines.append(f"note: {len(both)} test videos are in the training list, too, such as {both[0]}")
    # Films that show one class in training and another in tests, as HMDB51's, make no number too good.
    groups = {(record.get("label"), record["group"]) for record in train}
    shared = [record["group"] for record in test if (record.get("label"), record["group"]) in groups]
    if shared:
        lines.append(
            f"note: {len(shared)} of {len(test)} test videos are of groups that training shows, such as {shared[0]}: what was "
            "filmed together is known then, and numbers may be too good"
        )
    labels, asked = (Counter(int(record["label"]) for record in part if "label" in record) for part in (train, test))
    lost = {label: count for label, count in asked.items() if label not in labels}
    if labels and lost:
        names = [test.classes[label] if test.classes else str(label) for label in sorted(lost)]
        lines.append(
            f"note: no training video is of {', '.join(names[:3])}{', ...' * (len(names) > 3)}, but {sum(lost.values())} of "
            f"{len(test)} test videos are: no answer about these can be right"
        )
    return lines


def fitted_to(count: int, protocol: Judge, name: str, say: bool) -> Judge:
    """The protocol with what asks for more training videos than there are lowered, and a line about it."""
    if not hasattr(protocol, "fitted") or (fitted := protocol.fitted(count)) == protocol:
        return protocol
    if say:
        lowered = [f.name for f in dataclasses.fields(fitted) if getattr(fitted, f.name) != getattr(protocol, f.name)]
        words = (f"{field} is {getattr(fitted, field)}, not {getattr(protocol, field)}" for field in lowered)
        console.print(f"  {name}: there are {count} training videos, so {', '.join(words)}")
    return fitted


def score_one(
    config: Evaluate,
    subject: Subject,
    encoder: Encoder,
    name: str,
    train: Records,
    test: Records,
    split: int,
    seed: int,
    out: Path,
) -> dict:
    """One result: read where it is there already, else computed and written."""
    protocol = fitted_to(len(train), config.judges[name], name, encoder.fabric.is_global_zero)
    few = "" if getattr(protocol, "labels", None) is None else f"-{protocol.labels:g}labels"  # several lie side by side
    path = out / f"{subject.name}-{name.replace(' ', '_')}{few}-split{split}-seed{seed}.json"
    asked = {
        "name": name,
        "protocol": checkpoints.plain(protocol),
        "views": checkpoints.plain(protocol.views.resolved(encoder.trunk)),
        "checkpoint": {"kind": subject.kind, **subject.about, "weights": weights(encoder.trunk)},
        "trunk": checkpoints.plain(subject.config),
        "size": list(config.data.size_for(encoder.trunk.resize)),
        "precision": config.engine.precision,
        "split": split,
        "seed": seed,
        "data": {part: fingerprint(records) for part, records in (("train", train), ("test", test))},
    }
    if path.exists():
        known = read_json(path)
        if known["asked"] != asked:
            changed = [key for key in asked if known["asked"].get(key) != asked[key]]
            raise FileExistsError(
                f"{path} is there, of another {', '.join(changed)}: name another --out, or move it away"
            )
        return known
    begin = time.perf_counter()
    scores = protocol.score(encoder, train, test, seed)
    dataset = describe(train, test, scores)
    result = {
        "title": f"{subject.name}: {name} on {dataset['title']}",
        "mistake": mistake(protocol),
        "subject": subject.name,
        "path": None if subject.path is None else str(subject.path),
        "asked": asked,
        "dataset": dataset,
        "metrics": scores.metrics,
        "intervals": {name: list(ends) for name, ends in scores.intervals.items()},
        "confusion": scores.confusion,
        "seconds": round(time.perf_counter() - begin, 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
    }
    if encoder.fabric.is_global_zero:
        if scores.neighbours is not None:
            keep_neighbours(path.with_suffix(".npz"), scores, train, test)
        write_json(path, result)
        shown = ", ".join(f"{k} {v:.3f}" for k, v in scores.metrics.items() if "chance" not in k and k != "majority")
        console.print(f"  {result['title']}: {shown} ({result['seconds']:.0f} s)")
        if result["mistake"]:
            console.print(f"    not to be trusted: {result['mistake']}")
    return result


def find_subjects(names: tuple[str, ...]) -> list[Subject]:
    """What the command line's words stand for.

    Raises:
        ValueError: nothing was named, `random` and the like without a run to take the trunk from, or `loaded` where there is
            no file of weights.
    """
    paths = [Path(name) for name in names if name not in UNTRAINED]
    if not paths:
        raise ValueError(
            "name at least one run folder or checkpoint to evaluate; `random` beside it has the same trunk"
        )
    subjects = []
    for path in paths:
        stored = checkpoints.load(path)
        about = {key: stored[key] for key in ("method", "step", "seed", "split")}
        name = (path if path.is_dir() else path.parent).resolve().name
        trunk, seen = checkpoints.restore(stored["trunk"]), frozenset(stored["seen"])
        subjects.append(Subject(name, "pretrained", trunk, path, about, seen))
    configs = list(dict.fromkeys(subject.config for subject in subjects))
    for kind in UNTRAINED:
        for config in configs if kind in names else ():
            if kind == "loaded" and getattr(config, "weights", None) is None:
                raise ValueError(
                    f"{config} began with random weights: leave `loaded` out, which is for those of a file"
                )
            name = kind if len(configs) == 1 else f"{kind}-{type(config).__name__.lower()}"
            subjects.append(Subject(name, kind, config, None, {"method": None, "step": None}, frozenset()))
    if len({subject.name for subject in subjects}) < len(subjects):
        raise ValueError(f"two runs have the same folder name: {[subject.name for subject in subjects]}")
    return subjects


def default_folder(subjects: list[Subject]) -> Path:
    """Beside the first checkpoint."""
    path = subjects[0].path
    return (path if path.is_dir() else path.parent) / "evaluation"


def weights(trunk: Trunk) -> str:
    """A name for just these weights."""
    digest = hashlib.sha256()
    for name, value in trunk.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def describe(train: Records, test: Records, scores: Scores) -> dict:
    """What was evaluated: N of M videos. A benchmark's name stands alone only where none of its videos is missing."""
    parts = {}
    for part, records, failed in (("train", train, scores.train_failed), ("test", test, scores.failed)):
        unread = {name: f"unreadable: {why}" for name, why in failed.items()}
        missing = {**records.missing, **records.damaged, **unread}
        parts[part] = {
            "listed": records.listed,
            "missing": len(records.missing) + len(failed),
            "damaged": len(records.damaged),
            "reasons": dict(list(missing.items())[:20]),
        }
    parts["train"]["used"], parts["test"]["used"] = scores.trained, scores.evaluated
    complete = train.complete and test.complete and not scores.failed and not scores.train_failed
    benchmark = test.benchmark if train.benchmark == test.benchmark else None
    series = test.series if train.benchmark == test.benchmark else f"lists with the test list of {test.series}"
    title = series + (f" split {test.split}" if test.split is not None else "")
    if not complete:
        counts = [f"{parts[part]['used']} of {parts[part]['listed']} {part}" for part in ("train", "test")]
        title = f"a subset of {title} ({', '.join(counts)} videos)"
    about = {"title": title, "series": series, "benchmark": benchmark, "complete": complete, "classes": test.classes}
    return {**about, **parts}


def keep_neighbours(
    path: Path, scores: Scores, train: Records, test: Records, queries: int = 8, height: int = 72
) -> None:
    """Save small middle frames of some test videos, evenly spread over the list, and of their nearest neighbours."""
    chosen = np.linspace(0, scores.evaluated - 1, min(queries, scores.evaluated)).round().astype(int)
    rows, labels = [], []
    for row in chosen:
        shown = [test[scores.tested[row]], *(train[n] for n in scores.neighbours[row][:5])]
        pictures = torch.stack(
            [r["frames"][np.array(len(r["frames"]) // 2)].float() for r in shown]
        )  # (1 + k, C, H, W)
        width = round(height * pictures.shape[-1] / pictures.shape[-2])
        rows.append(F.interpolate(pictures, (height, width), mode="area").round().byte().numpy())
        labels.append([record["label"] for record in shown])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, pictures=np.stack(rows), labels=np.array(labels))
    checkpoints.write(path, buffer.getvalue())
