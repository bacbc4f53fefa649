"""Folders of simulated data: made by one config, in whole files, by any number of workers, and gone on with when stopped."""

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from videossl.datasets.whole import PART, whole


def part_of(path: Path) -> Path:
    """Where a picture, film or folder is while it is not whole: the next one who makes it writes over what is left there."""
    return path.with_name(path.name + PART)


def write_whole(path: Path, text: str) -> None:
    """Write a file in one step, safe from a crash: it is there whole, or as it was."""
    with whole(path) as file:
        file.write(text.encode())


def claim(out: Path, plan: dict) -> None:
    """Make the folder, with `plan` in its simulation.json, or see that it holds a part of the same data set.

    Raises:
        ValueError: the folder holds a data set made with another plan, or its simulation.json is damaged.
        FileExistsError: the folder holds something else, or is a file. Nothing is overwritten.
    """
    note = out / "simulation.json"
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file, but a folder is to be made there: choose another name")
    if note.exists():
        try:
            found = dict(json.loads(note.read_text()))
        except (ValueError, TypeError) as e:  # no JSON, no text, or no object
            raise ValueError(
                f"{note} is empty or damaged ({e}), so how what is beside it was made is not known: give another "
                f"folder, or remove {out} to have all made anew"
            ) from e
        plan = json.loads(json.dumps(plan))  # as it would be read
        other = [
            f"{name} {found.get(name)!r} (now {value!r})" for name, value in plan.items() if found.get(name) != value
        ]
        if other:
            raise ValueError(f"{out} was made with {', '.join(other)}: ask for the same, or for another folder")
    elif out.exists() and set(out.iterdir()) - set(out.glob(f".{note.name}.*{PART}")):
        raise FileExistsError(f"{out} holds files, but no simulation.json: choose a new or an empty folder")
    else:
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob(f".{note.name}.*{PART}"):  # by a process that was killed
            left.unlink(missing_ok=True)
        write_whole(note, json.dumps(plan, indent=1) + "\n")


def claim_for(config: Any, version: int) -> None:
    """`claim` the folder `config.out` of a simulation, a dataclass, for what its other fields say but `workers`."""
    kind = type(config)
    settings = {name: value for name, value in asdict(config).items() if name not in ("out", "workers")}
    claim(config.out, {"is": f"{kind.__module__}:{kind.__qualname__}", "version": version, **settings})


def write_picture(path: Path, picture: np.ndarray, quality: int = 95) -> None:
    """Write RGB (H, W, 3) uint8 in one step, as JPEG of this quality (of 100) or as PNG, by the name's end."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    part_of(path).write_bytes(cv2.imencode(path.suffix, picture[..., ::-1], options)[1].tobytes())
    os.replace(part_of(path), path)


def run_jobs(jobs: Iterable, total: int, done: int, workers: int | None, unit: str) -> None:
    """Run joblib's delayed jobs, each of which returns how many `unit`s it made, under a progress bar.

    Args:
        total, done: units in all, and how many are there already.
        workers: processes; all cores when None.
    """
    jobs = list(jobs)
    columns = (
        TextColumn("simulated"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        TimeRemainingColumn(),
    )
    workers = min(workers or joblib.cpu_count(), max(1, len(jobs)))
    with Progress(*columns) as progress:
        task, begun, kept = progress.add_task("", total=total, completed=done, pace=""), time.monotonic(), done
        for made in joblib.Parallel(n_jobs=workers, return_as="generator_unordered")(jobs):
            done += made
            pace = f"{(done - kept) / (time.monotonic() - begun):.1f} {unit}/s"
            progress.update(task, completed=done, pace=pace)
