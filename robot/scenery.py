"""What stands in a simulated street: one mesh of flat quads, its textures in one picture, and the things made of them.

Metres; x along the road, y away from it and z up, in the frame where a thing stands: its front looks along -y, at the
road. A thing fills a box of length (x), depth (y) and height (z) that is given to it. All colours and patterns are drawn
anew for each world, so that no colour tells what a thing is.
"""

from colorsys import hsv_to_rgb
from math import cos, pi, sin

import cv2
import numpy as np

TILE = 128  # pixels a side: of one texture in the picture of all
COLUMNS = 8  # textures in a row of that picture
WALL = 12.0  # metres of a wall that one texture covers


def colour(rng: np.random.Generator, hue=(0, 1), saturation=(0, 1), value=(0, 1)) -> np.ndarray:
    """(3,) red, green and blue in [0, 255], within ranges of hue, saturation and value in [0, 1]."""
    return 255 * np.array(hsv_to_rgb(rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value)))


def noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, ...]) -> np.ndarray:
    """Random blotches that tile without a seam, mean 0 and deviation 1: (H, W) float32.

    Args:
        cells: how many random values there are along a side, one number for each layer, all weighted alike.
    """
    total = np.zeros(shape, np.float32)
    for n in cells:
        grid = np.pad(rng.normal(size=(n, n)).astype(np.float32), 2, mode="wrap")
        scale = shape[0] / n, shape[1] / n
        whole = cv2.resize(grid, None, fx=scale[1], fy=scale[0], interpolation=cv2.INTER_CUBIC)
        top, left = round(2 * scale[0]), round(2 * scale[1])
        total += whole[top : top + shape[0], left : left + shape[1]]
    return (total - total.mean()) / total.std()


def _rough(rng: np.random.Generator, base: np.ndarray, strength: float, cells=(4, 32)) -> np.ndarray:
    """A tile of one colour with blotches of `strength` grey levels: (TILE, TILE, 3) float."""
    return base + strength * noise(rng, (TILE, TILE), cells)[..., None]


def _facade(rng: np.random.Generator, floors: int, columns: int, window: tuple[float, float], dark_door=False):
    """A wall of `floors` x `columns` windows, each covering `window` (height, width) of its share."""
    tile = _rough(rng, colour(rng, saturation=(0.05, 0.6), value=(0.35, 0.95)), 8)
    frame, glass = colour(rng, value=(0.2, 1), saturation=(0, 0.3)), colour(rng, (0.5, 0.65), (0.1, 0.5), (0.1, 0.6))
    high, wide = TILE / floors, TILE / columns
    if rng.integers(2):
        tile[:: round(high)] = frame  # a ledge on each floor
    for i in range(floors):
        for j in range(columns):
            top, left = (i + (1 - window[0]) / 2) * high, (j + (1 - window[1]) / 2) * wide
            bottom, right = top + window[0] * high, left + window[1] * wide
            tile[round(top) - 1 : round(bottom) + 1, round(left) - 1 : round(right) + 1] = frame
            shine = rng.uniform(0.5, 1.6)
            tile[round(top) : round(bottom), round(left) : round(right)] = glass * shine
            tile[round(top) : round(bottom), round((left + right) / 2)] = frame
    if dark_door:
        tile[-round(0.8 * high) :, round(0.45 * TILE) : round(0.55 * TILE)] = frame * 0.4
    return tile


def _bricks(rng: np.random.Generator, base: np.ndarray, rows: int, columns: int, joint: float = 0.7) -> np.ndarray:
    """Courses of bricks or slates, each in a shade of its own, with joints of `joint` times the colour."""
    shade = rng.uniform(0.75, 1.2, (rows, columns))
    y, x = np.indices((TILE, TILE))
    row = y * rows // TILE
    along = x * columns / TILE + 0.5 * (row % 2)
    tile = base * shade[row, along.astype(int) % columns][..., None]
    tile[(y * rows / TILE) % 1 < rows / TILE] *= joint
    tile[along % 1 < columns / TILE] *= joint
    return tile


def _stripes(rng: np.random.Generator, a: np.ndarray, b: np.ndarray, count: int, slant: float = 0.0) -> np.ndarray:
    """`count` upright stripes in two colours, leaning by `slant` tiles from bottom to top."""
    y, x = np.indices((TILE, TILE)) / TILE
    tile = np.where(((x + slant * y) * count % 1 < 0.5)[..., None], a, b)
    return tile + 4 * noise(rng, (TILE, TILE), (8, 32))[..., None]


def _leaves(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    return base * np.clip(1 + 0.4 * noise(rng, (TILE, TILE), (8, 16, 32)), 0.3, 1.8)[..., None]


def _car_side(rng: np.random.Generator, paint: np.ndarray) -> np.ndarray:
    """Two wheels, doors and a sill; the lower 60 % of a car seen from the side."""
    tile = _rough(rng, paint, 4)
    tile[: TILE // 12] *= 0.75
    tile[-TILE // 5 :] *= 0.6
    tile[:, [TILE // 3, TILE // 2, 2 * TILE // 3]] *= 0.5
    for x in (0.2, 0.8):
        for radius, shade in ((0.14, 25.0), (0.07, 150.0)):
            centre, axes = (round(x * TILE), round(0.72 * TILE)), (round(radius * TILE), round(2 * radius * TILE))
            cv2.ellipse(tile, centre, axes, 0, 0, 360, [shade] * 3, -1)
    return tile


def _car_end(rng: np.random.Generator, paint: np.ndarray, lamp: tuple[int, int, int]) -> np.ndarray:
    """Two lamps, a number plate and a bumper."""
    tile = _rough(rng, paint, 4)
    tile[-TILE // 3 :] *= 0.4
    tile[TILE // 4 : TILE // 2, : TILE // 5] = lamp
    tile[TILE // 4 : TILE // 2, -TILE // 5 :] = lamp
    tile[TILE // 2 : 2 * TILE // 3, 3 * TILE // 8 : 5 * TILE // 8] = 230
    return tile


def _sign(rng: np.random.Generator) -> np.ndarray:
    """Lines as of writing on a coloured board with a rim."""
    tile = _rough(rng, colour(rng, saturation=(0.6, 1), value=(0.4, 0.8)), 3)
    for y in range(20, TILE - 24, 28):
        tile[y : y + 10, 14 : rng.integers(50, TILE - 14)] = 240
    tile[[0, 1, 2, -3, -2, -1]] = tile[:, [0, 1, 2, -3, -2, -1]] = 240
    return tile


def paint_tiles(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The textures of one world by name, each (TILE, TILE, 3) float in [0, 255] and beyond."""
    tiles = {}
    for i in range(6):
        floors, columns = rng.integers(3, 6), rng.integers(3, 7)
        tiles[f"facade{i}"] = _facade(rng, floors, columns, (rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.8)))
    for i in range(4):
        tiles[f"house{i}"] = _facade(rng, 2, rng.integers(2, 5), (0.45, 0.4), dark_door=True)
    for i in range(3):
        tiles[f"hall{i}"] = _facade(rng, 3, rng.integers(6, 12), (0.5, 0.85))
        tiles[f"roof{i}"] = _bricks(rng, colour(rng, (-0.05, 0.1), (0.1, 0.7), (0.25, 0.7)), 12, 12, 0.8)
        tiles[f"metal{i}"] = _stripes(rng, *([colour(rng, saturation=(0, 0.8), value=(0.3, 0.9))] * 2), 16)
        tiles[f"metal{i}"][:, ::6] *= 0.7
        tiles[f"awning{i}"] = _stripes(rng, colour(rng, (0, 1), (0.4, 1), (0.5, 1)), np.full(3, 235.0), 6)
        tiles[f"sign{i}"] = _sign(rng)
    season = rng.uniform(0.1, 0.36)  # hue of leaves: autumn to deep green
    for i in range(3):
        tiles[f"leaf{i}"] = _leaves(rng, colour(rng, (season - 0.04, season + 0.04), (0.3, 0.8), (0.3, 0.7)))
    tiles["needle"] = _leaves(rng, colour(rng, (0.3, 0.45), (0.3, 0.7), (0.2, 0.45)))
    tiles["bark"] = _rough(rng, colour(rng, (0.03, 0.1), (0.1, 0.5), (0.2, 0.5)), 18, (8, 32))
    for i in range(5):
        paint = colour(rng, value=(0.15, 0.95))
        tiles[f"car{i}"], tiles[f"hood{i}"] = _car_side(rng, paint), _rough(rng, paint, 5, (2, 8))
        tiles[f"nose{i}"], tiles[f"tail{i}"] = (
            _car_end(rng, paint, (250, 250, 230)),
            _car_end(rng, paint, (200, 30, 30)),
        )
    tiles["glass"] = _facade(rng, 1, 2, (0.8, 0.85))
    tiles["concrete"] = _rough(rng, colour(rng, (0.05, 0.15), (0, 0.15), (0.4, 0.8)), 12)
    tiles["concrete"][:: TILE // 4] *= 0.7
    tiles["brick"] = _bricks(rng, colour(rng, (-0.03, 0.1), (0.2, 0.6), (0.4, 0.8)), 16, 6)
    tiles["hazard"] = _stripes(rng, np.array([200.0, 30, 30]), np.full(3, 235.0), 4, 1.0)
    tiles["plank"] = _bricks(rng, colour(rng, (0.04, 0.12), (0.2, 0.6), (0.35, 0.8)), 4, 8, 0.5)
    tiles["steel"] = _rough(rng, colour(rng, (0.5, 0.65), (0, 0.15), (0.35, 0.8)), 10, (2, 8))
    tiles["steel"][::16] *= 0.75
    tiles["yellow"] = _rough(rng, colour(rng, (0.09, 0.15), (0.7, 1), (0.6, 0.95)), 10)
    tiles["sand"] = _rough(rng, colour(rng, (0.06, 0.13), (0.2, 0.6), (0.4, 0.8)), 14, (8, 32, 64))
    tiles["lattice"] = _stripes(rng, *(colour(rng, saturation=(0, 0.4), value=(0.3, 0.9)) for _ in range(2)), 3, 0)
    tiles["lattice"][::32] = 60
    tiles["lamp"] = np.full((TILE, TILE, 3), 245.0)
    tiles["dark"] = _rough(rng, np.full(3, 45.0), 6)
    return tiles


class Mesh:
    """Quads with their normals and textures; `stand` says where what is added next stands in the world."""

    def __init__(self, tiles: dict[str, np.ndarray]):
        self.names = {name: number for number, name in enumerate(tiles)}
        rows = -(-len(tiles) // COLUMNS)
        self.picture = np.zeros((rows * TILE, COLUMNS * TILE, 3), np.uint8)
        for number, tile in enumerate(tiles.values()):
            y, x = TILE * (number // COLUMNS), TILE * (number % COLUMNS)
            self.picture[y : y + TILE, x : x + TILE] = tile.clip(0, 255)
        self.corners, self.uvs = [], []  # (4, 3) metres, (4, 2) shares of the picture from its lower left
        self.place, self.turn = np.zeros(3), np.eye(3)

    def stand(self, x: float, y: float, yaw: float) -> None:
        self.place = np.array([x, y, 0.0])
        self.turn = np.array([[cos(yaw), -sin(yaw), 0], [sin(yaw), cos(yaw), 0], [0, 0, 1]])

    def quad(self, corners, tile: str, part=(1.0, 1.0)) -> None:
        """Corners (4, 3) seen from outside: lower left, lower right, upper right, upper left; part of the tile shown."""
        number, high = self.names[tile], self.picture.shape[0] / TILE
        inset = 0.5 / TILE
        left, bottom = number % COLUMNS + inset, high - number // COLUMNS - 1 + inset
        right, top = left + part[0] * (1 - 2 * inset), bottom + part[1] * (1 - 2 * inset)
        self.corners.append(self.place + np.asarray(corners, float) @ self.turn.T)
        self.uvs.append(np.array([[left, bottom], [right, bottom], [right, top], [left, top]]) / (COLUMNS, high))

    def wall(self, a, b, low: float, high: float, tile: str, metres: float = WALL) -> None:
        """Upright from a (x, y) to b, left to right as seen from outside; the texture repeats every `metres`."""
        a, b = np.asarray(a, float), np.asarray(b, float)
        width = float(np.linalg.norm(b - a))
        for x in np.arange(0, width - 1e-6, metres):
            start, end = a + (b - a) * x / width, a + (b - a) * min(1, (x + metres) / width)
            share = min(1, (width - x) / metres)
            for z in np.arange(low, high - 1e-6, metres):
                top = min(high, z + metres)
                corners = [[*start, z], [*end, z], [*end, top], [*start, top]]
                self.quad(corners, tile, (share, (top - z) / metres))

    def box(self, middle, size, tile: str, top: str | None = None, low: float = 0.0, metres: float = WALL) -> None:
        """Four walls and a lid around `middle` (x, y), `size` (length, depth, height), standing at height `low`."""
        (x, y), (length, depth, height) = middle, size
        left, right, front, back = x - length / 2, x + length / 2, y - depth / 2, y + depth / 2
        ring = [(left, front), (right, front), (right, back), (left, back)]
        for a, b in zip(ring, [*ring[1:], ring[0]], strict=True):
            self.wall(a, b, low, low + height, tile, metres)
        self.quad([[*corner, low + height] for corner in ring], top or tile)
        if low > 0:
            self.quad([[*corner, low] for corner in reversed(ring)], top or tile)

    def post(self, middle, low: float, high: float, radii: tuple[float, float], tile: str, sides: int = 5) -> None:
        """A cylinder, cone or anything between: `radii` at height low and high."""
        angles = np.arange(sides + 1) * 2 * pi / sides
        ring = np.stack([np.cos(angles), np.sin(angles)], -1)
        below, above = middle + radii[0] * ring, middle + radii[1] * ring
        for i in range(sides):
            a, b, c, d = below[i], below[i + 1], above[i + 1], above[i]
            self.quad([[*a, low], [*b, low], [*c, high], [*d, high]], tile)

    def gable(self, middle, size, low: float, wall: str, roof: str) -> None:
        """A roof whose ridge runs along x, on what is `size` (length, depth) wide; `size[2]` is its own height."""
        (x, y), (length, depth, height) = middle, size
        left, right, front, back, top = x - length / 2, x + length / 2, y - depth / 2, y + depth / 2, low + height
        self.quad([[left, front, low], [right, front, low], [right, y, top], [left, y, top]], roof)
        self.quad([[right, back, low], [left, back, low], [left, y, top], [right, y, top]], roof)
        self.quad([[left, back, low], [left, front, low], [left, y, top], [left, y, top]], wall, (0.3, 0.1))
        self.quad([[right, front, low], [right, back, low], [right, y, top], [right, y, top]], wall, (0.3, 0.1))


def tower(mesh: Mesh, rng, length, depth, height) -> None:
    """A block of flats or offices, with another texture on the ground floor."""
    wall = f"facade{rng.integers(6)}"
    mesh.box((0, 0), (length, depth, height), wall, "concrete", metres=rng.uniform(9, 15))
    mesh.wall((-length / 2, -depth / 2 - 0.3), (length / 2, -depth / 2 - 0.3), 0, 3.2, "glass", 6)
    mesh.box((0, -depth / 2 - 0.4), (length, 0.8, 0.5), f"awning{rng.integers(3)}", low=3.2)
    if rng.integers(2):
        mesh.box((0, 0), (length / 3, depth / 2, 3), "concrete", low=height)


def house(mesh: Mesh, rng, length, depth, height) -> None:
    """Walls for one or two floors, a pitched roof, perhaps a chimney."""
    wall, roof, walls = f"house{rng.integers(4)}", f"roof{rng.integers(3)}", 0.6 * height
    mesh.box((0, 0), (length, depth, walls), wall, metres=max(length, 6))
    mesh.gable((0, 0), (length + 0.8, depth + 0.8, height - walls), walls, wall, roof)
    if rng.integers(2):
        mesh.box((length / 4, depth / 4), (0.7, 0.7, height - walls + 0.5), "brick", low=walls, metres=2)


def hall(mesh: Mesh, rng, length, depth, height) -> None:
    """A long, low, flat-roofed building with bands of windows, as on a campus."""
    wall = f"hall{rng.integers(3)}"
    mesh.box((0, 0), (length, depth, height), wall, "concrete", metres=10)
    mesh.box((0, -depth / 2 - 1.5), (6, 3, 0.4), "concrete", low=3.4)  # a roof over the entrance
    for x in (-2.7, 2.7):
        mesh.post((x, -depth / 2 - 2.7), 0, 3.4, (0.15, 0.15), "steel", 4)


def shed(mesh: Mesh, rng, length, depth, height) -> None:
    """A works hall of corrugated metal with a gate and a sign."""
    wall = f"metal{rng.integers(3)}"
    mesh.box((0, 0), (length, depth, height), wall, "concrete", metres=8)
    mesh.gable((0, 0), (length, depth, height / 5), height, wall, f"metal{rng.integers(3)}")
    mesh.wall((-length / 3, -depth / 2 - 0.1), (-length / 3 + 5, -depth / 2 - 0.1), 0, 4.5, "dark", 5)
    mesh.wall((length / 8, -depth / 2 - 0.1), (length / 8 + 4, -depth / 2 - 0.1), 3, 5, f"sign{rng.integers(3)}", 4)


def tree(mesh: Mesh, rng, length, depth, height) -> None:
    """A trunk and a crown of two blunt cones, base to base."""
    leaf, radius, trunk = f"leaf{rng.integers(3)}", length / 2, height * rng.uniform(0.25, 0.4)
    mesh.post((0, 0), 0, trunk + 1, (0.2, 0.15), "bark", 4)
    middle = trunk + (height - trunk) * rng.uniform(0.3, 0.5)
    mesh.post((0, 0), trunk, middle, (0.35 * radius, radius), leaf, 7)
    mesh.post((0, 0), middle, (middle + height) / 2, (radius, 0.8 * radius), leaf, 7)
    mesh.post((0, 0), (middle + height) / 2, height, (0.8 * radius, 0.1), leaf, 7)


def conifer(mesh: Mesh, rng, length, depth, height) -> None:
    """A trunk and three cones, one over the other."""
    mesh.post((0, 0), 0, 0.3 * height, (0.22, 0.18), "bark", 4)
    for k, low in enumerate((0.15, 0.4, 0.65)):
        mesh.post((0, 0), low * height, (low + 0.35) * height, ((1 - 0.27 * k) * length / 2, 0.05), "needle", 7)


def bush(mesh: Mesh, rng, length, depth, height) -> None:
    """A ball of leaves, wide at the top."""
    leaf = f"leaf{rng.integers(3)}"
    mesh.post((0, 0), 0, height / 2, (0.4 * length, length / 2), leaf, 6)
    mesh.post((0, 0), height / 2, height, (length / 2, 0.15 * length), leaf, 6)


def hedge(mesh: Mesh, rng, length, depth, height) -> None:
    """A box of leaves."""
    mesh.box((0, 0), (length, depth, height), f"leaf{rng.integers(3)}", metres=3)


def car(mesh: Mesh, rng, length, depth, height) -> None:
    """A body with wheels painted on it and a cabin; its nose looks either way along x."""
    number, way = rng.integers(5), rng.choice([-1, 1])
    body, half = 0.55 * height, depth / 2
    for side in (-1, 1):
        mesh.wall(
            (-side * length / 2, side * half), (side * length / 2, side * half), 0.1, body, f"car{number}", length
        )
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    mesh.quad([[x * length / 2, y * half, body] for x, y in corners], f"hood{number}")
    for x, end in ((-way, "tail"), (way, "nose")):
        a, b = (x * length / 2, -x * half), (x * length / 2, x * half)
        mesh.quad([[*a, 0.2], [*b, 0.2], [*b, body], [*a, body]], f"{end}{number}")
    base = [(-0.33 * length, -half), (0.3 * length, -half), (0.3 * length, half), (-0.33 * length, half)]
    roof = [(-0.24 * length, -0.8 * half), (0.15 * length, -0.8 * half)]
    roof += [(x, -y) for x, y in reversed(roof)]
    base, roof = np.array(base) * (way, 1), np.array(roof) * (way, 1)
    for i in range(4)[::way]:
        a, b = (i, (i + 1) % 4)[::way]
        mesh.quad([[*base[a], body], [*base[b], body], [*roof[b], height], [*roof[a], height]], "glass")
    mesh.quad([[*corner, height] for corner in roof[::way]], f"hood{number}")


def lorry(mesh: Mesh, rng, length, depth, height) -> None:
    """A cab and a load on dark wheels."""
    mesh.box((0, 0), (length, 0.8 * depth, 0.9), "dark", low=0.1, metres=3)
    mesh.box((-0.12 * length, 0), (0.76 * length, depth, height - 1), f"metal{rng.integers(3)}", low=1, metres=3)
    mesh.box((0.4 * length, 0), (0.2 * length, depth, 0.7 * height - 0.5), f"hood{rng.integers(5)}", low=0.5, metres=3)
    mesh.box((0.42 * length, 0), (0.17 * length, depth + 0.02, 0.8), "glass", low=0.45 * height, metres=3)


def lamp(mesh: Mesh, rng, length, depth, height) -> None:
    """A street lamp, whose arm reaches over the road."""
    mesh.post((0, 0), 0, height, (0.12, 0.07), "steel", 4)
    mesh.box((0, -0.9), (0.25, 1.8, 0.12), "steel", low=height)


def sign(mesh: Mesh, rng, length, depth, height) -> None:
    """A road sign on a pole."""
    mesh.post((0, 0), 0, height, (0.06, 0.06), "steel", 4)
    face = f"sign{rng.integers(3)}"
    mesh.box((0, 0), (0.1, 0.8, 0.8), face, low=height - 0.8, metres=0.8)


def traffic_light(mesh: Mesh, rng, length, depth, height) -> None:
    """A box with three lamps on a pole."""
    mesh.post((0, 0), 0, height, (0.09, 0.09), "steel", 4)
    mesh.box((0, 0), (0.35, 0.35, 1.0), "dark", low=height - 1)
    for k, tile in enumerate(("yellow", "lamp", "hazard")):
        mesh.box((0, 0), (0.38, 0.2, 0.2), tile, low=height - 0.9 + 0.3 * k)


def fence(mesh: Mesh, rng, length, depth, height) -> None:
    """A board fence."""
    mesh.box((0, 0), (length, 0.1, height), "plank", metres=2.5)


def rail(mesh: Mesh, rng, length, depth, height) -> None:
    """A crash barrier or hand rail: one band on posts."""
    mesh.box((0, 0), (length, 0.12, 0.35 * height), "steel", low=0.6 * height, metres=2)
    mesh.post((0, 0), 0, height, (0.08, 0.08), "steel", 4)


def wall(mesh: Mesh, rng, length, depth, height) -> None:
    """A brick wall with a concrete top."""
    mesh.box((0, 0), (length, depth, height), "brick", "concrete", metres=4)


def screen(mesh: Mesh, rng, length, depth, height) -> None:
    """A wall against noise along a motorway, or round a dock."""
    mesh.box((0, 0), (length, depth, height), "concrete", metres=4)


def hoarding(mesh: Mesh, rng, length, depth, height) -> None:
    """Red and white boards on feet."""
    mesh.box((0, 0), (length, 0.1, 0.3), "hazard", low=height - 0.3, metres=1.5)
    mesh.box((0, 0), (length, 0.1, 0.2), "hazard", low=0.2, metres=1.5)
    mesh.post((0, 0), 0, height, (0.08, 0.08), "dark", 4)


def stall(mesh: Mesh, rng, length, depth, height) -> None:
    """A counter with crates of goods under a striped roof."""
    awning = f"awning{rng.integers(3)}"
    for x in (-0.5, 0.5):
        for y in (-0.5, 0.5):
            mesh.post((x * length, y * depth), 0, 0.75 * height, (0.06, 0.06), "steel", 4)
    mesh.gable((0, 0), (length + 0.4, depth + 0.6, 0.25 * height), 0.75 * height, awning, awning)
    mesh.box((0, 0), (length, 0.6 * depth, 0.9), "plank", metres=2)
    for x in np.arange(-length / 2 + 0.4, length / 2 - 0.3, 0.7):
        mesh.box((x, -0.1), (0.6, 0.5 * depth, 0.25), f"hood{rng.integers(5)}", f"leaf{rng.integers(3)}", low=0.9)


def bench(mesh: Mesh, rng, length, depth, height) -> None:
    """A seat and a back of planks."""
    mesh.box((0, 0), (length, 0.5, 0.1), "plank", low=0.45, metres=2)
    mesh.box((0, 0.25), (length, 0.08, 0.4), "plank", low=0.55, metres=2)


def container(mesh: Mesh, rng, length, depth, height) -> None:
    """One steel box, or two or three on top of each other."""
    for k in range(rng.integers(1, 4)):
        mesh.box((0, 0), (length, depth, height), f"metal{rng.integers(3)}", low=k * height + 0.02, metres=6)


def crane(mesh: Mesh, rng, length, depth, height) -> None:
    """A tower crane, whose arm points anywhere."""
    mesh.box((0, 0), (1.2, 1.2, height), "yellow", metres=1.5)
    turn = rng.uniform(0, 2 * pi)
    arm = np.array([cos(turn), sin(turn)])
    side = 0.6 * np.array([-arm[1], arm[0]])
    a, b = -6 * arm, 0.9 * height * arm
    for edge in (side, -side):
        start, end = (a + edge, b + edge) if edge is side else (b + edge, a + edge)
        mesh.wall(end, start, height, height + 1.2, "yellow", 2)
    mesh.quad([[*p, height] for p in (a + side, b + side, b - side, a - side)], "yellow")
    mesh.box(a, (2, 2, 2), "concrete", low=height - 2)


def heap(mesh: Mesh, rng, length, depth, height) -> None:
    """A heap of earth."""
    mesh.post((0, 0), 0, 0.7 * height, (length / 2, 0.2 * length), "sand", 7)
    mesh.post((0, 0), 0.7 * height, height, (0.2 * length, 0.02), "sand", 7)


def shell(mesh: Mesh, rng, length, depth, height) -> None:
    """A building that is being built: floors and columns, half of it behind a scaffold."""
    for low in np.arange(0, height - 1, 3.5):
        mesh.box((0, 0), (length, depth, 0.4), "concrete", low=low + 3, metres=6)
        for x in (-0.45, -0.15, 0.15, 0.45):
            for y in (-0.45, 0.45):
                mesh.box((x * length, y * depth), (0.5, 0.5, 3), "concrete", low=low, metres=3)
    mesh.wall((-length / 2, -depth / 2 - 0.5), (0, -depth / 2 - 0.5), 0, height, "lattice", 4)


def digger(mesh: Mesh, rng, length, depth, height) -> None:
    """Tracks, a cab, and a bent arm."""
    mesh.box((0, 0), (0.6 * length, depth, 0.8), "dark", metres=2)
    mesh.box((-0.05 * length, 0), (0.4 * length, 0.8 * depth, height - 0.8), "yellow", low=0.8, metres=2)
    mesh.box((0.05 * length, 0), (0.22 * length, 0.82 * depth, 0.8), "glass", low=height - 1, metres=2)
    mesh.box((0.3 * length, 0), (0.3 * length, 0.4, 0.4), "yellow", low=height - 0.2, metres=2)
    mesh.box((0.45 * length, 0), (0.3, 0.4, height - 0.6), "yellow", low=0.6, metres=2)
    mesh.box((0.45 * length, 0), (0.8, 1.0, 0.6), "dark", low=0.2, metres=2)


def boat(mesh: Mesh, rng, length, depth, height) -> None:
    """A hull, a mast and a sail, or a cabin."""
    mesh.box((0, 0), (length, depth, 1.0), f"hood{rng.integers(5)}", "plank", metres=4)
    mesh.box((0, 0), (0.4 * length, 0.7 * depth, 1.0), "glass", low=1.0, metres=3)
    mesh.post((0, 0), 1, height, (0.08, 0.05), "steel", 4)
    if rng.integers(2):
        a, b, c = [0.1, 0, 2.2], [0.45 * length, 0, 2.2], [0.1, 0, height]
        mesh.quad([a, b, c, c], f"awning{rng.integers(3)}")
        mesh.quad([b, a, c, c], f"awning{rng.integers(3)}")


def bale(mesh: Mesh, rng, length, depth, height) -> None:
    """A bale of straw."""
    mesh.box((0, 0), (length, depth, height), "sand", metres=2)


def tunnel(mesh: Mesh, rng, length, depth, height) -> None:
    """A stretch of walls and ceiling over a road, `depth` wide inside, with a lamp in every other one."""
    for side in (-1, 1):
        a, b = (-side * length / 2, -side * depth / 2), (side * length / 2, -side * depth / 2)
        mesh.wall(b, a, 0, 0.4 * height, "brick", 4)
        mesh.wall(b, a, 0.4 * height, height, "concrete", 4)
    ring = [(-length / 2, depth / 2), (length / 2, depth / 2), (length / 2, -depth / 2), (-length / 2, -depth / 2)]
    mesh.quad([[*corner, height] for corner in ring], "concrete")
    mesh.quad([[0.6 * x, 0.08 * y, height - 0.05] for x, y in ring], "lamp")
    mesh.box((0, depth / 2 - 0.1), (0.4 * length, 0.2, 0.3), "lamp", low=0.6 * height)


def gantry(mesh: Mesh, rng, length, depth, height) -> None:
    """Two posts, a beam over a road that is `depth` wide, and two boards on it."""
    for side in (-1, 1):
        mesh.post((0, side * depth / 2), 0, height, (0.25, 0.2), "steel", 4)
    mesh.box((0, 0), (0.4, depth, 0.5), "steel", low=height - 0.8, metres=3)
    for y in (-0.22, 0.22):
        mesh.box(
            (0, y * depth), (0.2, 0.3 * depth, 2.2), f"sign{rng.integers(3)}", low=height - 1.6, metres=0.3 * depth
        )


def truss(mesh: Mesh, rng, length, depth, height) -> None:
    """A stretch of a bridge: a portal over a road `depth` wide, slanting members and rails at its sides."""
    for side in (-1, 1):
        y = side * depth / 2
        mesh.box((-length / 2, y), (0.5, 0.5, height), "metal0", metres=3)
        mesh.box((0, y), (length, 0.4, 0.5), "metal0", low=height - 0.5, metres=3)
        mesh.box((0, y), (length, 0.15, 0.5), "steel", low=0.7, metres=2)
        for a, b in ((-length / 2, length / 2), (length / 2, -length / 2)):
            thick = 0.25 if b > a else -0.25
            low, high = [[a, y], [a + thick, y]], [[b, y], [b - thick, y]]
            corners = [[*low[0], 0.3], [*low[1], 0.3], [*high[0], height - 0.5], [*high[1], height - 0.5]]
            mesh.quad(corners, "metal0")
            mesh.quad(corners[::-1], "metal0")
    mesh.box((-length / 2, 0), (0.4, depth, 0.5), "metal0", low=height - 0.5, metres=3)
