from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from videossl.robot.objects import HOUSEHOLD, OBJECT_SETS, TILE, ObjectSet, blob, household, mesh_of, split

THINGS = [(category, number) for category in HOUSEHOLD for number in range(3)]


def inside(points, part) -> np.ndarray:
    """Which points (n, 3) are inside the convex hull of a part: on no face's outer side."""
    planes = ConvexHull(part).equations
    return (points @ planes[:, :3].T + planes[:, 3] < 0).all(1)


@pytest.mark.parametrize("thing", THINGS)
def test_faces_are_closed_and_wound_outward(thing):
    shape = household(*thing)
    mesh = mesh_of(shape)
    corners = mesh.vertices[mesh.faces].astype(float)
    found = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((found * mesh.normals[mesh.faces[:, 0]]).sum(1) > 0.999 * np.linalg.norm(found, axis=1)).all()
    tetrahedra = (corners[:, 0] * found).sum(1) / 6  # what is enclosed, if nothing is open
    assert tetrahedra.sum() == pytest.approx(shape.volume, rel=1e-3)
    centre = (tetrahedra[:, None] * corners.sum(1) / 4).sum(0) / shape.volume
    assert np.abs(centre).max() < 1e-5  # the origin is the centre of volume
    names = np.unique(corners.round(6).reshape(-1, 3), axis=0, return_inverse=True)[1].reshape(-1, 3).tolist()
    edges = Counter((face[k], face[(k + 1) % 3]) for face in names for k in range(3))
    assert all(edges[b, a] == count for (a, b), count in edges.items())


@pytest.mark.parametrize("category", HOUSEHOLD)
def test_a_hand_can_take_it_and_contacts_are_few(category):
    for number in range(20):
        shape = household(category, number)
        assert len(shape.parts) <= 10
        assert 0.004 < shape.extent.min() < 0.08 and shape.extent.max() < 0.18
        assert 1e-5 < shape.volume < 7e-4  # m3
        assert np.isfinite(mesh_of(shape).vertices).all() and (mesh_of(shape).uvs >= 0).all()


def test_an_instance_depends_on_its_number_alone():
    before = household("mug", 7).parts
    household.cache_clear()
    for number in range(7):
        household("mug", number)
    assert all(np.array_equal(a, b) for a, b in zip(before, household("mug", 7).parts, strict=True))
    assert not np.array_equal(household("mug", 7).extent, household("mug", 8).extent)


def test_a_box_fills_its_extent():
    shape = household("box", 0)
    assert shape.volume == pytest.approx(np.prod(shape.extent))
    assert len(mesh_of(shape).faces) == 12


@pytest.mark.parametrize("category", ["bowl", "cup", "mug", "ring", "plate", "pan"])
def test_hollow_things_are_hollow(category):
    shape = household(category, 1)
    corners = np.concatenate(shape.parts)
    middle = (corners.min(0) + corners.max(0)) / 2
    middle[:2] = 0 if category not in ("mug", "pan") else shape.parts[0][:, :2].mean(0)  # beside the handle
    middle[2] = 0.9 * corners[:, 2].max() + 0.1 * corners[:, 2].min()
    assert not any(inside(middle[None], part).any() for part in shape.parts)


def test_textures_are_laid_on_in_metres():
    shape = household("box", 0)
    mesh = mesh_of(shape)
    top = mesh.normals[:, 2] > 0.9
    assert np.ptp(mesh.uvs[top], 0) * TILE == pytest.approx(shape.extent[:2], rel=1e-5)
    assert np.ptp(mesh_of(shape, 0.5).uvs[top], 0) * 0.5 == pytest.approx(shape.extent[:2], rel=1e-5)


def test_seen_and_unseen_instances_are_apart_and_complete():
    objects = OBJECT_SETS["household"]
    seen, unseen = split(objects, False, 3), split(objects, True, 3)
    assert not set(seen) & set(unseen)
    assert len(seen) + len(unseen) == len(objects.categories) * objects.instances
    assert Counter(category for category, _ in unseen) == dict.fromkeys(objects.categories, objects.instances // 4)
    assert split(objects, True, 3) == unseen != split(objects, True, 4)


def test_what_has_no_shape_is_in_no_split():
    objects = OBJECT_SETS["random_urdfs"]
    numbers = [number for unseen in (False, True) for _, number in split(objects, unseen, 0)]
    assert sorted(numbers) == [number for number in range(1000) if number != 168]
    with pytest.raises(ValueError, match="NaN"):
        blob("blob", 168)


def test_a_split_keeps_an_instance_on_either_side():
    objects = ObjectSet(("box",), 2, household)
    for share in (0.01, 0.99):
        assert len(split(objects, True, 0, share)) == len(split(objects, False, 0, share)) == 1
    with pytest.raises(ValueError, match="between 0 and 1"):
        split(objects, True, 0, 1.0)
    with pytest.raises(ValueError, match="at least 2"):
        split(ObjectSet(("box",), 1, household), True, 0)


def test_unknown_things_are_named():
    with pytest.raises(ValueError, match=r"'teapot'.*there are arch"):
        household("teapot", 0)
    with pytest.raises(ValueError, match="from 0"):
        household("box", -1)
    with pytest.raises(ValueError, match="blob 0 to blob 999"):
        blob("blob", 1000)


def test_blobs_are_the_files_scaled_down():
    folder = Path(pytest.importorskip("pybullet_data").getDataPath()) / "random_urdfs"
    for number in (0, 123, 999):
        lines = (folder / f"{number:03}" / f"{number:03}.obj").read_text().splitlines()
        corners = 0.015 * np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
        ratio = blob("blob", number).extent / np.ptp(corners, 0)
        assert np.ptp(ratio) < 1e-6 and 0.65 <= ratio[0] <= 0.90
    assert len(blob("blob", 0).parts) == 5  # objects in 000.obj
    mesh = mesh_of(blob("blob", 0))
    corners = mesh.vertices[mesh.faces].astype(float)
    enclosed = np.linalg.det(corners).sum() / 6
    assert enclosed == pytest.approx(blob("blob", 0).volume, rel=1e-3)


@pytest.mark.parametrize("category", [*HOUSEHOLD, "blob"])
def test_it_falls_and_comes_to_rest_on_the_table(category):
    pytest.importorskip("pybullet")
    from videossl.robot.world import World

    world, rng = World(), np.random.default_rng(0)
    world.renew()
    for number in range(2):
        shape = OBJECT_SETS["random_urdfs" if category == "blob" else "household"].shape(category, number)
        body = world.add(shape, 0.15, 0.5)
        corners, turn = np.concatenate(shape.parts), rng.normal(size=4)
        reach = np.linalg.norm(corners, axis=1).max()
        world.put(body, np.array([0, 0, reach + 0.01, *turn / np.linalg.norm(turn)]))
        assert world.settle([body], 2.0)
        pose = world.pose(body)
        upward = np.reshape(world.client.getMatrixFromQuaternion(pose[3:]), (3, 3))[2]
        assert -1e-4 < (corners @ upward).min() + pose[2] < 2e-3  # on the table: Bullet keeps a margin of 1 mm
        assert np.hypot(*pose[:2]) < 0.2
        world.put_away(body)
    world.close()
