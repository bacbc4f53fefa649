"""Act with what was learned: where to grasp, how to push to a goal, which thing is harder.

Each way to choose sees the table as the robot does; what it needs besides stands with it. Pictures are taken as they were
when the nets learned: drawn at the size of the collection, then scaled.

Sources: Pinto and Gupta, "Supersizing Self-supervision", ICRA 2016, section V (the best of many patches and angles, and
the rule of the shortest side); Agrawal et al., "Learning to Poke by Poking", NeurIPS 2016, section 4 (push to a goal that
is shown as a picture, by the inverse model).
"""

from collections.abc import Callable
from math import cos, pi, sin

import cv2
import numpy as np
import torch
from torch import Tensor

from videossl.augment import pixels
from videossl.datasets.scaling import scaled
from videossl.methods.grasp import GraspNet
from videossl.methods.poke import PokeNet
from videossl.methods.push import PushNet
from videossl.robot.camera import Camera
from videossl.robot.hands import BALL
from videossl.robot.tabletop import REACH, Tabletop
from videossl.robot.tasks.grasp import ANGLES, Grasp
from videossl.robot.tasks.poke import Poke
from videossl.robot.tasks.push import GAP, USUAL, Push

NEAR, FAR = 0.08, 0.14  # metres from a thing to where it is to be pushed
PUSHES = 3  # at most, towards one goal
REACHED = 0.03  # metres from the goal
BACK = 0.005  # metres in which a push's start is drawn back until it stands free

Chooser = Callable[[Tabletop, np.random.Generator], np.ndarray]


def at_random(env: Tabletop, rng: np.random.Generator) -> np.ndarray:
    """What the robot tried when it knew nothing: see the task's `sample`."""
    return env.sample(rng)


def taken(env: Tabletop, camera: Camera, size: tuple[int, int]) -> Tensor:
    """A picture (3, height, width) uint8 as nets are shown it."""
    picture = np.ascontiguousarray(env.picture(camera).rgb.transpose(2, 0, 1))
    return torch.from_numpy(scaled(picture, size))


# Grasping.


def shortest_side(env: Grasp, rng: np.random.Generator) -> np.ndarray:
    """Across the shorter side of the thing's smallest rectangle, in its middle.

    It is told which pixels show the thing, from above, and how far they are.
    """
    env.begin()
    picture = env.picture(env.overhead)
    shown = picture.segmentation == env.things[0].body
    points = env.overhead.unproject(picture.depth)[shown][:, :2].astype(np.float32)
    middle, (width, height), degrees = cv2.minAreaRect(points)
    angle = np.radians(degrees + (90 if height < width else 0)) % pi
    return np.clip(np.float32([*middle, angle]), env.action_space.low, env.action_space.high)


def judged(
    net: GraspNet, size: tuple[int, int], points: int, env: Grasp, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Grasps in so many points as the robot tries them at random, at all angles, and what a net thinks of each.

    It is the same on any number of cores; processors of other makes may round otherwise.

    Returns: actions (points * angles, 3) float32, and their log odds of success (points * angles,) float64.
    """
    spots = np.stack([env.sample(rng)[:2] for _ in range(points)])
    patches = torch.stack([taken(env, env.close_up(x, y), size) for x, y in spots.astype(float)])
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            logits = net.logits(pixels(patches)).double().numpy()
    finally:
        torch.set_num_threads(cores)
    angles = np.float32([angle * pi / net.angles for angle in range(net.angles)])
    actions = np.column_stack([np.repeat(spots, net.angles, axis=0), np.tile(angles, points)])
    return actions, (logits[..., 1] - logits[..., 0]).ravel()


class BestGrasp:
    """The point and angle that a net thinks best of all, among points as the robot tries them at random."""

    def __init__(self, net: GraspNet, size: tuple[int, int], points: int = 24):
        self.net, self.size, self.points = net.eval(), size, points

    def __call__(self, env: Grasp, rng: np.random.Generator) -> np.ndarray:
        actions, scores = judged(self.net, self.size, self.points, env, rng)
        return actions[scores.argmax()]


def grasp(env: Grasp, choose: Chooser, seed: int, scene: int) -> bool:
    """One try in a new scene; whether the thing was lifted."""
    env.reset(seed=scene_seed(seed, scene))
    action = choose(env, np.random.default_rng([seed, scene, 1]))
    return bool(env.step(action)[-1]["record"]["success"])


# Pushing to a goal.


def straight(env: Push, goal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Through the thing's centre and towards the goal, until its near side has gone as far as it should.

    It is told the thing's form and pose.
    """
    (thing,) = env.things
    centre, corners = env.world.pose(thing.body)[:2], env.corners(thing)
    ahead = (goal - centre) / max(np.linalg.norm(goal - centre), 1e-6)
    behind = ((corners[:, :2] - centre) @ ahead).min() - BALL
    height = np.clip(0.6 * corners[:, 2].max(), *USUAL)
    ends = [*(centre + (behind - GAP) * ahead), *(goal + behind * ahead), height]
    return np.clip(np.float32(ends), env.action_space.low, env.action_space.high)


def any_push(env: Push, goal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As the robot pushed at random, whatever the goal."""
    return env.sample(rng)


class PushTo:
    """The push that a net sees between the table as it is and a picture of it with the thing at its goal.

    Where it would start on the thing, it starts as far back on the same line as stands free.
    """

    def __init__(self, net: PushNet, size: tuple[int, int]):
        self.net, self.size = net.eval(), size

    def __call__(self, env: Push, goal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        (thing,) = env.things
        now, pose = taken(env, env.overhead, self.size), env.world.pose(thing.body)
        env.world.put(thing.body, np.concatenate([goal, pose[2:]]))
        then = taken(env, env.overhead, self.size)
        env.world.put(thing.body, pose)
        with torch.inference_mode():
            answer = self.net.answer(torch.stack([now, then])[None, :, None])[0].double().numpy()
        start, end, height = answer[:2], answer[2:4], np.clip(answer[4], *USUAL)
        back = (start - end) / max(np.linalg.norm(end - start), 1e-6)
        corners = env.corners(thing)[:, :2]
        while self._on(start, corners) and np.abs(start + BACK * back).max() < env.action_space.high[0]:
            start = start + BACK * back
        return np.clip(np.float32([*start, *end, height]), env.action_space.low, env.action_space.high)

    def _on(self, spot: np.ndarray, corners: np.ndarray) -> bool:
        """Whether the tip would stand on the thing, or touch it, seen from above."""
        hull = cv2.convexHull(corners.astype(np.float32))
        return cv2.pointPolygonTest(hull, spot.tolist(), True) > -(BALL + BACK)


def push(env: Push, choose: Callable, seed: int, scene: int) -> list[float]:
    """Push the thing of a new scene to a goal; metres from there, at first and after each push.

    The goal is 8 to 14 cm away in any direction within reach. It ends within `REACHED` or after `PUSHES` pushes. The
    environment goes on from where a push ended (`restore=False`).
    """
    env.reset(seed=scene_seed(seed, scene))
    rng = np.random.default_rng([seed, scene, 1])
    (thing,), goal = env.things, goal_of(env, rng)
    left = [float(np.linalg.norm(goal - env.world.pose(thing.body)[:2]))]
    while len(left) <= PUSHES and left[-1] > REACHED:
        env.step(choose(env, goal, rng))
        left.append(float(np.linalg.norm(goal - env.world.pose(thing.body)[:2])))
    return left


def goal_of(env: Push, rng: np.random.Generator) -> np.ndarray:
    """A spot (2,) that is `NEAR` to `FAR` from the thing, within reach."""
    centre, goal = env.world.pose(env.things[0].body)[:2], np.full(2, np.inf)
    while np.abs(goal).max() > REACH:
        away, around = rng.uniform(NEAR, FAR), rng.uniform(0, 2 * pi)
        goal = centre + away * np.array([cos(around), sin(around)])
    return goal


# Telling what is harder.


class Hardness:
    """What a net thinks of the slope of a poke in the middle of the thing: log N/m."""

    def __init__(self, net: PokeNet, size: tuple[int, int]):
        self.net, self.size = net.eval(), size

    def __call__(self, env: Poke, rng: np.random.Generator) -> float:
        patch = taken(env, env.close_up(*env.world.pose(env.things[0].body)[:2]), self.size)
        with torch.inference_mode():
            return float(self.net.answer(patch[None, None, None])[0, 0])


def darkness(env: Poke, rng: np.random.Generator) -> float:
    """How dark the thing is: within a material the darker is the stiffer. It is told which pixels show the thing."""
    picture = env.picture(env.close_up(*env.world.pose(env.things[0].body)[:2]))
    return -float(picture.rgb[picture.segmentation == env.things[0].body].mean())


def any_order(env: Poke, rng: np.random.Generator) -> float:
    """Of things to be sorted, any order at random."""
    return float(rng.uniform())


def sort(
    env: Poke, judge: Callable[[Poke, np.random.Generator], float], seed: int, trial: int, things: int = 3
) -> float:
    """Sort so many things, one after another on the table, by how hard they are held for.

    Returns: share of the pairs that are in the order of their true stiffness; 1: sorted.
    """
    thought, true = [], []
    for scene in range(things * trial, things * (trial + 1)):
        env.reset(seed=scene_seed(seed, scene))
        thought.append(judge(env, np.random.default_rng([seed, scene, 1])))
        true.append(env.things[0].stiffness)
    pairs = [(a, b) for a in range(things) for b in range(a)]
    return sum((thought[a] > thought[b]) == (true[a] > true[b]) for a, b in pairs) / len(pairs)


def scene_seed(seed: int, scene: int) -> int:
    """Of a scene to act in, 64 bits: none of those that were collected."""
    return int(np.random.SeedSequence([seed, scene, ANGLES]).generate_state(1, np.uint64)[0])
