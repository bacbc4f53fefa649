"""Pictures for a README: queries and their nearest neighbours, before and after pretraining."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from videossl.evaluation.equivariance import EquivarianceError, Pairs, Patterns, Seen, drawn, same_pattern
from videossl.evaluation.features import Encoder

RIGHT = "#2f7d4f"  # frame of a neighbour that is of the query's class, or of a pair of the query's pattern of motion


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
                    mark(axis)
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


def mark(axis) -> None:
    """A frame around a picture that is right."""
    axis.add_patch(Rectangle((0, 0), 1, 1, transform=axis.transAxes, fill=False, edgecolor=RIGHT, linewidth=3))


def side_by_side(panels: dict[str, np.ndarray], out: Path, count: int = 6, height: float = 0.9) -> None:
    """Draw examples as rows and what was made of them as columns: shown, painted, the truth.

    Args:
        panels: title -> (N, T, C, H, W) uint8, each of its own height and width; of a clip its middle frame is drawn.
        out: the PNG to write.
        count: examples, at most.
        height: of a picture, in inches.
    """
    rows = min(count, *(len(clips) for clips in panels.values()))
    widths = [clips.shape[-1] / clips.shape[-2] for clips in panels.values()]
    figure = Figure(figsize=(height * sum(widths), height * rows + 0.25))
    figure.subplots_adjust(
        left=0.005, right=0.995, bottom=0.005, top=1 - 0.25 / (height * rows + 0.25), wspace=0.04, hspace=0.04
    )
    axes = figure.subplots(rows, len(panels), squeeze=False, width_ratios=widths)
    for column, (title, clips) in zip(axes.T, panels.items(), strict=True):
        column[0].set_title(title, fontsize=6, pad=2)
        for axis, clip in zip(column, clips, strict=False):
            axis.set_axis_off()
            frame = clip[len(clip) // 2]
            show(axis, np.broadcast_to(frame, (3, *frame.shape[1:])))
    figure.savefig(out, dpi=110)


def same_motion(
    encoders: dict[str, Encoder],
    records: Sequence[dict],
    out: Path,
    protocol: EquivarianceError | None = None,
    queries: int = 4,
    seed: int = 0,
) -> dict[str, float]:
    """Draw some pairs of frames, each with the pair of another drive whose features change most alike.

    Equivariant features find pairs that underwent the same motion, whatever there is to be seen.

    Args:
        encoders: what heads the columns ("learned", "random") -> trunks.
        records: drives with "pose", of two groups or more.
        out: the PNG to write.
        protocol: which pairs are drawn, the patterns of their motion, and what is seen of a frame.
        queries: rows; each is the pair of a pattern that is nearest to its centre, of turns before others.
        seed: of the drawing of pairs.

    Returns: for each encoder the share of all drawn pairs that found one of their pattern, and under "chance" what pairs
        found without looking would score.

    Source: Jayaraman and Grauman, "Learning image representations tied to ego-motion", ICCV 2015, figure 5.
    """
    protocol = protocol or EquivarianceError()
    pairs = protocol.all_pairs(records, next(iter(encoders.values())))
    patterns = Patterns.found(pairs.motion, protocol.patterns)
    chosen = drawn(patterns.nearest(pairs.motion)[0], protocol.pairs, np.random.default_rng(seed))
    pairs = pairs[chosen]
    found = {}
    for title, encoder in encoders.items():
        seen, failed = Seen.of(encoder, records, [pairs], protocol.views)
        if failed:
            name, why = next(iter(failed.items()))
            raise ValueError(f"{len(failed)} of {len(records)} drives cannot be read: leave them out; {name}: {why}")
        found[title] = seen.second(pairs) - seen.first(pairs)
    pattern, distance = patterns.nearest(pairs.motion)
    group = np.array([records[n].get("group", records[n]["name"]) for n in pairs.video])
    others = {title: same_pattern(change, pattern, group, encoders[title].device) for title, change in found.items()}

    turning = np.argsort(-np.abs(patterns.centres[:, 0]), kind="stable")
    rows = [np.flatnonzero(pattern == g)[distance[pattern == g].argmin()] for g in turning if (pattern == g).any()]
    draw_pairs(pairs, {title: nearest for title, (nearest, _) in others.items()}, pattern, records, rows[:queries], out)
    shares = [np.mean(pattern[group != g] == p) for g, p in zip(group, pattern, strict=True)]
    return {title: float(same.mean()) for title, (_, same) in others.items()} | {"chance": float(np.mean(shares))}


def draw_pairs(
    pairs: Pairs,
    nearest: dict[str, np.ndarray],
    pattern: np.ndarray,
    records: Sequence[dict],
    rows: list[int],
    out: Path,
) -> None:
    """A row for each of the pairs `rows`: its two frames, and beside them, under each title, those of its nearest pair."""
    blocks = {"query": np.arange(len(pairs)), **nearest}
    figure = Figure(figsize=(2.9 * len(blocks), 1.05 * len(rows) + 0.35))
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=1 - 0.5 / (1.05 * len(rows) + 0.35), wspace=0.04)
    widths = [width for _ in blocks for width in (1, 1, 0.12)][:-1]
    axes = figure.subplots(len(rows), len(widths), width_ratios=widths, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for line, row in zip(axes, rows, strict=True):
        for block, (title, of) in enumerate(blocks.items()):
            shown = of[row]
            right = title != "query" and pattern[shown] == pattern[row]
            for axis, moment in zip(line[3 * block :], (pairs.first[shown], pairs.second[shown]), strict=False):
                show(axis, records[pairs.video[shown]]["frames"][np.array(moment)].numpy())
                if right:
                    mark(axis)
            yaw, forward = pairs.motion[shown]
            side = "right" if yaw > 0 else "left"
            words = f"{np.degrees(abs(yaw)):.0f}° {side}, {forward:.1f} m"
            line[3 * block].set_title(words, fontsize=7, pad=2, loc="left", color=RIGHT if right else "black")
    for block, title in enumerate(blocks):
        axes[0, 3 * block].annotate(title, (1.02, 1.25), xycoords="axes fraction", ha="center", fontsize=9)
    figure.savefig(out, dpi=110)
