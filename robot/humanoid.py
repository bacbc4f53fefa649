"""PyBullet's humanoid, moved by motion capture: what pose it has at any time, and a body that shows it.

A world of metres, seconds and radians in which y is up and an actor at rest looks along x, as in the motion files;
quaternions are (x, y, z, w). Nothing here is simulated: poses are set, not reached by forces.

Source: Peng et al., "DeepMimic", SIGGRAPH 2018, whose motion capture PyBullet ships as `pybullet_data/data/motions`.
"""

import ctypes
import json
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# name: (parent, where it sits on the parent in metres, numbers in a motion file), in the order of those files. Four
# numbers are a quaternion (w, x, y, z), one is an angle about z. Source: pybullet_data/humanoid/humanoid.urdf, whose
# numbers are quarters of a metre. z is the actor's right: the joints of the left differ by that sign alone.
JOINTS = {
    "root": (None, (0, 0, 0), 4),
    "chest": ("root", (0, 0.236151, 0), 4),
    "neck": ("chest", (0, 0.223894, 0), 4),
    "right_hip": ("root", (0, 0, 0.084887), 4),
    "right_knee": ("right_hip", (0, -0.421546, 0), 1),
    "right_ankle": ("right_knee", (0, -0.40987, 0), 4),
    "right_shoulder": ("chest", (-0.02405, 0.2435, 0.18311), 4),
    "right_elbow": ("right_shoulder", (0, -0.274788, 0), 1),
    "left_hip": ("root", (0, 0, -0.084887), 4),
    "left_knee": ("left_hip", (0, -0.421546, 0), 1),
    "left_ankle": ("left_knee", (0, -0.40987, 0), 4),
    "left_shoulder": ("chest", (-0.02405, 0.2435, -0.18311), 4),
    "left_elbow": ("left_shoulder", (0, -0.274788, 0), 1),
}
CLOSING = 0.2  # seconds at the end of a cyclic motion, bent so that it ends as it began


@contextmanager
def _silence():
    """Nothing reaches standard output and error, not even what a C library prints and flushes later."""

    def flush():
        sys.stdout.flush()
        sys.stderr.flush()
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)

    flush()
    kept, nowhere = (os.dup(1), os.dup(2)), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
        flush()
    finally:
        for number, file in zip((1, 2), kept, strict=True):
            os.dup2(file, number)
            os.close(file)
        os.close(nowhere)


def new_client():
    """A PyBullet client of its own, without a window: calls on it reach no other client; it closes when let go.

    Raises:
        ImportError: PyBullet is not installed.
    """
    try:
        with _silence():  # PyBullet prints when it was built, and "argv[0]="
            import pybullet
            from pybullet_utils.bullet_client import BulletClient

            return BulletClient(connection_mode=pybullet.DIRECT)
    except ModuleNotFoundError as error:
        raise ImportError(
            "no module pybullet, which robots and simulated actions need: it has wheels for CPython 3.9 to 3.11 alone, "
            "so use Python 3.11, or let `pip install pybullet` build it, with a C++ compiler"
        ) from error


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """First turn by b, then by a: quaternions (..., 4)."""
    (ax, ay, az, aw), (bx, by, bz, bw) = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ],
        -1,
    )


def slerp(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The rotation that lies `share` of the shorter way from a to b, at constant angular speed.

    Args:
        a, b: unit quaternions (..., 4); q and -q are the same rotation.
        share: (...), 0 gives a and 1 gives b.

    Source: Shoemake, "Animating Rotation with Quaternion Curves", SIGGRAPH 1985, section 3.3.
    """
    cos = np.sum(a * b, -1)
    b = np.where(cos[..., None] < 0, -b, b)
    angle = np.arccos(np.clip(np.abs(cos), 0, 1))
    sin = np.sin(angle)
    near = sin < 1e-6  # a straight line there, where the formula is 0 / 0
    sin = np.where(near, 1, sin)
    of_a = np.where(near, 1 - share, np.sin((1 - share) * angle) / sin)
    of_b = np.where(near, share, np.sin(share * angle) / sin)
    turned = of_a[..., None] * a + of_b[..., None] * b
    return turned / np.linalg.norm(turned, axis=-1, keepdims=True)


@dataclass(frozen=True)
class Motion:
    """Motion capture: a pose of the humanoid for each of N times, in between which they are interpolated."""

    times: np.ndarray  # (N,), seconds, from 0
    places: np.ndarray  # (N, 3), metres: of the root
    turns: np.ndarray  # (N, 13, 4): of the root in the world, then of each joint against its parent, as in JOINTS
    cyclic: bool  # starts again when it ends, where it ended

    @property
    def seconds(self) -> float:
        return float(self.times[-1])

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of the root (T, 3) and turns (T, 13, 4) at `times` (T,), in seconds.

        A cyclic motion goes on for ever, each cycle from where the last one ended; another one holds its first pose
        before it starts and its last one after it has ended.
        """
        cycle = np.floor(times / self.seconds) if self.cyclic else np.zeros(len(times))
        within = np.clip(times - cycle * self.seconds, 0, self.seconds)
        before = np.clip(np.searchsorted(self.times, within, side="right") - 1, 0, len(self.times) - 2)
        share = (within - self.times[before]) / (self.times[before + 1] - self.times[before])
        step = (self.places[-1] - self.places[0]) * (1, 0, 1)  # of a cycle; it stays on the floor
        places = self.places[before] + share[:, None] * (self.places[before + 1] - self.places[before])
        turns = slerp(self.turns[before], self.turns[before + 1], share[:, None])
        return places + cycle[:, None] * step, turns


def read_motion(path: str | Path) -> Motion:
    """A motion file of DeepMimic's humanoid.

    The file is JSON: "Loop" is "wrap" (cyclic) or "none"; each of "Frames" holds its seconds, the root's place and then
    the numbers of each of JOINTS. In cyclic motions the last frame stands for the first again, but is up to 58 degrees
    off (spinkick's right shoulder), which would show as a jerk: we bend the last CLOSING seconds to meet.

    Raises:
        ValueError: it holds motion of another skeleton.
    """
    content = json.loads(Path(path).read_text())
    frames = np.array(content["Frames"])
    width = 4 + sum(numbers for _, _, numbers in JOINTS.values())
    if frames.shape[1] != width:
        raise ValueError(f"{path} has {frames.shape[1]} numbers in a frame, but a humanoid's motion has {width}")
    turns, column = np.zeros((len(frames), len(JOINTS), 4)), 4
    for index, (_, _, numbers) in enumerate(JOINTS.values()):
        if numbers == 4:
            turns[:, index] = frames[:, [column + 1, column + 2, column + 3, column]]
        else:
            turns[:, index, 2], turns[:, index, 3] = np.sin(frames[:, column] / 2), np.cos(frames[:, column] / 2)
        column += numbers
    turns /= np.linalg.norm(turns, axis=-1, keepdims=True)
    times = np.concatenate([[0], np.cumsum(frames[:-1, 0])])
    cyclic = content["Loop"] == "wrap"
    if cyclic:
        share = np.clip((times - times[-1]) / CLOSING + 1, 0, 1)[:, None]
        gap = _multiply(turns[-1] * (-1, -1, -1, 1), turns[0])  # (13, 4): from the last pose to the first
        turns = slerp(turns, _multiply(turns, np.broadcast_to(gap, turns.shape)), share)
    return Motion(times, frames[:, 1:4], turns, cyclic)


@dataclass(frozen=True)
class Look:
    """What sets one actor apart from another; colours are (red, green, blue) in [0, 1]."""

    height: float = 1.0  # times 1.63 m
    girth: float = 1.0  # times a slim person's
    skin: tuple[float, float, float] = (0.8, 0.6, 0.5)
    hair: tuple[float, float, float] = (0.2, 0.1, 0.1)
    shirt: tuple[float, float, float] = (0.2, 0.3, 0.7)
    trousers: tuple[float, float, float] = (0.2, 0.2, 0.2)
    shoes: tuple[float, float, float] = (0.1, 0.1, 0.1)
    long_sleeves: bool = True
    long_trousers: bool = True


class Humanoid:
    """A body in `client`, dressed as `look` says, that takes any pose of a Motion.

    The skeleton is humanoid.urdf's; the flesh on it is ours, since the spheres and capsules given there have gaps.
    """

    def __init__(self, client, look: Look):
        self.client = client
        self.height = look.height
        arm, shin = look.shirt if look.long_sleeves else look.skin, look.trousers if look.long_trousers else look.skin
        links = {
            name: [] for name in JOINTS
        }  # joint: what hangs on it: (ends, radius, colour), metres; equal ends: a ball
        links["root"] = [((0, 0.02, -0.05), (0, 0.02, 0.05), 0.095, look.trousers)]
        links["chest"] = [
            ((0, -0.08, 0), (0, 0.1, 0), 0.105, look.shirt),
            ((0, 0.17, -0.11), (0, 0.17, 0.11), 0.085, look.shirt),
        ]
        links["neck"] = [
            ((0, 0.02, 0), (0, 0.1, 0), 0.045, look.skin),
            ((0.01, 0.165, 0), (0.01, 0.165, 0), 0.095, look.skin),
            ((-0.025, 0.195, 0), (-0.025, 0.195, 0), 0.095, look.hair),
        ]
        for side in ("right", "left"):
            links[f"{side}_hip"] = [((0, 0, 0), (0, -0.42, 0), 0.07, look.trousers)]
            links[f"{side}_knee"] = [((0, 0, 0), (0, -0.4, 0), 0.052, shin)]
            links[f"{side}_ankle"] = [((-0.02, -0.02, 0), (0.12, -0.03, 0), 0.045, look.shoes)]
            links[f"{side}_shoulder"] = [((0, 0, 0), (0, -0.27, 0), 0.05, look.shirt)]
            links[f"{side}_elbow"] = [
                ((0, 0, 0), (0, -0.25, 0), 0.04, arm),
                ((0, -0.28, 0), (0, -0.28, 0), 0.055, look.skin),
            ]
        names = list(JOINTS)
        shapes = [self._shape(links[name], look.girth) for name in names]
        joints = len(names) - 1
        self.body = client.createMultiBody(
            baseMass=0,
            baseVisualShapeIndex=shapes[0],
            linkMasses=[1] * joints,
            linkCollisionShapeIndices=[-1] * joints,
            linkVisualShapeIndices=shapes[1:],
            linkPositions=[[self.height * x for x in offset] for _, offset, _ in list(JOINTS.values())[1:]],
            linkOrientations=[[0, 0, 0, 1]] * joints,
            linkInertialFramePositions=[[0, 0, 0]] * joints,
            linkInertialFrameOrientations=[[0, 0, 0, 1]] * joints,
            linkParentIndices=[names.index(parent) for parent, _, _ in list(JOINTS.values())[1:]],
            linkJointTypes=[client.JOINT_SPHERICAL] * joints,
            linkJointAxis=[[0, 0, 1]] * joints,
            flags=client.URDF_MAINTAIN_LINK_ORDER,  # else the links are numbered in an order of its own
        )

    def _shape(self, parts: list, girth: float) -> int:
        client, height = self.client, self.height
        places, turns, lengths = [], [], []
        for start, end, _, _ in parts:
            along = np.subtract(end, start) * height
            length = float(np.linalg.norm(along))
            half = np.array([-along[1], along[0], 0, along[2] + length])  # turns z to `along`
            turns.append((half / np.linalg.norm(half)).tolist() if length else [0, 0, 0, 1])
            places.append((np.add(start, end) / 2 * height).tolist())
            lengths.append(length)
        return client.createVisualShapeArray(
            shapeTypes=[client.GEOM_CAPSULE if length else client.GEOM_SPHERE for length in lengths],
            radii=[radius * height * girth for _, _, radius, _ in parts],
            lengths=lengths,
            rgbaColors=[[*colour, 1] for _, _, _, colour in parts],
            visualFramePositions=places,
            visualFrameOrientations=turns,
        )

    def pose(self, place: np.ndarray, turns: np.ndarray) -> None:
        """Take the pose of one time: place of the root (3,) for an actor of height 1, and turns (13, 4)."""
        self.client.resetBasePositionAndOrientation(self.body, place * self.height, turns[0])
        self.client.resetJointStatesMultiDof(self.body, range(len(turns) - 1), turns[1:].tolist())
