import threading
from dataclasses import replace
from time import process_time

import numpy as np
import pytest

from videossl.robot.camera import Camera, Drawn, Light, load_texture, look, render_tiny, visual_shape
from videossl.robot.materials import TABLES, finish, textures
from videossl.robot.objects import Mesh, Shape, household, mesh_of
from videossl.robot.raster import render

SQUARE = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
TABLE = Shape(
    "table", 0, (np.concatenate([np.pad(SQUARE, ((0, 0), (0, 1)), constant_values=z) for z in (-0.1, 0)]),), 0.4
)
LIGHT = Light((0.4, 0.2, 1.0), (1.0, 0.95, 0.9))
VIEWS = {
    "over": Camera(look((0, 0, 0.8), (0, 0, 0), (0, 1, 0)), 96, 96, 0.55),
    "oblique": Camera(look((0.5, -0.3, 0.4), (0, 0, 0)), 90, 121, 0.7),
    "far off": Camera(look((3, 2, 2), (0, 0, 0)), 75, 64, 0.8, far=4.0),
    "table behind it": Camera(look((0.1, -0.55, 0.05), (0, 0, 0.05)), 96, 80, 1.0),
}


def quad(height: float, number: int = 0) -> Drawn:
    """A square of 2 m, that faces up."""
    corners = np.pad(SQUARE, ((0, 0), (0, 1)), constant_values=height)[[0, 1, 2, 0, 2, 3]]
    up, uvs = np.tile([0.0, 0.0, 1.0], (6, 1)), corners[:, :2] + 1
    arrays = (a.astype(np.float32) for a in (corners, up, uvs))
    return Drawn(Mesh(*arrays, np.arange(6, dtype=np.int32).reshape(2, 3)), texture=number)


def scene() -> tuple[dict, dict]:
    """A table and five things in the air above it, in materials of all kinds."""
    rng = np.random.default_rng(0)
    drawn = {0: Drawn(mesh_of(TABLE, 0.3), (0.8, 0.7, 0.6), TABLES[6])}
    poses = {0: ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))}
    for number, category in enumerate(("mug", "can", "star", "wrench", "bottle"), 1):
        made, turn = finish(rng), rng.normal(size=4)
        drawn[number] = Drawn(mesh_of(household(category, 3)), made.colour, made.texture)
        position = (*rng.uniform(-0.15, 0.15, 2).tolist(), 0.07)
        poses[number] = (position, tuple((turn / np.linalg.norm(turn)).tolist()))
    return drawn, poses


@pytest.fixture(scope="module")
def client():
    pytest.importorskip("pybullet")
    from videossl.robot.humanoid import new_client

    client = new_client()
    drawn, poses = scene()
    for number, body in drawn.items():
        made = client.createMultiBody(0, -1, visual_shape(client, body), *poses[number])
        assert made == number
        client.changeVisualShape(made, -1, textureUniqueId=load_texture(client, body.texture))
    return client


@pytest.mark.parametrize("view", VIEWS)
def test_it_draws_what_tinyrenderer_draws(client, view):
    tiny, own = render_tiny(client, VIEWS[view], LIGHT), render(*scene(), VIEWS[view], LIGHT)
    assert len(np.unique(tiny.segmentation)) >= 3
    same = tiny.segmentation == own.segmentation
    assert same.mean() > 0.999
    assert np.abs(tiny.depth - own.depth)[same].max() < 1e-4  # metres
    apart = np.abs(tiny.rgb.astype(int) - own.rgb)[same].max(-1)
    assert (apart > 1).mean() < 1e-3 and apart.mean() < 0.01  # grey levels of 255; measured: 0 nearly everywhere
    for one, other in zip(tiny, own, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype


def test_shadows_darken_and_change_nothing_else(client):
    bright, shaded = (render_tiny(client, VIEWS["over"], LIGHT, shadow) for shadow in (False, True))
    assert (shaded.rgb <= bright.rgb).all() and (shaded.rgb < bright.rgb).any()
    assert np.array_equal(shaded.depth, bright.depth) and np.array_equal(shaded.segmentation, bright.segmentation)


def test_it_is_many_times_faster(client):
    camera = replace(VIEWS["over"], height=224, width=224)
    drawn, poses = scene()
    picture = render(drawn, poses, camera, LIGHT)

    def seconds(draw, times: int) -> float:
        start = process_time()
        for _ in range(times):
            draw()
        return (process_time() - start) / times

    tiny = seconds(lambda: render_tiny(client, camera, LIGHT), 5)
    assert tiny > 5 * seconds(lambda: render(drawn, poses, camera, LIGHT, picture), 50)  # measured: 20 times


def test_depth_and_place_are_those_of_rays():
    camera = VIEWS["oblique"]
    seen = render({4: quad(0.0)}, {4: ((0, 0, 0.1), (0, 0, 0, 1))}, camera, LIGHT)
    points = camera.unproject(seen.depth)
    hit = seen.segmentation == 4
    assert hit.sum() > 5000 and np.abs(points[hit][:, 2] - 0.1).max() < 1e-6
    assert np.abs(points[hit][:, :2]).max() <= 1 + 1e-6
    rays = camera.unproject(np.ones(hit.shape)) - camera.pose[:3, 3]
    reach = (0.1 - camera.pose[2, 3]) / rays[..., 2]
    spots = camera.pose[:3, 3] + reach[..., None] * rays
    assert np.array_equal(hit, (reach > 0) & (np.abs(spots[..., :2]) <= 1).all(-1))


def test_textures_keep_their_place_in_perspective():
    camera, light = VIEWS["oblique"], Light(ambient=1.0, diffuse=0.0, specular=0.0)
    number = TABLES[18]
    seen = render({0: quad(0.0, number)}, {0: ((0, 0, 0), (0, 0, 0, 1))}, camera, light)
    hit = seen.segmentation == 0
    u, v = ((camera.unproject(seen.depth)[hit][:, :2] + 1) * 64 % 64).T
    expected = textures()[number][63 - v.astype(int), u.astype(int)]
    assert (seen.rgb[hit] == expected).all(-1).mean() > 0.999  # but where rounding decides on a texel


def test_a_face_is_as_bright_as_it_faces_the_light():
    camera = VIEWS["over"]
    light = Light((0, 1, 1), (1, 1, 0.5), ambient=0.2, diffuse=0.6, specular=0.0)
    body = replace(quad(0.0), colour=(1.0, 0.5, 1.0))
    seen = render({0: body}, {0: ((0, 0, 0), (0, 0, 0, 1))}, camera, light).rgb[40, 40]
    bright = 0.2 + 0.6 / np.sqrt(2)
    expected = 255 * bright, 127 * bright, 255 * (0.2 + 0.5 * 0.6 / np.sqrt(2))
    assert np.abs(seen - np.array(expected)).max() <= 1


def test_the_nearest_is_seen_in_any_order():
    low, high = quad(0.0), replace(quad(0.2), colour=(1.0, 0.0, 0.0))
    poses = dict.fromkeys((0, 1), ((0, 0, 0), (0, 0, 0, 1)))
    one = render({0: low, 1: high}, poses, VIEWS["over"], LIGHT)
    other = render({1: high, 0: low}, poses, VIEWS["over"], LIGHT)
    assert (one.segmentation == 1).all() and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_nothing_is_white_far_and_minus_one():
    for poses in ({}, {0: ((0, 0, 50), (0, 0, 0, 1))}, {0: ((0, 0, 0), (1, 0, 0, 0))}):  # none, behind, from behind
        seen = render(dict.fromkeys(poses, quad(0.0)), poses, VIEWS["over"], LIGHT)
        assert (seen.rgb == 255).all() and (seen.depth == 5).all() and (seen.segmentation == -1).all()


def test_what_stands_beside_the_picture_or_on_edge_is_not_drawn():
    """Corners in the plane of the camera are infinitely far from the middle of the picture, or nearly."""
    camera = Camera(look((0, 0, 1), (0, 0, 0), (0, 1, 0)), 40, 40, 0.6)
    for sideways in (5.0, 1e6, -1e6):
        for height in (0.0, 1 - 1e-12, 1 - 1e-17, 1 + 1e-12):
            seen = render({0: quad(0.0)}, {0: ((sideways, 0, height), (0, 0, 0, 1))}, camera, LIGHT)
            assert (seen.segmentation == -1).all()
    upright = ((0, 0, 1), (2**-0.5, 0, 0, 2**-0.5))  # in a plane through the camera
    assert (render({0: quad(0.0)}, {0: upright}, camera, LIGHT).segmentation == -1).all()


def test_what_reaches_behind_the_camera_is_drawn_as_far_as_it_is_ahead():
    camera = Camera(look((0, 0, 1), (0, 0, 0), (0, 1, 0)), 40, 40, 0.6)
    wall = ((0, 0.2, 1), (2**-0.5, 0, 0, 2**-0.5))  # the plane y = 0.2, half of it behind
    seen = render({0: quad(0.0)}, {0: wall}, camera, LIGHT).segmentation == 0
    rays = camera.unproject(np.ones((40, 40))) - camera.pose[:3, 3]
    spots = 0.2 / np.where(rays[..., 1] > 0, rays[..., 1], np.nan)[..., None] * rays
    assert np.array_equal(seen, (np.abs(spots) <= 1).all(-1)) and seen.any()


def test_links_count_as_their_body():
    key = 3 + (2 << 24)
    seen = render({key: quad(0.0)}, {key: ((0, 0, 0), (0, 0, 0, 1))}, VIEWS["over"], LIGHT)
    assert (seen.segmentation == 3).all()


def test_a_picture_can_be_written_over():
    drawn, poses = scene()
    fresh = render(drawn, poses, VIEWS["over"], LIGHT)
    used = render(drawn, poses, replace(VIEWS["over"], fov=1.2), LIGHT)
    assert render(drawn, poses, VIEWS["over"], LIGHT, used) is used
    assert all(np.array_equal(a, b) for a, b in zip(fresh, used, strict=True))
    with pytest.raises(ValueError, match=r"\(96, 96\).*\(90, 121\)"):
        render(drawn, poses, VIEWS["oblique"], LIGHT, used)


def test_threads_do_not_draw_into_each_other():
    drawn, poses = scene()
    alone = {name: render(drawn, poses, view, LIGHT).rgb for name, view in VIEWS.items()}
    wrong = []

    def draw(name):
        for _ in range(40):
            if not np.array_equal(render(drawn, poses, replace(VIEWS[name]), LIGHT).rgb, alone[name]):
                wrong.append(name)

    threads = [threading.Thread(target=draw, args=(name,)) for name in VIEWS]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong


def test_bodies_without_a_place_are_named():
    with pytest.raises(ValueError, match=r"no pose of \[2\]"):
        render({2: quad(0.0)}, {}, VIEWS["over"], LIGHT)
    for pose in (((np.nan, 0, 0), (0, 0, 0, 1)), ((0, 0, 0), (0, 0, 0, 0))):
        with pytest.raises(ValueError, match="body 2 is at"):
            render({2: quad(0.0)}, {2: pose}, VIEWS["over"], LIGHT)
