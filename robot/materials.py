"""What things are made of: how that looks, how rough and stiff it is, and how heavy.

The look tells the rest, so that what a poke or a grasp will feel can be predicted from a picture: each material has a
pattern and a range of colours of its own, and within a material the darker is the stiffer and the paler is the smoother.
Patterns are near white and multiplied by a colour.
"""

from colorsys import hsv_to_rgb
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import numpy as np

from videossl.robot.scenery import noise

SIZE = 64  # pixels a side of a texture
VARIANTS = 4  # textures of each pattern
PLAIN = 0  # the texture that is white all over


@dataclass(frozen=True)
class Material:
    """A family of finishes; ranges are (least, most).

    Stiffness runs over its range by ratio: halfway in the look is the geometric mean. Density is that of the thing as a
    whole, shell and filling: a can is not solid metal.
    """

    name: str
    friction: tuple[float, float]  # Coulomb's coefficient
    stiffness: tuple[float, float]  # N/m, of a contact
    density: tuple[float, float]  # kg/m3
    hue: tuple[float, float]  # of the colour, in turns: these three in [0, 1], hue also beyond
    saturation: tuple[float, float]
    value: tuple[float, float]
    pattern: str  # one of PATTERNS


MATERIALS = (
    Material("foam", (0.75, 0.95), (300, 500), (60, 120), (0.0, 1.0), (0.15, 0.35), (0.85, 1.0), "pores"),
    Material("cloth", (0.5, 0.7), (500, 900), (150, 250), (0.0, 1.0), (0.45, 0.75), (0.45, 0.8), "weave"),
    Material("rubber", (0.9, 1.2), (800, 1500), (400, 700), (0.0, 1.0), (0.0, 0.25), (0.15, 0.3), "studs"),
    Material("cork", (0.6, 0.8), (1200, 2200), (150, 250), (0.06, 0.09), (0.45, 0.65), (0.6, 0.8), "crumbs"),
    Material("cardboard", (0.4, 0.6), (1800, 3000), (120, 250), (0.08, 0.11), (0.3, 0.5), (0.65, 0.85), "flutes"),
    Material("plastic", (0.25, 0.4), (2800, 4500), (250, 450), (0.0, 1.0), (0.75, 1.0), (0.7, 1.0), "plain"),
    Material("wood", (0.35, 0.55), (4000, 6500), (400, 700), (0.05, 0.12), (0.5, 0.8), (0.4, 0.7), "grain"),
    Material("ceramic", (0.2, 0.35), (6000, 9000), (700, 1100), (0.5, 0.65), (0.0, 0.15), (0.85, 1.0), "glaze"),
    Material("metal", (0.15, 0.3), (8000, 10000), (900, 1500), (0.55, 0.65), (0.0, 0.1), (0.45, 0.7), "brushed"),
)


@dataclass(frozen=True)
class Finish:
    """What one thing is made of.

    Attributes:
        material: name of its material.
        colour: red, green and blue in [0, 1], by which the texture is multiplied.
        texture: index into `textures()`.
        friction: Coulomb's coefficient.
        stiffness: N/m.
        density: kg/m3.
    """

    material: str
    colour: tuple[float, float, float]
    texture: int
    friction: float
    stiffness: float
    density: float


def finish(rng: np.random.Generator) -> Finish:
    """A material and what is free in it, drawn: all materials are as likely, and so are all places in their ranges."""
    material = MATERIALS[rng.integers(len(MATERIALS))]
    hard, rough, heavy, hue = rng.uniform(size=4)
    colour = hsv_to_rgb(
        _within(material.hue, hue) % 1, _within(material.saturation, rough), _within(material.value, 1 - hard)
    )
    first = textures_of(material.pattern).start
    return Finish(
        material.name,
        tuple(round(float(c), 4) for c in colour),
        first if material.pattern == "plain" else int(first + rng.integers(VARIANTS)),
        _within(material.friction, rough),
        float(np.exp(_within(np.log(material.stiffness), hard))),
        _within(material.density, heavy),
    )


def _within(bounds: tuple[float, float], share: float) -> float:
    return float(bounds[0] + (bounds[1] - bounds[0]) * share)


# Patterns: (SIZE, SIZE) floats around 1, which repeat without a seam.


def _rows_and_columns() -> tuple[np.ndarray, np.ndarray]:
    return np.indices((SIZE, SIZE)) / SIZE


def _blotches(rng: np.random.Generator, *cells: int) -> np.ndarray:
    return noise(rng, (SIZE, SIZE), cells)


def _plain(rng):
    return np.ones((SIZE, SIZE))


def _pores(rng):
    return np.where(_blotches(rng, 16, 32) > 1.0, 0.55, 1.0)


def _weave(rng):
    y, x = _rows_and_columns()
    threads = int(rng.choice([8, 16]))
    over = (np.floor(threads * x) + np.floor(threads * y)) % 2
    ridge = np.where(over, np.sin(2 * np.pi * threads * x), np.sin(2 * np.pi * threads * y))
    return 0.75 + 0.25 * over * 0.8 + 0.1 * np.abs(ridge)


def _studs(rng):
    y, x = _rows_and_columns()
    count = int(rng.choice([4, 8]))
    away = np.hypot((count * x) % 1 - 0.5, (count * y + 0.5 * (np.floor(count * x) % 2)) % 1 - 0.5)
    return np.where(away < 0.3, 1.6, 0.8)


def _crumbs(rng):
    blotches = _blotches(rng, 8, 16, 32)
    return np.select([blotches > 1.0, blotches < -1.0], [1.25, 0.5], 0.9)


def _flutes(rng):
    y, _ = _rows_and_columns()
    waves = int(rng.choice([8, 12, 16]))
    return 0.88 + 0.12 * np.sin(2 * np.pi * waves * y) + 0.02 * _blotches(rng, 32)


def _grain(rng):
    y, _ = _rows_and_columns()
    wander = noise(rng, (SIZE, SIZE), (2, 3))
    rings = np.sin(2 * np.pi * (int(rng.integers(4, 7)) * y + 0.25 * wander))
    return 0.82 + 0.18 * rings + 0.05 * _blotches(rng, 32)


def _glaze(rng):
    speckles = _blotches(rng, 32) > 1.8
    y, _ = _rows_and_columns()
    band = np.abs(y - 0.5) < rng.uniform(0.06, 0.12)
    return np.where(speckles, 0.6, np.where(band, 0.75, 1.0))


def _brushed(rng):
    streaks = np.repeat(rng.normal(size=(SIZE, 1)), SIZE, 1)
    shine = np.sin(2 * np.pi * (_rows_and_columns()[1] + rng.uniform()))
    return 0.95 + 0.07 * streaks + 0.2 * shine


def _planks(rng):
    y, x = _rows_and_columns()
    board = np.floor(4 * y).astype(int)
    shade = rng.uniform(0.75, 1.0, 4)[board]
    seam = (4 * y % 1 < 0.07) | ((x + 0.37 * board) % 1 < 0.02)
    return np.where(seam, 0.5, shade + 0.06 * np.sin(2 * np.pi * (16 * y + 0.3 * _blotches(rng, 2, 4))))


def _checks(rng):
    y, x = _rows_and_columns()
    count = int(rng.choice([2, 4]))
    return 0.6 + 0.2 * (count * x % 1 < 0.5) + 0.2 * (count * y % 1 < 0.5)


def _marble(rng):
    veins = np.abs(_blotches(rng, 3, 6, 12))
    return 1 - 0.45 * np.exp(-8 * veins) + 0.03 * _blotches(rng, 4)


def _specks(rng):
    return 0.85 + 0.1 * _blotches(rng, 16, 32).clip(-1.5, 1.5)


def _clouds(rng):
    return 0.85 + 0.1 * _blotches(rng, 2, 4, 8).clip(-1.5, 1.5)


PATTERNS = {  # of things
    "plain": _plain,
    "pores": _pores,
    "weave": _weave,
    "studs": _studs,
    "crumbs": _crumbs,
    "flutes": _flutes,
    "grain": _grain,
    "glaze": _glaze,
    "brushed": _brushed,
}
TABLE_PATTERNS = {
    "table plain": _plain,
    "table grain": _grain,
    "table planks": _planks,
    "table weave": _weave,
    "table checks": _checks,
    "table marble": _marble,
    "table specks": _specks,
    "table clouds": _clouds,
}
TABLES = range(len(PATTERNS) * VARIANTS, (len(PATTERNS) + len(TABLE_PATTERNS)) * VARIANTS)  # in `textures()`


def textures_of(pattern: str) -> range:
    """Indices in `textures()` of a pattern's variants.

    Raises:
        ValueError: there is no such pattern.
    """
    names = [*PATTERNS, *TABLE_PATTERNS]
    if pattern not in names:
        raise ValueError(f"no pattern is called {pattern!r}: there are {', '.join(names)}")
    first = names.index(pattern) * VARIANTS
    return range(first, first + VARIANTS)


@lru_cache(maxsize=1)
def textures() -> np.ndarray:
    """All textures, (n, SIZE, SIZE, 3) uint8, not to be written to: VARIANTS of each pattern, the same in every process.

    Those of things come first, PLAIN before all, then those of TABLES.
    """
    bank = []
    for name, draw in {**PATTERNS, **TABLE_PATTERNS}.items():
        for variant in range(VARIANTS):
            pattern = draw(np.random.default_rng([crc32(name.encode()), variant]))
            bank.append(np.round(255 * pattern / max(1.0, pattern.max())).clip(0, 255).astype(np.uint8))
    whole = np.repeat(np.stack(bank)[..., None], 3, -1)
    whole.flags.writeable = False
    return whole
