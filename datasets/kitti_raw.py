"""KITTI's raw recordings: a car's cameras, and its poses from GPS and inertial sensors (OXTS).

Source: Geiger, Lenz, Stiller, Urtasun, "Vision meets Robotics: The KITTI Dataset", IJRR 2013; poses as its development
kit computes them (convertOxtsToPose.m).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from videossl.datasets.drives import Drive, choose_drives, gather_drives, motions, numbered, pair, read_scenes
from videossl.datasets.index import folder as existing
from videossl.datasets.poses import camera_poses, increasing, offset, read_calibration, read_lines, read_rows, rigid
from videossl.datasets.records import Records

CAMERAS = ("02", "00")  # left colour; left grey where there is no colour
EARTH = 6378137.0  # metres: the radius that KITTI's Mercator projection takes


class Oxts(NamedTuple):
    """What the GPS and inertial unit gave with a frame: the 30 values of a line, in their order.

    Its own frame has x forward, y to the left, z up.
    """

    lat: float  # latitude, degrees
    lon: float  # longitude, degrees
    alt: float  # altitude, metres
    roll: float  # radians, 0 is level, positive is left side up
    pitch: float  # radians, 0 is level, positive is front down
    yaw: float  # radians, 0 is east, positive is counter-clockwise: to the left
    vn: float  # velocity to the north, m/s
    ve: float  # to the east, m/s
    vf: float  # forward, parallel to the earth's surface, m/s
    vl: float  # to the left, parallel to the earth's surface, m/s
    vu: float  # up, m/s
    ax: float  # acceleration along the unit's x, m/s²
    ay: float  # along y, m/s²
    az: float  # along z, m/s²
    af: float  # forward, m/s²
    al: float  # to the left, m/s²
    au: float  # up, m/s²
    wx: float  # angular rate about the unit's x, rad/s
    wy: float  # about y, rad/s
    wz: float  # about z, rad/s
    wf: float  # about the forward axis, rad/s
    wl: float  # about the leftward axis, rad/s
    wu: float  # about the upward axis, rad/s
    pos_accuracy: float  # of the position, metres
    vel_accuracy: float  # of the velocity, m/s
    navstat: float  # status, a number
    numsats: float  # satellites in use, a number
    posmode: float  # mode of the position, a number
    velmode: float  # of the velocity, a number
    orimode: float  # of the orientation, a number


def kitti_raw(
    root: str | Path,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
) -> Records:
    """KITTI raw, synchronised and rectified: drives of a car through Karlsruhe, 1242x375 at 10 frames a second.

    Files lie as they are distributed: ROOT/2011_09_26/calib_cam_to_cam.txt, calib_velo_to_cam.txt, calib_imu_to_velo.txt,
    and in ROOT/2011_09_26/2011_09_26_drive_0001_sync: image_02/data/0000000000.png, ..., image_02/timestamps.txt,
    oxts/data/0000000000.txt, ... The left colour camera is read, or the left grey one (image_00) where it is not there.
    Images and poses are paired by number. A drive where either lacks some holds the frames that have both, and is told in
    `damaged`; one with files that cannot be read, or with fewer than 2 frames, is left out and told in `missing`.

    Args:
        root: the folder with the dates.
        split: 1 to 5: without lists, every fifth drive is for testing, in five ways (see `choose_drives`).
        train: the drives to train on, otherwise to test on.
        size: height and width in pixels that frames are scaled to; None leaves them as filmed.
        lists: folder with train.txt and test.txt, a drive's name (2011_09_26_drive_0001_sync) a line; by default `root`,
            if they are there.
        index: the index, where it is not `root`/index.json. None is needed, but for "motion".

    Records hold "frames", "pose" (float64 (frames, 4, 4): T_world_camera in metres, camera x right, y down, z forward,
    world as the drive's first camera), "time" (float64 (frames,), seconds since the first frame, where there is a
    timestamps.txt), "name", "group" (the recording, 2011_09_26_drive_0001), "label" where `root`/scenes.txt has the
    drive's scene (see `read_scenes`), and "motion" where the index has it.

    Raises:
        FileNotFoundError: the folder or the lists are not there.
        ValueError: the folder is of another layout, the lists are bad, or no drive can be read.
    """
    root = existing(root)
    drives = [
        Drive(path.name, path.name.removesuffix("_sync"), path)
        for path in sorted(root.glob("*/*_drive_*_sync"))
        if path.is_dir()
    ]
    if not drives:
        way = "give the folder above it" if any(root.glob("*_drive_*_sync")) else "give the folder that holds the dates"
        raise ValueError(f"{root} holds no drive, such as 2011_09_26/2011_09_26_drive_0001_sync: {way}")
    motion = motions(root, index)

    def read(drive: Drive) -> tuple[dict, str]:
        camera, numbers = camera_of(drive.path)
        images = drive.path / f"image_{camera}" / "data"
        pose = read_poses(drive.path, camera)
        frames, kept, odd = pair(images, numbers, pose, size)
        poses = np.stack([pose[n] for n in kept])
        record = {"frames": frames, "pose": np.linalg.inv(poses[0]) @ poses}
        stamps = drive.path / f"image_{camera}" / "timestamps.txt"
        if stamps.is_file():
            record["time"] = times_of(stamps, kept)
        return record | (motion(images) if len(frames) == len(numbers) else {}), odd

    scenes = read_scenes(root)
    wanted, series = choose_drives(root, drives, scenes, split, train, lists)
    return gather_drives(root, wanted, read, scenes, series, split, train)


def camera_of(drive: Path) -> tuple[str, list[int]]:
    """The camera of a drive that is read, "02" or "00", and the numbers of its images.

    Raises:
        FileNotFoundError: neither has any image.
    """
    for camera in CAMERAS:
        if numbers := numbered(drive / f"image_{camera}" / "data"):
            return camera, numbers
    raise FileNotFoundError(f"{drive} has no images in image_02/data or image_00/data: unpack its archive there")


def read_poses(drive: Path, camera: str = "02") -> dict[int, np.ndarray]:
    """Poses of a camera by the number of the frame: T_world_camera, (4, 4), in metres.

    Args:
        drive: the folder of a drive, which need not have images.
        camera: "00" to "03"; rectified, x right, y down, z forward.

    The world's frame is the camera's at the first number there is.

    Raises:
        FileNotFoundError: there is no oxts, or a calibration file is not there.
        ValueError: a file is not of its format; it and the line are named.
    """
    files = {int(path.stem): path for path in (drive / "oxts" / "data").glob("*.txt") if path.stem.isdigit()}
    if not files:
        raise FileNotFoundError(
            f"{drive / 'oxts' / 'data'} has no poses (0000000000.txt, ...): unpack its archive there"
        )
    numbers = sorted(files)
    packets = [read_oxts(files[n]) for n in numbers]
    pose = camera_poses(imu_poses(packets), np.linalg.inv(read_mount(drive.parent, camera)))
    return dict(zip(numbers, pose, strict=True))


def read_oxts(path: Path) -> Oxts:
    """The values of one frame, from oxts/data/0000000000.txt.

    Raises:
        ValueError: the file has another number of values or lines, a value that is no finite number, or a place that is
            not on the map: latitudes lie within 85 degrees of the equator, longitudes within 180.
    """
    rows = read_rows(path, len(Oxts._fields), f"{len(Oxts._fields)}, those of oxts/dataformat.txt")
    if len(rows) != 1:
        raise ValueError(f"{path} has {len(rows)} lines, but should have one: bring it back from the archive")
    packet = Oxts(*rows[0].tolist())
    if abs(packet.lat) > 85 or abs(packet.lon) > 180:
        raise ValueError(
            f"{path}, line 1 has latitude {packet.lat:g} and longitude {packet.lon:g}, which are no place on KITTI's map: "
            "bring the file back, or leave the drive out"
        )
    return packet


def imu_poses(packets: list[Oxts]) -> np.ndarray:
    """T_map_imu, (frames, 4, 4), in metres: x forward, y left, z up, on a map with x to the east, y north, z up.

    The map is a Mercator projection whose scale is right at the first packet's latitude, so that metres are metres near
    the drive; its origin is where the projection's is.
    """
    lat, lon, alt, roll, pitch, yaw = np.array([packet[:6] for packet in packets]).T
    scale = np.cos(np.radians(lat[0]))
    east = scale * EARTH * np.radians(lon)
    north = scale * EARTH * np.log(np.tan(np.radians(90 + lat) / 2))
    turned = Rotation.from_euler("ZYX", np.stack([yaw, pitch, roll], -1)).as_matrix()
    return rigid(turned, np.stack([east, north, alt], -1))


def read_mount(date: Path, camera: str) -> np.ndarray:
    """T_camera_imu, (4, 4), from the calibration of a date: inertial unit, laser scanner, camera 00, rectified camera.

    Raises:
        FileNotFoundError: one of the three files is not there.
        ValueError: one lacks what is needed of it.
    """
    path, projection = date / "calib_cam_to_cam.txt", f"P_rect_{camera}"
    fields = read_calibration(path, {"R_rect_00": 9, projection: 12})
    rectified = rigid(fields["R_rect_00"].reshape(3, 3), np.zeros(3), path)
    camera_velo = read_rigid(date / "calib_velo_to_cam.txt")
    velo_imu = read_rigid(date / "calib_imu_to_velo.txt")
    return offset(fields[projection], path) @ rectified @ camera_velo @ velo_imu


def read_rigid(path: Path) -> np.ndarray:
    """The rigid motion (4, 4) of a calibration file with R and T."""
    fields = read_calibration(path, {"R": 9, "T": 3})
    return rigid(fields["R"].reshape(3, 3), fields["T"], path)


def times_of(path: Path, numbers: list[int]) -> np.ndarray:
    """Seconds since the first of these frames, (frames,), from a timestamps.txt, whose line n + 1 is of frame n.

    Raises:
        ValueError: a line is no time ("2011-09-26 13:02:25.964389445"), or not later than the one before; or it has
            fewer lines than frames.
    """
    times = []
    for n, line in read_lines(path):
        try:
            time = np.datetime64(line.strip(), "ns")
        except ValueError:
            time = np.datetime64("NaT")
        if np.isnat(time):
            raise ValueError(
                f"{path}, line {n} is {line.strip()!r}, but should be a time, `2011-09-26 13:02:25.964389445`: bring "
                "the file back, or leave it out to do without times"
            )
        times.append(time)
    if len(times) <= numbers[-1]:
        raise ValueError(
            f"{path} has {len(times)} lines, but there is a frame number {numbers[-1]} (from 0): bring it back, or "
            "leave it out to do without times"
        )
    times = np.array(times)
    seconds = increasing(path, (times - times[0]) / np.timedelta64(1, "s"))[numbers]
    return seconds - seconds[0]
