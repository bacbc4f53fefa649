"""Packed videos: small copies, made once by `videossl pack`, from which clips are read several times as fast.

A packed file holds one video, all its frames scaled down. No player knows the format: decoders of MPEG-4, H.264 and JPEG
read bit by bit, which takes 38 to 80 microseconds for a frame of 112x150 pixels, more than all that is done here. Here
grey levels are divided by `step` and stored as differences, mostly zeros, that LZ4 has compressed, which copies whole
stretches of bytes: 5 microseconds. A frame of UCF101 takes 6.9 kB with a step of 4, as a JPEG file of quality 90 would,
and 11.5 kB with a step of 1, which loses nothing but what scaling did.

A file holds, with integers that begin with their lowest byte:
    magic    8 bytes, `MAGIC`
    lengths  2 integers of 4 bytes: of all before the frames, and of the header
    header   JSON: "source" ("name", "bytes" and "modified" of the original), "short" (what its shorter side was to be),
             "frames", "height", "width", "step", "gop" (frames in a group of pictures), "colours" (null for planes R,
             G, B; for Y, U, V the arguments of `yuv_to_rgb`)
    sizes    4 bytes for each frame, and for the notes: how many bytes it takes
    checks   4 bytes for each group of frames, and for the notes: their CRC-32
    check    4 bytes: the CRC-32 of all up to here
    frames   a byte, `WITHIN` or `SINCE`, and three planes one after the other as a block of LZ4
    notes    JSON: what the index knew of the original (`NOTED`)
Planes are R, G, B, or Y and, of half its height and width (rounded up), U and V. A frame `WITHIN` is by itself: the
differences of its levels from the row above, in the first row from the pixel to the left. A frame `SINCE` holds those
from the frame before. Differences are modulo 256. Groups begin with one `WITHIN`.
"""

import json
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zlib import crc32

import numpy as np
from numba import njit

from videossl.datasets.scaling import Picture, Scaler, scaled, yuv_to_rgb

SUFFIX = ".vpk"  # appended to the original's name
MAGIC = b"videopk\x01"  # its last byte is the format's version
WITHIN, SINCE = b"IP"  # how a frame is stored
GOP = 8  # frames in a group of pictures; a clip that begins inside one is decoded from its start
STEPS = range(1, 17)  # grey levels that may become one
NOTED = ("rate", "declared", "motion", "warning")
FIRST = 4096  # bytes read at once of a file that is opened: all before the frames, for a video of up to 800
SPAN = 128  # frames whose bytes are read at once
COLOURS = {
    yuv_to_rgb(standard, full): (standard, full) for standard in ("601", "709", "2020") for full in (False, True)
}


class Header(NamedTuple):
    """What is known of a packed file before its frames are read."""

    source: dict
    short: int
    frames: int
    height: int
    width: int
    step: int
    gop: int  # frames in a group of pictures
    colours: tuple[str, bool] | None

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the three planes."""
        half = (-(-self.height // 2), -(-self.width // 2))
        return ((self.height, self.width),) * 3 if self.colours is None else ((self.height, self.width), half, half)


class Packed:
    """Decoder of packed files, to be used like those in `decoders`; `keys` is theirs, and not needed.

    Raises:
        ValueError: the file is damaged, cut short or none of these; the message goes on after the file's name. What
            was changed and still decompresses is noticed by `verified` alone: `videossl index` checks all sums.
    """

    def __init__(self, path: str | Path, keys: Sequence[tuple[int, int]] = ()):
        from lz4.block import LZ4BlockError, decompress

        self.decompress, self.error = decompress, LZ4BlockError
        self.file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self):
        size = os.fstat(self.file).st_size
        head = os.pread(self.file, FIRST, 0)
        if head[: len(MAGIC)] != MAGIC:
            other = head[:7] == MAGIC[:7] and len(head) > 7
            raise ValueError(f"is of version {head[7]}: pack it again" if other else "is no packed video")
        if len(head) < 16:
            raise ValueError("is cut short")
        length, written = struct.unpack_from("<II", head, 8)
        if not 16 + written + 4 <= length <= size:
            raise ValueError("is cut short, or damaged in its header")
        if length > len(head):
            head = os.pread(self.file, length, 0)
        if crc32(head[: length - 4]) != struct.unpack_from("<I", head, length - 4)[0]:
            raise ValueError("is damaged in its header")
        self.header = header = _header(head[16 : 16 + written])
        groups = -(-header.frames // header.gop)
        if 16 + written + 4 * (header.frames + 1) + 4 * (groups + 1) + 4 != length:
            raise ValueError("is damaged in its header")
        lengths = np.frombuffer(head, "<u4", header.frames + 1, 16 + written)
        self.checks = np.frombuffer(head, "<u4", groups + 1, length - 4 * (groups + 2))
        self.places = np.empty(header.frames + 2, np.int64)  # where each frame begins, where the notes do, and the end
        self.places[0] = length
        np.cumsum(lengths, out=self.places[1:])
        self.places[1:] += length
        if self.places[-1] != size:
            raise ValueError(f"is cut short: it has {size} bytes instead of {self.places[-1]}")
        self.shapes = header.shapes
        self.pixels = sum(height * width for height, width in self.shapes)  # of the three planes
        if 255 * int(lengths[:-1].min()) < self.pixels:  # LZ4 never does better: no memory is taken for such a claim
            raise ValueError("is damaged in its header")
        self.levels, self.number = np.empty(self.pixels, np.uint8), -1  # of the frame decoded last
        self.values = self.levels if header.step == 1 else np.empty(self.pixels, np.uint8)
        colours = None if header.colours is None else yuv_to_rgb(*header.colours)
        self.picture = Picture(tuple(_planes(self.values, self.shapes)), colours)

    def read(self, wanted: Sequence[int], whole: bool) -> Iterator[Picture]:
        """As `Decoder.read`: pictures of these ascending numbers, all in the same memory."""
        if wanted[-1] >= self.header.frames:
            raise ValueError(f"ends before frame {wanted[-1]}")
        gop, pixels, levels = self.header.gop, self.pixels, self.levels
        at = 0  # of the wanted numbers
        while at < len(wanted):
            begin = wanted[at] - wanted[at] % gop
            if begin <= self.number < wanted[at]:
                begin = self.number + 1
            end = at + 1  # of those whose bytes lie in a row
            last = wanted[at]
            while end < len(wanted) and wanted[end] - wanted[end] % gop <= last + 1 and last < begin + SPAN:
                last = wanted[end]
                end += 1
            places = self.places[begin : last + 2].tolist()
            data = memoryview(self._bytes(places[0], places[-1]))
            for number, (here, there) in enumerate(pairwise(place - places[0] for place in places), begin):
                try:
                    changes = self.decompress(data[here + 1 : there], uncompressed_size=pixels)
                except self.error as e:
                    raise ValueError(f"is damaged at frame {number}") from e
                kind = data[here]
                if len(changes) != pixels or (kind != WITHIN and (kind != SINCE or number % gop == 0)):
                    raise ValueError(f"is damaged at frame {number}")
                changes = np.frombuffer(changes, np.uint8)
                if kind == SINCE:
                    np.add(levels, changes, levels)
                else:
                    _add_up(changes, levels, self.shapes)
                self.number = number
                if number == wanted[at]:
                    at += 1
                    if self.values is not levels:
                        _values(levels, self.header.step, self.values)
                    yield in_rgb(self.picture) if whole else self.picture

    def _bytes(self, begin: int, end: int) -> bytes:
        data = os.pread(self.file, end - begin, begin)
        if len(data) != end - begin:
            raise ValueError("was cut short while it was open")
        return data

    def verified(self) -> Iterator[int]:
        """Numbers of the frames, each when the sum of its group was found right and the frame could be decoded."""
        frames, gop = self.header.frames, self.header.gop
        for n, begin in enumerate(range(0, frames, gop)):
            end = min(begin + gop, frames)
            self._verify(n, int(self.places[begin]), int(self.places[end]), f"in frames {begin} to {end - 1}")
            for number, _ in enumerate(self.read(range(begin, end), whole=False), begin):
                yield number

    def described(self) -> dict:
        """What an index holds of the file, without what it says of the file itself: see `survey`."""
        frames, height, width = self.header.frames, self.header.height, self.header.width
        text = self._verify(-1, *self.places[-2:].tolist(), "in its notes")
        try:
            noted = json.loads(text)
            fine = noted.keys() == set(NOTED) and len(noted["motion"]) == frames - 1
            np.array(noted["motion"], np.float32)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as e:
            raise ValueError("is damaged in its notes") from e
        if not fine:
            raise ValueError("is damaged in its notes")
        keyframes = list(range(0, frames, self.header.gop))
        return {"frames": frames, "height": height, "width": width, "codec": "packed", "keyframes": keyframes, **noted}

    def _verify(self, n: int, begin: int, end: int, where: str) -> bytes:
        data = self._bytes(begin, end)
        if crc32(data) != self.checks[n]:
            raise ValueError(f"is damaged {where}")
        return data

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            os.close(self.file)
            self.file = None

    def __del__(self):  # where the thread that kept it open has ended
        if getattr(self, "file", None) is not None:
            self.close()


def _header(text: bytes) -> Header:
    """The header as it was written; others are refused."""
    try:
        header = Header(**json.loads(text))
        if header.colours is not None:
            yuv_to_rgb(*header.colours)
        numbers = (header.frames, header.height, header.width, header.step, header.gop)
        fine = (
            all(type(n) is int and n > 0 for n in numbers) and header.step in STEPS and isinstance(header.source, dict)
        )
    except (TypeError, KeyError, ValueError, RecursionError) as e:
        raise ValueError("is damaged in its header") from e
    if not fine:
        raise ValueError("is damaged in its header")
    return header


def write_packed(
    file: BinaryIO,
    pictures: Iterable[Picture],
    source: dict,
    frames: int,
    size: tuple[int, int],
    short: int,
    step: int,
    notes: dict,
) -> None:
    """Write a packed video from the pictures of an original.

    Args:
        file: an empty one, open to be written at any place.
        pictures: `frames` of them; those of other sizes are scaled to the same.
        source: the "name", "bytes" and "modified" of the original.
        frames: how many pictures.
        size: height and width to scale them to, in pixels (see `packed_size`).
        short: what was asked for as the shorter side.
        step: of `STEPS`: values are off by at most step - 1 grey levels afterwards, of 255.
        notes: the original's `NOTED`.

    Raises:
        ColoursChange: not all pictures have the same kind of planes.
        ValueError, OSError: as `pictures` and `file` do.
    """
    pictures = iter(pictures)
    first = next(pictures)
    colours = None if first.colours is None else COLOURS[first.colours]
    header = Header(source, short, frames, *size, step, GOP, colours)
    text = json.dumps(header._asdict()).encode()
    groups = -(-frames // GOP)
    length = 16 + len(text) + 4 * (frames + 1) + 4 * (groups + 1) + 4
    file.seek(length)
    sizes, checks = [], []
    for n, blob in enumerate(_encoded(chain([first], pictures), header)):
        checks += [0] * (n % GOP == 0)
        checks[-1] = crc32(blob, checks[-1])
        sizes.append(len(blob))
        file.write(blob)
    assert len(sizes) == frames
    blob = json.dumps(notes).encode()
    file.write(blob)
    head = MAGIC + struct.pack("<II", length, len(text)) + text
    head += np.array([*sizes, len(blob)], "<u4").tobytes() + np.array([*checks, crc32(blob)], "<u4").tobytes()
    file.seek(0)
    file.write(head + struct.pack("<I", crc32(head)))


class ColoursChange(Exception):
    """A video's pictures are not all of the same kind of planes: they can be packed as `in_rgb` has them."""


def _encoded(pictures: Iterable[Picture], header: Header) -> Iterator[bytes]:
    """How each frame is stored."""
    from lz4.block import compress

    shapes = header.shapes
    pixels = sum(height * width for height, width in shapes)
    colours = None if header.colours is None else yuv_to_rgb(*header.colours)
    whole = header.height, header.width
    half = header.height / 2, header.width / 2  # of an odd height or width the last U and V lie half beyond the border
    over = (whole, whole, whole) if colours is None else (whole, half, half)
    before, levels = np.zeros(pixels, np.uint8), np.zeros(pixels, np.uint8)
    for n, picture in enumerate(pictures):
        if picture.colours != colours:
            raise ColoursChange
        values = [scaled(plane[None], *to).ravel() for plane, *to in zip(picture.planes, shapes, over, strict=True)]
        before[...] = levels
        _round(np.concatenate(values), header.step, n > 0, levels)
        since, within = levels - before, None
        if n % GOP == 0 or np.count_nonzero(since) > pixels // 2:  # after a cut: whatever is smaller
            within = bytes([WITHIN]) + _compressed(compress, _differences(levels, shapes))
        if n % GOP:
            blob = bytes([SINCE]) + _compressed(compress, since)
            yield within if within is not None and len(within) < len(blob) else blob
        else:
            yield within


def _compressed(compress, values: np.ndarray) -> bytes:
    return compress(values, mode="high_compression", compression=4, store_size=False)


def packed_size(height: int, width: int, short: int) -> tuple[int, int]:
    """Height and width of a video packed so that its shorter side has `short` pixels, and never more than it had."""
    scale = min(1, short / min(height, width))
    return round(height * scale), round(width * scale)


def in_rgb(picture: Picture) -> Picture:
    """A picture with planes R, G, B, all of the size of its first."""
    if picture.colours is None:
        return picture
    out = np.empty((3, 1, *picture.planes[0].shape), np.uint8)
    scaler = Scaler(out)
    scaler.add(picture)
    scaler.finish()
    return Picture(tuple(out[:, 0]))


def _planes(pixels: np.ndarray, shapes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """Views of planes that lie one after the other."""
    planes, begin = [], 0
    for height, width in shapes:
        planes.append(pixels[begin : begin + height * width].reshape(height, width))
        begin += height * width
    return planes


def _differences(levels: np.ndarray, shapes: Sequence[tuple[int, int]]) -> np.ndarray:
    """From the row above, in the first row from the pixel to the left; modulo 256."""
    out = levels.copy()
    for plane, change in zip(_planes(levels, shapes), _planes(out, shapes), strict=True):
        change[1:] -= plane[:-1]
        change[0, 1:] -= plane[0, :-1]
    return out


@njit(cache=True, nogil=True)
def _add_up(changes, levels, shapes):
    """Levels from what `_differences` gives of them."""
    k = 0
    for height, width in shapes:
        level = np.uint8(0)
        for x in range(width):
            level = np.uint8(level + changes[k + x])
            levels[k + x] = level
        for _ in range(1, height):  # by rows, which are compiled to vector instructions
            above, k = levels[k : k + width], k + width
            row, change = levels[k : k + width], changes[k : k + width]
            for x in range(width):
                row[x] = np.uint8(above[x] + change[x])
        k += width


@njit(cache=True, nogil=True)
def _round(values, step, keep, levels):
    """Divide values by the step; where the level from before is near enough, it stays, so that noise does not show."""
    for i in range(len(values)):
        value = np.int16(values[i])
        if not keep or abs(np.int16(levels[i]) * step - value) >= step:
            levels[i] = (value + step // 2) // step


@njit(cache=True, nogil=True)
def _values(levels, step, out):
    """Grey levels from 0 to 255, of levels that count in steps."""
    factor, most = np.uint16(step), np.uint16(255)
    for i in range(len(levels)):
        out[i] = min(np.uint16(np.uint16(levels[i]) * factor), most)
