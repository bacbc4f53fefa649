"""Features on disk: what one command computed, a later one reads."""

import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from videossl.evaluation.views import Views
from videossl.training.checkpoints import write


class Kept:
    """Features of one trunk, a file for each kind of views, in which each video has a name."""

    def __init__(self, folder: Path, name: Callable[[dict], str | None]):
        """Args:
        folder: of this trunk's weights alone.
        name: of a record, by what it shows: another where it shows anything else, or in another size. None where that is not
            known: its features are not kept.
        """
        self.folder, self.name = folder, name

    def path(self, views: Views) -> Path:
        """The file of these views."""
        return self.folder / f"{hashlib.sha256(repr(views).encode()).hexdigest()[:16]}.pt"

    def read(self, views: Views) -> dict[str, Tensor]:
        """Name of a video -> its features, (V, D) float32; nothing where none are kept.

        Raises:
            ValueError: the file holds something else.
        """
        path = self.path(views)
        if not path.exists():
            return {}
        try:
            found = torch.load(path, weights_only=True)
        except (RuntimeError, OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
            raise ValueError(f"{path} cannot be read as features: remove it, and they are computed again") from error
        if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
            raise ValueError(f"{path} holds no features: name a folder for these alone")
        return found

    def add(self, views: Views, features: dict[str, Tensor]) -> None:
        """Keep these too."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(self.read(views) | features, buffer)
        write(self.path(views), buffer.getvalue())
