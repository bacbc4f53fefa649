"""The contract: a method is a question asked of a record, and a network that answers it.

A new method is one file with a frozen dataclass (the question, whose fields are the hyper-parameters) and a `Net` (the
trunk with the method's heads). The command line finds it there: it is registered nowhere.
"""

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from videossl.models.base import Trunk


class Net(nn.Module, ABC):
    """What is trained: a trunk, which is kept in the end, and a method's heads on it.

    A net whose method has `answers` also offers `predict(batch)`, logits (B, answers), so that a report can show what
    it would have said. One that makes pictures offers `panels(batch)`, a dict of title -> (B, T, C, H, W), floats in
    [0, 1]: what it was shown, the truth, its own, and a trivial answer; a report shows them side by side, moving. It is
    empty where the trunk gives nothing to look at.
    """

    trunk: Trunk

    @abstractmethod
    def forward(self, batch: dict) -> tuple[Tensor, dict[str, Tensor]]:
        """On the device: augment (in training mode), trunk, heads. Returns the loss and metrics, all scalars."""

    def update(self, progress: float) -> None:
        """Called after every step with `progress` from 0 to 1: moves teachers and schedules. Most nets have none."""


class Method(Protocol):
    """A frozen dataclass: its fields are the hyper-parameters, the command line and what a checkpoint records.

    A method that asks for one of a few answers gives them in words as `answers: tuple[str, ...]`; its examples then
    hold "clips" (K, T, C, H, W) uint8, what is shown, and "answer", the index of the right one.

    A method with fields that are found in the data (motion patterns, a palette) also has `prepare(records) -> Method`:
    itself with those fields filled in, the same for the same records. It is called once, with the training records.
    """

    @property
    def chance(self) -> dict[str, float]:
        """What knowing nothing scores, for each metric where that is known: {"accuracy": 0.5}.

        Where that depends on the example (copying the last frame), it is a metric of the net's beside its own.
        """

    def check(self, record: dict) -> None:
        """Raise a ValueError that says why this question cannot be asked of the record, without decoding it."""

    def sample(self, record: dict, rng: np.random.Generator) -> dict:
        """In a data worker: which frames, and what is asked of them. Returns an example: arrays, tensors, numbers."""

    def build(self, trunk: Trunk) -> Net:
        """The trunk with this method's heads on it."""
