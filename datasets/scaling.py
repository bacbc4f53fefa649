"""Decoded pictures scaled and turned into RGB, faster than they are decoded.

A picture is scaled plane by plane, brightness and the two smaller planes of colour, and only then turned into RGB: there
is less to convert, and nothing is computed twice. Both directions are one kernel, `mix`, whose inner loop runs along
rows and is compiled to vector instructions by numba: columns are mixed like rows after a transposition, of 16 pictures
at once.

Where a picture shrinks, a pixel is the mean of the area it covers, as with cv2.INTER_AREA (no texture aliases); where it
grows, pixels are interpolated linearly. Weights are multiples of 1/256 and planes are rounded to whole grey levels after
each direction, and colours are computed in 16 bits, so a result lies on average half a grey level from exact arithmetic,
and rarely more than 4.
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


BITS = 13  # of the fractions in `yuv_to_rgb`
AT_ONCE = 8  # pictures that wait for their second direction: more would not stay in a processor's cache


class Picture(NamedTuple):
    """A decoded picture: planes (h, w) uint8, of sizes of their own, and how they become RGB."""

    planes: tuple[np.ndarray, ...]  # Y, U, V, or R, G, B
    colours: tuple[int, ...] | None = None  # from `yuv_to_rgb`; None: they are R, G, B


class Scaler:
    """Scales pictures to one size, into an array in which each colour lies together; several are finished at once.

    Usage: `add` one picture after the other, then `finish`: the array is not filled before.
    """

    def __init__(self, out: np.ndarray):
        """Args:
        out: (3, N, height, width) uint8, contiguous, for the RGB of N pictures; (planes, N, height, width) where
            pictures have no colours.
        """
        self.out, self.done = out, 0  # pictures that are in `out`
        self.size = out.shape[2:]
        self.half = -(-self.size[0] // 2), -(-self.size[1] // 2)
        self.shapes, self.colours, self.count = None, None, 0  # of the pictures that wait
        self.rows: tuple[np.ndarray, ...] = ()  # (AT_ONCE, height, w) for each plane: scaled in height alone
        self.weights: tuple[tuple, ...] = ()  # by which that is done: first rows of all planes, and their weights

    def add(self, picture: Picture) -> None:
        """Scale a picture, of any size, in height; its planes may be overwritten afterwards."""
        shapes = [plane.shape for plane in picture.planes]
        if shapes != self.shapes or picture.colours != self.colours:
            self.finish()
            self.shapes, self.colours = shapes, picture.colours
            self.rows = tuple(np.empty((AT_ONCE, self.size[0], width), np.uint8) for _, width in shapes)
            self.weights = tuple(zip(*(weights(height, self.size[0]) for height, _ in shapes), strict=True))
        if self.colours and shapes == [self.size, self.half, self.half]:  # as in packed videos: nothing is to scale
            _convert_halves(*picture.planes, self.out[:, self.done], *_in_16_bits(self.colours))
            self.done += 1
            return
        _mix_all(picture.planes, *self.weights, self.rows, self.count)
        self.count += 1
        if self.count == AT_ONCE:
            self.finish()

    def finish(self) -> None:
        """Scale all that wait in width."""
        count, (height, width) = self.count, self.size
        if not count:
            return
        turned = []  # (width, count * height): the pictures lie on their side, one beside the other
        for rows in self.rows:
            columns = transpose(rows[:count].reshape(count * height, -1), _apart(rows.shape[2], count * height))
            turned.append(_apart(width, count * height))
            mix(columns, *weights(len(columns), width), turned[-1])
        if self.colours is not None:
            _convert(*turned, *_in_16_bits(self.colours))
        for plane, out in zip(turned, self.out, strict=True):
            transpose(plane, out[self.done : self.done + count].reshape(count * height, width))
        self.done, self.count = self.done + count, 0


def _apart(height: int, width: int) -> np.ndarray:
    """An empty plane whose rows begin at odd multiples of a cache line: columns of it do not evict each other."""
    return np.empty((height, 64 * (-(-width // 64) | 1)), np.uint8)[:, :width]


def scaled(planes: np.ndarray, size: tuple[int, int], over: tuple[float, float] | None = None) -> np.ndarray:
    """One picture's planes (C, h, w) uint8, scaled to (C, height, width).

    Args:
        size: height and width.
        over: how much of that height and width the picture takes up, if not all; its border goes on in the rest.
    """
    over = over or size
    out = np.empty((len(planes), *size), np.uint8)
    for plane, place in zip(planes, out, strict=True):
        rows = np.empty((size[0], plane.shape[1]), np.uint8)
        mix(plane, *weights(len(plane), size[0], over[0]), rows)
        columns = np.empty(size[::-1], np.uint8)
        mix(transpose(rows), *weights(plane.shape[1], size[1], over[1]), columns)
        transpose(columns, place)
    return out


@lru_cache(maxsize=256)
def weights(source: int, target: int, over: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """How `target` pixels in a row are mixed from `source` ones, which lie over all of them or `over` the first ones.

    Returns: for each the first pixel it takes, (target,), and the weights of that and the following ones, (target, taps)
        uint16, which add up to 256.
    """
    scale = source / (over or target)
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
    of_v, of_u = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma  # in red, in blue
    factors = (luma, of_v, of_u * blue / green, of_v * red / green, of_u)
    return (*(round(factor * 2**BITS) for factor in factors), 0 if full else 16)


@njit(cache=True, nogil=True)
def mix(source, first, weight, target):
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


@lru_cache
def _in_16_bits(colours: tuple[int, ...]) -> tuple:
    """What `yuv_to_rgb` gives, for arithmetic in 16 bits, of which twice as much is done at once as in 32.

    Y's factor has 7 bits of fraction, the others 6. The last two are how much of V and U red and blue take: more would
    not fit, and occurs in no legal colour that would not be at its end anyway.
    """
    luma = (colours[0] + (1 << (BITS - 8))) >> (BITS - 7)
    others = [(factor + (1 << (BITS - 7))) >> (BITS - 6) for factor in colours[1:5]]
    black = 32 - (colours[5] * luma + 1) // 2
    room = 32767 - black - (255 * luma) // 2
    most = min(127, room // others[0]), min(127, room // others[3])
    return np.uint16(luma), *map(np.int16, (*others, black, *most))


@njit(cache=True, nogil=True)
def _mix_all(planes, firsts, weights, rows, n):
    """Mix each plane of picture n: one call costs less than three."""
    for k in range(len(planes)):
        mix(planes[k], firsts[k], weights[k], rows[k][n])


@njit(cache=True, nogil=True)
def _convert(y, u, v, luma, red_v, green_u, green_v, blue_u, black, most_v, most_u):
    """Planes Y, U, V of one size become R, G, B in place."""
    for i in range(y.shape[0]):
        for x in range(y.shape[1]):
            light = np.int16(np.int16(np.uint16(np.uint16(y[i, x]) * luma) >> np.uint16(1)) + black)
            p, q = np.int16(np.int16(u[i, x]) - np.int16(128)), np.int16(np.int16(v[i, x]) - np.int16(128))
            r = np.int16(light + np.int16(min(q, most_v) * red_v)) >> 6
            g = np.int16(np.int16(light - np.int16(p * green_u)) - np.int16(q * green_v)) >> 6
            b = np.int16(light + np.int16(min(p, most_u) * blue_u)) >> 6
            y[i, x] = np.uint8(min(max(np.int16(r), np.int16(0)), np.int16(255)))
            u[i, x] = np.uint8(min(max(np.int16(g), np.int16(0)), np.int16(255)))
            v[i, x] = np.uint8(min(max(np.int16(b), np.int16(0)), np.int16(255)))


@njit(cache=True, nogil=True)
def _convert_halves(y, u, v, out, luma, red_v, green_u, green_v, blue_u, black, most_v, most_u):
    """Y (h, w), and U, V of half its height and width, rounded up, become RGB (3, h, w): colours are interpolated."""
    height, width = u.shape
    tall_u, tall_v = np.empty(width + 2, np.int16), np.empty(width + 2, np.int16)  # a row less 128, times 4, bordered
    wide_u, wide_v = np.empty(2 * width, np.int16), np.empty(2 * width, np.int16)
    for i in range(y.shape[0]):
        near = i >> 1
        far = min(max(near + (1 if i & 1 else -1), 0), height - 1)
        for x in range(width):  # a row of Y lies a quarter of a row of U from the near one
            tall_u[x + 1] = np.int16(3) * np.int16(u[near, x]) + np.int16(u[far, x])
            tall_v[x + 1] = np.int16(3) * np.int16(v[near, x]) + np.int16(v[far, x])
        tall_u[0], tall_u[width + 1] = tall_u[1], tall_u[width]
        tall_v[0], tall_v[width + 1] = tall_v[1], tall_v[width]
        for x in range(width):
            wide_u[2 * x] = np.int16(np.int16(3) * tall_u[x + 1] + tall_u[x] + np.int16(8)) >> 4
            wide_u[2 * x + 1] = np.int16(np.int16(3) * tall_u[x + 1] + tall_u[x + 2] + np.int16(8)) >> 4
            wide_v[2 * x] = np.int16(np.int16(3) * tall_v[x + 1] + tall_v[x] + np.int16(8)) >> 4
            wide_v[2 * x + 1] = np.int16(np.int16(3) * tall_v[x + 1] + tall_v[x + 2] + np.int16(8)) >> 4
        for x in range(y.shape[1]):
            out[0, i, x], out[1, i, x], out[2, i, x] = y[i, x], np.uint8(wide_u[x]), np.uint8(wide_v[x])
    _convert(out[0], out[1], out[2], luma, red_v, green_u, green_v, blue_u, black, most_v, most_u)
