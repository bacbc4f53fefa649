"""Examples: each is drawn from its number and the seed alone."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from videossl.training.slots import Slots

Sample = Callable[[dict, np.random.Generator], dict]
Check = Callable[[dict], None]


class Draws(Dataset):
    """Endless examples: `draws[n]` depends on the records, the seed and n, and on nothing else.

    So batches are equal for any number of workers and devices and wherever a run was resumed. In each epoch of
    len(records) draws, every record is asked once, in an order of that epoch.

    With `repeats`, examples n * repeats to (n + 1) * repeats - 1 are drawn from one window of one record, which is
    decoded once for them; an epoch is so many times longer. Only the last window is remembered, so none is decoded twice
    where the batch of each device is a multiple of `repeats`.
    """

    def __init__(
        self,
        records: Sequence[dict],
        sample: Sample,
        seed: int = 0,
        *,
        repeats: int = 1,
        window: int | None = None,
        check: Check | None = None,
    ):
        """Args:
        records: what to draw from, at least one.
        sample: a method's `sample(record, rng)`.
        seed: any integer from 0.
        repeats: examples drawn from what is decoded once.
        window: frames in a row that are decoded for them, all where a record has no more; `sample` gets a record `cut`
            to them, with these frames as a tensor. None decodes all where `repeats` is over 1, and leaves it to `sample`
            where it is 1.
        check: a method's `check(record)`, so that no window is drawn of which it cannot be asked.

        Raises:
            ValueError: there are no records; `repeats` or `window` is under 1.
        """
        if len(records) == 0:
            raise ValueError("no records to draw examples from")
        if repeats < 1 or (window is not None and window < 1):
            raise ValueError(f"repeats and window are whole numbers from 1, but {repeats} and {window} were given")
        self.records, self.sample, self.seed = records, sample, seed
        self.repeats, self.window, self.check = repeats, window, check
        self._epoch, self._order = None, None  # of the epoch last asked for
        self._group, self._part = None, None  # of the window last decoded

    def __getitem__(self, n: int) -> dict:
        """Example number n, from 0, without end. An error names the record it came from."""
        group = n // self.repeats
        record = self.records[self._record(group)]
        try:
            if self.repeats > 1 or self.window is not None:
                record = self._decoded(record, group)
            return self.sample(record, np.random.default_rng([self.seed, n]))
        except (ValueError, OSError) as error:
            error.add_note(f"in example {n}, from record {record.get('name', self._record(group))}")
            raise

    def _decoded(self, record: dict, group: int) -> dict:
        if group != self._group:
            rng = np.random.default_rng([self.seed, group, 0, 1])  # the stream of no example and no epoch
            numbers = draw_window(record, self.window, rng, self.check)
            frames = record["frames"][np.arange(numbers.start, numbers.stop)]
            self._group, self._part = group, {**cut(record, numbers), "frames": frames}
        return self._part

    def _record(self, n: int) -> int:
        epoch, position = divmod(n, len(self.records))
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, epoch, len(self.records)]).permutation(len(self.records))
            self._epoch, self._order = epoch, order
        return int(self._order[position])


def askable(records: Sequence[dict], check: Check) -> tuple[list[dict], dict[str, list[str]]]:
    """The records that a method can be asked of, whole files alone, and why it cannot be asked of the others.

    Of files that are cut short or damaged nothing is learned, not even from what of them can be read.

    Args:
        check: a method's `check(record)`.

    Returns: (records, reason -> names of those that are left out for it; the number of one that has no name).
    """
    kept, reasons = [], {}
    for n, record in enumerate(records):
        try:
            if "warning" in record:
                raise ValueError("cut short or damaged (`videossl index` names them)")
            check(record)
            kept.append(record)
        except ValueError as error:
            reasons.setdefault(str(error), []).append(str(record.get("name", n)))
    return kept, reasons


def draw_window(record: dict, window: int | None, rng: np.random.Generator, check: Check | None = None) -> range:
    """Numbers of frames in a row, as many as `window`, each window that passes `check` being as likely.

    Args:
        window: frames; all, where it is None or there are no more.
        check: raises a ValueError where a record will not do; gets the record `cut` to a window.

    Raises:
        ValueError: none passes.
    """
    frames = len(record["frames"])
    window = frames if window is None else min(window, frames)
    reason = None
    for start in rng.permutation(frames - window + 1).tolist():
        numbers = range(start, start + window)
        try:
            if check is not None:
                check(cut(record, numbers))
            return numbers
        except ValueError as error:
            reason = error
    if window == frames:
        raise reason
    raise ValueError(f"{reason}; or raise window, for none of {window} frames will do") from None


def cut(record: dict, numbers: range) -> dict:
    """What a record holds of these frames in a row. Its "frames" are their numbers: none is decoded.

    An array as long as the record's frames holds one value for each, and one shorter by one, as "motion" is, one value
    between each two: these are cut alike. All else is left as it is.
    """
    frames, part = len(record["frames"]), {**record, "frames": numbers}
    for name, value in record.items():
        if name != "frames" and isinstance(value, np.ndarray | Tensor) and value.ndim:
            if len(value) == frames:
                part[name] = value[numbers.start : numbers.stop]
            elif len(value) == frames - 1:
                part[name] = value[numbers.start : numbers.stop - 1]
    return part


def loader(
    draws: Draws,
    batch: int,
    *,
    start: int = 0,
    stop: int | None = None,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
    pin: bool = False,
) -> Iterable[dict]:
    """Batches from step `start` to before `stop`, or without end: step s holds examples s * batch to (s + 1) * batch - 1.

    Args:
        draws: where examples come from.
        batch: examples in a step, over all devices.
        start: the step to begin with.
        stop: the step to end before; None goes on for ever.
        workers: processes that decode; 0 decodes in this one.
        rank: of `world` devices, which part of every batch to give.
        pin: put batches where a GPU can fetch them on its own.

    Errors of `sample` that a user can mend are raised as they are, from whichever process.

    Raises:
        ValueError: `batch` cannot be shared out evenly.
    """
    if batch % world:
        raise ValueError(f"a batch of {batch} examples cannot be shared evenly among {world} devices")
    batches = DataLoader(
        _Answers(draws),
        batch_size=None,  # the sampler gives the numbers of whole batches, and the data set is asked for whole batches
        sampler=_Steps(batch, start, stop, rank, world),
        collate_fn=_as_it_is,
        num_workers=workers,
        worker_init_fn=_alone,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        pin_memory=pin,
    )
    return _Batches(batches)


class _Answers(Dataset):
    """Batches, or the error instead of one: what a worker raises, torch would turn into the text of a traceback."""

    def __init__(self, draws: Draws):
        self.draws = draws
        self.slots = Slots()

    def __getitem__(self, numbers: list[int]) -> dict | Exception:
        try:
            return self.slots.batch(self.draws, numbers)
        except (ValueError, OSError, ImportError) as error:
            return error


def _as_it_is(answer: dict | Exception) -> dict | Exception:
    return answer


def _alone(worker: int) -> None:
    """Workers are the parallelism: what else would use several threads in them would fight over the same cores."""
    torch.set_num_threads(1)
    os.environ["OPENCV_FOR_THREADS_NUM"] = "1"  # for an OpenCV that is yet to be imported; this package needs none
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)  # 0: no threads beside the caller's


class _Batches:
    """Batches of a DataLoader; an error that comes in place of one is raised here."""

    def __init__(self, batches: DataLoader):
        self.batches = batches

    def __iter__(self) -> Iterator[dict]:
        for batch in self.batches:
            if isinstance(batch, Exception):
                try:
                    raise batch  # its cause, too, where it was raised in this process
                finally:
                    del batch  # its traceback holds this frame: left to the garbage collector, workers end 5 s later
            yield batch


class _Steps:
    """Numbers of the examples of each step, for one of `world` devices."""

    def __init__(self, batch: int, start: int, stop: int | None, rank: int, world: int):
        self.batch, self.start, self.stop, self.rank, self.world = batch, start, stop, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch // self.world
        for step in count(self.start) if self.stop is None else range(self.start, self.stop):
            first = step * self.batch + self.rank * share
            yield list(range(first, first + share))
