"""Drives through simulated streets, in KITTI's raw layout: pictures, oxts, timestamps and calibration.

A drive is `DATE/DATE_drive_NNNN_sync` with `image_02/data/0000000000.png` (the left colour camera, 1.65 m over the
ground) and `oxts/data/0000000000.txt`, ten times a second; `scenes.txt` gives each drive's category, one of KITTI's City,
Residential, Road and Campus. Drives come from the seed and their own number alone: the bytes are the same for any number
of workers. The car follows a planned route; it speeds up, brakes before bends, stops, and tilts a little as it does.

Source: Geiger et al., "Vision meets Robotics: The KITTI Dataset", IJRR 2013; its development kit for the conventions
(`convertOxtsToPose.m`, `latlonToMercator.m`, `dataformat.txt`).
"""

import os
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from math import atan, cos, exp, log, pi, radians, tan
from pathlib import Path

import cv2
import joblib
import numpy as np

from videossl.robot.humanoid import new_client
from videossl.robot.outputs import claim_for, part_of, run_jobs, write_whole
from videossl.robot.scenery import (
    bale,
    bush,
    car,
    conifer,
    fence,
    hall,
    hedge,
    house,
    lamp,
    rail,
    sign,
    tower,
    traffic_light,
    tree,
    wall,
)
from videossl.robot.street import BEHIND, Kind, Route, Row, Street, intrinsics, plan_route

VERSION = 1  # of what is written: raise it when the same config gives others, so that no folder mixes both
DATE = "2020_01_01"
RATE = 10  # frames a second
FINE = 100  # steps a second in which motion is planned
GRAVITY = 9.81  # metres / second²
EARTH = 6378137.0  # metres: radius of KITTI's Mercator projection
LATITUDE, LONGITUDE, ALTITUDE = 49.0, 8.4, 115.0  # degrees, degrees and metres of where drives start: Karlsruhe
IMU_HEIGHT = 0.93  # metres over the ground
IMU_TO_VELODYNE = (-0.81, 0.32, -0.80)  # metres; both look along x, z is up
VELODYNE_TO_CAMERA = (0.0, -0.08, -0.27)  # metres, in camera 0's axes: x right, y down, z ahead
CAMERAS = (0.0, -0.54, 0.06, -0.48)  # metres: what is added to x in camera 0's frame to have it in camera 0 to 3's
PUSH, GRIP, BRAKE = 1.8, 1.8, 2.5  # metres / second²: at most forwards, sideways, backwards
TILT = 0.006  # radians by which the car leans for each metre / second²

LAMPS = Row(lamp, (0.2, 0.3), (0.2, 0.3), (6, 9), (0.5, 1), (22, 30), share=0.9)
SIGNS = Row(sign, (0.8, 0.8), (0.1, 0.2), (2.2, 3), (0.4, 1), (15, 40), share=0.6)
PARKED = Row(car, (3.8, 4.8), (1.6, 1.9), (1.4, 1.9), (0.1, 0.3), (0.8, 9), share=0.75, sway=0.04)
CATEGORIES = {
    "City": Kind(
        half=(3.8, 5),
        lane=1.7,
        zones=(("asphalt", 0.0), ("concrete", 0.3), ("paving", 4.5), ("concrete", np.inf)),
        rows=(
            Row(tower, (10, 24), (10, 14), (12, 30), (4.6, 5.2), (0, 1.0)),
            Row(traffic_light, (0.4, 0.4), (0.4, 0.4), (3, 3.5), (0.4, 0.6), (25, 50), share=0.6),
            PARKED,
            LAMPS,
            SIGNS,
            Row(tree, (2.5, 4), (2.5, 4), (5, 8), (0.8, 1.2), (8, 20), share=0.5, present=0.5),
        ),
        skyline="town",
        marks=(0.0,),
        zebra=True,
        speed=(7, 11),
        crossing=0.5,
        turns=0.7,
    ),
    "Residential": Kind(
        half=(2.9, 3.6),
        lane=1.3,
        zones=(("asphalt", 0.0), ("concrete", 0.2), ("paving", 2.2), ("grass", np.inf)),
        rows=(
            PARKED,
            Row(house, (8, 13), (7, 10), (6, 9.5), (4.5, 7), (2, 6), sway=0.05),
            Row(hedge, (3, 3), (0.6, 0.8), (0.8, 1.4), (2.3, 2.4), (0, 5), share=0.6),
            Row(fence, (2.5, 2.5), (0.1, 0.15), (0.9, 1.4), (2.5, 2.6), (0, 0.5), share=0.8, present=0.6),
            Row(tree, (3, 5.5), (3, 5.5), (4.5, 9), (2.4, 3.5), (5, 18), share=0.7),
            Row(bush, (1, 2), (1, 2), (0.8, 1.8), (3, 5), (3, 12), share=0.6),
            LAMPS,
        ),
        skyline="trees",
        marks=(),
        speed=(5, 9),
        crossing=0.2,
        turns=0.6,
    ),
    "Road": Kind(
        half=(3.8, 5.5),
        lane=1.8,
        zones=(("asphalt", 0.0), ("dirt", 0.8), ("grass", 6), ("field", np.inf)),
        rows=(
            Row(rail, (4, 4), (0.15, 0.15), (0.75, 0.85), (0.6, 0.8), present=0.6),
            Row(sign, (0.8, 0.8), (0.1, 0.2), (2.2, 3), (1, 1.5), (25, 60), share=0.8),
            Row(tree, (4, 7), (4, 7), (6, 12), (3, 5), (8, 35), share=0.6, present=0.7),
            Row(conifer, (4, 6), (4, 6), (8, 15), (18, 28), (2, 14), share=0.6, present=0.7),
            Row(bale, (1.4, 1.6), (1.2, 1.4), (1.3, 1.5), (9, 25), (12, 40), share=0.5, sway=1.5),
            Row(house, (10, 16), (8, 12), (6, 9), (20, 30), (50, 120), present=0.6),
        ),
        skyline="hills",
        edges=True,
        speed=(9, 14),
        straight=(10, 60),
        turns=0.2,
        radius=(12, 16),
        bend=(45, 200),
        crossing=0.05,
    ),
    "Campus": Kind(
        half=(2.5, 3.2),
        lane=0.9,
        zones=(("paving", 0.0), ("concrete", 0.2), ("grass", 9), ("grass", np.inf)),
        rows=(
            Row(hall, (25, 45), (12, 18), (7, 13), (10, 16), (6, 16)),
            Row(tree, (4, 7), (4, 7), (6, 11), (2.5, 4), (6, 16), share=0.75),
            Row(tree, (3, 5), (3, 5), (4, 8), (6, 8), (8, 20), share=0.5),
            Row(lamp, (0.2, 0.3), (0.2, 0.3), (3.5, 4.5), (0.5, 0.8), (14, 20)),
            Row(bush, (1, 2.2), (1, 2.2), (0.7, 1.4), (1, 2), (3, 14), share=0.5),
            Row(wall, (3, 3), (0.4, 0.4), (0.5, 0.9), (8.6, 9), (0, 6), share=0.5, present=0.5),
        ),
        skyline="trees",
        marks=(),
        speed=(4, 7),
        straight=(10, 30),
        turns=0.55,
        bend=(20, 60),
        crossing=0.4,
    ),
}


@dataclass(frozen=True)
class SimulateDriving:
    """Make a data set of simulated drives in KITTI's raw layout, ten frames a second, a quarter of each category."""

    out: Path  # folder to make, or to go on with: drives that are there are kept
    drives: int = 40
    frames: int = 60  # in a drive
    size: tuple[int, int] = (96, 160)  # height and width in pixels
    seed: int = 0
    workers: int | None = None  # processes; all cores when not given. The drives do not depend on it

    def __post_init__(self):
        if not 1 <= self.drives <= 1000:
            raise ValueError(f"{self.drives} drives, but 1 to 1000 fit into a day: ask for fewer, or for another seed")
        if not 2 <= self.frames <= 600:
            raise ValueError(f"{self.frames} frames, but a drive needs 2 to 600 (its world is made at once)")
        if min(self.size) < 16 or max(self.size) > 2048:
            raise ValueError(f"a size of {self.size} pixels, but height and width must be 16 to 2048")
        if self.seed < 0:
            raise ValueError(f"seed {self.seed}, but it starts at 0")


@dataclass(frozen=True)
class Motion:
    """How the car moves, at T times 1 / RATE seconds apart. The inertial unit stands over the route."""

    places: np.ndarray  # (T, 3) metres: of the inertial unit, in the world
    angles: np.ndarray  # (T, 3) radians: roll (left side up), pitch (front down), yaw (counter-clockwise from east)
    turning: np.ndarray  # (T, 3) radians / second: how fast these change
    speed: np.ndarray  # (T,) metres / second, ahead
    push: np.ndarray  # (T, 2) metres / second², ahead and to the left

    def T_world_imu(self) -> np.ndarray:
        """(T, 4, 4): the unit's x looks ahead, y left and z up."""
        return np.array([_pose(turn(angles), place) for angles, place in zip(self.angles, self.places, strict=True)])

    def T_world_camera(self) -> np.ndarray:
        """(T, 4, 4): of image_02; x right, y down, z ahead."""
        return self.T_world_imu() @ np.linalg.inv(T_camera_imu())


def turn(angles: np.ndarray) -> np.ndarray:
    """(3, 3) of roll, pitch and yaw: Rz(yaw) Ry(pitch) Rx(roll), as in KITTI's convertOxtsToPose.m."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(angles), np.cos(angles)
    rx = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    ry = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    rz = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return rz @ ry @ rx


def _pose(turned: np.ndarray, place) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = turned, place
    return T


AXES = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # camera's from the Velodyne's: x right, y down, z ahead


def T_camera_imu() -> np.ndarray:
    """(4, 4): the inertial unit's pose in image_02's frame, as the calibration files say."""
    T_camera_reference = _pose(np.eye(3), (CAMERAS[2], 0, 0))
    return T_camera_reference @ _pose(AXES, VELODYNE_TO_CAMERA) @ _pose(np.eye(3), IMU_TO_VELODYNE)


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Values (N,) under a Gaussian window of `sigma` steps; ends are held."""
    steps = np.arange(-round(4 * sigma), round(4 * sigma) + 1)
    window = np.exp(-0.5 * (steps / sigma) ** 2)
    return np.convolve(np.pad(values, len(window) // 2, mode="edge"), window / window.sum(), mode="valid")


def _plan_speed(kind: Kind, route: Route, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Speeds in metres / second, FINE a second: slower in bends, with changes of mind and stops."""
    step = Route.step
    mood = np.repeat(rng.uniform(0.65, 1, len(route.bends)), round(25 / step))[: len(route.bends)]
    most = np.minimum(rng.uniform(*kind.speed) * mood, np.sqrt(GRIP / np.maximum(abs(route.bends), 1e-6)))
    stop = round((BEHIND + rng.uniform(4, 40)) / step) if rng.uniform() < 0.35 else len(most) - 1
    most[stop] = 0
    for i in range(len(most) - 2, -1, -1):
        most[i] = min(most[i], np.sqrt(most[i + 1] ** 2 + 2 * 0.8 * BRAKE * step))
    wait = rng.uniform(0.5, 2) * FINE  # steps for which it stands
    at, speed, speeds = BEHIND, 0.0 if rng.uniform() < 0.25 else float(most[round(BEHIND / step)]), []
    while len(speeds) < seconds * FINE:
        i = int(at / step)
        if i >= stop - 3 and speed < 0.8 and wait > 0:
            speed, wait = max(0.0, speed - BRAKE / FINE), wait - (speed == 0)
        else:
            wanted = most[i] if wait > 0 and i < stop else most[min(max(i, stop + 1), len(most) - 1)]
            speed += np.clip(max(wanted, 0.3) - speed, -BRAKE / FINE, PUSH / FINE)
        speeds.append(speed)
        at += speed / FINE
    return _smooth(np.array(speeds), 0.25 * FINE)


def plan_motion(kind: Kind, route: Route, frames: int, rng: np.random.Generator) -> Motion:
    """Drive along a route for `frames` frames."""
    speed = _plan_speed(kind, route, frames / RATE + 0.5, rng)
    at = BEHIND + np.concatenate([[0], np.cumsum((speed[1:] + speed[:-1]) / 2)]) / FINE
    along = np.arange(len(route.bends)) * Route.step
    bend, yaw = np.interp(at, along, route.bends), np.interp(at, along, route.headings)
    push = np.stack([np.gradient(speed) * FINE, speed**2 * bend], -1)
    angles = np.stack([TILT * push[:, 1], -TILT * push[:, 0], yaw], -1)
    turning = np.gradient(angles, axis=0) * FINE
    turning[:, 2] = speed * bend
    shown = np.arange(frames) * (FINE // RATE)
    points = [np.interp(at, along, route.points[:, axis]) for axis in (0, 1)]
    places = np.stack([*points, np.full(len(at), IMU_HEIGHT)], -1)
    return Motion(places[shown], angles[shown], turning[shown], speed[shown], push[shown])


def oxts(motion: Motion) -> np.ndarray:
    """(T, 30): KITTI's numbers for each frame, in the order of dataformat.txt."""
    rows = []
    scale = cos(radians(LATITUDE))
    east = scale * EARTH * radians(LONGITUDE)
    north = scale * EARTH * log(tan(radians(90 + LATITUDE) / 2))
    for place, angles, turning, speed, push in zip(
        motion.places - (*motion.places[0, :2], IMU_HEIGHT),
        motion.angles,
        motion.turning,
        motion.speed,
        motion.push,
        strict=True,
    ):
        latitude = 360 / pi * atan(exp((north + place[1]) / (scale * EARTH))) - 90
        longitude = (east + place[0]) / (scale * EARTH) * 180 / pi
        (roll, pitch, yaw), (rolling, pitching, yawing) = angles, turning
        level = turn((0, pitch, 0)) @ turn((roll, 0, 0))  # the unit's axes in those that are level and look ahead
        force = np.array([*push, GRAVITY])  # what an accelerometer feels
        rates = np.array([rolling * np.cos(pitch), pitching, yawing - rolling * np.sin(pitch)])
        rows.append(
            np.concatenate(
                [
                    [latitude, longitude, ALTITUDE + place[2]],
                    [roll, pitch, (yaw + pi) % (2 * pi) - pi],
                    [speed * np.sin(yaw), speed * np.cos(yaw), speed, 0, 0],
                    level.T @ force,
                    force,
                    level.T @ rates,
                    rates,
                    [0.03, 0.01, 4, 10, 6, 6, 6],
                ]
            )
        )
    return np.array(rows)


FORMAT = """lat:   latitude of the oxts-unit (deg)
lon:   longitude of the oxts-unit (deg)
alt:   altitude of the oxts-unit (m)
roll:  roll angle (rad),    0 = level, positive = left side up,      range: -pi   .. +pi
pitch: pitch angle (rad),   0 = level, positive = front down,        range: -pi/2 .. +pi/2
yaw:   heading (rad),       0 = east,  positive = counter clockwise, range: -pi   .. +pi
vn:    velocity towards north (m/s)
ve:    velocity towards east (m/s)
vf:    forward velocity, i.e. parallel to earth-surface (m/s)
vl:    leftward velocity, i.e. parallel to earth-surface (m/s)
vu:    upward velocity, i.e. perpendicular to earth-surface (m/s)
ax:    acceleration in x, i.e. in direction of vehicle front (m/s^2)
ay:    acceleration in y, i.e. in direction of vehicle left (m/s^2)
ay:    acceleration in z, i.e. in direction of vehicle top (m/s^2)
af:    forward acceleration (m/s^2)
al:    leftward acceleration (m/s^2)
au:    upward acceleration (m/s^2)
wx:    angular rate around x (rad/s)
wy:    angular rate around y (rad/s)
wz:    angular rate around z (rad/s)
wf:    angular rate around forward axis (rad/s)
wl:    angular rate around leftward axis (rad/s)
wu:    angular rate around upward axis (rad/s)
pos_accuracy:  velocity accuracy (north/east in m)
vel_accuracy:  velocity accuracy (north/east in m/s)
navstat:       navigation status (see navstat_to_string)
numsats:       number of satellites tracked by primary GPS receiver
posmode:       position mode of primary GPS receiver (see gps_mode_to_string)
velmode:       velocity mode of primary GPS receiver (see gps_mode_to_string)
orimode:       orientation mode of primary GPS receiver (see gps_mode_to_string)
"""


def _line(name: str, values) -> str:
    return f"{name}: " + " ".join(f"{value:e}" for value in np.ravel(values)) + "\n"


def _write_calibration(folder: Path, size: tuple[int, int]) -> None:
    """KITTI's three files, of cameras that need no rectifying."""
    taken = "calib_time: 01-Jan-2020 00:00:00\n"
    k = intrinsics(*size)
    cameras = taken + _line("corner_dist", [0.0995])
    for number, offset in enumerate(CAMERAS):
        size_, turned, projection = (size[1], size[0]), np.eye(3), k @ np.column_stack([np.eye(3), [offset, 0, 0]])
        values = {"S": size_, "K": k, "D": np.zeros(5), "R": turned, "T": [offset, 0, 0]}
        values |= {"S_rect": size_, "R_rect": turned, "P_rect": projection}
        cameras += "".join(_line(f"{name}_{number:02}", value) for name, value in values.items())
    moved = "".join((_line("R", np.eye(3)), _line("T", IMU_TO_VELODYNE)))
    seen = "".join(
        (_line("R", AXES), _line("T", VELODYNE_TO_CAMERA), _line("delta_f", [0, 0]), _line("delta_c", [0, 0]))
    )
    write_whole(folder / "calib_cam_to_cam.txt", cameras)
    write_whole(folder / "calib_imu_to_velo.txt", taken + moved)
    write_whole(folder / "calib_velo_to_cam.txt", taken + seen)


def _name(drive: int) -> str:
    return f"{DATE}_drive_{drive:04}_sync"


def category(drive: int) -> str:
    """Of drive 1, 2, ...: they take turns."""
    return list(CATEGORIES)[(drive - 1) % len(CATEGORIES)]


def draw_drive(config: SimulateDriving, drive: int) -> tuple[Route, Motion, np.random.Generator]:
    """Where and how drive 1, 2, ... goes, and the generator that draws its world after that."""
    rng = np.random.default_rng([config.seed, drive])
    kind = CATEGORIES[category(drive)]
    route = plan_route(kind, config.frames / RATE * kind.speed[1] + 10, rng)
    return route, plan_motion(kind, route, config.frames, rng), rng


def _drive(config: SimulateDriving, drive: int) -> int:
    cv2.setNumThreads(1)  # workers share the cores
    folder = config.out / DATE / _name(drive)
    part = part_of(folder)
    shutil.rmtree(part, ignore_errors=True)
    for inner in ("image_02/data", "oxts/data"):
        (part / inner).mkdir(parents=True)
    route, motion, rng = draw_drive(config, drive)
    street = Street(CATEGORIES[category(drive)], route, config.size, rng)
    for frame, (pose, numbers) in enumerate(zip(motion.T_world_camera(), oxts(motion), strict=True)):
        cv2.imwrite(str(part / f"image_02/data/{frame:010}.png"), street.picture(pose)[..., ::-1])
        line = " ".join([f"{value:.14g}" for value in numbers[:25]] + [f"{value:.0f}" for value in numbers[25:]])
        (part / f"oxts/data/{frame:010}.txt").write_text(line + "\n")
    start = datetime.strptime(DATE, "%Y_%m_%d") + timedelta(seconds=80 * (drive - 1))  # at most 60 seconds long
    times = [start + timedelta(seconds=1) * frame / RATE for frame in range(config.frames)]
    for sensor in ("image_02", "oxts"):
        (part / sensor / "timestamps.txt").write_text("".join(f"{t:%Y-%m-%d %H:%M:%S.%f}000\n" for t in times))
    (part / "oxts" / "dataformat.txt").write_text(FORMAT)
    os.replace(part, folder)
    return config.frames


def simulate_driving(config: SimulateDriving) -> None:
    """Make the data set, or what is missing of it: scenes.txt comes last, so where it is there, all is there.

    Raises:
        ValueError: the folder holds a data set made with another config, or whose simulation.json is damaged.
        FileExistsError: the folder holds something else, or is a file. Nothing is overwritten.
        ImportError: PyBullet is not installed.
    """
    if find_spec("pybullet") is None:
        new_client()  # which says what to do
    claim_for(config, VERSION)
    (config.out / DATE).mkdir(exist_ok=True)
    _write_calibration(config.out / DATE, config.size)
    drives = range(1, config.drives + 1)
    missing = [drive for drive in drives if not (config.out / DATE / _name(drive)).exists()]
    done = config.frames * (config.drives - len(missing))
    jobs = [joblib.delayed(_drive)(config, drive) for drive in missing]
    run_jobs(jobs, config.frames * config.drives, done, config.workers, "frames")
    write_whole(config.out / "scenes.txt", "".join(f"{_name(drive)} {category(drive)}\n" for drive in drives))
