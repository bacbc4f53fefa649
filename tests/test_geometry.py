import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from videossl.geometry import inverse, motion, relative, wrap


def pose(degrees: float = 0.0, at: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    """A camera turned about its y axis, which points down."""
    made = np.eye(4)
    made[:3, :3] = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    made[:3, 3] = at
    return made


@pytest.fixture
def some():
    """Poses turned and placed at random, (20, 4, 4)."""
    rng = np.random.default_rng(0)
    made = np.tile(np.eye(4), (20, 1, 1))
    made[:, :3, :3] = Rotation.random(20, rng=rng).as_matrix()
    made[:, :3, 3] = rng.normal(size=(20, 3))
    return made


def test_the_inverse_is_that_of_a_matrix_and_of_itself(some):
    assert np.allclose(inverse(some), np.linalg.inv(some)) and np.allclose(inverse(inverse(some)), some)
    assert np.allclose(relative(some, some), np.eye(4))
    assert np.allclose(some @ relative(some, some[::-1]), some[::-1])


def test_a_turn_to_the_right_is_positive_and_the_way_ahead_too():
    right = pose(90)
    assert np.allclose(right[:3, 2], [1, 0, 0])  # now looks where the first camera has its right
    assert np.allclose(motion(pose(), pose(30, (0, 0, 2))), [np.pi / 6, 2])
    assert np.allclose(motion(pose(), pose(-30, (0, 0, -2))), [-np.pi / 6, -2])


def test_only_the_way_along_the_viewing_direction_counts():
    ahead = pose(90) @ pose(0, (3, 5, 1.5))  # 3 to the right and 5 down, as the first camera sees it
    assert np.allclose(motion(pose(90), ahead), [0, 1.5])


def test_a_turn_over_the_back_is_the_short_way_round():
    assert np.allclose(np.degrees(motion(pose(-179), pose(179))[0]), -2)  # not 358
    assert np.allclose(np.degrees(motion(pose(179), pose(-179))[0]), 2)
    assert np.allclose(motion(pose(), pose(180))[0], np.pi)


def test_motion_does_not_depend_on_the_world_and_goes_over_any_shape(some):
    later, world = some[::-1], some[3]
    whole = motion(some, later)
    assert whole.shape == (20, 2)
    assert np.allclose(whole, motion(world @ some, world @ later))
    assert np.allclose(whole, [motion(a, b) for a, b in zip(some, later, strict=True)])
    assert np.allclose(motion(some[0], later), motion(some[:1], later))
    assert motion(some.reshape(4, 5, 4, 4), later.reshape(4, 5, 4, 4)).shape == (4, 5, 2)


def test_going_back_undoes_a_turn_in_the_plane():
    turns = np.stack([pose(degrees) for degrees in range(-175, 180, 10)])
    assert np.allclose(motion(pose(), turns)[:, 0], -motion(turns, pose())[:, 0])


def test_wrapped_angles_lie_above_minus_pi_and_up_to_pi():
    angles = np.radians([-540, -358, -180, -90, 0, 90, 180, 181, 358, 720])
    assert np.allclose(np.degrees(wrap(angles)), [180, 2, 180, -90, 0, 90, 180, -179, -2, 0])
    assert wrap(np.float64(-np.pi)) == np.pi
