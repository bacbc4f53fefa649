"""Push: move a tip in a straight line, and see where the thing goes.

Source: Pinto et al., "The Curious Robot", ECCV 2016, section 3.2: pictures before and after, and five numbers between
them: where the push starts and ends, and how high it is.
"""

from math import cos, pi, sin
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from videossl.datasets.shards import Field
from videossl.robot.hands import BALL
from videossl.robot.tabletop import Tabletop, matrix

REACH = 0.22  # metres from the middle of the table, along x and y
LOWEST, HIGHEST = 0.008, 0.060  # metres: the middle of the tip above the table
USUAL = 0.010, 0.035  # metres: as above, of pushes that are tried
LENGTH = 0.10, 0.18  # metres
BESIDE = 0.03  # metres that a push passes the object's centre at most
GAP = 0.01  # metres between tip and object at first
SPEED, FORCE = 0.3, 100.0  # m/s, N
SETTLING = 2.0  # seconds at most
MARK = 0.12  # metres from the middle of the table, along x and y, up to which marks lie
CLOSE_ENOUGH = 0.02  # metres from the mark


class Push(Tabletop):
    """Push the thing that is nearest to the middle of the push; in all, onto a mark.

    Action: (5,) float32, metres: x, y where the tip starts and x, y where it stops, in [-0.22, 0.22], and its height, in
    [0.008, 0.06]. A tip that would start inside of something does nothing.
    Observation: as Tabletop's, and "mark" (2,) float32: x, y of the mark in metres. It is in no picture.
    Reward: minus the distance from the thing to the mark in metres. Done under 0.02 m; cut after 5 pushes.
    """

    task = "push"
    trials = 5
    jaws = False
    low, high = (-REACH, -REACH, -REACH, -REACH, LOWEST), (REACH, REACH, REACH, REACH, HIGHEST)
    spots: ClassVar[tuple[int, ...]] = (0, 2)

    def told(self) -> dict[str, Field]:
        picture = (self.size, self.size, 3)
        return {
            "before": Field(picture, "uint8", "RGB from above, before the push"),
            "after": Field(picture, "uint8", "RGB from above, when all lies still again"),
            "pixels": Field((2, 2), "float32", "x, y in both pictures, where the push starts and ends"),
            "T_world_object_after": Field((7,), "float64", "m and quaternion xyzw, when all lies still again"),
            "displacement": Field((2,), "float32", "m, x and y: how far the object's centre went"),
            "rotation": Field((), "float32", "rad, in [-pi, pi]: how far the object turned about the vertical"),
            "contact": Field((), "bool", "the tip touched the object"),
            "inside": Field((), "uint8", "1 if the object's centre is still in the picture"),
        }

    def prepare(self, rng: np.random.Generator) -> None:
        self.mark = np.float32(rng.uniform(-MARK, MARK, 2))

    def _observations(self) -> dict[str, spaces.Space]:
        return super()._observations() | {"mark": spaces.Box(-MARK, MARK, (2,), np.float32)}

    def _observation(self) -> dict[str, np.ndarray]:
        return super()._observation() | {"mark": self.mark.copy()}

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        self.begin()
        thing = self.things[rng.integers(self.count)]
        corners, centre = self.corners(thing), self.world.pose(thing.body)[:2]
        for _ in range(20):
            around, length, beside = rng.uniform(0, 2 * pi), rng.uniform(*LENGTH), rng.uniform(-1, 1)
            ahead, left = np.array([cos(around), sin(around)]), np.array([-sin(around), cos(around)])
            along, across = (corners[:, :2] - centre) @ ahead, (corners[:, :2] - centre) @ left
            beside *= min(BESIDE, 0.6 * across.max(), -0.6 * across.min())
            start = centre + beside * left + (along.min() - BALL - GAP) * ahead
            end = start + length * ahead
            if max(*np.abs(start), *np.abs(end)) < REACH:
                break
        height = rng.uniform(USUAL[0], np.clip(0.6 * corners[:, 2].max(), USUAL[0], USUAL[1]))
        return np.clip(np.float32([*start, *end, height]), self.action_space.low, self.action_space.high)

    def act(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool]:
        start, end = np.array([*action[:2], action[4]]), np.array([*action[2:4], action[4]])
        before = self.aim(*(start + end)[:2] / 2)
        first = self.picture(self.overhead).rgb
        touched = self._sweep(start, end)
        self.hand.park()
        self.world.settle([self.target.body], SETTLING)
        after = self.world.pose(self.target.body)
        distance = float(np.hypot(*(after[:2] - self.mark)))
        told = {
            "before": first,
            "after": self.picture(self.overhead).rgb,
            "pixels": self.overhead.project(np.stack([start, end]))[0],
            "T_world_object": before,
            "T_world_object_after": after,
            "displacement": after[:2] - before[:2],
            "rotation": turned(before[3:], after[3:]),
            "contact": touched,
            "inside": self.overhead.shows(after[:3]),
        }
        return told | self.seen_by(self.overhead), -distance, distance < CLOSE_ENOUGH

    def _sweep(self, start: np.ndarray, end: np.ndarray) -> bool:
        """Move the tip; whether it touched what is meant."""
        length, touched = float(np.linalg.norm(end - start)), False
        if length < 1e-4:
            return False

        def watch() -> bool:
            nonlocal touched
            touched = touched or self.world.touching(self.hand.tool, self.target.body)
            return False

        self.hand.ready(start, float(np.arctan2(*(end - start)[1::-1])), (end - start) / length)
        if self.obstructed():
            return False
        self.hand.travel(length, SPEED, FORCE, until=watch)
        return touched


def turned(before: np.ndarray, after: np.ndarray) -> float:
    """Radians about the vertical from one quaternion to another: the twist of the turn between them."""
    turn = matrix(after) @ matrix(before).T
    return float(np.arctan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1]))
