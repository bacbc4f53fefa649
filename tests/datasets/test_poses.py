from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from videossl.datasets.poses import camera_poses, increasing, offset, read_calibration, read_rows, rigid


def test_rounded_rotations_become_exact_and_what_is_none_is_named(tmp_path):
    turned = Rotation.random(5, rng=np.random.default_rng(0)).as_matrix()
    pose = rigid(turned.round(6), np.arange(15).reshape(5, 3))
    assert np.abs(pose[:, :3, :3] @ pose[:, :3, :3].swapaxes(1, 2) - np.eye(3)).max() < 1e-14
    assert np.allclose(np.linalg.det(pose[:, :3, :3]), 1) and np.abs(pose[:, :3, :3] - turned).max() < 2e-6
    assert np.array_equal(pose[:, :3, 3], np.arange(15).reshape(5, 3)) and (pose[:, 3] == [0, 0, 0, 1]).all()
    mirrored = turned.copy()
    mirrored[3] *= -1
    for bad in (mirrored, turned * np.array([1, 1, 1, 1.01, 1])[:, None, None]):
        with pytest.raises(ValueError, match=r"00.txt, line 4 has a matrix that is no rotation"):
            rigid(bad, np.zeros((5, 3)), tmp_path / "00.txt")


def test_poses_of_a_camera_begin_with_the_identity_and_undo_its_mount():
    turned = Rotation.random(6, rng=np.random.default_rng(1)).as_matrix()
    body = rigid(turned, np.random.default_rng(2).normal(size=(6, 3)) * 1e3)
    mount = body[5]
    pose = camera_poses(body, mount)
    assert np.allclose(pose[0], np.eye(4))
    assert np.allclose(pose[3], np.linalg.inv(body[0] @ mount) @ body[3] @ mount)
    assert np.allclose(camera_poses(pose, np.linalg.inv(mount))[3], np.linalg.inv(body[0]) @ body[3])


def test_a_camera_to_the_right_has_a_projection_that_moves_points_to_the_left():
    k = np.array([[720.0, 0, 600], [0, 720, 170], [0, 0, 1]])
    beside = offset((k @ np.c_[np.eye(3), [-0.54, 0, 0]]).ravel(), Path("calib.txt"))
    assert np.allclose(np.linalg.inv(beside)[:3, 3], [0.54, 0, 0])  # where the camera is


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1 2 3\n4 5\n", r"a.txt, line 2 has 2 numbers, but should have 3 of them"),
        ("1 2 3\n4 nan 6\n", r"a.txt, line 2 has 'nan', which is no finite number"),
        ("1 2 3\n\n4 5 6\n", r"a.txt, line 2 has 0 numbers"),
        ("1 x 3\n", r"a.txt, line 1 has 'x', which is no finite number"),
        ("\n", r"a.txt is empty"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, why):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(ValueError, match=why):
        read_rows(tmp_path / "a.txt", 3, "3 of them")


def test_rows_of_numbers_are_read_whatever_ends_the_lines(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"1 2e0\r\n3 -4\r\n\r\n")
    assert read_rows(tmp_path / "a.txt", 2, "2").tolist() == [[1, 2], [3, -4]]
    with pytest.raises(FileNotFoundError, match=r"b.txt is not there"):
        read_rows(tmp_path / "b.txt", 2, "2")


def test_times_that_do_not_increase_are_named(tmp_path):
    assert increasing(tmp_path, np.array([1.0, 2, 3])).tolist() == [1, 2, 3]
    for times in ([0.0, 1, 0.5, 2], [0.0, 1, 1, 2]):
        with pytest.raises(ValueError, match="line 3 is not later than line 2"):
            increasing(tmp_path, np.array(times))


def test_a_calibration_lacks_no_field(tmp_path):
    path = tmp_path / "calib.txt"
    path.write_text("calib_time: 09-Jan-2012 13:57:47\nR: 1 2\nT: 3\n")
    fields = read_calibration(path, {"R": 2, "T": 1})
    assert fields["R"].tolist() == [1, 2] and fields["T"].tolist() == [3]
    with pytest.raises(ValueError, match=r"calib.txt has no line `P2: ...`"):
        read_calibration(path, {"R": 2, "P2": 12})
    with pytest.raises(ValueError, match=r"calib.txt, line 2 has 2 numbers, but should have 9 after `R:`"):
        read_calibration(path, {"R": 9})


def test_a_projection_of_no_camera_is_named():
    with pytest.raises(ValueError, match=r"calib\.txt has a projection matrix of no camera"):
        offset(np.r_[np.zeros(10), 1, 0], Path("calib.txt"))
