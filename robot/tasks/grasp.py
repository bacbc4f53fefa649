"""Grasp: close the jaws somewhere, lift, and see whether the thing comes along.

Source: Pinto and Gupta, "Supersizing Self-supervision", ICRA 2016, section III: a point near the object, one of 18
angles, a patch around the point. Why a grasp failed is told too.
"""

from math import cos, pi, sin
from typing import Any, ClassVar

import numpy as np

from videossl.datasets.shards import Field
from videossl.robot.hands import OPENING
from videossl.robot.tabletop import REACH, Tabletop

ANGLES = 18  # bins of half a turn, that a network tells apart
NEAR = 0.045  # metres from the object's centre, up to which points are tried
DEPTH = 0.040  # metres below the object's top, where the fingers' tips go
FLOOR = 0.005  # metres above the table, below which they do not go
ABOVE = 0.012  # metres above the object's top, where they start
DESCENT = (0.25, 300.0)  # m/s, N: faster, and fingers sink into light things before they feel them
GUARD = 5.0  # newtons from below, at which the hand stops going down
GRIP = (0.3, 20.0)  # m/s, N, of each finger
LIFT = (0.5, 300.0)  # m/s, N
HELD = 0.2  # seconds
FIRST, WHOLE = 0.05, 0.15  # metres of the lift: after the first, a hand with nothing in it stops
RAISED = 0.10  # metres, of the object's centre: grasped
SHORT = 0.003  # metres: a hand that stops so far above its goal is blocked
OUTCOMES = ("lifted", "blocked", "empty", "slipped", "fell")


class Grasp(Tabletop):
    """Grasp the thing that is nearest to a point.

    Action: (3,) float32: x and y of the grasp in metres, in [-0.15, 0.15], and the angle in radians, in [0, pi], from
    the world's x to the line between the fingers, counter-clockwise seen from above: half a turn is no turn. The hand
    comes from above, open 80 mm, down to 40 mm below the object's top. T_world_grasp is the pose of its tip there.
    Reward: 1 if the thing is lifted and held, else 0. Done when it is; cut after 5 trials.
    """

    task = "grasp"
    trials = 5
    jaws = True
    low, high = (-REACH, -REACH, 0.0), (REACH, REACH, pi)
    spots: ClassVar[tuple[int, ...]] = (0,)

    def told(self) -> dict[str, Field]:
        return {
            "patch": Field((self.size, self.size, 3), "uint8", "RGB, around the grasp point, before the trial"),
            "pixels": Field((2, 2), "float32", "x, y in the patch, of the two fingers before they close"),
            "angle": Field((), "int32", f"bin of the angle: nearest multiple of pi / {ANGLES}"),
            "T_world_grasp": Field((7,), "float64", "m and quaternion xyzw: the hand's tip, where it was to close"),
            "success": Field((), "bool", "lifted and held"),
            "outcome": Field((), "int32", "what came of it", OUTCOMES),
            "gap": Field((), "float32", "m between the fingers, when closed"),
            "T_world_object_after": Field((7,), "float64", "m and quaternion xyzw, at the end: in the hand, if lifted"),
        }

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        self.begin()
        thing = self.things[rng.integers(self.count)]
        away, around = NEAR * np.sqrt(rng.uniform()), rng.uniform(0, 2 * pi)
        spot = self.world.pose(thing.body)[:2] + away * np.array([cos(around), sin(around)])
        angle = rng.integers(ANGLES) * pi / ANGLES
        return np.clip(np.float32([*spot, angle]), self.action_space.low, self.action_space.high)

    def act(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool]:
        x, y, angle = action
        before = self.aim(x, y)
        top = self.corners(self.target)[:, 2].max()
        camera = self.close_up(x, y)
        patch = self.picture(camera).rgb
        depth = max(top - DEPTH, FLOOR)
        fingers = np.array([x, y, depth]) + OPENING / 2 * np.array([[-1], [1]]) * [cos(angle), sin(angle), 0]
        outcome, gap = self._try(np.array([x, y, top + ABOVE]), top + ABOVE - depth, angle, before[2])
        told = {
            "patch": patch,
            "pixels": camera.project(fingers)[0],
            "angle": round(angle * ANGLES / pi) % ANGLES,
            "T_world_object": before,
            "T_world_grasp": [x, y, depth, 0, 0, sin(angle / 2), cos(angle / 2)],
            "success": outcome == "lifted",
            "outcome": OUTCOMES.index(outcome),
            "gap": gap,
            "T_world_object_after": self.world.pose(self.target.body),
        }
        return told | self.seen_by(camera), float(outcome == "lifted"), outcome == "lifted"

    def _try(self, start: np.ndarray, drop: float, angle: float, height: float) -> tuple[str, float]:
        """Go down, close and lift: what came of it, and the gap between the closed fingers."""
        hand, world, body = self.hand, self.world, self.target.body
        hand.ready(start, angle, np.array([0.0, 0.0, -1.0]))
        if hand.travel(drop, *DESCENT, until=lambda: world.push_up(hand.body) > GUARD) < drop - SHORT:
            return "blocked", hand.gap()
        gap = hand.close(*GRIP)
        if not hand.holds(body):
            return "empty", gap

        def lost() -> bool:
            """Whether the hand is over the first part of the way, with nothing in it."""
            return hand.way() < drop - FIRST and world.pose(body)[2] - height < FIRST / 3

        hand.travel(-WHOLE, *LIFT, until=lost)
        if lost():
            return "slipped", gap
        world.run(HELD)
        return ("lifted" if world.pose(body)[2] - height > RAISED else "fell"), gap
