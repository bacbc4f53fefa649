from math import pi, tan

import numpy as np
import pytest

from videossl.robot.camera import Camera, Drawn, Light, look
from videossl.robot.objects import household, mesh_of

OVER = Camera(look((0.1, -0.05, 0.7), (0.1, -0.05, 0), (0, 1, 0)), 60, 80, 0.6)
OBLIQUE = Camera(look((0.4, -0.5, 0.5), (0, 0, 0.05)), 50, 40, 0.9)


@pytest.mark.parametrize("camera", [OVER, OBLIQUE])
def test_what_is_unprojected_is_projected_back(camera):
    depth = np.random.default_rng(0).uniform(0.2, 2, (camera.height, camera.width))
    pixels, back = camera.project(camera.unproject(depth))
    row, column = np.indices(depth.shape)
    assert np.abs(pixels - np.stack([column, row], -1)).max() < 1e-9
    assert np.abs(back - depth).max() < 1e-12


def test_the_middle_is_looked_at_and_up_is_up():
    (column, row), depth = OVER.project((0.1, -0.05, 0))
    assert (column, row, depth) == pytest.approx((39.5, 29.5, 0.7))
    (right, up), _ = OVER.project((0.2, 0.05, 0))  # east is right and north is up
    assert right > column and up < row
    (_, higher), _ = OBLIQUE.project((0, 0, 0.15))
    (_, lower), _ = OBLIQUE.project((0, 0, 0.05))
    assert higher < lower


def test_the_camera_frame_is_right_down_ahead():
    for camera in (OVER, OBLIQUE):
        turn = camera.pose[:3, :3]
        assert np.abs(turn @ turn.T - np.eye(3)).max() < 1e-12 and np.linalg.det(turn) == pytest.approx(1)
        ahead = camera.pose @ [0, 0, 0.3, 1]
        assert camera.project(ahead[:3])[0] == pytest.approx([(camera.width - 1) / 2, (camera.height - 1) / 2])


def test_the_field_of_view_spans_the_height():
    half = 0.7 * tan(0.3)
    (_, top), _ = OVER.project((0.1, -0.05 + half, 0))
    (_, bottom), _ = OVER.project((0.1, -0.05 - half, 0))
    assert (top, bottom) == pytest.approx((-0.5, 59.5))  # outer edges of the first and last pixel


def test_wrong_cameras_lights_and_things_are_refused():
    with pytest.raises(ValueError, match="3 numbers"):
        Camera((0, 0, 1))
    for change in ({"height": 0}, {"fov": pi}, {"near": 0}, {"near": 2, "far": 1}):
        with pytest.raises(ValueError, match="at least one pixel"):
            Camera(OVER.T_world_camera, **change)
    with pytest.raises(ValueError, match="must differ"):
        look((0, 0, 1), (0, 0, 0))
    with pytest.raises(ValueError, match="direction"):
        Light((0, 0, 0))
    with pytest.raises(ValueError, match="negative"):
        Light(ambient=-0.1)
    mesh = mesh_of(household("box", 0))
    with pytest.raises(ValueError, match="within"):
        Drawn(mesh, (1.5, 0, 0))
    with pytest.raises(ValueError, match="texture"):
        Drawn(mesh, texture=10_000)


def test_a_point_is_shown_where_its_pixel_is_one_of_the_picture():
    rows, columns = np.array([(0.0, 0.0), (OVER.height - 1.0, OVER.width - 1.0)]).T
    for row, column in zip(rows, columns, strict=True):
        ray = np.linalg.inv(OVER.intrinsics) @ [column, row, 1.0]
        away = np.sign([column - OVER.width / 2, row - OVER.height / 2, 0.0]) * 0.6 / OVER.intrinsics[0, 0]
        for step, shown in ((0.0, True), (1.0, False)):
            point = OVER.pose[:3, :3] @ (0.5 * (ray + step * away)) + OVER.pose[:3, 3]
            assert OVER.shows(point) == shown
    assert not OVER.shows(OVER.pose[:3, 3] - OVER.pose[:3, 2])  # behind it
