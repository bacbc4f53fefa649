import inspect
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from videossl.datasets.hmdb51 import hmdb51
from videossl.datasets.kitti_odometry import TEST, TRAIN, kitti_odometry, read_poses
from videossl.geometry import motion

# Metres, as the README of github.com/cristianrubioa/methods_lidar_3d lists them beside the numbers of frames.
LENGTHS = {
    **{"00": (4541, 3724.187), "01": (1101, 2453.203), "02": (4661, 5067.233), "03": (801, 560.888)},
    **{"04": (271, 393.645), "05": (2761, 2205.576), "07": (1101, 694.697)},
}


def curve(frames: int = 6) -> np.ndarray:
    """Poses of a camera that goes ahead and bends to the right, (frames, 4, 4)."""
    n = np.arange(frames)
    pose = np.tile(np.eye(4), (frames, 1, 1))
    pose[:, :3, :3] = Rotation.from_euler("yx", np.stack([0.05 * n, 0.01 * n], -1)).as_matrix()
    pose[:, :3, 3] = np.stack([0.025 * n**2, 0.01 * n, 1.2 * n], -1)
    return pose


def write_sequence(root: Path, name: str, camera: str = "0") -> Path:
    """A sequence in the benchmark's layout: image n has grey 10 n."""
    sequence = root / "sequences" / name
    (sequence / f"image_{camera}").mkdir(parents=True)
    for n in range(6):
        cv2.imwrite(str(sequence / f"image_{camera}" / f"{n:06}.png"), np.full((6, 8, 3), 10 * n, np.uint8))
    (sequence / "calib.txt").write_text(
        "P0: 700 0 600 0 0 700 170 0 0 0 1 0\nP2: 700 0 600 42 0 700 170 0 0 0 1 0\n"  # P2: 0.06 m to the left
    )
    (sequence / "times.txt").write_text("".join(f"{0.1 * n:e}\n" for n in range(6)))
    (root / "poses").mkdir(exist_ok=True)
    np.savetxt(root / "poses" / f"{name}.txt", curve()[:, :3].reshape(6, 12), fmt="%.9e")
    return sequence


@pytest.fixture
def root(tmp_path):
    for name in ("00", "06"):
        write_sequence(tmp_path, name)
    return tmp_path


def test_it_is_called_as_other_data_sets_are():
    assert inspect.signature(kitti_odometry) == inspect.signature(hmdb51)


@pytest.mark.parametrize("name", LENGTHS)
def test_sequences_are_as_long_as_published(shared, name):
    pose = read_poses(shared / "kitti_odometry" / "poses" / f"{name}.txt", Path("not needed"))
    frames, metres = LENGTHS[name]
    steps = motion(pose[:-1], pose[1:])
    assert pose.shape == (frames, 4, 4)
    assert np.linalg.norm(np.diff(pose[:, :3, 3], axis=0), axis=1).sum() == pytest.approx(metres, rel=1e-5)
    assert steps[:, 1].sum() == pytest.approx(metres, rel=0.01)  # a car goes where its camera looks
    turned = pose[:, :3, :3]
    assert np.abs(turned @ turned.swapaxes(1, 2) - np.eye(3)).max() < 1e-12 and np.allclose(np.linalg.det(turned), 1)
    assert np.allclose(pose[0], np.eye(4)) and np.allclose(np.linalg.inv(pose) @ pose, np.eye(4))


def test_the_real_images_of_sequence_01_have_the_poses_of_their_numbers(shared):
    records = kitti_odometry(shared / "kitti_odometry")
    (record,) = records
    assert (record["name"], record["group"], len(record["frames"])) == ("01", "01", 51) and "time" not in record
    known = np.loadtxt(shared / "kitti_odometry" / "sequences" / "01" / "poses_first51.txt").reshape(-1, 3, 4)
    assert np.allclose(record["pose"][:, :3], known, atol=1e-6)
    assert record["frames"][np.array([50])].shape == (1, 3, 376, 1241)
    steps = motion(record["pose"][:-1], record["pose"][1:])
    assert np.degrees(steps[:, 0].max()) == pytest.approx(2.7, abs=0.1) and (steps[:, 0] > 0).all()  # to the right
    assert steps[:, 1].mean() == pytest.approx(1.04, abs=0.01)
    assert records.damaged == {"01": "has 1050 poses without an image (number 51, ...)"}
    assert records.name == "KITTI odometry split 1 train" and records.listed == 9 and records.benchmark is None
    with pytest.raises(ValueError, match=r"none of the 2 drives listed .* 06 not there"):
        kitti_odometry(shared / "kitti_odometry", train=False)


def test_the_split_is_that_of_agrawal(root):
    assert sorted(TRAIN + TEST) == [f"{n:02}" for n in range(11)] and TEST == ("06", "09")
    train, test = kitti_odometry(root), kitti_odometry(root, train=False)
    assert [record["name"] for record in train] == ["00"] and [record["name"] for record in test] == ["06"]
    assert test.missing == {"09": "not there"} and len(train.missing) == 8
    with pytest.raises(ValueError, match="one split here, but 2 was asked for"):
        kitti_odometry(root, split=2)


def test_other_lists_may_be_given(root):
    (root / "train.txt").write_text("06\n")
    (root / "test.txt").write_text("00\n")
    assert [record["name"] for record in kitti_odometry(root)] == ["06"] and kitti_odometry(root).complete
    (root / "scenes.txt").write_text("06 Residential\n")
    assert kitti_odometry(root)[0]["label"] == 0 and kitti_odometry(root).classes == ["Residential"]


def test_frames_poses_and_times_belong_together(root):
    (record,) = kitti_odometry(root)
    assert np.allclose(record["pose"], curve()) and np.allclose(record["time"], np.arange(6) / 10)
    assert record["frames"][np.arange(6)][:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
    (root / "sequences" / "00" / "image_0" / "000001.png").unlink()
    (root / "sequences" / "00" / "image_0" / "000000.png").unlink()
    (record,) = kitti_odometry(root)
    assert np.allclose(record["pose"], np.linalg.inv(curve()[2]) @ curve()[2:]) and len(record["frames"]) == 4
    assert np.allclose(record["time"], np.arange(4) / 10)


def test_the_colour_camera_goes_before_and_is_beside_the_grey_one(root):
    write_sequence(root / "colour", "00", "2")
    shutil.move(root / "colour" / "sequences" / "00" / "image_2", root / "sequences" / "00" / "image_2")
    (record,) = kitti_odometry(root)
    assert record["frames"].path.endswith("image_2")
    beside = np.eye(4)
    beside[0, 3] = -0.06  # where the colour camera is, seen from the grey one
    first = curve()[0] @ beside
    assert np.allclose(record["pose"], np.linalg.inv(first) @ curve() @ beside)
    (root / "sequences" / "00" / "calib.txt").unlink()
    with pytest.raises(ValueError, match=r"00 unreadable: .*calib.txt is not there"):
        kitti_odometry(root)


def test_fewer_poses_than_images_leave_those_that_have_one(root):
    path = root / "poses" / "00.txt"
    path.write_text("\n".join(path.read_text().split("\n")[:4]))
    records = kitti_odometry(root)
    assert len(records[0]["frames"]) == len(records[0]["pose"]) == len(records[0]["time"]) == 4
    assert records.damaged == {"00": "has 2 images without a pose (number 4, ...)"}


@pytest.mark.parametrize(
    ("file", "change", "why"),
    [
        ("poses/00.txt", lambda lines: [*lines[:2], lines[2].rsplit(" ", 1)[0], *lines[3:]], "line 3 has 11 numbers"),
        ("poses/00.txt", lambda lines: ["nan" + lines[0][15:], *lines[1:]], "line 1 has 'nan', which is no finite"),
        (
            "poses/00.txt",
            lambda lines: [lines[0], "0 " * 11 + "0", *lines[2:]],
            "line 2 has a matrix that is no rotation",
        ),
        ("poses/00.txt", lambda lines: lines[:1], "has 6 images and there are 1 poses, of which 1 belong together"),
        ("poses/00.txt", lambda lines: [], "00.txt is empty"),
        ("sequences/00/times.txt", lambda lines: [*lines[:2], lines[1], *lines[3:]], "line 3 is not later than line 2"),
        ("sequences/00/times.txt", lambda lines: lines[:3], "has 3 lines, but there is a frame number 5"),
    ],
)
def test_a_broken_sequence_is_named_with_file_and_line(root, file, change, why):
    lines = (root / file).read_text().rstrip().split("\n")
    (root / file).write_text("\n".join(change(lines)))
    with pytest.raises(ValueError, match=f"00 unreadable: .*{why}"):
        kitti_odometry(root)
    assert kitti_odometry(root, train=False)


def test_a_sequence_without_poses_or_images_is_named(root):
    (root / "poses" / "00.txt").unlink()
    with pytest.raises(ValueError, match=r"poses/00.txt is not there"):
        kitti_odometry(root)
    shutil.rmtree(root / "sequences" / "00" / "image_0")
    with pytest.raises(ValueError, match="has no images in image_2 or image_0"):
        kitti_odometry(root)
    with pytest.raises(ValueError, match="holds no sequence, such as sequences/00"):
        kitti_odometry(root / "sequences")
