"""Batches on their way from data workers, through shared memory that is used again.

A worker of torch's DataLoader stacks every batch into shared memory made for it. The system hands such memory out page
by page, first to the worker and then to the reader, and that takes longer than copying what it holds: on a virtual
machine 0.9 ms of the worker's time and 0.2 of the reader's for a clip of 1 MB, beside 3 ms of decoding it. Here a worker
keeps what it made, a few slots for each array of a batch (0.15 and 0.01 ms, of which copying is 0.08). An example is
copied into the slot as soon as it is drawn, so that its own memory is used again, too. The reader is sent the slot's
number and gets a tensor on the slot itself. When the last tensor on it is gone, a byte in the slot says so, and the
worker fills it anew: nobody waits, and no batch is overwritten while the reader holds it. Where the reader holds all of
a worker's slots, a batch gets memory of its own. A process forked from the reader must copy what it keeps longer.

The memory is torch's, shared by file descriptor where the system has those: it ends with the processes that use it, and
no file is left if they are killed. Pinned batches are torch's copies, which torch keeps until the device has read them;
the slot is free once the copy is made.
"""

import math
import os
import weakref
from collections.abc import Sequence
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info
from torch.utils.data._utils.collate import default_collate_fn_map  # where torch documents that types are added

LARGE = 1 << 16  # bytes of a batch's array from which it goes through a slot
SLOTS = 8  # of a worker, at most, for each array of a batch: 4 batches wait (prefetch_factor), the reader holds some
HEAD = 64  # bytes before the array, which so begins where any type of number may; two of them are used:
BUSY, KNOWN = 0, 1  # the slot holds a batch that somebody may read; the reader has it in its memory

_numbers = count()  # of the loaders that this process made
_readers = weakref.WeakValueDictionary()  # number of a loader -> its `_Seen`, which lives as long as the loader


class Slots:
    """The slots of one loader: made in the process that reads, it travels to the workers with their data set."""

    def __init__(self):
        self.reader = next(_numbers)
        self.seen = _readers[self.reader] = _Seen()
        self.made = {}  # in a worker: (path of an array in an example, number) -> slot, uint8 (HEAD + bytes,)

    def batch(self, examples: Sequence[dict], numbers: Sequence[int]) -> dict:
        """What `default_collate` makes of the examples of these numbers; in a worker, ready to be sent."""
        if get_worker_info() is None:
            return default_collate([examples[n] for n in numbers])
        stacks, rows = {}, len(numbers)
        placed = [self._placed(examples[n], (), row, rows, stacks) for row, n in enumerate(numbers)]
        return _light(default_collate(placed))

    def _placed(self, value, path: tuple, row: int, rows: int, stacks: dict):
        """An example, or a part of it, with stacks in place of its large arrays, which are copied there."""
        if type(value) is dict:
            return {key: self._placed(part, (*path, key), row, rows, stacks) for key, part in value.items()}
        if not isinstance(value, Tensor | np.ndarray):
            return value
        tensor = torch.as_tensor(value)
        if row == 0 and tensor.is_cpu and tensor.layout == torch.strided and rows * tensor.nbytes >= LARGE:
            stacks[path] = self._stack(path, tensor.dtype, (rows, *tensor.shape))
        stack = stacks.get(path)
        if stack is None or (tensor.dtype, tensor.shape) != (stack.rows.dtype, stack.rows.shape[1:]):
            return tensor
        if tensor.dtype == torch.uint8:
            np.copyto(stack.rows[row].numpy(), tensor.numpy())  # in 0.7 of the time of `copy_`; 0.5 if axes are swapped
        else:
            stack.rows[row].copy_(tensor)
        return stack

    def _stack(self, path: tuple, dtype: torch.dtype, shape: tuple) -> "_Stack":
        """An empty one: in a slot that is free, or in new memory where none is, or none large enough."""
        size = HEAD + math.prod(shape) * dtype.itemsize
        names = [(path, number) for number in range(SLOTS)]
        free = [name for name in names if name not in self.made or not self.made[name][BUSY]]
        for name in free:
            if name in self.made and len(self.made[name]) >= size:
                return _Stack(self.reader, name, self.made[name], dtype, shape)
        new = torch.empty(0, dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(size))  # zeros
        if not free:
            return _Stack(self.reader, None, new, dtype, shape)
        self.made[free[0]] = new  # instead of one that is too small, where there is one
        return _Stack(self.reader, free[0], new, dtype, shape)


class _Stack:
    """One array of a batch: a worker fills it row by row, and where it is sent it arrives as a tensor."""

    def __init__(self, reader: int, name: tuple | None, slot: Tensor, dtype: torch.dtype, shape: tuple):
        self.reader, self.name, self.slot = reader, name, slot
        self.rows = slot[HEAD : HEAD + math.prod(shape) * dtype.itemsize].view(dtype).view(shape)

    def __reduce__(self):
        slot = None if self.slot[KNOWN] else self.slot
        return _received, (self.reader, os.getpid(), self.name, slot, self.rows.dtype, tuple(self.rows.shape))


def _collated(parts: list, **_) -> _Stack | Tensor:
    """One array of all examples. Where they differ in shape or type, torch says what comes of it."""
    if any(part is not parts[0] for part in parts):
        return torch.stack([part.rows[i] if isinstance(part, _Stack) else part for i, part in enumerate(parts)])
    parts[0].slot[BUSY] = 1
    return parts[0]


default_collate_fn_map[_Stack] = _collated


def _light(part):
    """A batch, or a part of it, with small tensors packed: torch would make shared memory for each."""
    if type(part) is dict:
        return {key: _light(value) for key, value in part.items()}
    small = isinstance(part, Tensor) and part.layout == torch.strided and part.nbytes < LARGE
    return _Small(part) if small else part


class _Small:
    """A tensor that is sent with the message."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor

    def __reduce__(self):
        data = self.tensor.contiguous().flatten().view(torch.uint8).numpy()
        return _tensor, (data, self.tensor.dtype, tuple(self.tensor.shape))


class _Seen(dict):
    """The slots that a reader knows: (process that made it, name) -> uint8 array. A plain dict takes no weak reference."""


def _received(reader: int, process: int, name: tuple | None, slot: Tensor | None, dtype: torch.dtype, shape: tuple):
    """In the reader: a tensor on a slot, which is sent along the first time."""
    if slot is None:
        array = _readers[reader][process, name]
    else:
        array = slot.numpy()
        array[KNOWN] = 1
        if name is not None:
            _readers[reader][process, name] = array
    part = array[HEAD : HEAD + math.prod(shape) * dtype.itemsize]  # an object of its own, which the tensor keeps alive
    weakref.finalize(part, _free, array, os.getpid()).atexit = False
    return _tensor(part, dtype, shape)


def _tensor(data: np.ndarray, dtype: torch.dtype, shape: tuple) -> Tensor:
    """The tensor of these bytes, which are not copied."""
    return torch.from_numpy(data).view(dtype).view(shape)


def _free(array: np.ndarray, reader: int) -> None:
    if os.getpid() == reader:  # a process forked from the reader drops its copy of the tensor, not the reader's
        array[BUSY] = 0
