"""Examples: each is drawn from its number and the seed alone."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count

import numpy as np
from torch.utils.data import DataLoader, Dataset, default_collate

Sample = Callable[[dict, np.random.Generator], dict]


class Draws(Dataset):
    """Endless examples: `draws[n]` depends on the records, the seed and n, and on nothing else.

    So batches are equal for any number of workers and devices and wherever a run was resumed. In each epoch of
    len(records) draws, every record is asked once, in an order of that epoch.
    """

    def __init__(self, records: Sequence[dict], sample: Sample, seed: int = 0):
        """Args:
        records: what to draw from, at least one.
        sample: a method's `sample(record, rng)`.
        seed: any integer from 0.

        Raises:
            ValueError: there are no records.
        """
        if len(records) == 0:
            raise ValueError("no records to draw examples from")
        self.records, self.sample, self.seed = records, sample, seed
        self._epoch, self._order = None, None  # of the epoch last asked for

    def __getitem__(self, n: int) -> dict:
        """Example number n, from 0, without end. An error names the record it came from."""
        record = self.records[self._record(n)]
        try:
            return self.sample(record, np.random.default_rng([self.seed, n]))
        except (ValueError, OSError) as error:
            error.add_note(f"in example {n}, from record {record.get('name', self._record(n))}")
            raise

    def _record(self, n: int) -> int:
        epoch, position = divmod(n, len(self.records))
        if epoch != self._epoch:
            order = np.random.default_rng([self.seed, epoch, len(self.records)]).permutation(len(self.records))
            self._epoch, self._order = epoch, order
        return int(self._order[position])


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
        batch_sampler=_Steps(batch, start, stop, rank, world),
        collate_fn=_collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        pin_memory=pin,
    )
    return _Batches(batches)


class _Answers(Dataset):
    """Examples, or the error instead of one: what a worker raises, torch would turn into the text of a traceback."""

    def __init__(self, draws: Draws):
        self.draws = draws

    def __getitem__(self, n: int) -> dict | Exception:
        try:
            return self.draws[n]
        except (ValueError, OSError, ImportError) as error:
            return error


def _collate(answers: list[dict | Exception]) -> dict | Exception:
    """A batch, or the first error among its examples."""
    return next((answer for answer in answers if isinstance(answer, Exception)), None) or default_collate(answers)


class _Batches:
    """Batches of a DataLoader; an error that comes in place of one is raised here."""

    def __init__(self, batches: DataLoader):
        self.batches = batches

    def __iter__(self) -> Iterator[dict]:
        for batch in self.batches:
            if isinstance(batch, Exception):
                raise batch  # its cause, too, where it was raised in this process
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
