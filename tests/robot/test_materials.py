from itertools import pairwise
from zlib import crc32

import numpy as np
import pytest

from videossl.robot.materials import MATERIALS, PLAIN, SIZE, TABLES, finish, textures, textures_of

BY_NAME = {material.name: material for material in MATERIALS}


def drawn(count: int) -> list:
    rng = np.random.default_rng(0)
    return [finish(rng) for _ in range(count)]


def test_what_is_drawn_lies_in_its_materials_ranges():
    made = drawn(500)
    assert {one.material for one in made} == set(BY_NAME)
    for one in made:
        material = BY_NAME[one.material]
        for value, bounds in (
            (one.friction, material.friction),
            (one.stiffness, material.stiffness),
            (one.density, material.density),
            (max(one.colour), material.value),
        ):
            assert bounds[0] * (1 - 1e-3) <= value <= bounds[1] * (1 + 1e-3)
        assert one.texture in textures_of(material.pattern)


def test_the_look_tells_stiffness_and_friction():
    made = drawn(2000)
    for name in BY_NAME:
        same = [one for one in made if one.material == name]
        brightness = np.array([max(one.colour) for one in same])
        assert np.corrcoef(brightness, np.log([one.stiffness for one in same]))[0, 1] < -0.99
        paleness = np.array([min(one.colour) / max(one.colour) for one in same])
        assert np.corrcoef(paleness, [one.friction for one in same])[0, 1] < -0.95
    for soft, hard in pairwise(MATERIALS):  # no two materials of unlike stiffness share a pattern
        assert soft.stiffness[0] < hard.stiffness[0] and soft.pattern != hard.pattern
    assert MATERIALS[0].stiffness[0] == 300 and MATERIALS[-1].stiffness[1] == 10_000


def test_the_same_draw_gives_the_same_finish():
    assert finish(np.random.default_rng(5)) == finish(np.random.default_rng(5)) != finish(np.random.default_rng(6))


def test_textures_are_near_white_the_same_in_every_process_and_not_to_be_written_to():
    bank = textures()
    assert bank.shape == (TABLES.stop, SIZE, SIZE, 3) and bank.dtype == np.uint8
    assert (bank[PLAIN] == 255).all() and bank.mean((1, 2, 3)).min() > 140
    before = crc32(bank.tobytes())
    textures.cache_clear()
    assert crc32(textures().tobytes()) == before
    with pytest.raises(ValueError, match="read-only"):
        textures()[0] = 0


@pytest.mark.parametrize("pattern", ["pores", "crumbs", "grain"])
def test_patterns_repeat_without_a_seam(pattern):
    """Across the seam, neighbours differ about as much as they do elsewhere."""
    for texture in textures()[list(textures_of(pattern))].astype(float)[..., 0]:
        for rows in (texture, texture.T):
            steps = np.abs(np.diff(rows, axis=0)).mean(1)
            assert np.abs(rows[0] - rows[-1]).mean() <= 1.5 * steps.max()


def test_unknown_patterns_are_named():
    with pytest.raises(ValueError, match=r"'tartan'.*there are plain"):
        textures_of("tartan")
