"""Poke: press on a thing from above, and feel how the force grows with the depth.

Contacts of all things here are springs, as stiff as what they are made of. What is felt is that spring in series with
those to the table, so the line depends on the shape too, as it does for a robot.

Source: Pinto et al., "The Curious Robot", ECCV 2016, section 3.3: the profile is told, and the two numbers of a line
fitted to it.
"""

from typing import Any, ClassVar

import numpy as np

from videossl.datasets.shards import Field
from videossl.robot.hands import BALL
from videossl.robot.tabletop import REACH, SETTLING, Tabletop

SPEED, STRENGTH = 0.04, 200.0  # m/s, N: strong enough not to be slowed down
LIMIT = 15.0  # newtons, at which the hand stops
DEEPEST = 0.008  # metres below where the thing was first touched
ABOVE = 0.003  # metres above the thing, where the tip starts
EVERY = 1 / 240  # seconds between two samples
SAMPLES = round(DEEPEST / SPEED / EVERY) + 2
FEWEST = 5  # samples in a line that is trusted
STRAIGHT = 0.9  # its R2 at least
DAMPING = 1.4  # of contacts, in units of sqrt(stiffness * mass): no bouncing, and the force stays linear


class Poke(Tabletop):
    """Poke the thing that is nearest to a point, from above.

    Action: (2,) float32: x and y in metres, in [-0.15, 0.15]. The tip, a ball of 6 mm radius, goes down at 40 mm/s until
    15 N, or 8 mm below where it first touched the thing.
    Reward: 1 if the force is a line in the depth, else 0. Never done; cut after 5 pokes.
    """

    task = "poke"
    trials = 5
    jaws = False
    low, high = (-REACH, -REACH), (REACH, REACH)
    spots: ClassVar[tuple[int, ...]] = (0,)

    def told(self) -> dict[str, Field]:
        return {
            "patch": Field((self.size, self.size, 3), "uint8", "RGB, around the point, before the poke"),
            "pixels": Field((2, 2), "float32", "x, y in the patch, where the tip first touches, twice"),
            "point": Field((3,), "float32", "m: lowest point of the tip when it first touches, or where it stops"),
            "depth": Field((SAMPLES,), "float32", "m below where the tip first touches; 0 from `samples` on"),
            "force": Field((SAMPLES,), "float32", "N, upward on the tip; 0 from `samples` on"),
            "samples": Field((), "int32", "how many depths and forces there are"),
            "slope": Field((), "float32", "N/m, of the line fitted to them; 0 with less than two"),
            "intercept": Field((), "float32", "N, of that line at depth 0"),
            "r2": Field((), "float32", "share of the force's variance that the line explains, in [0, 1]"),
            "valid": Field((), "bool", f"{FEWEST} samples at least, and r2 over {STRAIGHT}"),
            "moved": Field((), "float32", "m that the object's centre went sideways"),
            "T_world_object_after": Field((7,), "float64", "m and quaternion xyzw, with the tip still down"),
        }

    def equip(self) -> None:
        for thing in self.things:
            self.world.soften(thing.body, thing.stiffness, DAMPING * np.sqrt(thing.stiffness * thing.mass))

    def prepare(self, rng: np.random.Generator) -> None:
        self.world.settle([thing.body for thing in self.things], SETTLING)  # things sink in by their weight

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        self.begin()
        thing = self.things[rng.integers(self.count)]
        corners = self.corners(thing)[:, :2]
        for _ in range(50):
            spot = rng.uniform(corners.min(0), corners.max(0))
            if self.world.below(*spot)[0] == thing.body:
                break
        return np.clip(np.float32(spot), self.action_space.low, self.action_space.high)

    def act(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool]:
        x, y = action
        before = self.aim(x, y)
        camera = self.close_up(x, y)
        patch = self.picture(camera).rgb
        depths, forces, lowest = self._press(x, y)
        after = self.world.pose(self.target.body)
        slope, intercept, r2 = line(depths, forces)
        valid = len(depths) >= FEWEST and r2 > STRAIGHT
        told = {
            "patch": patch,
            "pixels": np.tile(camera.project(np.array([x, y, lowest]))[0], (2, 1)),
            "point": (x, y, lowest),
            "depth": np.pad(depths, (0, SAMPLES - len(depths))),
            "force": np.pad(forces, (0, SAMPLES - len(forces))),
            "samples": len(depths),
            "slope": slope,
            "intercept": intercept,
            "r2": r2,
            "valid": valid,
            "moved": np.hypot(*(after - before)[:2]),
            "T_world_object": before,
            "T_world_object_after": after,
        }
        return told | self.seen_by(camera), float(valid), False

    def _press(self, x: float, y: float) -> tuple[np.ndarray, np.ndarray, float]:
        """Go down: depths and forces from the first touch on, and the height at which that was."""
        hand, world = self.hand, self.world
        surface = world.below(x, y)[1]
        start = surface + BALL + ABOVE
        down = np.array([0.0, 0.0, -1.0])
        hand.ready(np.array([x, y, start]), 0.0, down)
        while self.obstructed():  # beside something higher
            start += ABOVE
            hand.ready(np.array([x, y, start]), 0.0, down)
        ways, forces, steps = [], [], 0
        every = max(1, world.steps(EVERY))

        def feel() -> bool:
            nonlocal steps
            force = world.push_up(hand.tool, self.target.body)
            if force > 0 or ways:
                if steps % every == 0 and len(ways) < SAMPLES:
                    ways.append(hand.way())
                    forces.append(force)
                steps += 1
                return force > LIMIT or ways[-1] - ways[0] >= DEEPEST
            return False

        stopped = hand.travel(start - BALL - surface + DEEPEST + ABOVE, SPEED, STRENGTH, until=feel)
        first = ways[0] if ways else stopped
        return np.array(ways) - first, np.array(forces), start - BALL - first


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Slope and intercept of the line with the least squares through points, and its R2; zeros, if there is none."""
    if len(x) < 2 or np.ptp(x) == 0:
        return 0.0, 0.0, 0.0
    slope, intercept = np.polyfit(x, y, 1)
    spread = ((y - y.mean()) ** 2).sum()
    left = ((y - slope * x - intercept) ** 2).sum()
    return float(slope), float(intercept), float(max(0.0, 1 - left / spread)) if spread > 0 else 0.0
