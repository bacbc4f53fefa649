"""Two hands that do the same: a gripper that flies, for speed, and a Franka Panda on its arm, for realism.

A hand is made `ready` somewhere free, with its tip at a point, and then `travel`s along the line it was made ready for.
It bears jaws, or its tip pushes and pokes. Its frame at the tip has x from one finger to the other and z up; at a yaw of
0 that is the world's.
"""

from collections.abc import Callable
from functools import cache
from math import cos, pi, sin
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.spatial import ConvexHull

from videossl.robot.camera import Drawn
from videossl.robot.objects import Shape, mesh_of
from videossl.robot.world import AWAY, World

OPENING = 0.08  # metres between the fingers
FINGER = (0.008, 0.020, 0.045)  # metres: thick, wide, long
PALM = (0.110, 0.030, 0.040)
BALL = 0.006  # metres: radius of the tip that pokes and pushes
ROD = 0.10  # metres, with the ball
ROD_NUMBER = (1 << 24) - 1  # in pictures, in which the hand is no body to be told of
FINGER_FRICTION = 1.0
PALM_MASS, FINGER_MASS = 1.0, 0.1  # kg
STAND = 100.0, 20.0  # newtons with which the gripper stands still: on its rail, and each finger
GEAR = 0.1, 200.0  # share of a difference between the fingers' ways that is made good in a step, and newtons for it
GREY = (0.35, 0.36, 0.4)
RAMP = 0.05  # seconds from rest to full speed, and back
STALLED = 1 / 60  # seconds without way, after which jaws have closed on something
PANDA_BASE = (-0.5, 0.0, 0.0)  # metres
PANDA_REST = [0.0, -0.2, 0.0, -2.2, 0.0, 2.0, 0.8]  # radians: over the table, hand down
PANDA_TORQUES = [87.0] * 4 + [12.0] * 3  # N m
PANDA_GAIN = 0.3  # share of what a joint is off by that is made good in a step
PANDA_ROD = 0.05, 1000.0  # kg of the rod, and newtons with which it is held
PANDA_TIP = 0.0072  # metres from the grasp target of its URDF, between the finger tips, to where they end
PANDA_SEARCH = 20  # rounds of inverse kinematics, from its rest to a place
PANDA_SPEED, PANDA_LAG = 0.25, 0.05  # m/s at most, and seconds that it takes to come to rest
PANDA_LINKS = {k: f"link{k + 1}" for k in range(7)} | {8: "hand", 9: "finger", 10: "finger turned"}


class Hand(Protocol):
    """What a task asks of a hand."""

    body: int
    tool: int  # the body that touches things

    def ready(self, tip: np.ndarray, yaw: float, along: np.ndarray) -> None:
        """Be there, open and at rest, to travel along the unit vector `along`; (3,) each."""

    def travel(self, metres: float, speed: float, force: float, until: Callable[[], bool] | None = None) -> float:
        """Go so far, backwards if negative, with so much force at most; stop when `until` says so after a step.

        Returns: metres from where it was made ready, along its line.
        """

    def way(self) -> float: ...  # metres from where it was made ready, along its line

    def close(self, speed: float, force: float) -> float:
        """Shut the jaws until they no longer move, each at a speed (m/s) and with a force (N); the gap in metres."""

    def gap(self) -> float: ...  # metres between the fingers

    def holds(self, body: int) -> bool: ...  # whether both fingers touch it

    def parts(self) -> dict[int, tuple[Drawn, tuple]]: ...  # to draw, and where it is, by number of body and link

    def park(self) -> None: ...  # far from everything


class Gripper:
    """A hand on a rail of its own, which is laid where it is needed: a slide, and two fingers or a ball on it.

    The fingers are geared, so that what they close on is drawn to their middle.
    """

    def __init__(self, world: World, jaws: bool):
        self.world, self.jaws = world, jaws
        client = world.client
        if jaws:
            thick, _, long = FINGER
            box = [client.createCollisionShape(client.GEOM_BOX, halfExtents=[s / 2 for s in b]) for b in (PALM, FINGER)]
            shapes, masses, parents = [box[0], box[1], box[1]], [PALM_MASS, FINGER_MASS, FINGER_MASS], [0, 1, 1]
            down, out = -(PALM[2] + long) / 2, (OPENING + thick) / 2
            places = [[0, 0, long + PALM[2] / 2], [-out, 0, down], [out, 0, down]]
            axes = [[0, 0, 1], [1, 0, 0], [-1, 0, 0]]
        else:
            shapes, masses, parents = [client.createCollisionShape(client.GEOM_SPHERE, radius=BALL)], [PALM_MASS], [0]
            places, axes = [[0, 0, 0]], [[0, 0, 1]]
        many = len(shapes)
        self.body = client.createMultiBody(
            0,
            basePosition=[0, 0, AWAY],
            linkMasses=masses,
            linkCollisionShapeIndices=shapes,
            linkVisualShapeIndices=[-1] * many,
            linkPositions=places,
            linkOrientations=[[0, 0, 0, 1]] * many,
            linkInertialFramePositions=[[0, 0, 0]] * many,
            linkInertialFrameOrientations=[[0, 0, 0, 1]] * many,
            linkParentIndices=parents,
            linkJointTypes=[client.JOINT_PRISMATIC] * many,
            linkJointAxis=axes,
        )
        self.tool = self.body
        self.fingers = [1, 2] if jaws else []
        for link in range(many):
            client.changeDynamics(self.body, link, lateralFriction=FINGER_FRICTION, linearDamping=0, jointDamping=0)
        if jaws:
            _gear(client, self.body, *self.fingers)

    def ready(self, tip: np.ndarray, yaw: float, along: np.ndarray) -> None:
        client = self.world.client
        if self.jaws:
            assert abs(along[2]) == 1, "jaws are lowered and lifted"
            self.sign, turn = float(along[2]), [0, 0, sin(yaw / 2), cos(yaw / 2)]
        else:
            self.sign, turn = 1.0, _towards(along)
        client.resetBasePositionAndOrientation(self.body, list(tip), turn)
        for joint in range(1 + len(self.fingers)):
            client.resetJointState(self.body, joint, 0, 0)
        self._drive(0, 0.0, STAND[0])
        for finger in self.fingers:
            self._drive(finger, 0.0, STAND[1])

    def _drive(self, joint: int, speed: float, force: float) -> None:
        client = self.world.client
        client.setJointMotorControl2(self.body, joint, client.VELOCITY_CONTROL, targetVelocity=speed, force=force)

    def way(self) -> float:
        return self.sign * self.world.client.getJointState(self.body, 0)[0]

    def travel(self, metres: float, speed: float, force: float, until: Callable[[], bool] | None = None) -> float:
        world = self.world
        for pace in _paces(metres, speed, world.physics.step):
            self._drive(0, self.sign * pace, force)
            world.step()
            if until is not None and until():
                break
        self._drive(0, 0.0, force)
        return self.way()

    def close(self, speed: float, force: float) -> float:
        world = self.world
        for finger in self.fingers:
            self._drive(finger, speed, force)
        return _shut(world, self, speed)

    def gap(self) -> float:
        left, right = self.world.client.getJointStates(self.body, self.fingers)
        return OPENING - left[0] - right[0]

    def holds(self, body: int) -> bool:
        return _both(self.world.client, self.body, self.fingers, body)

    def parts(self) -> dict[int, tuple[Drawn, tuple]]:
        client = self.world.client
        states = client.getLinkStates(self.body, [0, *self.fingers], computeForwardKinematics=1)
        if not self.jaws:
            return _rod(states[0][4])
        return {
            self.body + (link + 1 << 24): (drawn, state[4:6])
            for link, (drawn, state) in enumerate(zip(PALM_AND_FINGERS, states, strict=True))
        }

    def park(self) -> None:
        self.ready(np.array([0, 0, AWAY]), 0.0, np.array([0, 0, 1.0]))


class Panda:
    """Franka Emika's arm with its own hand, from PyBullet's data: joints follow inverse kinematics, step by step.

    For a tip it holds a rod that ends in a ball. Its motors have their rated torques, whatever force a task asks for, and
    it goes no faster than they can follow.
    """

    def __init__(self, world: World, jaws: bool):
        import pybullet_data

        self.world, self.jaws, client = world, jaws, world.client
        path = Path(pybullet_data.getDataPath()) / "franka_panda" / "panda.urdf"
        self.body = client.loadURDF(str(path), basePosition=[0, 0, AWAY], useFixedBase=True)
        self.fingers = [9, 10]
        for finger in self.fingers:
            client.changeDynamics(self.body, finger, lateralFriction=FINGER_FRICTION)
        _gear(client, self.body, *self.fingers)
        self.tool, self.above = self.body, PANDA_TIP
        if not jaws:
            self._take_rod(ROD)

    def _take_rod(self, length: float) -> None:
        """Bullet's contacts are with the ball at its end alone."""
        client, self.above = self.world.client, length
        ball = client.createCollisionShape(client.GEOM_SPHERE, radius=BALL)
        self.tool = client.createMultiBody(PANDA_ROD[0], ball, basePosition=[0, 0, AWAY])
        client.changeDynamics(self.tool, -1, lateralFriction=FINGER_FRICTION)
        hold = client.createConstraint(
            self.body, 11, self.tool, -1, client.JOINT_FIXED, [0] * 3, [0, 0, length], [0] * 3
        )
        client.changeConstraint(hold, maxForce=PANDA_ROD[1])

    def ready(self, tip: np.ndarray, yaw: float, along: np.ndarray) -> None:
        client = self.world.client
        client.resetBasePositionAndOrientation(self.body, PANDA_BASE, [0, 0, 0, 1])
        turn = (yaw % pi - pi / 2) / 2  # half the angle from the hand's own to the one asked for
        self.turn = [cos(turn), sin(turn), 0.0, 0.0]  # and upside down
        self.start, self.along = np.array(tip, float), np.array(along, float)
        self._pose(PANDA_REST)
        for _ in range(PANDA_SEARCH):
            self._pose(self._joints(0.0))
        for finger in self.fingers:
            client.resetJointState(self.body, finger, OPENING / 2 if self.jaws else 0.0, 0)
            self._drive(finger, 0.0, STAND[1])
        self._follow(self._joints(0.0))
        if not self.jaws:
            self._put_rod(self.start)

    def _put_rod(self, place: np.ndarray) -> None:
        self.world.client.resetBasePositionAndOrientation(self.tool, list(place), self.turn)
        self.world.client.resetBaseVelocity(self.tool, [0, 0, 0], [0, 0, 0])

    def _pose(self, joints: list[float]) -> None:
        for joint, angle in enumerate(joints):
            self.world.client.resetJointState(self.body, joint, angle, 0)

    def _joints(self, way: float) -> list[float]:
        """The arm's seven angles that bring the tip so far along its line, near to what they are."""
        target = self.start + way * self.along + [0, 0, self.above]
        joints = self.world.client.calculateInverseKinematics(
            self.body, 11, target.tolist(), self.turn, maxNumIterations=50, residualThreshold=1e-6
        )
        return list(joints[:7])

    def _follow(self, joints: list[float]) -> None:
        client = self.world.client
        client.setJointMotorControlArray(
            self.body,
            list(range(7)),
            client.POSITION_CONTROL,
            targetPositions=joints,
            forces=PANDA_TORQUES,
            positionGains=[PANDA_GAIN] * 7,
        )

    def _drive(self, finger: int, speed: float, force: float) -> None:
        client = self.world.client
        client.setJointMotorControl2(self.body, finger, client.VELOCITY_CONTROL, targetVelocity=speed, force=force)

    def way(self) -> float:
        client = self.world.client
        if self.jaws:
            state = client.getLinkState(self.body, 11, computeForwardKinematics=1)
            place = np.array(state[4]) - [0, 0, self.above]
        else:
            place = np.array(client.getBasePositionAndOrientation(self.tool)[0])
        return float((place - self.start) @ self.along)

    def travel(self, metres: float, speed: float, force: float, until: Callable[[], bool] | None = None) -> float:
        world, goal = self.world, self.way()
        paces = _paces(metres, min(speed, PANDA_SPEED), world.physics.step)
        for pace in [*paces, *[0.0] * world.steps(PANDA_LAG)]:
            goal += pace * world.physics.step
            self._follow(self._joints(goal))
            world.step()
            if until is not None and until():
                self._follow(self._joints(self.way()))
                break
        return self.way()

    def close(self, speed: float, force: float) -> float:
        world = self.world
        for finger in self.fingers:
            self._drive(finger, -speed, force)
        return _shut(world, self, speed)

    def gap(self) -> float:
        left, right = self.world.client.getJointStates(self.body, self.fingers)
        return left[0] + right[0]

    def holds(self, body: int) -> bool:
        return _both(self.world.client, self.body, self.fingers, body)

    def parts(self) -> dict[int, tuple[Drawn, tuple]]:
        client = self.world.client
        states = client.getLinkStates(self.body, list(PANDA_LINKS), computeForwardKinematics=1)
        drawn = {
            self.body + (link + 1 << 24): (_panda_link(PANDA_LINKS[link]), state[4:6])
            for link, state in zip(PANDA_LINKS, states, strict=True)
        }
        drawn[self.body] = _panda_link("link0"), (PANDA_BASE, (0.0, 0.0, 0.0, 1.0))
        return drawn if self.jaws else drawn | _rod(client.getBasePositionAndOrientation(self.tool)[0])

    def park(self) -> None:
        self._pose(PANDA_REST)
        self._follow(PANDA_REST)
        self.world.client.resetBasePositionAndOrientation(self.body, [0, 0, AWAY], [0, 0, 0, 1])
        if not self.jaws:
            self.turn = [1.0, 0.0, 0.0, 0.0]
            self._put_rod(np.array([0.5, 0.0, AWAY]))


@cache
def _panda_link(name: str) -> Drawn:
    """The hull of a link, as it collides."""
    import pybullet_data

    path = Path(pybullet_data.getDataPath()) / "franka_panda" / "meshes" / "collision" / f"{name.split()[0]}.obj"
    corners = np.array([line.split()[1:4] for line in path.read_text().splitlines() if line.startswith("v ")], float)
    if name.endswith("turned"):
        corners = corners * [-1, -1, 1]
    hull = corners[ConvexHull(corners).vertices]
    return Drawn(mesh_of(Shape("hand", 0, (hull,), 0.0)), (0.85, 0.85, 0.82) if name.startswith("link") else GREY)


def _paces(metres: float, speed: float, step: float) -> list[float]:
    """Speeds, one a step, that go so far: they rise and fall steadily at the ends, since what is jerked slips."""
    steps = round((abs(metres) / speed + RAMP) / step)
    left = np.minimum(np.arange(steps) + 0.5, np.arange(steps)[::-1] + 0.5) * step  # seconds from the nearer end
    shares = np.minimum(left / RAMP, 1)
    return (shares * metres / (shares.sum() * step)).tolist()


def _shut(world: World, hand: Hand, speed: float) -> float:
    """Step until the jaws are shut or stand still; the gap."""
    slow, gap = 0, hand.gap()
    for _ in range(world.steps(1.5 * OPENING / 2 / speed)):
        world.step()
        before, gap = gap, hand.gap()
        slow = slow + 1 if before - gap < 0.1 * speed * world.physics.step else 0
        if gap <= 0.001 or slow * world.physics.step >= STALLED:
            break
    return gap


def _towards(along: np.ndarray) -> list[float]:
    """The quaternion that turns z to a unit vector."""
    x, y, z = along
    if z < -0.9999:
        return [1.0, 0.0, 0.0, 0.0]
    turn = np.array([-y, x, 0, 1 + z])
    return (turn / np.linalg.norm(turn)).tolist()


def _gear(client, hand: int, left: int, right: int) -> None:
    """Have both fingers go the same way."""
    gear = client.createConstraint(hand, left, hand, right, client.JOINT_GEAR, [1, 0, 0], [0] * 3, [0] * 3)
    client.changeConstraint(gear, gearRatio=-1, erp=GEAR[0], maxForce=GEAR[1])


def _both(client, hand: int, fingers: list[int], body: int) -> bool:
    touched = {point[3] for point in client.getContactPoints(hand, body)}
    return touched.issuperset(fingers)


def _block(sides: tuple[float, float, float]) -> Drawn:
    corners = np.array(np.meshgrid(*[(-s / 2, s / 2) for s in sides])).reshape(3, -1).T
    return Drawn(mesh_of(Shape("hand", 0, (corners,), 0.0)), GREY)


@cache
def _rod_and_ball() -> Drawn:
    across, up = np.meshgrid(np.arange(12) * pi / 6, np.arange(-5, 6) * pi / 10)
    ball = BALL * np.stack([np.cos(up) * np.cos(across), np.cos(up) * np.sin(across), np.sin(up)], -1).reshape(-1, 3)
    ring = np.stack([np.cos(across[0]), np.sin(across[0]), np.zeros(12)], -1) * 0.6 * BALL
    rod = np.concatenate([ring, ring + np.array([0, 0, ROD])])
    return Drawn(mesh_of(Shape("hand", 0, (np.unique(ball.round(9), axis=0), rod), 0.0)), GREY)


def _rod(place: tuple[float, float, float]) -> dict[int, tuple[Drawn, tuple]]:
    """What is seen of the tip: a ball at a place, and the upright rod that it is the end of."""
    return {ROD_NUMBER: (_rod_and_ball(), (place, (0.0, 0.0, 0.0, 1.0)))}


PALM_AND_FINGERS = (_block(PALM), _block(FINGER), _block(FINGER))
HANDS = {"gripper": Gripper, "panda": Panda}
