"""Things to grasp, push and poke: families of household things, of which there are any number, and PyBullet's blobs.

A thing is a union of convex parts, each given by its corners: what collides is what is drawn. Hollow things are rings of
wall pieces, so that a finger fits inside and a hand can take the rim. Which instance of a category a thing is says all of
its form: nothing depends on what was made before.

Metres; z is up as a thing usually lies or stands. Sizes suit a hand that opens 80 mm: most things are narrower some way
through their middle, with room for it to be a centimetre off; plates, bowls and pans have to be taken by the rim.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import cos, pi, sin, tau
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
from scipy.spatial import ConvexHull

TILE = 0.08  # metres a side: what one repeat of a texture covers
BLOB = 0.015  # metres to a unit of random_urdfs' files, as in their own URDFs
BLOB_SCALE = 0.65, 0.90  # of their size: at full size, four in ten are wider everywhere than the hand opens


@dataclass(frozen=True, eq=False)
class Shape:
    """The form of a rigid thing: convex parts around the centre of their volume.

    Attributes:
        category, number: what it is, and which of its category, from 0.
        parts: (n, 3) float64 each, in metres: the corners of convex hulls, which together are the thing.
        volume: m3, the sum of the parts' (what two parts share, as in some blobs, counts twice).
    """

    category: str
    number: int
    parts: tuple[np.ndarray, ...]
    volume: float

    @property
    def extent(self) -> np.ndarray:
        """(3,) metres: sides of the bounding box."""
        return np.ptp(np.concatenate(self.parts), axis=0)


@dataclass(frozen=True, eq=False)
class Mesh:
    """F flat triangles to draw, counter-clockwise from outside; no two share a vertex, so that each has its own normal.

    Attributes:
        vertices: (3F, 3) float32, metres.
        normals: (3F, 3) float32, unit vectors outward.
        uvs: (3F, 2) float32, not negative: place in the texture, in repeats of it.
        faces: (F, 3) int32 indices of vertices: 0, 1, 2, ...
    """

    vertices: np.ndarray
    normals: np.ndarray
    uvs: np.ndarray
    faces: np.ndarray


class ObjectSet(NamedTuple):
    """Categories of `instances` things each, and the function from a category and a number to a shape."""

    categories: tuple[str, ...]
    instances: int
    shape: Callable[[str, int], Shape]
    broken: tuple[int, ...] = ()  # numbers that have no shape


def _triangles(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A convex hull's faces, counter-clockwise from outside: corners (F, 3, 3) and normals (F, 3)."""
    hull = ConvexHull(part)
    corners, normals = part[hull.simplices], hull.equations[:, :3]
    found = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inward = (found * normals).sum(1) < 0
    corners[inward] = corners[inward][:, [0, 2, 1]]
    flat = np.linalg.norm(found, axis=1) < 1e-12  # m2: slivers, which have no direction
    return corners[~flat], normals[~flat]


def _assemble(category: str, number: int, parts: Iterable[np.ndarray]) -> Shape:
    """A shape of the parts' hulls, moved so that the origin is the centre of volume."""
    hulls, volumes, centres = [], [], []
    for part in parts:
        corners, _ = _triangles(part)
        hulls.append(np.unique(corners.reshape(-1, 3), axis=0))
        middle = hulls[-1].mean(0)
        pieces = np.linalg.det(corners - middle) / 6  # tetrahedra from the middle to each face
        volumes.append(pieces.sum())
        centres.append(middle + (pieces[:, None] * (corners - middle).sum(1) / 4).sum(0) / pieces.sum())
    centre = np.average(centres, axis=0, weights=volumes)
    return Shape(category, number, tuple(hull - centre for hull in hulls), float(sum(volumes)))


@lru_cache(maxsize=2048)
def mesh_of(shape: Shape, tile: float = TILE) -> Mesh:
    """Triangles of all parts. Textures are laid on along the axis that a face looks along most.

    Args:
        tile: metres a side that one repeat of a texture covers.
    """
    hulls = [_triangles(part) for part in shape.parts]
    corners, normals = np.concatenate([hull[0] for hull in hulls]), np.concatenate([hull[1] for hull in hulls])
    across = np.array([[1, 2], [0, 2], [0, 1]])[np.abs(normals).argmax(1)]  # the two axes of the plane laid on
    uvs = np.take_along_axis(corners, across[:, None], 2) / tile
    uvs -= np.floor(uvs.min((0, 1)))  # whole repeats; TinyRenderer takes no negative ones
    return Mesh(
        corners.reshape(-1, 3).astype(np.float32),
        normals.repeat(3, 0).astype(np.float32),
        uvs.reshape(-1, 2).astype(np.float32),
        np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3),
    )


def split(objects: ObjectSet, unseen: bool, seed: int, share: float = 0.25) -> list[tuple[str, int]]:
    """Category and number of the things that are seen in training, or of those that are kept for later.

    Args:
        share: of each category's instances that are kept unseen, rounded, but at least one on either side.

    Raises:
        ValueError: `share` is not between 0 and 1, or a category has one instance alone.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share of {share} is to be unseen: give one between 0 and 1")
    if objects.instances < 2:
        raise ValueError(f"{objects.instances} instance a category cannot be split: at least 2 are needed")
    kept = min(max(round(share * objects.instances), 1), objects.instances - 1)
    chosen = []
    for category in objects.categories:
        order = np.random.default_rng([seed, crc32(category.encode())]).permutation(objects.instances)
        numbers = np.sort(order[:kept] if unseen else order[kept:]).tolist()
        chosen += [(category, number) for number in numbers if number not in objects.broken]
    return chosen


# Parts. Each returns the corners of a convex hull, (n, 3).


def _block(x: float, y: float, z: float, at=(0.0, 0.0, 0.0)) -> np.ndarray:
    """A cuboid of sides x, y, z around `at`."""
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    return signs * np.array([x, y, z]) / 2 + at


def _turned(*profile: tuple[float, float], sides: int = 20, at=(0.0, 0.0, 0.0)) -> np.ndarray:
    """What a lathe makes: rings of (radius, height) around the z axis through `at`."""
    angles = np.arange(sides) * tau / sides
    rings = [np.stack([r * np.cos(angles), r * np.sin(angles), np.full(sides, z)], -1) for r, z in profile]
    return np.unique(np.concatenate(rings).round(9), axis=0) + at  # a ring of radius 0 is one corner


def _ring(inside: tuple[float, float], outside: tuple[float, float], z: tuple[float, float], pieces: int) -> list:
    """A wall around the z axis, of `pieces` parts: radii inside and outside, at heights z (from, to)."""
    walls = []
    for k in range(pieces):
        ends = np.array([k, k + 1]) * tau / pieces
        arc = np.array([k, k + 0.5, k + 1]) * tau / pieces  # rounder outside than inside, where only a chord is convex
        points = [
            (r * cos(a), r * sin(a), height)
            for low, height in enumerate(z)
            for r, angles in ((inside[low], ends), (outside[low], arc))
            for a in angles
        ]
        walls.append(np.array(points))
    return walls


def _along(points: np.ndarray) -> np.ndarray:
    """The same, laid down: what pointed up points along x."""
    return points[:, [2, 1, 0]] * [1, 1, -1]


def _facing(points: np.ndarray, angle: float) -> np.ndarray:
    """The same, turned by `angle` radians about the z axis."""
    c, s = cos(angle), sin(angle)
    return points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])


# Families of household things. Each draws its proportions from `rng` and returns parts; sizes in metres.


def _arch(rng):
    width, depth, height = rng.uniform(0.07, 0.11), rng.uniform(0.025, 0.045), rng.uniform(0.05, 0.08)
    leg, top = width * rng.uniform(0.22, 0.3), height * rng.uniform(0.3, 0.45)
    x, z = (width - leg) / 2, (height - top) / 2
    return [
        _block(width, depth, top, (0, 0, height / 2)),
        *(_block(leg, depth, height - top, (s * x, 0, z - top / 2)) for s in (-1, 1)),
    ]


def _ball(rng):
    radius = rng.uniform(0.02, 0.038)
    return [_turned(*((radius * sin(a), radius * cos(a)) for a in np.linspace(0, pi, 9)), sides=14)]


def _banana(rng):
    bend, thick, span = rng.uniform(0.05, 0.07), rng.uniform(0.014, 0.019), rng.uniform(1.6, 2.1)
    angles = np.linspace(-span / 2, span / 2, 7)
    radii = thick * np.array([0.35, 0.8, 1, 1, 1, 0.8, 0.3])
    rings = []
    for angle, radius in zip(angles, radii, strict=True):
        around = np.arange(8) * tau / 8 + pi / 8
        reach = bend + radius * np.cos(around)
        rings.append(np.stack([reach * sin(angle), reach * cos(angle), radius * np.sin(around)], -1))
    return [np.concatenate(pair) for pair in pairwise(rings)]


def _bolt(rng):
    shank, length = rng.uniform(0.009, 0.014), rng.uniform(0.06, 0.09)
    head, thick = shank * rng.uniform(1.8, 2.3), rng.uniform(0.015, 0.025)
    tip = length - 0.3 * shank
    return [
        _along(_turned((head, 0), (head, thick), sides=6)),
        _along(_turned((shank, thick), (shank, thick + tip), (0.7 * shank, thick + length), sides=12)),
    ]


def _book(rng):
    width, length, thick = rng.uniform(0.045, 0.062), rng.uniform(0.07, 0.1), rng.uniform(0.02, 0.035)
    board, margin = rng.uniform(0.003, 0.005), rng.uniform(0.004, 0.006)
    z = (thick - board) / 2
    return [
        *(_block(width, length, board, (0, 0, s * z)) for s in (-1, 1)),
        _block(board, length, thick - 2 * board, ((board - width) / 2, 0, 0)),
        _block(width - margin - board, length - 2 * margin, thick - 2 * board, ((board - margin) / 2, 0, 0)),
    ]


def _bottle(rng):
    radius, height = rng.uniform(0.022, 0.034), rng.uniform(0.07, 0.1)
    neck, long = radius * rng.uniform(0.35, 0.5), rng.uniform(0.015, 0.03)
    shoulder, cap = height + rng.uniform(0.01, 0.03), rng.uniform(0.01, 0.016)
    top = shoulder + long
    return [
        _turned((0.9 * radius, 0), (radius, 0.1 * radius), (radius, height), (neck, shoulder)),
        _turned((neck, shoulder), (neck, top), sides=14),
        _turned((1.25 * neck, top), (1.25 * neck, top + cap), sides=14),
    ]


def _bowl(rng):
    radius, height = rng.uniform(0.036, 0.052), rng.uniform(0.028, 0.045)
    foot, wall, floor = radius * rng.uniform(0.5, 0.65), rng.uniform(0.005, 0.008), rng.uniform(0.005, 0.008)
    return [
        _turned((0.9 * foot, 0), (foot, floor), sides=16),
        *_ring((foot - wall, radius - wall), (foot, radius), (floor, height), 8),
    ]


def _box(rng):
    return [_block(rng.uniform(0.035, 0.09), rng.uniform(0.03, 0.065), rng.uniform(0.02, 0.09))]


def _bracket(rng):
    thick, width = rng.uniform(0.018, 0.03), rng.uniform(0.025, 0.045)
    long, short = rng.uniform(0.075, 0.11), rng.uniform(0.05, 0.075)
    return [
        _block(long, thick, width, (long / 2, thick / 2, 0)),
        _block(thick, short - thick, width, (thick / 2, (short + thick) / 2, 0)),
    ]


def _brick(rng):
    rows, columns = 2, int(rng.integers(2, 5))
    pitch, height = rng.uniform(0.022, 0.028), rng.uniform(0.025, 0.04)
    radius, stud = 0.32 * pitch, rng.uniform(0.006, 0.009)
    spots = [((i - (columns - 1) / 2) * pitch, (j - (rows - 1) / 2) * pitch) for i in range(columns) for j in (0, 1)]
    return [
        _block(columns * pitch, rows * pitch, height),
        *(_turned((radius, 0), (radius, stud), sides=10, at=(x, y, height / 2)) for x, y in spots),
    ]


def _can(rng):
    radius, height = rng.uniform(0.024, 0.034), rng.uniform(0.06, 0.12)
    rim, edge = 0.85 * radius, 0.2 * radius
    return [_turned((rim, 0), (radius, edge), (radius, height - edge), (rim, height), sides=24)]


def _cone(rng):
    radius, height = rng.uniform(0.024, 0.032), rng.uniform(0.07, 0.11)
    base, side = rng.uniform(0.006, 0.01), 2 * radius * rng.uniform(1.08, 1.2)
    return [
        _block(side, side, base, (0, 0, base / 2)),
        _turned((radius, base), (radius * rng.uniform(0.12, 0.25), height)),
    ]


def _cross(rng):
    reach, arm, thick = rng.uniform(0.06, 0.085), rng.uniform(0.018, 0.026), rng.uniform(0.02, 0.035)
    stub = (reach - arm) / 2
    return [
        _block(reach, arm, thick),
        *(_block(arm, stub, thick, (0, s * (arm + stub) / 2, 0)) for s in (-1, 1)),
    ]


def _cup(rng):
    top, height = rng.uniform(0.03, 0.042), rng.uniform(0.055, 0.09)
    foot, wall, floor = top * rng.uniform(0.65, 0.8), rng.uniform(0.004, 0.006), rng.uniform(0.004, 0.008)
    return [
        _turned((foot, 0), (foot, floor), sides=16),
        *_ring((foot - wall, top - wall), (foot, top), (floor, height), 8),
    ]


def _dumbbell(rng):
    weight, wide, bar = rng.uniform(0.02, 0.032), rng.uniform(0.02, 0.03), rng.uniform(0.007, 0.011)
    length = rng.uniform(0.035, 0.06)
    edge = 0.75 * weight
    bell = [(edge, 0), (weight, 0.2 * wide), (weight, 0.8 * wide), (edge, wide)]
    return [
        *(_along(_turned(*bell, sides=12, at=(0, 0, z))) for z in (0, wide + length)),
        _along(_turned((bar, wide), (bar, wide + length), sides=10)),
    ]


def _egg(rng):
    radius, length = rng.uniform(0.02, 0.028), rng.uniform(1.25, 1.5)
    blunt = rng.uniform(0.1, 0.25)
    angles = np.linspace(0, pi, 9)
    profile = [(radius * sin(a) * (1 + blunt * cos(a)), radius * length * cos(a)) for a in angles]
    return [_along(_turned(*profile, sides=14))]


def _fork(rng):
    length, width, thick = rng.uniform(0.07, 0.09), rng.uniform(0.011, 0.015), rng.uniform(0.008, 0.012)
    tines, tine, gap = int(rng.integers(3, 5)), rng.uniform(0.006, 0.008), rng.uniform(0.006, 0.009)
    reach, palm = rng.uniform(0.03, 0.045), rng.uniform(0.014, 0.02)
    span = tines * tine + (tines - 1) * gap
    return [
        _block(length, width, thick, (-length / 2, 0, 0)),
        _block(palm, span, thick, (palm / 2, 0, 0)),
        *(
            _block(reach, tine, thick, (palm + reach / 2, (tine - span) / 2 + k * (tine + gap), 0))
            for k in range(tines)
        ),
    ]


def _hammer(rng):
    length, grip = rng.uniform(0.08, 0.11), rng.uniform(0.009, 0.013)
    head, wide = rng.uniform(0.06, 0.08), grip * rng.uniform(2.2, 2.8)
    face, deep = 0.55 * wide, 0.35 * head
    claw = [_block(0, wide, wide), _block(0, 0.9 * wide, 0.25 * wide, (head - deep, 0, 0))]
    crosswise = [_along(_turned((face, -deep), (face, 0), sides=12)), np.concatenate(claw)]
    return [
        _along(_turned((grip, -length), (0.8 * grip, -0.5 * wide), sides=10)),
        *(_facing(part, pi / 2) for part in crosswise),
    ]


def _jar(rng):
    radius, height = rng.uniform(0.026, 0.034), rng.uniform(0.045, 0.07)
    neck, lid, thick = 0.8 * radius, radius * rng.uniform(0.92, 1.02), rng.uniform(0.012, 0.018)
    rise = 0.25 * radius
    return [
        _turned((0.9 * radius, 0), (radius, 0.1 * radius), (radius, height - rise), (neck, height)),
        _turned((neck, height), (neck, height + 0.006), sides=16),
        _turned((lid, height + 0.006), (lid, height + 0.006 + thick), sides=24),
    ]


def _mug(rng):
    radius, height = rng.uniform(0.03, 0.04), rng.uniform(0.06, 0.085)
    wall, floor = rng.uniform(0.004, 0.006), rng.uniform(0.005, 0.008)
    thick, reach = rng.uniform(0.008, 0.011), rng.uniform(0.02, 0.028)
    span = height * rng.uniform(0.45, 0.6)
    x, z = radius - 0.5 * wall, height / 2
    return [
        _turned((radius, 0), (radius, floor), sides=12),
        *_ring((radius - wall,) * 2, (radius,) * 2, (floor, height), 6),
        *(_block(reach, thick, thick, (x + reach / 2, 0, z + s * (span - thick) / 2)) for s in (-1, 1)),
        _block(thick, thick, span, (x + reach + thick / 2, 0, z)),
    ]


def _pan(rng):
    radius, height = rng.uniform(0.03, 0.042), rng.uniform(0.018, 0.026)
    wall, floor = rng.uniform(0.005, 0.007), rng.uniform(0.005, 0.007)
    long, wide, thick = rng.uniform(0.06, 0.08), rng.uniform(0.013, 0.018), rng.uniform(0.008, 0.011)
    foot = 0.85 * radius
    return [
        _turned((foot, 0), (foot, floor), sides=16),
        *_ring((foot - wall, radius - wall), (foot, radius), (floor, height), 8),
        _block(long, wide, thick, (radius - wall / 2 + long / 2, 0, height - thick / 2)),
    ]


def _plate(rng):
    radius, height = rng.uniform(0.042, 0.056), rng.uniform(0.012, 0.018)
    foot, thick = radius * rng.uniform(0.6, 0.7), rng.uniform(0.005, 0.007)
    return [
        _turned((foot, 0), (foot, thick), sides=16),
        *_ring((foot - thick, radius - thick), (foot, radius), (thick / 2, height), 8),
    ]


def _ring_thing(rng):
    radius, tube = rng.uniform(0.026, 0.036), rng.uniform(0.006, 0.009)
    height = 2 * tube * rng.uniform(0.8, 1.2)
    return _ring((radius - 2 * tube,) * 2, (radius,) * 2, (0, height), 8)


def _spatula(rng):
    length, grip = rng.uniform(0.075, 0.095), rng.uniform(0.006, 0.009)
    blade, wide, thick = rng.uniform(0.045, 0.06), rng.uniform(0.035, 0.05), rng.uniform(0.006, 0.009)
    near, far = _block(0, 0.6 * wide, 2 * grip, (0, 0, grip)), _block(0, wide, thick, (blade, 0, thick / 2))
    return [
        _along(_turned((grip, -length), (grip, 0), sides=10, at=(-grip, 0, 0))),
        np.concatenate([near, far]),
    ]


def _spoon(rng):
    length, grip = rng.uniform(0.07, 0.09), rng.uniform(0.006, 0.009)
    reach, wide, deep = rng.uniform(0.02, 0.026), rng.uniform(0.014, 0.018), rng.uniform(0.009, 0.013)
    angles = np.linspace(0, pi, 7)
    head = _turned(*((sin(a), cos(a)) for a in angles), sides=12) * [reach, wide, deep]
    return [
        _along(_turned((grip, -length), (0.7 * grip, 0), sides=10)),
        np.add(head, (0.9 * reach, 0, 0)),
    ]


def _star(rng):
    points, reach, thick = int(rng.integers(5, 7)), rng.uniform(0.032, 0.044), rng.uniform(0.02, 0.03)
    inner = reach * rng.uniform(0.42, 0.52)
    parts = []
    for k in range(points):
        angles = (k + np.array([-0.5, 0, 0.5])) * tau / points
        radii = np.array([inner, reach, inner])
        kite = np.concatenate([[[0, 0]], np.stack([radii * np.cos(angles), radii * np.sin(angles)], -1)])
        parts.append(np.concatenate([np.pad(kite, ((0, 0), (0, 1)), constant_values=z) for z in (0, thick)]))
    return parts


def _stool(rng):
    radius, seat = rng.uniform(0.03, 0.042), rng.uniform(0.01, 0.015)
    legs, leg, height = int(rng.integers(3, 5)), rng.uniform(0.01, 0.013), rng.uniform(0.035, 0.055)
    spread = 0.7 * radius
    spots = [(spread * cos(a), spread * sin(a)) for a in np.arange(legs) * tau / legs]
    return [
        _turned((radius, height), (radius, height + seat)),
        *(_block(leg, leg, height, (x, y, height / 2)) for x, y in spots),
    ]


def _torch(rng):
    grip, length = rng.uniform(0.012, 0.017), rng.uniform(0.07, 0.095)
    head, long = grip * rng.uniform(1.5, 1.9), rng.uniform(0.02, 0.03)
    end = length + long
    return [
        _along(_turned((0.8 * grip, 0), (grip, 0.2 * grip), (grip, length), sides=14)),
        _along(_turned((grip, length), (head, end), (head, end + 0.012), sides=18)),
    ]


def _wedge(rng):
    length, width, height = rng.uniform(0.07, 0.11), rng.uniform(0.03, 0.05), rng.uniform(0.03, 0.05)
    low = 0.1 * height
    high = _block(0, width, height, (0, 0, height / 2))
    return [np.concatenate([high, _block(0, width, low, (length, 0, low / 2))])]


def _wrench(rng):
    length, width, thick = rng.uniform(0.07, 0.09), rng.uniform(0.013, 0.018), rng.uniform(0.01, 0.015)
    gap, jaw, reach = rng.uniform(0.016, 0.022), rng.uniform(0.008, 0.011), rng.uniform(0.018, 0.024)
    parts = [_block(length, width, thick)]
    for side in (-1, 1):
        x, span = side * length / 2, gap + 2 * jaw
        palm = np.concatenate([_block(0, width, thick, (x, 0, 0)), _block(0, span, thick, (x + side * 0.014, 0, 0))])
        y = (gap + jaw) / 2
        jaws = [_block(reach, jaw, thick, (x + side * (0.014 + reach / 2), s * y, 0)) for s in (-1, 1)]
        parts += [palm, *jaws]
        gap *= 0.8
    return parts


HOUSEHOLD = {
    "arch": _arch,
    "ball": _ball,
    "banana": _banana,
    "bolt": _bolt,
    "book": _book,
    "bottle": _bottle,
    "bowl": _bowl,
    "box": _box,
    "bracket": _bracket,
    "brick": _brick,
    "can": _can,
    "cone": _cone,
    "cross": _cross,
    "cup": _cup,
    "dumbbell": _dumbbell,
    "egg": _egg,
    "fork": _fork,
    "hammer": _hammer,
    "jar": _jar,
    "mug": _mug,
    "pan": _pan,
    "plate": _plate,
    "ring": _ring_thing,
    "spatula": _spatula,
    "spoon": _spoon,
    "star": _star,
    "stool": _stool,
    "torch": _torch,
    "wedge": _wedge,
    "wrench": _wrench,
}


@lru_cache(maxsize=2048)
def household(category: str, number: int) -> Shape:
    """The `number`th thing of a category of HOUSEHOLD: any number from 0.

    Raises:
        ValueError: there is no such category, or the number is negative.
    """
    if category not in HOUSEHOLD:
        raise ValueError(f"no household thing is called {category!r}: there are {', '.join(HOUSEHOLD)}")
    if number < 0:
        raise ValueError(f"{category} {number} was asked for: things are numbered from 0")
    rng = np.random.default_rng([crc32(category.encode()), number])
    return _assemble(category, number, HOUSEHOLD[category](rng))


@lru_cache(maxsize=2048)
def blob(category: str, number: int) -> Shape:
    """One of the 1000 things of PyBullet's `random_urdfs`, at 0.65 to 0.90 of its size.

    Source: Quillen et al., "Deep Reinforcement Learning for Vision-Based Robotic Grasping", ICRA 2018, section V.

    Raises:
        ValueError: there is no such category or number.
        ImportError: PyBullet, which brings the files, is not installed.
    """
    if category != "blob" or not 0 <= number < 1000:
        raise ValueError(f"{category} {number} was asked for: random_urdfs has blob 0 to blob 999")
    try:
        from pybullet_data import getDataPath
    except ModuleNotFoundError as error:
        raise ImportError("no module pybullet_data, which random_urdfs come with: pip install pybullet") from error
    name = f"{number:03}"
    points, used = [], []
    for line in (Path(getDataPath()) / "random_urdfs" / name / f"{name}.obj").read_text().splitlines():
        kind, *words = line.split() or [""]
        if kind == "o":
            used.append(set())
        elif kind == "v":
            points.append([float(word) for word in words])
        elif kind == "f":
            used[-1].update(int(word.split("/")[0]) - 1 for word in words)
    scale = BLOB * np.random.default_rng([crc32(b"blob"), number]).uniform(*BLOB_SCALE)
    corners = scale * np.array(points)
    return _assemble(category, number, [corners[sorted(part)] for part in used])


OBJECT_SETS = {
    "household": ObjectSet(tuple(HOUSEHOLD), 40, household),
    "random_urdfs": ObjectSet(("blob",), 1000, blob, broken=(168,)),  # all corners in its file are NaN
}
