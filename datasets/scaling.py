"""Decoded pictures scaled and turned into RGB, faster than they are decoded.

A picture is scaled plane by plane, brightness and the two smaller planes of colour, and only then turned into RGB: there
is less to convert, and nothing is computed twice. Both directions are one kernel, `_mix`, whose inner loop runs along
rows and is compiled to vector instructions by numba: columns are mixed like rows after a transposition, of 16 pictures
at once.

Where a picture shrinks, a pixel is the mean of the area it covers, as with cv2.INTER_AREA (no texture aliases); where it
grows, pixels are interpolated linearly. Weights are multiples of 1/256 and planes are rounded to whole grey levels after
each direction, so a result lies at most 4, on average 0.5, grey levels from exact arithmetic.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

try:
    from cv2 import split, transpose  # ten times as fast as numpy
except ImportError:  # OpenCV is installed, but the system lacks libGL

    def split(image: np.ndarray) -> tuple[np.ndarray, ...]:
        """The planes (h, w) of an image (h, w, C)."""
        return tuple(np.ascontiguousarray(np.moveaxis(image, 2, 0)))

    def transpose(image: np.ndarray, dst: np.ndarray | None = None) -> np.ndarray:
        """The image with rows as columns, into `dst` if given."""
        if dst is None:
            return np.ascontiguousarray(image.T)
        dst[...] = image.T
        return dst


AT_ONCE = 16  # pictures that wait for their second direction
BITS = 13  # of the fractions in `yuv_to_rgb`


class Picture(NamedTuple):
    """A decoded picture: three planes (h, w) uint8, of sizes of their own, and how they become RGB."""

    planes: tuple[np.ndarray, np.ndarray, np.ndarray]  # Y, U, V, or R, G, B
    colours: tuple[int, ...] | None = None  # from `yuv_to_rgb`; None: they are R, G, B


class Scaler:
    """Scales pictures to one size; those of equal shape are finished together.

    Usage: `add` each picture with the place its result goes to, then `finish`: no place is filled before.
    """

    def __init__(self, size: tuple[int, int]):
        """Args:
        size: height and width of the results, in pixels.
        """
        self.size = size
        self.shapes, self.colours = None, None  # of the pictures that wait
        self.rows: list[np.ndarray] = []  # (AT_ONCE, height, w) for each plane: scaled in height alone
        self.places: list[np.ndarray] = []

    def add(self, picture: Picture, place: np.ndarray) -> None:
        """Scale a picture in height; its planes may be overwritten afterwards.

        Args:
            picture: of any size.
            place: (3, height, width) uint8, where its RGB goes.
        """
        shapes = tuple(plane.shape for plane in picture.planes)
        if (shapes, picture.colours) != (self.shapes, self.colours):
            self.finish()
            self.shapes, self.colours = shapes, picture.colours
            self.rows = [np.empty((AT_ONCE, self.size[0], width), np.uint8) for _, width in shapes]
        for plane, rows in zip(picture.planes, self.rows, strict=True):
            _mix(plane, *weights(len(plane), self.size[0]), rows[len(self.places)])
        self.places.append(place)
        if len(self.places) == AT_ONCE:
            self.finish()

    def finish(self) -> None:
        """Scale all that wait in width, and fill their places."""
        count, (height, width) = len(self.places), self.size
        if not count:
            return
        turned = []  # (width, count * height): the pictures lie on their side, one beside the other
        for rows in self.rows:
            columns = transpose(rows[:count].reshape(count * height, -1))
            mixed = np.empty((width, count * height), np.uint8)
            _mix(columns, *weights(len(columns), width), mixed)
            turned.append(mixed)
        if self.colours is not None:
            _convert(*turned, self.colours)
        for n, place in enumerate(self.places):
            for plane, out in zip(turned, place, strict=True):
                transpose(plane[:, n * height : (n + 1) * height], out)
        self.places.clear()


def scaled(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """One picture's planes (C, h, w) uint8, scaled to (C, height, width)."""
    out = np.empty((len(planes), *size), np.uint8)
    for plane, place in zip(planes, out, strict=True):
        rows = np.empty((size[0], plane.shape[1]), np.uint8)
        _mix(plane, *weights(len(plane), size[0]), rows)
        columns = np.empty(size[::-1], np.uint8)
        _mix(transpose(rows), *weights(plane.shape[1], size[1]), columns)
        transpose(columns, place)
    return out


@lru_cache(maxsize=256)
def weights(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """How `target` pixels in a row are mixed from `source` ones.

    Returns: for each the first pixel it takes, (target,), and the weights of that and the following ones, (target, taps)
        uint16, which add up to 256.
    """
    scale = source / target
    if scale >= 1:
        starts = np.arange(target) * scale
        first = np.floor(starts + 1e-9).astype(int)
        covered = first[:, None] + np.arange(int(np.ceil(scale)) + 1)  # pixels that may be covered in part
        exact = np.minimum(starts[:, None] + scale, covered + 1) - np.maximum(starts[:, None], covered)
    else:
        centres = (np.arange(target) + 0.5) * scale - 0.5
        first = np.floor(centres).astype(int)
        covered = first[:, None] + np.arange(2)
        exact = 1 - np.abs(centres[:, None] - covered)
    taps = min(exact.shape[1], source)
    begin = np.clip(first, 0, source - taps)
    inside = np.zeros((target, taps))  # what lies beyond the border is given to the pixel at the border
    np.add.at(inside, (np.arange(target)[:, None], np.clip(covered, 0, source - 1) - begin[:, None]), exact.clip(0))
    share = np.cumsum(inside / inside.sum(1, keepdims=True), axis=1)
    whole = np.diff(np.round(256 * share), axis=1, prepend=0)  # what is rounded off goes to the next
    if taps > 1 and not whole[:, -1].any():  # whole ratios need one tap less
        whole = whole[:, :-1]
    return begin, np.ascontiguousarray(whole, np.uint16)


@lru_cache
def yuv_to_rgb(standard: str, full: bool) -> tuple[int, ...]:
    """Factors with `BITS` bits of fraction: of Y, of V in red, of U and V in green, of U in blue; what Y begins at.

    Args:
        standard: "601" (ITU-R BT.601, section 2.5), "709" (BT.709, section 3) or "2020" (BT.2020, table 4).
        full: Y, U and V take all values from 0 to 255; else 16 to 235, and 16 to 240, as usual in video.
    """
    red, blue = {"601": (0.299, 0.114), "709": (0.2126, 0.0722), "2020": (0.2627, 0.0593)}[standard]
    green = 1 - red - blue
    luma, chroma = (1.0, 1.0) if full else (255 / 219, 255 / 224)
    of_v, of_u = 2 * (1 - red), 2 * (1 - blue)  # in red, in blue
    factors = (luma, of_v * chroma, of_u * chroma * blue / green, of_v * chroma * red / green, of_u * chroma)
    return (*(round(factor * 2**BITS) for factor in factors), 0 if full else 16)


@njit(cache=True, nogil=True)
def _mix(source, first, weight, target):
    """Row i of `target` is the mean of the rows of `source` from first[i], weighted by weight[i]."""
    taps, columns = weight.shape[1], target.shape[1]
    for i in range(len(target)):
        f = first[i]
        if taps == 2:  # the usual numbers are written out, so that they are vectorised
            a, b = weight[i]
            for x in range(columns):
                target[i, x] = (source[f, x] * a + source[f + 1, x] * b + 128) >> 8
        elif taps == 3:
            a, b, c = weight[i]
            for x in range(columns):
                target[i, x] = (source[f, x] * a + source[f + 1, x] * b + source[f + 2, x] * c + 128) >> 8
        elif taps == 4:
            a, b, c, d = weight[i]
            for x in range(columns):
                two = source[f, x] * a + source[f + 1, x] * b
                target[i, x] = (two + source[f + 2, x] * c + source[f + 3, x] * d + 128) >> 8
        else:
            total = np.full(columns, 128, np.uint16)  # at most 255 * 256 + 128
            for k in range(taps):
                w = weight[i, k]
                for x in range(columns):
                    total[x] += source[f + k, x] * w
            for x in range(columns):
                target[i, x] = total[x] >> 8


@njit(cache=True, nogil=True)
def _convert(y, u, v, colours):
    """Planes Y, U, V become R, G, B in place."""
    luma, red_v, green_u, green_v, blue_u, black = colours
    half = (1 << (BITS - 1)) - black * luma
    for i in range(y.shape[0]):
        for x in range(y.shape[1]):
            light = np.int32(y[i, x]) * np.int32(luma) + np.int32(half)
            blueness, redness = np.int32(u[i, x]) - np.int32(128), np.int32(v[i, x]) - np.int32(128)
            r = (light + redness * np.int32(red_v)) >> BITS
            g = (light - blueness * np.int32(green_u) - redness * np.int32(green_v)) >> BITS
            b = (light + blueness * np.int32(blue_u)) >> BITS
            y[i, x] = min(max(r, 0), 255)
            u[i, x] = min(max(g, 0), 255)
            v[i, x] = min(max(b, 0), 255)
