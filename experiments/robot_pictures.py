"""The pictures of `curious_robot`: nearest neighbours, and what neurons answer to most."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from videossl import augment
from videossl.evaluation.features import Encoder
from videossl.evaluation.retrieval import Retrieval
from videossl.evaluation.views import Views
from videossl.experiments.pictures import RIGHT, mark, show
from videossl.models.base import Trunk

VIEWS = Views(clips=1, crops=1)


def draw_nearest(
    trunks: Mapping[str, Trunk],
    gallery: list[dict],
    queries: list[dict],
    classes: list[str],
    out: Path,
    rows: int = 6,
    count: int = 5,
) -> None:
    """Some queries, and beside each the pictures nearest to it for each trunk; a frame marks the same thing.

    Source: Pinto et al., "The Curious Robot", ECCV 2016, its figure of nearest neighbours.
    """
    found = {
        name: Retrieval(("label", "instance"), (count,), views=VIEWS)
        .score(Encoder(trunk, progress=False), resized(gallery, trunk), resized(queries, trunk))
        .neighbours
        for name, trunk in trunks.items()
    }
    chosen = np.linspace(0, len(queries) - 1, rows).round().astype(int)
    widths = [1, *(width for _ in found for width in (0.15, *[1] * count))]
    figure = Figure(figsize=(0.8 * len(widths), rows * 0.98 + 0.3))
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=0.89, wspace=0.06, hspace=0.22)
    axes = figure.subplots(rows, len(widths), width_ratios=widths)
    for axis in axes.flat:
        axis.set_axis_off()
    for line, n in zip(axes, chosen, strict=True):
        query = queries[n]
        show(line[0], query["frames"][np.array(0)].numpy())
        line[0].set_title(classes[query["label"]], fontsize=7, pad=2)
        for block, near in enumerate(found.values()):
            for k, m in enumerate(near[n]):
                axis, other = line[2 + block * (count + 1) + k], gallery[m]
                same = other["label"] == query["label"]
                show(axis, other["frames"][np.array(0)].numpy())
                axis.set_title(classes[other["label"]], fontsize=6, pad=2, color=RIGHT if same else "black")
                if same and other["instance"] == query["instance"]:
                    mark(axis)
    for column, words in zip(
        (0, *(2 + b * (count + 1) + count // 2 for b in range(len(found)))), ("query", *found), strict=True
    ):
        axes[0, column].annotate(words, (0.5, 1.28), xycoords="axes fraction", ha="center", fontsize=9)
    figure.savefig(out, dpi=110)


@torch.inference_mode()
def draw_neurons(trunk: Trunk, records: list[dict], out: Path, rows: int = 6, count: int = 8) -> None:
    """The channels of the last maps whose answers differ most between pictures, and what each answers to most, and where.

    Source: Pinto et al., "The Curious Robot", ECCV 2016, its figure of maximal activations (of conv5).
    """
    pictures = torch.stack([record["frames"][np.array(0)] for record in resized(records, trunk)])
    maps = torch.cat(
        [trunk.maps(augment.pixels(part)[:, None]).mean(2) for part in pictures.split(128)]
    )  # (N, C, h, w)
    top = maps.flatten(2).amax(2)  # (N, C)
    figure = Figure(figsize=(0.9 * count, 0.9 * rows))
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.005, top=0.995, wspace=0.05, hspace=0.05)
    axes = figure.subplots(rows, count)
    for line, channel in zip(axes, top.var(0).argsort(descending=True)[:rows].tolist(), strict=True):
        for axis, n in zip(line, top[:, channel].argsort(descending=True)[:count].tolist(), strict=True):
            picture, where = records[n]["frames"][np.array(0)].numpy(), maps[n, channel]
            row, column = divmod(int(where.argmax()), where.shape[1])
            axis.set_axis_off()
            show(axis, picture)
            side = picture.shape[-1]
            middle = ((column + 0.5) * side / where.shape[1], (row + 0.5) * side / where.shape[0])
            axis.add_patch(Circle(middle, 0.18 * side, fill=False, edgecolor="white", linewidth=1.5))
    figure.savefig(out, dpi=110)


def resized(records: list[dict], trunk: Trunk) -> list[dict]:
    """The same pictures, of the trunk's size."""
    size = (trunk.size, trunk.size)
    return [{**record, "frames": replace(record["frames"], size=size)} for record in records]
