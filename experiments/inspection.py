"""One HTML page that shows what a folder of interactions holds: `videossl inspect`.

For each task: how many, what came of them, whether classes are balanced, how numbers are spread, some of the pictures with
what was done and what came of it drawn on them, and how noisy labels are: the share that survives when the hand goes a
tenth of a millimetre elsewhere.
"""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from tyro.conf import Positional

from videossl.datasets.interactions import Interactions, interactions, tasks
from videossl.experiments.console import console
from videossl.experiments.report import LOOK, svg, uri
from videossl.robot.collect import TASKS, make, scene_of
from videossl.robot.replay import plan_of
from videossl.training.checkpoints import write

ELSEWHERE = 1e-4  # metres that the hand goes elsewhere, to see which labels survive
# Tasks whose labels no physics decides, and why.
CERTAIN = {"identity": "none: whether both show the same thing is settled when the pair is asked for, not measured"}
SHOWN, COLUMNS, SIDE = 16, 8, 128  # episodes of a contact sheet, in a row, and pixels of each picture
YES, NO, PLAIN = (30, 160, 60), (205, 40, 40), (30, 80, 220)  # red, green, blue


@dataclass(frozen=True)
class Inspect:
    """Show what a folder of interactions holds, as one HTML page."""

    folder: Positional[Path]  # which `videossl collect` made
    out: Path | None = None  # the page; folder/inspection.html if not given
    pictures: Path | None = None  # folder for the contact sheets as files of their own, too
    sample: int = 100  # episodes of each task that are done again, for the noise of labels; 0 leaves that out
    seed: int = 0  # of what is shown and done again

    def __post_init__(self):
        if self.sample < 0 or self.seed < 0:
            raise ValueError(f"sample and seed are whole numbers from 0, but {self.sample} and {self.seed} were given")


def inspect(config: Inspect) -> Path:
    """Write the page; returns where.

    Raises:
        FileNotFoundError: there are no interactions.
        ValueError: they are damaged, unfinished, or, with `sample`, of another version.
    """
    with matplotlib.rc_context(LOOK):
        sections = [section(config, task) for task in tasks(config.folder)]
    out = config.out or config.folder / "inspection.html"
    layout = Path(__file__).with_name("inspection.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters["png"] = partial(uri, "image/png")
    write(out, environment.from_string(layout).render(title=config.folder.resolve().name, sections=sections))
    for part in sections if config.pictures is not None else ():
        config.pictures.mkdir(parents=True, exist_ok=True)
        (config.pictures / f"interactions_{part['task']}.png").write_bytes(part["sheet"])
    console.print(f"written: {out}")
    return out


def section(config: Inspect, task: str) -> dict[str, Any]:
    """What the page says of a task."""
    parts = [interactions(config.folder, train=part, task=task) for part in (True, False)]
    records = sorted([*parts[0], *parts[1]], key=lambda record: record["episode"])
    kept = np.random.default_rng(config.seed).permutation(len(records))
    return {
        "task": task,
        "facts": facts(records, parts[0]),
        "certain": CERTAIN.get(task, ""),
        "noise": {} if task in CERTAIN else noise(config, task, [records[n] for n in kept[: config.sample]]),
        "sheet": sheet([records[n] for n in sorted(kept[:SHOWN])], parts[0]),
        "charts": [bars(records, parts[0], name) for name in ("outcome", "material", "category") if name in records[0]]
        + [histogram(records, name, parts[0].fields[name].about) for name in measured(parts[0])],
        "fields": [(name, field.dtype, field.shape, field.about) for name, field in parts[0].fields.items()],
    }


def labels(found: Interactions) -> list[str]:
    """The fields that are answers, yes or no."""
    return [name for name, field in found.fields.items() if field.dtype == "bool" and not field.shape]


def measured(found: Interactions) -> list[str]:
    """The fields that are single measured numbers."""
    return [
        name for name, field in found.fields.items() if field.dtype.startswith("float") and field.shape in ((), (2,))
    ]


def facts(records: list[dict], found: Interactions) -> list[tuple[str, str]]:
    """Counts, and the share of each answer."""
    counts = Counter(record["label"] for record in records)
    shares = [counts[n] / len(records) for n in counts]
    told = [
        ("episodes", f"{len(records):,}"),
        ("scenes", f"{len({record['scene'] for record in records}):,}"),
        ("categories", f"{len(counts)}, {100 * min(shares):.1f} to {100 * max(shares):.1f} % of the episodes each"),
        ("instances", f"{len({(record['category'], record['instance']) for record in records}):,}"),
    ]
    if chosen := [record for record in records if record.get("guided")]:
        told.append(("chosen by a net", f"{len(chosen) / len(records):.1%}, {succeed(chosen)} of these succeed"))
    if chosen and (others := [record for record in records if not record["guided"]]):
        told.append(("at random", f"{succeed(others)} of these succeed"))
    return told + [(name, f"{np.mean([r[name] for r in records]):.1%}") for name in labels(found)]


def succeed(records: list[dict]) -> str:
    """Share of grasps that do."""
    return f"{np.mean([record['success'] for record in records]):.1%}"


def noise(config: Inspect, task: str, records: list[dict]) -> dict[str, float]:
    """Share of each answer that stays as it was when the hand goes `ELSEWHERE` in a random direction; none of no records."""
    if not records:
        return {}
    collected = plan_of(config.folder)
    env = make(TASKS[task], collected)
    rng, same, laid = np.random.default_rng(config.seed), Counter(), None
    try:
        for record in sorted(records, key=lambda record: record["episode"]):
            if record["scene"] != laid:
                scene_of(env, collected.seed, record["scene"])
                laid = record["scene"]
            again = env.step(env.nudge(record["action"], ELSEWHERE, rng))[-1]["record"]
            same.update({name: int(again[name] == record[name]) for name, f in env.fields.items() if f.dtype == "bool"})
    finally:
        env.close()
    return {name: count / len(records) for name, count in same.items()}


def sheet(records: list[dict], found: Interactions) -> bytes:
    """Pictures of episodes, with what was done drawn on the first, and a frame that tells the answer: a PNG file."""
    answers = labels(found)
    cells = []
    for record in records:
        pictures = record["frames"][np.arange(len(record["frames"]))].numpy().transpose(0, 2, 3, 1)
        shown = [cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in pictures]
        colour = (YES if record[answers[0]] else NO) if answers else PLAIN
        if "pixels" in record:
            draw(shown[0], np.asarray(record["pixels"]) * SIDE / pictures.shape[1], colour, arrow=len(shown) > 1)
        for picture in shown:
            cv2.rectangle(picture, (0, 0), (SIDE - 1, SIDE - 1), colour, 3)
        cells.append(np.concatenate(shown, 1))
    columns = COLUMNS // len(shown)
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % columns)
    rows = [np.concatenate(cells[n : n + columns], 1) for n in range(0, len(cells), columns)]
    return cv2.imencode(".png", np.concatenate(rows)[..., ::-1])[1].tobytes()


def draw(picture: np.ndarray, pixels: np.ndarray, colour: tuple[int, int, int], arrow: bool) -> None:
    """Where the hand went, on a picture: a line between two points, an arrow, or a ring around one."""
    start, end = (tuple(round(float(v)) for v in point) for point in pixels)
    if start == end:
        cv2.circle(picture, start, 6, colour, 2)
    elif arrow:
        cv2.arrowedLine(picture, start, end, colour, 2, tipLength=0.25)
    else:
        cv2.line(picture, start, end, colour, 2)


def bars(records: list[dict], found: Interactions, name: str) -> dict[str, str]:
    """How often each name of an index occurs."""
    names = found.fields[name].names
    counts = Counter(names[record[name]] for record in records)
    figure = Figure((5, max(1.2, 0.2 * len(names) + 0.6)), layout="constrained")
    axis = figure.subplots()
    axis.barh(names[::-1], [100 * counts[n] / len(records) for n in names[::-1]], color="#4c72b0")
    axis.set_xlabel("% of the episodes")
    axis.tick_params(axis="y", labelsize=7)
    return {"title": name, "picture": svg(figure)}


def histogram(records: list[dict], name: str, about: str) -> dict[str, str]:
    """How a number, or the length of a vector, is spread."""
    values = np.array([np.linalg.norm(record[name]) if np.ndim(record[name]) else record[name] for record in records])
    values = values[np.isfinite(values)]
    figure = Figure((5, 2.2), layout="constrained")
    axis = figure.subplots()
    axis.hist(values, 40, color="#4c72b0")
    axis.set_xlabel(about if len(about) < 70 else f"{about[:67]}...")
    axis.set_ylabel("episodes")
    return {"title": name, "picture": svg(figure)}
