"""What made the demo's question learnable: the demo's pretraining, shortened, with one choice at a time undone.

    python -m videossl.experiments.demo_ablation          # after `videossl demo`, on its videos

Writes OUT/demo_ablation.json: for each variant the accuracy on held-out videos and k-NN on the test list, by seed.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from videossl.experiments.cli import one_line_errors
from videossl.experiments.comparison import pretrained
from videossl.experiments.console import console
from videossl.experiments.data import Videos
from videossl.experiments.demo import Demo, evaluation, pretraining
from videossl.experiments.evaluate import score
from videossl.experiments.results import rows
from videossl.experiments.runs import command, read_json, versions, write_json
from videossl.training.checkpoints import plain

VARIANTS = {  # what is undone: fields of the method, fields of the trunk
    "as in the demo": ({}, {}),
    "moments four times as far apart": ({"far": 16, "near": 12}, {}),
    "features averaged over the whole frame": ({}, {"grid": 1}),
    "a hidden layer on the three features side by side": ({"head": "mlp"}, {}),
    "the paper's one layer on the three features side by side": ({"head": "linear"}, {}),
}


@dataclass(frozen=True)
class Ablation:
    """Undo one choice of the demo at a time."""

    actions: Path = Path("runs/demo/simulated_actions")  # the demo's videos
    out: Path = Path("runs/demo_ablation")
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 200


def run(config: Ablation) -> None:
    """Do what has not been done yet."""
    videos, demo = Videos(config.actions, size=(56, 56)), Demo(steps=config.steps)
    found = {}
    for name, (method, trunk) in VARIANTS.items():
        console.print(f"[bold]{name}[/bold]")
        folder = config.out / name.replace(" ", "_").replace("'", "")
        accuracy, results = [], []
        for seed in config.seeds:
            plan = pretraining(demo, videos, seed, folder / f"seed{seed}")
            plan = replace(plan, method=replace(plan.method, **method), trunk=replace(plan.trunk, **trunk))
            done = pretrained(plan)
            accuracy.append(read_json(done / "result.json")["held_out_accuracy"])
            judged = evaluation(demo, videos, seed, done)
            results += score(replace(judged, protocols=("knn",), out=folder / "evaluation"))
        found[name] = {
            "held_out_accuracy": accuracy,
            "rows": [plain(row) for row in rows(results) if row.headline],
        }
    write_json(
        config.out / "demo_ablation.json",
        {"command": command(), "steps": config.steps, "variants": found, "versions": versions()},
    )


if __name__ == "__main__":
    with one_line_errors():
        run(tyro.cli(Ablation))
