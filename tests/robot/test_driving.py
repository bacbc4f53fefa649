import json
import multiprocessing
import os
import shutil
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from videossl.robot import driving
from videossl.robot.driving import CATEGORIES, SimulateDriving, draw_drive, oxts, plan_motion, simulate_driving, turn
from videossl.robot.street import plan_route

pytestmark = pytest.mark.skipif(
    find_spec("pybullet") is None, reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone"
)


def small(out, **changes) -> SimulateDriving:
    return SimulateDriving(**{"out": out, "drives": 4, "frames": 5, "size": (24, 40), "workers": 1, **changes})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "driving"
    simulate_driving(small(folder))
    return folder


def calibration(path: Path) -> dict[str, np.ndarray]:
    lines = [line.split(": ") for line in path.read_text().splitlines()[1:]]  # the first is the time
    return {name: np.array(values.split(), float) for name, values in lines}


def rigid(turned, moved) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = turned.reshape(3, 3), moved
    return T


def camera_poses(drive: Path) -> np.ndarray:
    """(T, 4, 4): image_02 in the frame of the first, computed as KITTI's development kit does, from the files alone."""
    packets = np.array([np.loadtxt(path) for path in sorted((drive / "oxts" / "data").glob("*.txt"))])
    scale = np.cos(packets[0, 0] * np.pi / 180)
    poses = []
    for lat, lon, alt, roll, pitch, yaw in packets[:, :6]:
        x = scale * lon * np.pi * 6378137 / 180
        y = scale * 6378137 * np.log(np.tan((90 + lat) * np.pi / 360))
        rx = np.array([[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]])
        ry = np.array([[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]])
        rz = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        poses.append(rigid(rz @ ry @ rx, (x, y, alt)))
    cameras = calibration(drive.parent / "calib_cam_to_cam.txt")
    velo, imu = (calibration(drive.parent / f"calib_{name}.txt") for name in ("velo_to_cam", "imu_to_velo"))
    projection = cameras["P_rect_02"].reshape(3, 4)
    T_camera_imu = (
        rigid(np.eye(3), np.linalg.inv(projection[:, :3]) @ projection[:, 3])
        @ rigid(cameras["R_rect_00"], 0)
        @ rigid(velo["R"], velo["T"])
        @ rigid(imu["R"], imu["T"])
    )
    T_world_camera = np.array(poses) @ np.linalg.inv(T_camera_imu)
    return np.linalg.inv(T_world_camera[0]) @ T_world_camera


def apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Metres and degrees by which poses (T, 4, 4) differ, at most."""
    turned = a[:, :3, :3] @ b[:, :3, :3].transpose(0, 2, 1)
    angle = np.arccos(np.clip((np.trace(turned, axis1=1, axis2=2) - 1) / 2, -1, 1))
    return np.linalg.norm(a[:, :3, 3] - b[:, :3, 3], axis=-1).max(), np.degrees(angle).max()


def test_the_layout_is_kittis(made):
    date = made / "2020_01_01"
    assert sorted(p.name for p in date.iterdir()) == [
        *(f"2020_01_01_drive_{n:04}_sync" for n in (1, 2, 3, 4)),
        "calib_cam_to_cam.txt",
        "calib_imu_to_velo.txt",
        "calib_velo_to_cam.txt",
    ]
    for drive in date.glob("*_sync"):
        names = {str(p.relative_to(drive)) for p in drive.rglob("*") if p.is_file()}
        numbers = [f"{n:010}" for n in range(5)]
        assert names == {
            *(f"image_02/data/{n}.png" for n in numbers),
            *(f"oxts/data/{n}.txt" for n in numbers),
            *("image_02/timestamps.txt", "oxts/timestamps.txt", "oxts/dataformat.txt"),
        }
        for path in drive.glob("image_02/data/*.png"):
            assert cv2.imread(str(path)).shape == (24, 40, 3)
        for path in drive.glob("oxts/data/*.txt"):
            values = path.read_text().split(" ")
            assert len(values) == 30 and [float(v) for v in values[-5:]] == [4, 10, 6, 6, 6]
        times = [np.datetime64(line) for line in (drive / "oxts" / "timestamps.txt").read_text().splitlines()]
        assert np.array_equal(np.diff(times), [np.timedelta64(100, "ms")] * 4)
    scenes = [line.split() for line in (made / "scenes.txt").read_text().splitlines()]
    assert [name for name, _ in scenes] == [f"2020_01_01_drive_{n:04}_sync" for n in (1, 2, 3, 4)]
    assert {category for _, category in scenes} == {"City", "Residential", "Road", "Campus"}


def test_files_have_the_fields_of_the_real_ones(made):
    real = Path(__file__).parents[3] / "shared" / "data" / "kitti_raw" / "2011_09_26"
    if not real.is_dir():
        pytest.skip("no shared/data/kitti_raw beside the repository")
    for name in ("calib_cam_to_cam.txt", "calib_imu_to_velo.txt", "calib_velo_to_cam.txt"):
        lines, ours = ((folder / name).read_text().splitlines() for folder in (real, made / "2020_01_01"))
        assert [line.split(":")[0] for line in lines] == [line.split(":")[0] for line in ours]
        assert [len(line.split()) for line in lines] == [len(line.split()) for line in ours]
    theirs = real / "2011_09_26_drive_0001_sync" / "oxts" / "dataformat.txt"
    assert theirs.read_text().split() == driving.FORMAT.split()


@pytest.mark.parametrize("drive", [1, 2, 3, 4])
def test_poses_read_from_the_files_are_those_that_were_driven(made, drive):
    _, motion, _ = draw_drive(small(made), drive)
    T = motion.T_world_camera()
    metres, degrees = apart(
        camera_poses(made / "2020_01_01" / f"2020_01_01_drive_{drive:04}_sync"), np.linalg.inv(T[0]) @ T
    )
    assert metres < 0.001 and degrees < 0.001


def test_our_own_reader_gives_the_same_poses_and_categories(made):
    from videossl.datasets.kitti_raw import kitti_raw

    records = [record for split in (1, 2, 3, 4, 5) for record in kitti_raw(made, split=split, train=True)]
    assert {record["name"] for record in records} == {path.name for path in made.glob("*/*_sync")}
    for record in records:
        drive = int(record["name"].split("_")[4])
        _, motion, _ = draw_drive(small(made), drive)
        T = motion.T_world_camera()
        metres, degrees = apart(record["pose"], np.linalg.inv(T[0]) @ T)
        assert metres < 0.01 and degrees < 0.1
        assert record["frames"][np.arange(5)].shape == (5, 3, 24, 40)


def test_the_camera_is_where_kittis_is():
    _, motion, _ = draw_drive(small("nowhere"), 3)
    T = driving.T_camera_imu()
    camera = np.linalg.inv(T)[:3, 3] + (0, 0, driving.IMU_HEIGHT)
    assert camera[2] == pytest.approx(1.65) and np.allclose(np.linalg.inv(T)[:3, 2], [1, 0, 0])  # it looks ahead
    assert abs(motion.T_world_camera()[:, 2, 3] - 1.65).max() < 0.05  # metres; the car tilts


@pytest.mark.parametrize("category", CATEGORIES)
def test_oxts_velocities_and_rates_are_those_of_the_motion(category):
    rng = np.random.default_rng(7)
    route = plan_route(CATEGORIES[category], 30 * CATEGORIES[category].speed[1], rng)
    motion = plan_motion(CATEGORIES[category], route, 250, rng)
    rows, dt = oxts(motion), 1 / driving.RATE
    moved = (motion.places[2:] - motion.places[:-2]) / (2 * dt)
    assert abs(moved[:, 1] - rows[1:-1, 6]).max() < 0.15 and abs(moved[:, 0] - rows[1:-1, 7]).max() < 0.15  # vn, ve
    assert np.allclose(np.hypot(rows[:, 6], rows[:, 7]), rows[:, 8]) and (rows[:, 9:11] == 0).all()  # vf, vl, vu
    gained = (motion.speed[2:] - motion.speed[:-2]) / (2 * dt)
    assert abs(gained - rows[1:-1, 14]).max() < 0.5  # af
    yaw = np.unwrap(rows[:, 5])
    assert abs((yaw[2:] - yaw[:-2]) / (2 * dt) - rows[1:-1, 22]).max() < 0.1  # wu
    force = np.linalg.norm(rows[:, 11:14], axis=1)
    assert np.allclose(force, np.linalg.norm(rows[:, 14:17], axis=1)) and abs(force - 9.81).max() < 1
    assert np.allclose(np.linalg.norm(rows[:, 17:20], axis=1), np.linalg.norm(rows[:, 20:23], axis=1))
    assert abs(rows[:, 5]).max() <= np.pi


def test_body_rates_are_those_by_which_the_pose_turns():
    rng = np.random.default_rng(1)
    route = plan_route(CATEGORIES["City"], 100, rng)
    motion = plan_motion(CATEGORIES["City"], route, 80, rng)
    rates = oxts(motion)[:, 17:20]
    poses = np.array([turn(angles) for angles in motion.angles])
    for t in range(1, 79):
        spin = (poses[t].T @ (poses[t + 1] - poses[t - 1])) / 0.2
        assert np.allclose([spin[2, 1], spin[0, 2], spin[1, 0]], rates[t], atol=0.06)


def test_drives_turn_both_ways_stop_and_change_speed(tmp_path):
    config = small(tmp_path, drives=40, frames=60)
    motions = [draw_drive(config, drive)[1] for drive in range(1, 41)]
    turned = np.degrees([motion.angles[-1, 2] - motion.angles[0, 2] for motion in motions])
    assert (turned > 45).sum() >= 4 and (turned < -45).sum() >= 4 and (abs(turned) < 5).sum() >= 4
    assert sum(motion.speed.min() < 0.1 for motion in motions) >= 4
    assert max(motion.speed.max() for motion in motions) > 9 and max(motion.speed.max() for motion in motions) < 14.1
    assert max(abs(motion.turning[:, 2]).max() for motion in motions) < 0.8  # radians / second
    assert max(abs(motion.push).max() for motion in motions) < 3.5  # metres / second²


def test_two_workers_write_the_same_bytes(made, tmp_path):
    simulate_driving(small(tmp_path, workers=2))
    assert contents(tmp_path) == contents(made)


def test_it_goes_on_after_a_kill_with_the_same_bytes(made, tmp_path):
    out = tmp_path / "out"
    process = multiprocessing.get_context("fork").Process(target=simulate_driving, args=(small(out),))
    process.start()
    until = time.monotonic() + 120
    while not list(out.glob("2020_01_01/*_0002_sync.part")) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    kept = out / "2020_01_01" / "2020_01_01_drive_0001_sync" / "oxts" / "timestamps.txt"
    before = kept.stat().st_mtime_ns
    assert not (out / "scenes.txt").exists()
    simulate_driving(small(out))
    assert contents(out) == contents(made)
    assert kept.stat().st_mtime_ns == before


def test_a_drive_depends_on_the_seed_and_its_number_alone(made, tmp_path):
    simulate_driving(small(tmp_path / "less", drives=1))
    name = "2020_01_01/2020_01_01_drive_0001_sync"
    assert contents(tmp_path / "less" / name) == contents(made / name)
    simulate_driving(small(tmp_path / "other", drives=1, seed=1))
    other, first = contents(tmp_path / "other" / name), contents(made / name)
    assert other["image_02/data/0000000000.png"] != first["image_02/data/0000000000.png"]
    assert other["oxts/data/0000000004.txt"] != first["oxts/data/0000000004.txt"]


def test_another_config_is_not_mixed_in(made):
    before = contents(made)
    with pytest.raises(ValueError, match=r"was made with frames 5 \(now 6\), seed 0 \(now 1\): ask for the same"):
        simulate_driving(small(made, frames=6, seed=1))
    assert contents(made) == before
    noted = json.loads((made / "simulation.json").read_text())
    assert noted["is"] == "videossl.robot.driving:SimulateDriving" and noted["size"] == [24, 40]


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="choose a new or an empty folder"):
        simulate_driving(small(tmp_path))
    with pytest.raises(FileExistsError, match=r"notes\.txt is a file, but a folder is to be made there"):
        simulate_driving(small(tmp_path / "notes.txt"))
    assert contents(tmp_path) == {"notes.txt": b"mine"}


@pytest.mark.parametrize(
    "wrong", [{"drives": 0}, {"drives": 1001}, {"frames": 1}, {"frames": 601}, {"size": (8, 40)}, {"seed": -1}]
)
def test_wrong_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        small(tmp_path, **wrong)


def test_what_is_left_of_a_kill_is_made_anew(made, tmp_path):
    shutil.copytree(made, tmp_path / "out")
    drive = tmp_path / "out" / "2020_01_01" / "2020_01_01_drive_0003_sync"
    drive.rename(drive.with_name(drive.name + ".part"))
    (drive.with_name(drive.name + ".part") / "image_02" / "data" / "0000000000.png").write_bytes(b"half")
    simulate_driving(small(tmp_path / "out"))
    assert contents(tmp_path / "out") == contents(made)
