from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from videossl.robot.driving import CATEGORIES
from videossl.robot.scenery import Mesh, noise, paint_tiles
from videossl.robot.scenes import SCENES
from videossl.robot.street import BEHIND, Kind, Row, Street, camera_pose, intrinsics, plan_route

pytestmark = pytest.mark.skipif(
    find_spec("pybullet") is None, reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone"
)
BARE = Kind(
    half=(4, 4),
    lane=1.5,
    zones=(("asphalt", 0.0), ("grass", 3), ("grass", np.inf)),
    rows=(),
    skyline="hills",
    marks=(),
    turns=0,
    crossing=0,
    straight=(500, 500),
)


def test_noise_tiles_without_a_seam():
    patch = noise(np.random.default_rng(0), (64, 64), (8,))
    steps = abs(np.diff(patch, axis=0)).mean()
    assert abs(patch[0] - patch[-1]).mean() < 2 * steps
    assert abs(patch[:, 0] - patch[:, -1]).mean() < 2 * steps


@pytest.mark.parametrize("kind", [*CATEGORIES, *SCENES])
def test_routes_are_smooth_and_of_even_steps(kind):
    kind = (CATEGORIES | SCENES)[kind]
    route = plan_route(kind, 80, np.random.default_rng(3))
    steps = np.linalg.norm(np.diff(route.points, axis=0), axis=1)
    assert np.allclose(steps, route.step, rtol=1e-3)
    along = np.diff(route.points, axis=0) / steps[:, None]
    middle = (route.headings[1:] + route.headings[:-1]) / 2
    assert np.allclose(along, np.stack([np.cos(middle), np.sin(middle)], -1), atol=1e-6)
    sharpest = 1 / min(kind.radius[0] if kind.turns else np.inf, kind.bend[0])
    assert abs(route.bends).max() <= sharpest + 1e-9
    assert abs(np.diff(route.bends)).max() < 0.01  # 1 / metres in a step: no jerk at the wheel


def test_a_thing_is_where_the_camera_geometry_says():
    stood = []

    def block(mesh, rng, length, depth, height):
        stood.append((mesh.place, mesh.turn))
        mesh.box((0, 0), (length, depth, height), "yellow")

    route = plan_route(BARE, 30, np.random.default_rng(0))
    row = Row(block, (2, 2), (2, 2), (3, 3), (1, 1), gap=(181, 181), side="left")
    size = (120, 200)
    kinds = replace(BARE, rows=(replace(row, share=0),)), replace(BARE, rows=(row,))  # which draw alike
    empty, filled = (Street(kind, route, size, np.random.default_rng(1)) for kind in kinds)
    assert empty.things == 0 and filled.things > 0
    place, turn = stood[0]
    along = turn[:2, 0]
    eye = place[:2] - 12 * along + 4 * np.array([along[1], -along[0]])
    T_world_camera = camera_pose(*eye, np.arctan2(along[1], along[0]))
    box = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (0, 3)])
    corners = np.column_stack([box @ turn.T + place, np.ones(8)])
    seen = (np.linalg.inv(T_world_camera) @ corners.T)[:3]
    pixels = (intrinsics(*size) @ seen / seen[2])[:2]
    changed = (filled.picture(T_world_camera).astype(int) - empty.picture(T_world_camera) != 0).any(-1)
    y, x = np.nonzero(changed[: size[0] // 2])  # the shade lies below the horizon
    assert abs(x.min() - pixels[0].min()) <= 1.5 and abs(x.max() - pixels[0].max()) <= 1.5
    assert abs(y.min() - pixels[1].min()) <= 1.5


def test_the_ground_moves_under_the_camera_as_its_pose_says():
    route = plan_route(BARE, 30, np.random.default_rng(0))
    street = Street(BARE, route, (96, 160), np.random.default_rng(4))
    start = round(BEHIND / route.step)
    heading, (x, y) = route.headings[start], route.points[start]
    a, b = camera_pose(x, y, heading), camera_pose(x + np.cos(heading), y + np.sin(heading), heading + 0.05)
    first, second = (street.picture(T).astype(float) for T in (a, b))
    k = intrinsics(96, 160)
    rows, columns = np.mgrid[60:90, 40:120]
    rays = np.stack([(columns - k[0, 2]) / k[0, 0], (rows - k[1, 2]) / k[1, 1], np.ones(rows.shape)], -1)
    spots = a[:3, 3] + (1.65 / rays[..., 1])[..., None] * (rays @ a[:3, :3].T)  # on the ground
    there = (spots - b[:3, 3]) @ b[:3, :3]
    u, v = ((there @ k.T)[..., :2] / there[..., 2:]).transpose(2, 0, 1).round().astype(int)
    seen = (u >= 0) & (u < 160) & (v >= 0) & (v < 96)
    assert seen.mean() > 0.3
    moved, held = (
        abs(second[v[seen], u[seen]] - first[rows[seen], columns[seen]]).mean(),
        abs(second[rows[seen], columns[seen]] - first[rows[seen], columns[seen]]).mean(),
    )
    assert moved < 0.7 * held  # grey levels; and there is texture to see it by


def test_things_stand_off_the_roads():
    for name in ("City", "Campus"):
        kind = CATEGORIES[name]
        route = plan_route(kind, 60, np.random.default_rng(5))
        stood = []

        def spy(draw, stood=stood):
            def drawn(mesh, rng, *size):
                stood.append((mesh.place[:2], size))
                draw(mesh, rng, *size)

            return drawn

        rows = tuple(replace(row, draw=spy(row.draw)) for row in kind.rows)
        street = Street(replace(kind, rows=rows), route, (32, 32), np.random.default_rng(5))
        assert len(stood) > 50
        places = np.array([place for place, _ in stood])
        assert np.linalg.norm(places[:, None] - route.points[None, ::5], axis=-1).min() > street.half - kind.lane
        gaps = np.linalg.norm(places[:, None] - street.main[None], axis=-1).min(1)
        assert gaps.min() > street.half


@pytest.mark.parametrize("name", [*CATEGORIES, *SCENES])
def test_all_that_a_kind_names_can_be_drawn(name):
    tiles = paint_tiles(np.random.default_rng(0))
    mesh, rng = Mesh(tiles), np.random.default_rng(0)
    for row in (CATEGORIES | SCENES)[name].rows:
        for _ in range(3):
            before = len(mesh.corners)
            row.draw(mesh, rng, row.length[1], row.depth[1] + 8 * (row.side == "over"), row.height[1])
            assert len(mesh.corners) > before
            new = np.array(mesh.corners[before:])
            assert new[..., 2].min() >= 0 and np.isfinite(new).all()
    uvs = np.array(mesh.uvs)
    assert uvs.min() >= 0 and uvs.max() <= 1
