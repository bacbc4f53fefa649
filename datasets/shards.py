"""Shards: the files that interactions are kept in, each written once, whole, and never changed.

A folder of interactions holds
    simulation.json     what was asked for: which task, how many episodes, which seed, and so on
    grasp/000000.h5     a shard: some hundreds of episodes, one after the other; further ones are 000001.h5, ...
    push/000000.h5      of another task, and so on
    policy.pt           where a trained net chose some of the actions: that net
    manifest.json       written last, so where it is, all is there: {"shards": [{"file", "task", "first", "episodes",
                        "bytes", "sha256"}]}

A shard is HDF5 behind a user block of `HEADER` bytes, which is text: what the file is, how many bytes follow, and their
CRC-32. The same episodes make the same bytes. Its attributes are
    version             of this format
    task                "grasp", "push", "poke" or "identity"
    first               number of its first episode; the others follow
    trials              how many episodes are of one scene: episode k is trial k % trials of scene k // trials
    seed, engine, renderer, config      how it was made; config is JSON and holds all that was asked for
    fields              names of the fields in their order
A field is a data set with one entry an episode along its first axis. Its attributes are `about`, which says what it is,
with unit and frame, and, where it is the index of something, `names`. Pictures are uint8 (N, height, width, 3), red,
green, blue; each is a chunk of its own, compressed by gzip, so any one is read alone. All that is stored has Fletcher's
check sums, so HDF5 itself notices damage.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import h5py
import numpy as np

from videossl.datasets.whole import PART, whole

VERSION = 1
HEADER = 512  # bytes
LEVEL = 1  # of gzip: higher ones take longer and save little


class Field(NamedTuple):
    """One thing that is known of an episode.

    Attributes:
        shape, dtype: as numpy's, of one episode.
        about: what it is, with its unit and frame.
        names: what the numbers of an index stand for.
    """

    shape: tuple[int, ...]
    dtype: str
    about: str
    names: tuple[str, ...] = ()

    @property
    def is_picture(self) -> bool:
        return self.dtype == "uint8" and len(self.shape) == 3 and self.shape[-1] == 3


def pack(fields: Mapping[str, Field], records: Sequence[Mapping[str, Any]], attributes: Mapping[str, Any]) -> bytes:
    """A shard's bytes.

    Args:
        fields: what a record holds, in the order in which it is stored.
        records: an episode each, in their order.
        attributes: of the file, besides `version` and `fields`.
    """
    name = f"shard {attributes['task']} {attributes['first']}"  # in memory alone
    with h5py.File(name, "w", libver="v110", driver="core", backing_store=False, userblock_size=HEADER) as file:
        file.attrs.update({"version": VERSION, **attributes, "fields": list(fields)})
        for field_name, (shape, dtype, about, names) in fields.items():
            values = np.stack([np.asarray(record[field_name]) for record in records])
            assert values.shape[1:] == shape and values.dtype == dtype, f"{field_name}: {values.shape}, {values.dtype}"
            picture = Field(shape, dtype, about).is_picture
            data = file.create_dataset(
                field_name,
                data=values,
                chunks=(1, *shape) if picture else values.shape,
                compression="gzip" if picture else None,
                compression_opts=LEVEL if picture else None,
                fletcher32=True,
            )
            data.attrs["about"] = about
            if names:
                data.attrs["names"] = list(names)
        file.flush()
        content = file.id.get_file_image()
    return _header(content) + content


def _header(content: bytes) -> bytes:
    text = f"videossl interactions, version {VERSION}: HDF5 of {len(content)} bytes, CRC-32 {crc32(content):08x}\n"
    return text.encode().ljust(HEADER)


def write(path: Path, content: bytes) -> None:
    """Write a shard in one step, safe from a crash: it is there whole, or not at all.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    try:
        with whole(path) as file:
            file.write(content)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: the shard could not be written", str(path)) from error


def sweep(folder: Path) -> None:
    """Remove what killed processes were writing."""
    for part in folder.glob(f"*/.*{PART}"):
        part.unlink(missing_ok=True)


def check(path: Path) -> bytes:
    """All bytes of a shard, if they are as they were written.

    Raises:
        ValueError: they are not, or are no shard of this version; the message names the file.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    _check_size(path, content[:HEADER], len(content))
    if content[:HEADER] != _header(content[HEADER:]):
        raise ValueError(f"{path} is damaged: what it holds is not what was written")
    return content


def open_shard(path: Path) -> h5py.File:
    """A shard, to be read; a look at its header and size tells of cut ones.

    Raises:
        ValueError: it is damaged, cut short or of another version; the message names the file.
        FileNotFoundError: it is not there.
    """
    with open(path, "rb") as file:
        _check_size(path, file.read(HEADER), os.fstat(file.fileno()).st_size)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _check_size(path: Path, header: bytes, size: int) -> None:
    found = re.match(rb"videossl interactions, version (\d+): HDF5 of (\d+) bytes", header)
    if found is None:
        raise ValueError(f"{path} is {'empty' if size == 0 else 'no shard of interactions, or damaged at its start'}")
    if int(found[1]) != VERSION:
        raise ValueError(f"{path} is of version {int(found[1])}, but this videossl reads version {VERSION}")
    if size != HEADER + int(found[2]):
        raise ValueError(f"{path} is cut short or damaged: it has {size} bytes instead of {HEADER + int(found[2])}")


def read_field(file: h5py.File, name: str, row: int | slice | None = None) -> np.ndarray:
    """A field of all episodes of an open shard, of some, or of one.

    Raises:
        ValueError: the file is damaged there, or has no such field.
    """
    try:
        return file[name][() if row is None else row]
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"{file.filename} is damaged at {name}: {error}") from error


def fields_of(file: h5py.File) -> dict[str, Field]:
    """What an open shard holds of each episode, in its order.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        return {
            name: Field(
                file[name].shape[1:],
                str(file[name].dtype),
                file[name].attrs["about"],
                tuple(file[name].attrs.get("names", ())),
            )
            for name in file.attrs["fields"].tolist()
        }
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"{file.filename} is damaged: {error}") from error


def read_manifest(root: Path) -> list[dict] | None:
    """Entries of all shards of a folder of interactions; None where it is not finished.

    Raises:
        ValueError: the manifest is damaged.
    """
    path = root / "manifest.json"
    if not path.exists():
        return None
    try:
        shards = json.loads(path.read_text())["shards"]
        keys = {"file", "task", "first", "episodes", "bytes", "sha256"}
        fine = isinstance(shards, list) and all(keys <= shard.keys() for shard in shards)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): remove it, and collect again, which keeps the shards"
        ) from error
    if not fine:
        raise ValueError(f"{path} is damaged: remove it, and collect again, which keeps the shards")
    return shards
