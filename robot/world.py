"""A table in PyBullet and what lies on it: physics only, of which one state can be gone back to, bit for bit.

The table's top is the plane z = 0 of a world in metres, seconds, kilograms and radians; quaternions are (x, y, z, w).
"""

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from videossl.robot.humanoid import new_client
from videossl.robot.objects import Shape

TABLE_FRICTION = 1.0  # what lies on it brings its own: Bullet multiplies the two
ROLLING, SPINNING = 0.002, 0.002  # metres: resistance of things to roll and to turn on the spot
AWAY = 5.0  # metres: where nothing meets anything
REST = (0.005, 0.1)  # m/s, rad/s: slower things lie still


@dataclass(frozen=True)
class Physics:
    """How finely time is cut and contacts are solved. Fewer iterations are faster, and let hands hold more than they can."""

    step: float = 1 / 240  # seconds
    iterations: int = 50

    def __post_init__(self):
        if not 0 < self.step <= 1 / 60 or self.iterations < 1:
            raise ValueError(f"{self}: a step is over 0 and up to 1/60 s, and there is at least one iteration")


PHYSICS = Physics()


class Closed:
    """Stands where a client was, and says so to whoever asks anything of it."""

    def __getattr__(self, name: str):
        raise RuntimeError("this environment was closed: make a new one")


class Body(NamedTuple):
    """What Bullet needs to be told again of a body."""

    mass: float  # kg
    inertia: list[float]  # kg m2, about the axes of its frame


class World:
    """Bodies on a table, in a PyBullet client of its own.

    Args:
        window: show it, in PyBullet's own viewer.
    """

    def __init__(self, window: bool = False):
        self.client = _window() if window else new_client()
        self.physics = PHYSICS
        self.watch: Callable[[], None] | None = None  # called after each step, to film or to slow down
        self.state: int | None = None
        self.bodies: dict[int, Body] = {}
        self._simulate = self.client.stepSimulation

    def renew(self) -> None:
        """An empty table, in a new simulation: what is left of an old one leaks, and may disturb what comes."""
        client = self.client
        self._forget()
        self.bodies.clear()
        self.held: set[int] = set()
        self.free: set[int] = set()
        client.resetSimulation()
        client.setGravity(0, 0, -9.81)
        self.tune(self.physics)
        plane = client.createCollisionShape(client.GEOM_PLANE)
        self.table = client.createMultiBody(0, plane)
        client.changeDynamics(self.table, -1, lateralFriction=TABLE_FRICTION)

    def tune(self, physics: Physics) -> None:
        """Step so from now on."""
        self.physics = physics
        self.client.setPhysicsEngineParameter(
            fixedTimeStep=physics.step,
            numSolverIterations=physics.iterations,
            deterministicOverlappingPairs=1,
            enableFileCaching=0,  # it keeps what was in a file of the same name, and all that ever was
            solverResidualThreshold=0,  # else whether a step is solved early depends on what is near, and so on the past
        )

    def step(self) -> None:
        self._simulate()
        if self.watch is not None:
            self.watch()

    def run(self, seconds: float) -> None:
        for _ in range(self.steps(seconds)):
            self.step()

    def steps(self, seconds: float) -> int:
        return round(seconds / self.physics.step)

    def add(self, shape: Shape, mass: float, friction: float, visual: int = -1) -> int:
        """A rigid body of all of a shape's parts. It is far away until it is put.

        Args:
            visual: PyBullet's number of a visual shape; -1 if nothing of PyBullet's draws it.

        Returns: its number in PyBullet.
        """
        client = self.client
        with tempfile.NamedTemporaryFile(
            "w", suffix=".obj"
        ) as file:  # shapes made of vertices in memory are never freed
            file.write(wavefront(shape))
            file.flush()
            hulls = client.createCollisionShape(client.GEOM_MESH, fileName=file.name)
            body = client.createMultiBody(mass, hulls, visual, basePosition=[AWAY + len(self.bodies), 0, AWAY])
        x, y, z = shape.extent**2
        self.bodies[body] = Body(mass, (mass / 12 * np.array([y + z, x + z, x + y])).tolist())
        client.changeDynamics(
            body,
            -1,
            localInertiaDiagonal=self.bodies[body].inertia,
            lateralFriction=friction,
            rollingFriction=ROLLING,
            spinningFriction=SPINNING,
        )
        return body

    def soften(self, body: int, stiffness: float, damping: float) -> None:
        """Give the contacts of a body a spring (N/m) and a damper (N s/m)."""
        self.client.changeDynamics(body, -1, contactStiffness=stiffness, contactDamping=damping)

    def put(self, body: int, pose: np.ndarray) -> None:
        """Move a body to a pose (7,): position and quaternion, at rest."""
        self.client.resetBasePositionAndOrientation(body, pose[:3].tolist(), pose[3:].tolist())
        self.client.resetBaseVelocity(body, [0, 0, 0], [0, 0, 0])

    def pose(self, body: int) -> np.ndarray:
        """T_world_body, (7,): position and quaternion."""
        position, quaternion = self.client.getBasePositionAndOrientation(body)
        return np.array(position + quaternion)

    def settle(self, bodies: list[int], seconds: float) -> bool:
        """Let bodies come to rest, for so long at most; whether they did."""
        every = self.steps(0.05)
        for _ in range(self.steps(seconds) // every):
            for _ in range(every):
                self.step()
            if all(self._still(body) for body in bodies):
                return True
        return False

    def _still(self, body: int) -> bool:
        velocity, turning = self.client.getBaseVelocity(body)
        return sum(v * v for v in velocity) < REST[0] ** 2 and sum(v * v for v in turning) < REST[1] ** 2

    def hold(self, body: int) -> None:
        """Make a body immovable, until `release`."""
        self.client.changeDynamics(body, -1, mass=0)
        self.held.add(body)

    def release(self, body: int) -> None:
        """Let a held body move again."""
        mass, inertia = self.bodies[body]
        self.client.changeDynamics(body, -1, mass=mass)
        self.client.changeDynamics(body, -1, localInertiaDiagonal=inertia)
        self.held.discard(body)

    def put_away(self, body: int) -> None:
        """Far from the table, and from what else is put away."""
        self.put(body, np.array([AWAY + list(self.bodies).index(body), 0, AWAY, 0, 0, 0, 1]))

    def touching(self, a: int, b: int) -> bool:
        return len(self.client.getContactPoints(a, b)) > 0

    def overlapping(self, a: int, b: int) -> bool:
        return len(self.client.getClosestPoints(a, b, 0)) > 0

    def push_up(self, on: int, by: int = -1) -> float:
        """Newtons: vertical part of the forces with which one body, or any, pushes another: along contacts' normals."""
        return sum(point[9] * point[7][2] for point in self.client.getContactPoints(on, by))

    def below(self, x: float, y: float) -> tuple[int, float]:
        """The body that is on top at a spot, and its height there."""
        ((body, _, _, place, _),) = self.client.rayTest([x, y, 1], [x, y, -0.1])
        return body, place[2]

    def keep(self) -> None:
        """The state of now is what `restore` goes back to."""
        self._forget()
        self.state, self.free = self.client.saveState(), self.bodies.keys() - self.held

    def _forget(self) -> None:
        if self.state is not None:
            self.client.removeState(self.state)
        self.state = None

    def restore(self) -> None:
        """Go back to the kept state.

        What Bullet remembers of contacts is not all in a state, and what follows would differ in its last digits; so
        all contacts are ended first, by moving everything apart for a step. That is enough for one free body: among
        several, the order in which Bullet has them shows as well, and depends on which were held since.
        """
        assert self.state is not None, "nothing was kept"
        assert len(self.free) == 1, f"{len(self.free)} bodies are free: make them anew instead"
        for body in self.bodies:
            if body not in self.free and body not in self.held:
                self.hold(body)
            self.put_away(body)
        self._simulate()
        self.client.restoreState(self.state)

    def close(self) -> None:
        if not isinstance(self.client, Closed):
            self.client.disconnect()
            self.client = Closed()


def wavefront(shape: Shape) -> str:
    """A shape as a Wavefront OBJ file, an object a part, of which PyBullet makes convex hulls.

    Faces only have to name all corners.
    """
    lines, count = [], 0
    for number, part in enumerate(shape.parts):
        lines.append(f"o part{number}")
        lines += [f"v {x!r} {y!r} {z!r}" for x, y, z in part.tolist()]
        lines += [f"f {count + k + 1} {count + k + 2} {count + k + 3}" for k in range(len(part) - 2)]
        count += len(part)
    return "\n".join(lines) + "\n"


def _window():
    """A client with PyBullet's viewer.

    Raises:
        RuntimeError: there is no display to show it on.
    """
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        raise RuntimeError(
            'no display (DISPLAY is not set), which render_mode="human" needs: use render_mode="rgb_array", or film()'
        )
    import pybullet
    from pybullet_utils.bullet_client import BulletClient

    return BulletClient(connection_mode=pybullet.GUI)
