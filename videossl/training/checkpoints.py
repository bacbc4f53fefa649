"""Files that a run leaves: written whole or not at all, and read back without running code from them."""

import dataclasses
import importlib
import io
import os
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from videossl.methods.base import Net
from videossl.models.base import Trunk


def write(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one, never a part.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is still there.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        words = f"{error.strerror}: not written, and what was there before is as it was"
        raise OSError(error.errno, words, str(path)) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)  # not there any more where all went well


def plain(value: Any) -> Any:
    """A frozen dataclass as JSON would have it: its fields, and under "is" where its class is to be found."""
    if dataclasses.is_dataclass(value):
        where = f"{type(value).__module__}:{type(value).__qualname__}"
        return {"is": where, **{f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def restore(value: Any) -> Any:
    """What `plain` was given, from what it gave (lists become tuples).

    Raises:
        ValueError: the class is gone, is no dataclass, or has other fields now.
    """
    if isinstance(value, list):
        return tuple(restore(item) for item in value)
    if not isinstance(value, Mapping):
        return value
    if "is" not in value:
        return {key: restore(item) for key, item in value.items()}
    module, _, name = value["is"].partition(":")
    try:
        kind = getattr(importlib.import_module(module), name)
        if not dataclasses.is_dataclass(kind):
            raise ValueError(f"{value['is']} is no dataclass")
        return kind(**{key: restore(item) for key, item in value.items() if key != "is"})
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"{value['is']} cannot be made again: {error}. Was it written by another version?") from error


def save(path: Path, **content: Any) -> None:
    """Write a checkpoint: dataclasses become plain, modules and optimizers their state.

    Example: `save(run / "checkpoint.pt", method=method, trunk=trunk, net=net, optimizer=optimizer, step=step)`.
    """
    states = {key: item.state_dict() if hasattr(item, "state_dict") else plain(item) for key, item in content.items()}
    buffer = io.BytesIO()
    torch.save(states, buffer)
    write(path, buffer.getvalue())


def load(path: str | Path) -> dict:
    """Read a checkpoint; states are on the CPU.

    Args:
        path: the file, or a run's folder with a `checkpoint.pt`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no checkpoint of ours.
    """
    path = Path(path)
    path = path / "checkpoint.pt" if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {path}: `videossl pretrain` writes one into its run folder")
    with path.open("rb") as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except (RuntimeError, OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:  # OSError: cut
            raise ValueError(
                f"{path} is no checkpoint of videossl: it does not read as tensors and plain values"
            ) from error
    if not (isinstance(content, dict) and {"net", "trunk", "method", "step"} <= content.keys()):
        raise ValueError(f"{path} is a file of torch's, but no checkpoint of videossl")
    return content


def untrained(config: Any) -> Any:
    """A trunk's config without a file of weights: what builds it where those are not wanted, or loaded next."""
    return dataclasses.replace(config, weights=None) if hasattr(config, "weights") else config


def load_net(path: Path) -> tuple[Any, Net]:
    """The method that a run asked, as `prepare` left it, and the net that it trained, in eval mode."""
    content = load(path)
    method = restore(content["prepared"])
    net = method.build(untrained(restore(content["trunk"])).build())
    net.load_state_dict(content["net"])
    return method, net.eval()


def load_trunk(path: str | Path) -> Trunk:
    """The trunk that a run trained, with its weights, in eval mode; a file that the run began with is not needed."""
    content = load(path)
    trunk = untrained(restore(content["trunk"])).build()
    prefix = "trunk."
    weights = {key[len(prefix) :]: item for key, item in content["net"].items() if key.startswith(prefix)}
    trunk.load_state_dict(weights)
    return trunk.eval()
