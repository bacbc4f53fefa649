"""The Curious Robot's three tables, the paper's numbers beside ours, of what `curious_robot` found.

Source: Pinto, Gandhi, Han, Park, Gupta, "The Curious Robot: Learning Visual Representations via Physical Interactions",
ECCV 2016, tables 1 to 3.
"""

import statistics

from videossl.experiments.touched import TASKS

KS = (1, 5, 10, 20)  # nearest pictures, of table 2
RANDOM, ALL, IDENTITY, REBUILD, LABELS, IMAGENET = (
    "random initialisation",
    "robot tasks",
    "identity only",
    "auto-encoder",
    "labels of the things",
    "ImageNet",
)
WITHOUT = {task: f"all but {task}" for task in TASKS}

# What the paper prints. Source: lecture slides that quote its tables; the PDF was not at hand.
PAPER_TABLES = {
    "source": "Pinto et al., ECCV 2016, tables 1 to 3, as quoted in lecture slides; not checked against the paper",
    "sets": ["Household (ImageNet)", "UW RGB-D", "Caltech-256"],
    "accuracy": {
        RANDOM: [0.250, 0.468, 0.242],
        ALL: [0.354, 0.693, 0.317],
        IDENTITY: [0.315, 0.660, 0.252],
        REBUILD: [0.296, 0.657, 0.280],
        IMAGENET: [0.625, 0.820, 0.656],
        WITHOUT["grasp"]: [0.309, 0.632, 0.263],
        WITHOUT["push"]: [0.356, 0.710, 0.279],
        WITHOUT["poke"]: [0.342, 0.684, 0.289],
        WITHOUT["identity"]: [0.324, 0.711, 0.297],
    },
    "recall": {
        "instance": {
            RANDOM: [0.062, 0.219, 0.331, 0.475],
            ALL: [0.720, 0.831, 0.875, 0.909],
            IMAGENET: [0.686, 0.857, 0.903, 0.941],
        },
        "category": {
            RANDOM: [0.150, 0.466, 0.652, 0.800],
            ALL: [0.833, 0.918, 0.946, 0.966],
            IMAGENET: [0.854, 0.953, 0.969, 0.982],
        },
    },
}


Printed = tuple[list[str], list[list[str]]]  # columns and rows of words


def tables(found: dict) -> dict[str, Printed]:
    """Title -> what is printed below it."""
    return {
        "Table 1: classification, % of pictures": classification(found),
        **{
            f"Table 2: the same {level} among the nearest k, %": retrieval(found, level)
            for level in ("instance", "category")
        },
        "Table 3: one task left out, %": ablation(found),
        "The tasks themselves, unseen things (push: error over that of the mean)": own_questions(found["rows"]),
        "Acting on unseen things": acting(found.get("acting", {})),
    }


def sets_of(rows: dict) -> list[str]:
    """The sets of pictures that were classified."""
    return [key.removesuffix(" linear") for key in rows[RANDOM] if key.endswith(" linear")]


def whole(rows: dict) -> list[str]:
    """The rows of which no task is left out."""
    return [row for row in rows if row not in WITHOUT.values()]


def line(found: dict, row: str, keys: list[str]) -> list[str]:
    """What was measured, and the paper's accuracies beside it."""
    theirs = found["paper"]["accuracy"].get(row, [None] * 3)
    return [row, *(cell(found["rows"][row].get(key)) for key in keys), *map(percent, theirs)]


def paper_sets(found: dict) -> list[str]:
    """Headings of the paper's own columns."""
    return [f"paper: {name}" for name in found["paper"]["sets"]]


def classification(found: dict) -> Printed:
    """Table 1: by a linear probe and by fine-tuning, for each set of pictures."""
    rows = found["rows"]
    measures = [(name, way) for name in sets_of(rows) for way in ("linear", "fine-tuned")]
    chance = ["chance", *(cell(rows[RANDOM][f"{name} chance"]) for name, _ in measures), *[""] * 3]
    keys = [" ".join(measure) for measure in measures]
    return ["", *keys, *paper_sets(found)], [chance, *(line(found, row, keys) for row in whole(rows))]


def retrieval(found: dict, level: str) -> Printed:
    """Table 2: how often one of the nearest k is of the same instance, or category."""
    rows, known = found["rows"], found["paper"]["recall"][level]
    lines = [["chance", *(cell(rows[RANDOM][f"{level} chance R@{k}"]) for k in KS), *[""] * 4]]
    for row in whole(rows):
        ours = [cell(rows[row].get(f"{level} R@{k}")) for k in KS]
        lines.append([row, *ours, *map(percent, known.get(row, [None] * 4))])
    return ["", *(f"R@{k}" for k in KS), *(f"paper: R@{k}" for k in KS)], lines


def ablation(found: dict) -> Printed:
    """Table 3: all tasks, and all but one."""
    rows = found["rows"]
    keys = [*(f"{name} linear" for name in sets_of(rows)), "instance R@1", "category R@1"]
    names = [ALL, *(name for name in WITHOUT.values() if name in rows)]
    return ["", *keys, *paper_sets(found)], [line(found, row, keys) for row in names]


def own_questions(rows: dict) -> Printed:
    """How well each trunk answers what it was asked itself; rows that were asked nothing are left out."""
    keys = [key for key in ("grasp AUC", "push error", "poke rank correlation", "identity AUC") if key in rows[ALL]]
    asked = [row for row in rows if set(keys) & rows[row].keys()]
    return ["", *keys], [[row, *(cell(rows[row].get(key), 1.0, 3) for key in keys)] for row in asked]


def acting(tasks: dict) -> Printed:
    """Trials of acting, with their intervals."""
    lines = []
    for task, one in tasks.items():
        for name, found in one["rows"].items():
            low, high = found["interval"]
            interval = f"{100 * low:.1f} to {100 * high:.1f}"
            lines.append([f"{task}: {name}", f"{found['trials']}", percent(found["share"]), interval])
    return ["", "trials", "successes, %", "95 % interval"], lines


def percent(share: float | None) -> str:
    """A share in words; nothing for None."""
    return "" if share is None else f"{100 * share:.1f}"


def cell(values: list[float] | None, scale: float = 100.0, digits: int = 1) -> str:
    """Mean and standard deviation over seeds."""
    if values is None:
        return ""
    spread = f" ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 and len(set(values)) > 1 else ""
    return f"{scale * statistics.fmean(values):.{digits}f}{spread}"
