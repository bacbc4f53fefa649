"""Pictures for a README: queries and their nearest neighbours, before and after pretraining."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

RIGHT = "#2f7d4f"  # frame of a neighbour that is of the query's class


def nearest(after: Path, before: Path, out: Path, classes: list[str], queries: int = 4, count: int = 5) -> None:
    """Draw some test videos, each with the training videos nearest to it for two trunks.

    Args:
        after: the `.npz` beside a retrieval result of the pretrained trunk.
        before: the same of a random one.
        out: the PNG to write.
        classes: names of the labels.
        queries: rows, spread over the queries there are.
        count: neighbours of each.
    """
    panels = [np.load(after), np.load(before)]
    rows = np.linspace(0, len(panels[0]["labels"]) - 1, queries).round().astype(int)
    columns = 1 + 2 * count
    figure = Figure(figsize=(columns * 0.8 + 0.3, queries * 0.98 + 0.3))
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=0.89, wspace=0.06, hspace=0.22)
    axes = figure.subplots(queries, columns + 2, width_ratios=[1, 0.15, *[1] * count, 0.15, *[1] * count])
    for axis in axes.flat:
        axis.set_axis_off()
    for line, row in zip(axes, rows, strict=True):
        query = int(panels[0]["labels"][row, 0])
        show(line[0], panels[0]["pictures"][row, 0])
        line[0].set_title(classes[query], fontsize=7, pad=2)
        for first, panel in zip((2, 3 + count), panels, strict=True):
            for k in range(count):
                axis = line[first + k]
                show(axis, panel["pictures"][row, 1 + k])
                label = int(panel["labels"][row, 1 + k])
                axis.set_title(classes[label], fontsize=6, pad=2, color=RIGHT if label == query else "black")
                if label == query:
                    frame = Rectangle((0, 0), 1, 1, transform=axis.transAxes, fill=False, edgecolor=RIGHT, linewidth=3)
                    axis.add_patch(frame)
    for column, words in (
        (0, "query"),
        (2 + count // 2, "nearest after pretraining"),
        (3 + count + count // 2, "before"),
    ):
        box = axes[0, column]
        box.annotate(words, (0.5, 1.28), xycoords="axes fraction", ha="center", fontsize=9)
    figure.savefig(out, dpi=110)


def show(axis, picture: np.ndarray) -> None:
    """One picture (C, H, W) on an axis."""
    axis.imshow(picture.transpose(1, 2, 0), interpolation="nearest")
