import inspect
import pickle
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from videossl.datasets.hmdb51 import hmdb51
from videossl.datasets.index import index_videos
from videossl.datasets.kitti_raw import Oxts, imu_poses, kitti_raw, read_mount, read_oxts, read_poses, times_of
from videossl.geometry import motion

EARTH = 6378137.0  # metres
REAL = "kitti_raw/2011_09_26/2011_09_26_drive_0001_sync"
CALIBRATION = {  # KITTI's axes: the scanner has x forward, y left, z up; the camera x right, y down, z forward
    "calib_imu_to_velo.txt": "R: 1 0 0 0 1 0 0 0 1\nT: -0.81 0.32 -0.8\n",
    "calib_velo_to_cam.txt": "calib_time: now\nR: 0 -1 0 0 0 -1 1 0 0\nT: 0 -0.08 -0.27\n",
    "calib_cam_to_cam.txt": "R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_00: 700 0 600 0 0 700 170 0 0 0 1 0\n"
    "P_rect_02: 700 0 600 42 0 700 170 0 0 0 1 0\n",  # camera 02 is 0.06 m to the left
}


def curve(frames: int = 8) -> np.ndarray:
    """Poses of a camera that goes ahead and bends to the right, rolls and nods a little: (frames, 4, 4)."""
    n = np.arange(frames)
    pose = np.tile(np.eye(4), (frames, 1, 1))
    pose[:, :3, :3] = Rotation.from_euler("yxz", np.stack([0.05 * n, 0.01 * np.sin(n), 0.02 * n], -1)).as_matrix()
    pose[:, :3, 3] = np.stack([0.025 * n**2, 0.01 * n, 1.2 * n], -1)
    return pose


def write_drive(root: Path, name: str = "2011_09_26_drive_0001", pose: np.ndarray | None = None, camera: str = "02"):
    """A drive in KITTI's layout: image n has grey 10 n, and the oxts are those of these poses of the camera."""
    pose = curve() if pose is None else pose
    date = root / name[:10]
    drive = date / f"{name}_sync"
    images = drive / f"image_{camera}" / "data"
    for folder in (images, drive / "oxts" / "data"):
        folder.mkdir(parents=True)
    for file, text in CALIBRATION.items():
        (date / file).write_text(text)
    mount = read_mount(date, camera)
    first = np.eye(4)
    first[:3, :3] = Rotation.from_euler("ZYX", [-2.6, 0.01, 0.03]).as_matrix()
    lat, lon, alt = np.radians(49.015), np.radians(8.434), 116.4
    scale = np.cos(lat)
    start = np.array([scale * EARTH * lon, scale * EARTH * np.log(np.tan(np.pi / 4 + lat / 2)), alt])
    for n, moved in enumerate(first @ np.linalg.inv(mount) @ pose @ mount):
        r, (east, north, up) = moved[:3, :3], moved[:3, 3] + start
        place = np.degrees([2 * np.arctan(np.exp(north / scale / EARTH)) - np.pi / 2, east / scale / EARTH])
        angles = [np.arctan2(r[2, 1], r[2, 2]), np.arcsin(-r[2, 0]), np.arctan2(r[1, 0], r[0, 0])]
        values = [*place, up, *angles, *[0.0] * 19, 4, 11, 6, 6, 6]
        (drive / "oxts" / "data" / f"{n:010}.txt").write_text(" ".join(str(float(value)) for value in values) + "\n")
        cv2.imwrite(str(images / f"{n:010}.png"), np.full((6, 8, 3), 10 * n, np.uint8))
    stamps = "".join(f"2011-09-26 13:02:{25 + n // 10}.{n % 10}50000000\n" for n in range(len(pose)))
    (images.parent / "timestamps.txt").write_text(stamps)
    return drive


def same_pose(found: np.ndarray, known: np.ndarray) -> bool:
    return np.abs(found - np.linalg.inv(known[0]) @ known).max() < 1e-6


@pytest.fixture
def root(tmp_path):
    """Two drives, both to train on; the first is what tests break."""
    write_drive(tmp_path, "2011_09_26_drive_0001")
    write_drive(tmp_path, "2011_09_26_drive_0002")
    return tmp_path


@pytest.fixture
def drive(root):
    return root / "2011_09_26" / "2011_09_26_drive_0001_sync"


@pytest.fixture
def packets(shared) -> list[Oxts]:
    return [read_oxts(path) for path in sorted((shared / REAL / "oxts" / "data").glob("*.txt"))]


def test_it_is_called_as_other_data_sets_are():
    assert inspect.signature(kitti_raw) == inspect.signature(hmdb51)


def test_known_poses_come_back_through_oxts_within_a_micrometre(root):
    for record in kitti_raw(root):
        assert record["pose"].dtype == np.float64 and record["pose"].shape == (8, 4, 4)
        assert same_pose(record["pose"], curve())
        assert record["frames"][np.arange(8)].shape == (8, 3, 6, 8)
        assert np.allclose(record["time"], np.arange(8) / 10)
    assert np.allclose(motion(record["pose"][:-1], record["pose"][1:])[:, 0], 0.05, atol=2e-3)  # right is positive


@pytest.mark.parametrize("camera", ["02", "00"])
def test_the_left_colour_camera_is_read_or_else_the_grey_one(tmp_path, camera):
    write_drive(tmp_path, camera=camera)
    (record,) = kitti_raw(tmp_path)
    assert same_pose(record["pose"], curve()) and record["frames"].path.endswith(f"image_{camera}/data")


def test_the_colour_camera_is_where_the_calibration_says(tmp_path):
    drive = write_drive(tmp_path)
    between = read_mount(drive.parent, "00") @ np.linalg.inv(read_mount(drive.parent, "02"))
    assert np.allclose(between[:3, 3], [-0.06, 0, 0])


def test_drive_0001_is_as_long_as_its_speed_says_and_bends_right_as_its_gyroscope_says(shared, packets):
    """It goes on for 107 m and 11 s: a street that bends a little to the right."""
    poses = read_poses(shared / REAL)
    assert list(poses) == list(range(108))
    pose = np.stack(list(poses.values()))
    seconds = times_of(shared / REAL / "oxts" / "timestamps.txt", list(poses))
    steps = motion(pose[:-1], pose[1:])
    length = np.linalg.norm(np.diff(pose[:, :3, 3], axis=0), axis=1).sum()
    assert length == pytest.approx(107, abs=0.5)
    assert length == pytest.approx(np.trapezoid([p.vf for p in packets], seconds), rel=0.01)
    assert steps[:, 1].sum() == pytest.approx(length, rel=1e-3) and (steps[:, 1] > 0).all()
    yaw = steps[:, 0].sum()
    assert yaw == pytest.approx(motion(pose[0], pose[-1])[0], abs=1e-3)
    assert yaw == pytest.approx(packets[0].yaw - packets[-1].yaw, abs=2e-3)  # the log's is positive to the left
    assert yaw == pytest.approx(-np.trapezoid([p.wu for p in packets], seconds), abs=0.01)
    assert np.degrees(yaw) == pytest.approx(8.3, abs=0.1)


def test_drive_0001_has_rotations_and_starts_at_the_identity(shared):
    pose = np.stack(list(read_poses(shared / REAL, "02").values()))
    turned = pose[:, :3, :3]
    assert np.abs(turned @ turned.swapaxes(1, 2) - np.eye(3)).max() < 1e-12
    assert np.allclose(np.linalg.det(turned), 1, atol=1e-12) and (pose[:, 3] == [0, 0, 0, 1]).all()
    assert np.allclose(pose[0], np.eye(4), atol=1e-8) and np.allclose(np.linalg.inv(pose) @ pose, np.eye(4))
    grey = np.stack(list(read_poses(shared / REAL, "00").values()))
    assert 0.001 < np.abs(grey - pose)[:, :3, 3].max() < 0.02  # 6 cm beside, turned by 8 degrees


def test_the_map_moves_as_the_logged_velocity_and_the_camera_sits_where_kitti_says(shared, packets):
    east, north = np.diff(imu_poses(packets)[[0, -1], :2, 3], axis=0)[0]
    seconds = times_of(shared / REAL / "oxts" / "timestamps.txt", list(range(108)))
    assert east == pytest.approx(np.trapezoid([p.ve for p in packets], seconds), rel=0.01)
    assert north == pytest.approx(np.trapezoid([p.vn for p in packets], seconds), rel=0.01)
    mount = np.linalg.inv(read_mount((shared / REAL).parent, "02"))  # x forward, y left, z up
    assert np.allclose(mount[:3, 3], [1.08, -0.25, 0.73], atol=0.01)
    assert np.allclose(mount[:3, :3], [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], atol=0.02)


def test_the_real_drive_is_a_record_once_its_images_are_there(shared, tmp_path):
    shutil.copytree((shared / REAL).parent, tmp_path / "2011_09_26")
    with pytest.raises(ValueError, match="drive_0001_sync has no images in image_02/data or image_00/data"):
        kitti_raw(tmp_path)
    images = tmp_path / "2011_09_26" / "2011_09_26_drive_0001_sync" / "image_02" / "data"
    images.mkdir()
    for n in range(108):
        cv2.imwrite(str(images / f"{n:010}.png"), np.full((4, 4, 3), n, np.uint8))
    records = kitti_raw(tmp_path)
    assert records.complete and records[0]["pose"].shape == (108, 4, 4)
    assert records[0]["time"][-1] == pytest.approx(11.0368, abs=1e-3)
    assert (records[0]["name"], records[0]["group"]) == ("2011_09_26_drive_0001_sync", "2011_09_26_drive_0001")


def test_images_and_poses_are_paired_by_number(root, drive):
    (drive / "image_02" / "data" / "0000000003.png").unlink()
    for n in (5, 6):
        (drive / "oxts" / "data" / f"{n:010}.txt").unlink()
    records = kitti_raw(root)
    record, kept = records[0], [0, 1, 2, 4, 7]
    assert same_pose(record["pose"], curve()[kept]) and len(record["frames"]) == 5
    assert record["frames"][np.array([[4, 0], [3, 3]])][..., 0, 0, 0].tolist() == [[70, 0], [40, 40]]
    assert record["frames"][3][0, 0, 0] == 40 and record["frames"][np.zeros(0, int)].shape == (0, 3, 6, 8)
    assert np.allclose(record["time"], np.array(kept) / 10)
    with pytest.raises(ValueError, match="has frames 0 to 4, but -1 was asked for"):
        record["frames"][np.array([-1, 2])]
    odd = "has 2 images without a pose (number 5, ...) and 1 pose without an image (number 3)"
    assert records.damaged == {"2011_09_26_drive_0001_sync": odd} and not records.missing and len(records) == 2
    assert pickle.loads(pickle.dumps(record))["frames"] == record["frames"]


def test_broken_images_are_left_out_and_told(root, drive):
    images = drive / "image_02" / "data"
    (images / "0000000002.png").write_bytes(b"")
    whole = (images / "0000000005.png").read_bytes()
    (images / "0000000005.png").write_bytes(whole[: len(whole) // 2])
    records = kitti_raw(root)
    assert len(records[0]["frames"]) == 6 and same_pose(records[0]["pose"], curve()[[0, 1, 3, 4, 6, 7]])
    assert "has 2 broken images (0000000002.png is empty" in records.damaged["2011_09_26_drive_0001_sync"]


def test_poses_do_not_depend_on_which_images_are_there(root, drive):
    (drive / "image_02" / "data" / "0000000000.png").unlink()
    assert same_pose(kitti_raw(root)[0]["pose"], curve()[1:])


def edit(path: Path, change):
    path.write_text(change(path.read_text()))


BREAKS = {
    "29 numbers": (
        lambda drive: edit(drive / "oxts/data/0000000003.txt", lambda text: text.rsplit(" ", 1)[0]),
        r"oxts/data/0000000003.txt, line 1 has 29 numbers, but should have 30",
    ),
    "a NaN": (
        lambda drive: edit(drive / "oxts/data/0000000003.txt", lambda text: text.replace("11.0", "nan")),
        r"0000000003.txt, line 1 has 'nan', which is no finite number",
    ),
    "two lines": (
        lambda drive: edit(drive / "oxts/data/0000000003.txt", lambda text: text + text),
        r"0000000003.txt has 2 lines, but should have one",
    ),
    "no oxts": (lambda drive: shutil.rmtree(drive / "oxts"), r"oxts/data has no poses"),
    "no images": (lambda drive: shutil.rmtree(drive / "image_02"), r"has no images in image_02/data or image_00/data"),
    "times out of order": (
        lambda drive: edit(
            drive / "image_02/timestamps.txt",
            lambda text: "\n".join(np.array(text.split("\n"))[[0, 2, 1, *range(3, 8)]]),
        ),
        r"image_02/timestamps.txt, line 3 is not later than line 2",
    ),
    "too few times": (
        lambda drive: edit(drive / "image_02/timestamps.txt", lambda text: text[: text.index("\n")]),
        r"timestamps.txt has 1 lines, but there is a frame number 7",
    ),
    "no time": (
        lambda drive: edit(drive / "image_02/timestamps.txt", lambda text: text.replace("2011-09-26 13:02:25.35", "x")),
        r"timestamps.txt, line 4 is 'x0000000', but should be a time",
    ),
    "not a time": (
        lambda drive: edit(
            drive / "image_02/timestamps.txt", lambda text: text.replace("2011-09-26 13:02:25.35", "NaT ")
        ),
        r"timestamps.txt, line 4 is 'NaT",
    ),
    "a place off the map": (
        lambda drive: edit(drive / "oxts/data/0000000003.txt", lambda text: "95 " + text.split(" ", 1)[1]),
        r"0000000003.txt, line 1 has latitude 95 and longitude .*, which are no place on KITTI's map",
    ),
    "one frame": (
        lambda drive: [path.unlink() for path in (drive / "image_02/data").glob("*[1-9].png")],
        r"has 1 images and there are 8 poses, of which 1 belong together by number: motion needs 2 at least",
    ),
    "an odd image": (
        lambda drive: (drive / "image_02/data/0000000003.png").rename(drive / "image_02/data/copy3.png"),
        r"holds copy3.png, but images should be named by their number alone",
    ),
    "a number twice": (
        lambda drive: shutil.copy(drive / "image_02/data/0000000003.png", drive / "image_02/data/3.png"),
        r"holds 3.png and 0000000003.png, of one number",
    ),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_a_broken_drive_is_left_out_and_named_with_file_and_line(root, drive, broken):
    breaks, why = BREAKS[broken]
    breaks(drive)
    records = kitti_raw(root)
    assert [record["name"] for record in records] == ["2011_09_26_drive_0002_sync"] and not records.complete
    assert list(records.missing) == ["2011_09_26_drive_0001_sync"]
    assert re.search(why, records.missing["2011_09_26_drive_0001_sync"])
    assert "1 of 2 videos (0 not there, 1 unreadable: 2011_09_26_drive_0001_sync" in records.summary()


def test_without_calibration_no_drive_of_the_date_can_be_read(root):
    for file in CALIBRATION:
        held = (root / "2011_09_26" / file).read_text()
        (root / "2011_09_26" / file).unlink()
        with pytest.raises(ValueError, match=rf"none of the 2 drives listed .*{file} is not there"):
            kitti_raw(root)
        (root / "2011_09_26" / file).write_text(held.replace("R: ", "Q: ").replace("P_rect_02", "P_rect_03"))
        with pytest.raises(ValueError, match=rf"{file} has no line"):
            kitti_raw(root)
        (root / "2011_09_26" / file).write_text(held)
    assert kitti_raw(root).complete


def test_without_timestamps_there_are_no_times(root, drive):
    (drive / "image_02" / "timestamps.txt").unlink()
    records = kitti_raw(root)
    assert "time" not in records[0] and "time" in records[1] and records.complete


def test_the_folder_of_another_layout_is_refused(root, tmp_path):
    with pytest.raises(ValueError, match=r"holds no drive.*give the folder above it"):
        kitti_raw(root / "2011_09_26")
    with pytest.raises(ValueError, match="give the folder that holds the dates"):
        kitti_raw(root / "2011_09_26" / "2011_09_26_drive_0001_sync")
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        kitti_raw(tmp_path / "nowhere")


def test_motion_comes_from_an_index_where_there_is_one(root, drive):
    assert all("motion" not in record for record in kitti_raw(root))
    index_videos(root, workers=1, progress=False)
    records = kitti_raw(root, size=(3, 4))
    assert np.allclose(records[0]["motion"], 10, atol=0.5) and len(records[0]["motion"]) == 7
    assert records[0]["frames"][np.array([1])].shape == (1, 3, 3, 4)
    (drive / "oxts" / "data" / "0000000003.txt").unlink()  # the index knows nothing of the frames picked
    assert "motion" not in kitti_raw(root)[0] and "motion" in kitti_raw(root)[1]
    cv2.imwrite(str(drive / "image_02" / "data" / "0000000003.png"), np.eye(60, dtype=np.uint8))
    (drive / "oxts" / "data" / "0000000003.txt").write_text((drive / "oxts" / "data" / "0000000002.txt").read_text())
    assert "changed since it was indexed: run `videossl index" in kitti_raw(root).missing["2011_09_26_drive_0001_sync"]
