"""A street in PyBullet, seen by a car's camera: where it leads, what stands along it, and how it looks from anywhere.

The world has x east, y north and z up, in metres; angles are radians, headings counter-clockwise from east. A camera has
x to the right, y down and z ahead, as KITTI's. The car keeps to the right: its route lies `lane` metres to the right of
the middle of the road.

What stands there is one PyBullet mesh. Ground and sky fill most of a picture and need no renderer: both are looked up for
each pixel, the ground in a map of the surface that is coarser the farther away it is, so that it neither flickers nor
repeats. Things are rendered at twice the size and averaged.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import cos, inf, pi, radians, sin
from pathlib import Path

import cv2
import numpy as np

from videossl.robot.humanoid import new_client
from videossl.robot.scenery import Mesh, colour, noise, paint_tiles

STEP = 0.5  # metres between two points of a line
BEHIND, AHEAD = 25.0, 130.0  # metres of road before a route starts and after it ends
MARGIN = 45.0  # metres of ground that is mapped beside the road
CELL = 0.15  # metres a side: a cell of that map
FAR = 160.0  # metres: what is farther is hidden by haze
FOCAL = 0.58  # of the picture's width: KITTI's, so 81 degrees from left to right
LEVELS = 6  # maps of the ground, each half as fine as the one before


@dataclass(frozen=True)
class Row:
    """Things of one sort along a road; ranges are (least, most), in metres."""

    draw: Callable  # a thing of scenery.py
    length: tuple[float, float]  # along the road
    depth: tuple[float, float]  # away from it
    height: tuple[float, float]
    setback: tuple[float, float]  # from the edge of the road to the front
    gap: tuple[float, float] = (0.0, 0.0)  # between two of them
    side: str = "both"  # or "left", "right", or "over": the road runs through it, `depth` wider than the road
    present: float = 1.0  # in this share of worlds
    share: float = 1.0  # of its places that are taken
    turn: float = 0.0  # radians, for all: pi / 2 parks a car nose first
    sway: float = 0.0  # radians either way, for each


@dataclass(frozen=True)
class Kind:
    """A kind of street: what a world of that kind draws its own from."""

    half: tuple[float, float]  # metres from the middle of the road to its edge
    lane: float  # metres from the middle to where one drives
    zones: tuple[tuple[str, float], ...]  # surface, and metres from the road's edge up to which it goes
    rows: tuple[Row, ...]
    skyline: str  # "town", "trees" or "hills"
    marks: tuple[float, ...] = (0.0,)  # dashed lines: metres left of the middle
    edges: bool = False  # a line at either edge
    zebra: bool = False  # at crossings
    speed: tuple[float, float] = (6.0, 10.0)  # metres a second that one wants to drive
    straight: tuple[float, float] = (15.0, 45.0)  # metres from bend to bend
    turns: float = 0.5  # of bends that are turns into another street
    radius: tuple[float, float] = (7.0, 11.0)  # metres, of such a turn
    bend: tuple[float, float] = (40.0, 120.0)  # metres: radius of other bends
    crossing: float = 0.3  # of straights that have another street across them
    bays: float = 0.0  # metres between painted lines of parking bays, 0 for none


@dataclass(frozen=True)
class Route:
    """Where one drives: N points, STEP / 5 apart, the first BEHIND metres of which lie before the start."""

    points: np.ndarray  # (N, 2) metres
    headings: np.ndarray  # (N,) radians
    bends: np.ndarray  # (N,) curvature in 1 / metres, to the left
    branches: list[np.ndarray]  # other roads: (M, 2) points, STEP apart, along their middle

    step = STEP / 5


def plan_route(kind: Kind, length: float, rng: np.random.Generator) -> Route:
    """Straights, bends and turns of which `length` metres may be driven; the road goes on before and after."""
    step, total = Route.step, BEHIND + length + AHEAD
    pieces, junctions, at = [(BEHIND + rng.uniform(0.3, 1) * rng.uniform(*kind.straight), 0.0)], [], 0.0
    while True:
        along, free = pieces[-1][0], BEHIND if at == 0 else 0.0
        if rng.uniform() < kind.crossing:
            junctions.append((at + free + (along - free) * rng.uniform(0.4, 0.8), "across"))
        at += along
        if at > total:
            break
        turning = rng.uniform() < kind.turns
        angle = rng.choice([-1, 1]) * radians(rng.uniform(75, 100) if turning else rng.uniform(12, 50))
        radius = rng.uniform(*(kind.radius if turning else kind.bend)) + (kind.lane if angle > 0 else 0)
        if turning:
            junctions += [(at, "on"), (at + radius * abs(angle), "back")]
        pieces.append((radius * abs(angle), angle / (radius * abs(angle))))
        at += pieces[-1][0]
        pieces.append((rng.uniform(*kind.straight), 0.0))
    bends = np.concatenate([np.full(round(along / step), bend) for along, bend in pieces])[: round(total / step)]
    sigma = 1.5 / step  # metres: the wheel is turned by and by
    window = np.exp(-0.5 * (np.arange(-4 * sigma, 4 * sigma + 1) / sigma) ** 2)
    smooth = np.convolve(np.pad(bends, len(window) // 2, mode="edge"), window / window.sum(), mode="valid")
    bends = smooth[: len(bends)]
    headings = rng.uniform(-pi, pi) + np.concatenate([[0], np.cumsum((bends[:-1] + bends[1:]) / 2) * step])
    middles = (headings[:-1] + headings[1:]) / 2
    points = np.concatenate([[[0, 0]], np.cumsum(np.stack([np.cos(middles), np.sin(middles)], -1) * step, 0)])
    branches = []
    for place, way in junctions:
        i = round(place / step)
        if i < len(points):
            heading = headings[i]
            middle = points[i] + kind.lane * np.array([-sin(heading), cos(heading)])
            turns = {"on": [0], "back": [pi], "across": [pi / 2, -pi / 2]}[way]
            for turn in turns:
                ahead = np.array([cos(heading + turn), sin(heading + turn)])
                branches.append(middle + np.arange(0, 80, STEP)[:, None] * ahead)
    return Route(points, headings, bends, branches)


def _normals(line: np.ndarray) -> np.ndarray:
    """(N, 2): unit vectors to the left of a line (N, 2)."""
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    return np.stack([-along[:, 1], along[:, 0]], -1)


def _surface(name: str, rng: np.random.Generator) -> np.ndarray:
    """A patch of ground that tiles without a seam, (512, 512, 3) uint8: 77 metres a side."""
    fine, coarse = noise(rng, (512, 512), (128, 512)), noise(rng, (512, 512), (5, 24))
    base, rough, blotch = {
        "asphalt": (colour(rng, (0.05, 0.7), (0, 0.12), (0.28, 0.5)), 10, 8),
        "concrete": (colour(rng, (0.05, 0.15), (0, 0.15), (0.5, 0.75)), 8, 8),
        "paving": (colour(rng, (-0.02, 0.15), (0, 0.35), (0.4, 0.75)), 6, 8),
        "cobbles": (colour(rng, (-0.02, 0.15), (0, 0.35), (0.35, 0.65)), 10, 10),
        "grass": (colour(rng, (0.17, 0.33), (0.3, 0.7), (0.3, 0.6)), 14, 16),
        "field": (colour(rng, (0.08, 0.28), (0.3, 0.7), (0.35, 0.75)), 10, 10),
        "dirt": (colour(rng, (0.04, 0.12), (0.2, 0.55), (0.3, 0.6)), 16, 14),
        "water": (colour(rng, (0.4, 0.62), (0.2, 0.6), (0.3, 0.65)), 4, 6),
    }[name]
    patch = base + (rough * fine + blotch * coarse)[..., None]
    y, x = np.indices((512, 512))
    if name in ("paving", "cobbles"):
        slab = 8 if name == "paving" else 4  # cells
        shade = rng.normal(1, 0.1, (512 // slab, 512 // slab))[y // slab, x // slab]
        patch *= np.where((y % slab == 0) | (x % slab == 0), 0.65, shade)[..., None]
    if name == "field":
        furrow = np.sin(2 * pi * (rng.integers(-40, 41) * x + rng.choice([-1, 1]) * 40 * y) / 512)
        patch *= 1 + 0.3 * furrow[..., None]
    if name == "water":
        patch += 16 * cv2.resize(noise(rng, (512, 16), (128,)), (512, 512))[..., None]  # waves, long and narrow
    return patch.clip(0, 255).astype(np.uint8)


class Street:
    """A world of one kind around a route, in a PyBullet client of its own.

    Args:
        size: height and width of its pictures in pixels.
        rng: draws all that is not given.
    """

    def __init__(self, kind: Kind, route: Route, size: tuple[int, int], rng: np.random.Generator):
        self.kind, self.size, self.client = kind, size, new_client()
        self.half = rng.uniform(*kind.half)
        normals = np.stack([-np.sin(route.headings), np.cos(route.headings)], -1)
        self.main = (route.points + kind.lane * normals)[:: round(STEP / Route.step)]
        self.roads = [self.main, *route.branches]
        tilt, around = rng.uniform(radians(15), radians(60)), rng.uniform(0, 2 * pi)
        self.sun = np.array([sin(tilt) * cos(around), sin(tilt) * sin(around), cos(tilt)])
        self.ambient, self.diffuse = rng.uniform(0.4, 0.7), rng.uniform(0.35, 0.7)
        self.tint = rng.uniform(0.7, 1.15) * rng.uniform(0.9, 1.1, 3)  # exposure and white balance
        self.haze, self.clear = colour(rng, (0.5, 0.65), (0, 0.25), (0.65, 0.95)), rng.uniform(90, 400)  # metres
        self.sky = self._paint_sky(rng)
        self.corner = self.main.min(0) - MARGIN
        cells = np.ceil((self.main.max(0) + MARGIN - self.corner) / CELL).astype(int)[::-1]
        road = np.full(cells, 255, np.uint8)
        cv2.polylines(road, [self._cells(line) for line in self.roads], False, 0, 1)
        self.away = (
            cv2.distanceTransform(road, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) * CELL
        )  # metres from a road's middle
        self.taken = np.zeros(cells // 3, np.uint8)
        self.shadow = np.zeros(cells, np.uint8)
        self._build(rng)
        self.ground = self._paint_ground(rng)
        self.grain = noise(rng, (256, 256), (32, 64, 128, 256))
        self.rays = self._rays()

    def _cells(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 2) in metres as cells of the map, (N, 1, 2) int32."""
        return np.round((points - self.corner) / CELL).astype(np.int32)[:, None]

    def _paint_sky(self, rng: np.random.Generator) -> np.ndarray:
        """What is far away, (180, 1024, 3) float32: all around, from 90 degrees up (first row) to the horizon (last)."""
        height = np.linspace(1, 0, 180)[:, None, None]
        zenith = colour(rng, (0.52, 0.65), (0.1, 0.6), (0.55, 0.95))
        sky = self.haze + (zenith - self.haze) * height**0.5
        clouds = np.clip(noise(rng, (180, 1024), (4, 8, 16)) - rng.uniform(-0.3, 1.2), 0, 1)[..., None]
        sky = sky + (colour(rng, saturation=(0, 0.05), value=(0.7, 1)) - sky) * clouds * rng.uniform(0.3, 0.9)
        wide, narrow = noise(rng, (2, 1024), (6, 12))[0], noise(rng, (2, 1024), (64, 128, 256))[0]
        tops = {  # degrees over the horizon
            "hills": 3 + 1.5 * wide + 0.1 * narrow,
            "trees": 3 + 0.8 * wide + 0.7 * narrow,
            "town": 3 + np.repeat(rng.uniform(-2, 4, 64), 16) + np.repeat(rng.uniform(-1, 1, 256), 4),
        }[self.kind.skyline]
        hue = {"hills": (0.2, 0.4), "trees": (0.2, 0.4), "town": (0, 1)}[self.kind.skyline]
        far = colour(rng, hue, (0.1, 0.4), (0.25, 0.6)) * rng.uniform(0.8, 1.2, (1024 // 16, 1)).repeat(16, 0)
        far = far * rng.uniform(0.85, 1.15, (180, 1024, 1)) * 0.6 + self.haze * 0.4
        return np.where(height * 90 < tops[:, None], far, sky).astype(np.float32)

    def _paint_ground(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Maps of the ground (H, W, 3) uint8, each half as fine as the one before."""
        rows, columns = self.away.shape
        ground = np.empty((rows, columns, 3), np.uint8)
        inner = -inf
        for name, outer in self.kind.zones:
            patch = _surface(name, rng)[:rows, :columns]
            beside = 0, rows - len(patch), 0, columns - patch.shape[1]
            patch = cv2.copyMakeBorder(patch, *beside, cv2.BORDER_WRAP)
            zone = (self.away >= self.half + inner) & (self.away < self.half + outer)
            ground[zone] = patch[zone]
            inner = outer
        self.beyond = patch.mean((0, 1))  # of the last, outside of the map
        self._mark(ground)
        self.bright = self.ambient + self.diffuse * self.sun[2]
        dark = 0.9 * self.diffuse * self.sun[2] / self.bright  # of the light, in the shade
        shade = cv2.cvtColor(255 - cv2.convertScaleAbs(self.shadow, alpha=dark), cv2.COLOR_GRAY2BGR)
        maps = [cv2.multiply(ground, shade, scale=1 / 255)]
        while len(maps) < LEVELS:
            height, width = maps[-1].shape[:2]
            maps.append(cv2.resize(maps[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA))
        return maps

    def _mark(self, ground: np.ndarray) -> None:
        """Paint lines, bays and zebra crossings on the roads."""
        for number, line in enumerate(self.roads):
            left = _normals(line)
            others = [other for k, other in enumerate(self.roads) if k != number]
            free = np.ones(len(line), bool)
            for other in others:
                apart = np.linalg.norm(line[:, None] - other[None], axis=-1).min(1)
                free &= apart > self.half + 1
            dash = np.arange(len(line)) * STEP % 9 < 4
            for offset, shown in [(m, free & dash) for m in self.kind.marks] + [
                (side * (self.half - 0.4), free) for side in (-1, 1) if self.kind.edges
            ]:
                self._paint(ground, line + offset * left, shown)
            if self.kind.zebra:
                for i in np.flatnonzero(free[1:] != free[:-1]):
                    along = np.array([left[i, 1], -left[i, 0]]) * (1 if free[i + 1] else -1)
                    for x in np.arange(-self.half + 0.5, self.half - 0.4, 1.0):
                        a = line[i] + x * left[i] + 0.5 * along
                        bar = np.array([a, a + 3 * along, a + 3 * along + 0.5 * left[i], a + 0.5 * left[i]])
                        cv2.fillConvexPoly(ground, self._cells(bar), (225, 225, 225), cv2.LINE_AA)
            if self.kind.bays:
                for i in range(0, len(line), round(self.kind.bays / STEP)):
                    for side in (-1, 1):
                        bay = line[i] + side * np.array([[self.half], [self.half + 5]]) * left[i]
                        self._paint(ground, bay, np.ones(2, bool))

    def _paint(self, ground: np.ndarray, line: np.ndarray, shown: np.ndarray) -> None:
        cells = self._cells(line)
        for i in np.flatnonzero(shown[:-1] & shown[1:]):
            cv2.line(ground, cells[i, 0].tolist(), cells[i + 1, 0].tolist(), (220, 220, 220), 1, cv2.LINE_AA)

    def _build(self, rng: np.random.Generator) -> None:
        """Set up all rows on all roads, as one body of the client."""
        mesh = Mesh(paint_tiles(rng))
        for row in self.kind.rows:
            if rng.uniform() < row.present:
                for number, line in enumerate(self.roads):
                    if row.side == "over":
                        if number == 0:
                            self._row(mesh, row, line, 0, rng)
                    else:
                        for side, name in ((1, "left"), (-1, "right")):
                            if row.side in ("both", name):
                                self._row(mesh, row, line, side, rng)
        self.things = len(mesh.corners)
        if not mesh.corners:
            return
        corners, uvs = np.array(mesh.corners), np.array(mesh.uvs)
        nearest = np.linalg.norm(corners.mean(1)[:, None, :2] - self.main[None, ::8], axis=-1).argmin(1)
        order = np.argsort(nearest, kind="stable")  # what is near hides what is far, if it is drawn first
        corners, uvs = corners[order], uvs[order]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 1])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        self._show(mesh.picture, corners, np.repeat(normals[:, None], 4, 1), uvs)

    def _show(self, picture: np.ndarray, corners: np.ndarray, normals: np.ndarray, uvs: np.ndarray) -> None:
        client, many = self.client, 4000  # quads in a body
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tiles.png"  # PyBullet takes textures from files alone
            cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 0])
            texture = client.loadTexture(str(path))
        for i in range(0, len(corners), many):
            part = slice(i, i + many)
            first = 4 * np.arange(len(corners[part]))[:, None]
            shape = client.createVisualShape(
                client.GEOM_MESH,
                vertices=corners[part].reshape(-1, 3).tolist(),
                normals=normals[part].reshape(-1, 3).tolist(),
                uvs=uvs[part].reshape(-1, 2).tolist(),
                indices=np.add(first, (0, 1, 2, 0, 2, 3)).ravel().tolist(),
                rgbaColor=[1, 1, 1, 1],
            )
            body = client.createMultiBody(baseMass=0, baseVisualShapeIndex=shape)
            client.changeVisualShape(body, -1, textureUniqueId=texture)

    def _row(self, mesh: Mesh, row: Row, line: np.ndarray, side: int, rng: np.random.Generator) -> None:
        """Things along one side of a line (1: left, -1: right, 0: over it), where there is room for them."""
        left = _normals(line)
        at = rng.uniform(0, max(row.gap[1], 0.5))
        end = (len(line) - 1) * STEP
        while True:
            length, depth, height, setback = (
                rng.uniform(*bounds) for bounds in (row.length, row.depth, row.height, row.setback)
            )
            gap, taken, sway = rng.uniform(*row.gap), rng.uniform() < row.share, rng.uniform(-row.sway, row.sway)
            wide, deep = (depth, length) if row.turn else (length, depth)
            if at + wide > end:
                return
            i = round((at + wide / 2) / STEP)
            heading = np.arctan2(-left[i, 0], left[i, 1])
            at += wide + gap
            if not taken:
                continue
            middle = line[i] + side * (self.half + setback + deep / 2) * left[i]
            yaw = heading + (pi if side < 0 else 0) + sway
            across, along = np.array([-sin(yaw), cos(yaw)]) * deep / 2, np.array([cos(yaw), sin(yaw)]) * wide / 2
            footprint = middle + np.array([along + across, along - across, -along - across, across - along])
            if side == 0:
                depth += 2 * self.half
            elif not self._claim(footprint, min(0.1, row.setback[0]) - 0.05, wide > 1 or deep > 1):
                continue
            else:
                self._cast(footprint, height)
            mesh.stand(*middle, yaw + row.turn)
            row.draw(mesh, rng, length, depth, height)

    def _claim(self, footprint: np.ndarray, clear: float, solid: bool) -> bool:
        """Whether a footprint (4, 2) is `clear` metres off all roads and, if solid, off all that stands; takes it."""
        edge = (footprint + np.roll(footprint, 1, 0)) / 2
        probes = self._cells(np.concatenate([footprint, edge, footprint.mean(0, keepdims=True)]))[:, 0]
        rows, columns = self.away.shape
        if (probes < 0).any() or (probes >= (columns, rows)).any():
            return False
        if self.away[probes[:, 1], probes[:, 0]].min() < self.half + clear:
            return False
        if not solid:
            return True
        shape = self._cells(footprint.mean(0) + 0.95 * (footprint - footprint.mean(0)))[:, 0] // 3
        low = np.clip(shape.min(0), 0, None)
        part = self.taken[low[1] : shape[:, 1].max() + 1, low[0] : shape[:, 0].max() + 1]
        mask = np.zeros_like(part)
        cv2.fillConvexPoly(mask, shape - low, 1)
        if (part & mask).any():
            return False
        part |= mask
        return True

    def _cast(self, footprint: np.ndarray, height: float) -> None:
        shift = -self.sun[:2] / self.sun[2] * min(height, 12)
        hull = cv2.convexHull(self._cells(np.concatenate([footprint, footprint + shift])))
        cv2.fillConvexPoly(self.shadow, hull, 255)

    def _rays(self) -> np.ndarray:
        """(H, W, 3): where each pixel looks in the camera's frame, z being 1."""
        height, width = self.size
        k = intrinsics(height, width)
        x, y = np.meshgrid((np.arange(width) - k[0, 2]) / k[0, 0], (np.arange(height) - k[1, 2]) / k[1, 1])
        return np.stack([x, y, np.ones_like(x)], -1).astype(np.float32)

    def _background(self, T_world_camera: np.ndarray) -> np.ndarray:
        """Sky and ground, (H, W, 3) float32."""
        turn, eye = T_world_camera[:3, :3].astype(np.float32), T_world_camera[:3, 3].astype(np.float32)
        rays = self.rays @ turn.T
        x, y, z = np.moveaxis(rays, -1, 0)
        flat = np.hypot(x, y)
        azimuth, up = np.arctan2(y, x), np.arctan2(z, flat)
        sky = cv2.remap(
            self.sky,
            ((azimuth / (2 * pi) + 0.5) * 1024).astype(np.float32),
            np.clip(179 * (1 - up / (pi / 2)), 0, 179).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
        below = z < -1e-4
        reach = np.where(below, -eye[2] / np.minimum(z, -1e-4), 0)  # in lengths of the ray, so metres ahead
        spot = eye[:2] + reach[..., None] * rays[..., :2]
        focal = FOCAL * self.size[1]
        covered = reach / focal * np.sqrt(np.maximum(1, reach * flat / eye[2]))  # metres a side, by a pixel
        level = np.clip(np.log2(np.maximum(covered / CELL, 1)), 0, LEVELS - 1)
        ground = np.zeros_like(sky)
        for k, picture in enumerate(self.ground):
            share = np.clip(1 - abs(level - k), 0, 1)
            if not share.any():
                continue
            cells = ((spot - self.corner.astype(np.float32)) / CELL + 0.5) / 2**k - 0.5
            mapped = cv2.remap(
                picture,
                cells[..., 0].astype(np.float32),
                cells[..., 1].astype(np.float32),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=self.beyond.tolist(),
            )
            ground += share[..., None].astype(np.float32) * mapped
        near = np.clip(1 - covered / 0.15, 0, 1)
        i, j = (np.clip(spot, -1e5, 1e5) / 0.03).astype(int).transpose(2, 0, 1) % 256
        ground *= (self.bright * (1 + 0.12 * near * self.grain[j, i]))[..., None].astype(np.float32)
        return np.where(below[..., None], self._hazy(ground, reach), sky)

    def _hazy(self, colours: np.ndarray, metres: np.ndarray) -> np.ndarray:
        share = np.exp(-np.minimum(metres, 1e4) / self.clear) * np.clip((FAR - metres) / 30, 0, 1)
        return self.haze + (colours - self.haze) * share[..., None]

    def picture(self, T_world_camera: np.ndarray) -> np.ndarray:
        """What a camera sees, (H, W, 3) uint8, red, green, blue.

        Args:
            T_world_camera: (4, 4), the camera's pose: x right, y down, z ahead.
        """
        height, width = self.size
        near = 0.2  # metres
        projection = np.diag([2 * FOCAL, 2 * FOCAL * width / height, -(FAR + near) / (FAR - near), 0])
        projection[2, 3], projection[3, 2] = -2 * FAR * near / (FAR - near), -1  # OpenGL's
        turn, eye = T_world_camera[:3, :3], T_world_camera[:3, 3]
        _, _, colours, depth, bodies = self.client.getCameraImage(
            2 * width,
            2 * height,
            viewMatrix=self.client.computeViewMatrix(eye, eye + turn[:, 2], -turn[:, 1]),
            projectionMatrix=projection.T.ravel().tolist(),
            shadow=0,
            renderer=self.client.ER_TINY_RENDERER,
            lightDirection=self.sun.tolist(),
            lightAmbientCoeff=self.ambient,
            lightDiffuseCoeff=self.diffuse,
            lightSpecularCoeff=0,
        )
        doubled = 2 * height, 2 * width
        there = np.reshape(bodies, doubled) >= 0
        metres = FAR * near / (FAR - (FAR - near) * np.reshape(depth, doubled))
        things = self._hazy(np.reshape(colours, (*doubled, 4))[..., :3].astype(np.float32), metres)
        quarters = np.where(there[..., None], things, 0).reshape(height, 2, width, 2, 3).mean((1, 3))
        cover = there.reshape(height, 2, width, 2).mean((1, 3))[..., None]
        mixed = quarters + (1 - cover) * self._background(T_world_camera)
        return (mixed * self.tint).clip(0, 255).astype(np.uint8)


def intrinsics(height: int, width: int) -> np.ndarray:
    """(3, 3): pixels from metres in the camera's frame; the middle of the first pixel is at (0, 0)."""
    return np.array([[FOCAL * width, 0, (width - 1) / 2], [0, FOCAL * width, (height - 1) / 2], [0, 0, 1]])


def camera_pose(x: float, y: float, heading: float, height: float = 1.65) -> np.ndarray:
    """T_world_camera (4, 4) of a level camera that looks along a heading."""
    T = np.eye(4)
    T[:3, :3] = np.array([[sin(heading), 0, cos(heading)], [-cos(heading), 0, sin(heading)], [0, -1, 0]])
    T[:3, 3] = x, y, height
    return T
