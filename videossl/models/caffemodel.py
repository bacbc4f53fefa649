"""Reads the weights in a .caffemodel file, without Caffe.

Source: caffe.proto of github.com/BVLC/caffe (the numbers of fields), and the wire format of Protocol Buffers.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

NET = {
    100: (1, 2, 7),
    2: (4, 5, 6),
}  # field of layers, now and in old files -> fields of a layer's name, type and blobs
BLOB_DATA, BLOB_SHAPE, DIMENSIONS = 5, 7, 1
OLD_SHAPE = 1, 2, 3, 4  # fields of the number, channels, height and width, before blobs had shapes


class CaffeLayer(NamedTuple):
    """A layer that has weights."""

    name: str
    kind: str  # "Convolution", "InnerProduct", "BatchNorm", ...; "" in old files, which number their kinds
    blobs: list[np.ndarray]  # float32


def read_caffemodel(path: str | Path) -> list[CaffeLayer]:
    """Layers with weights, in the order of the net.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no .caffemodel file, or is cut short.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights at {path}: give the file, or leave `weights` out to start from random ones"
        )
    found = []
    try:
        for number, layer in fields(memoryview(path.read_bytes())):
            if number in NET:
                name, kind, blob = NET[number]
                parts = list(fields(layer))
                words = {
                    n: bytes(value).decode() for n, value in parts if n in (name, kind) and not isinstance(value, int)
                }
                blobs = [read_blob(value) for n, value in parts if n == blob]
                if blobs:
                    found.append(CaffeLayer(words[name], words.get(kind, ""), blobs))
    except (IndexError, KeyError, TypeError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path} is no .caffemodel file, or is cut short ({error})") from error
    if not found:
        raise ValueError(f"{path} is no .caffemodel file: it holds no layer with weights")
    return found


def read_blob(message: memoryview) -> np.ndarray:
    """An array of numbers; old ones have four dimensions, ones in front where there are fewer."""
    parts = list(fields(message))
    data = np.concatenate([np.frombuffer(value, "<f4") for n, value in parts if n == BLOB_DATA])
    shape = [value for n, value in parts if n == BLOB_SHAPE]
    if shape:
        sides = [side for n, packed in fields(shape[0]) if n == DIMENSIONS for side in varints(packed)]
    else:
        sides = [dict(parts).get(n, 1) for n in OLD_SHAPE]
    return data.reshape(sides)


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message: a number, or the bytes of what has a length or is a float.

    Raises:
        ValueError: the message ends within a field, or has what no message has.
    """
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(message, at)
        else:
            if kind == 2:
                length, at = varint(message, at)
            elif kind in (1, 5):
                length = 8 if kind == 1 else 4
            else:
                raise ValueError(f"a field of kind {kind}")
            if at + length > len(message):
                raise ValueError(f"a field of {length} bytes, of which {len(message) - at} are there")
            value, at = message[at : at + length], at + length
        yield key >> 3, value


def varints(packed: int | memoryview) -> list[int]:
    """Whole numbers, of which there are several in a field or one."""
    if isinstance(packed, int):
        return [packed]
    found, at = [], 0
    while at < len(packed):
        value, at = varint(packed, at)
        found.append(value)
    return found


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """A whole number, seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte, at = message[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
