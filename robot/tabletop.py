"""A table with something on it, a camera above and a hand: what all interaction tasks have in common.

A task is a gymnasium environment. `reset` draws a scene and lets it come to rest; each `step` is one whole interaction,
a trial, which begins from that scene at rest and is told of in `info["record"]`. Nothing random happens in a step, and
nothing that was done before shows in it: a seed and an action are a trial, to the last bit.

The world has its origin in the middle of the table, z up; metres, seconds, kilograms, newtons and radians; quaternions
are (x, y, z, w), and T_world_object is the pose of the object in the world, seven numbers: position and quaternion.
Overhead pictures have the world's x to the right and its y up.

Source: Pinto et al., "The Curious Robot", ECCV 2016, section 3, for the four tasks.
"""

import time
from copy import deepcopy
from dataclasses import astuple, dataclass
from math import cos, pi, sin
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from videossl.datasets.shards import Field
from videossl.robot.camera import Camera, Drawn, Light, Picture, load_texture, look, render_tiny, visual_shape
from videossl.robot.hands import HANDS, Hand
from videossl.robot.materials import MATERIALS, PLAIN, TABLES, finish
from videossl.robot.objects import OBJECT_SETS, Shape, mesh_of, split
from videossl.robot.raster import render as raster
from videossl.robot.world import PHYSICS, Physics, World

REACH = 0.15  # metres from the middle of the table, along x and y, up to which a hand goes
SPREAD = 0.05  # metres from the middle, along x and y, up to which things are laid
VIEW = 0.45  # metres a side: what the overhead camera sees of the table
PATCH = 0.20  # metres a side: what a close-up sees
HEIGHT = 0.80  # metres: of the overhead camera
FAR = Camera.far  # metres: depth of what is nothing
OBLIQUE = (0.42, -0.42, 0.42)  # metres: where the other camera is
TABLE = (1.2, 1.2, 0.02)  # metres
TABLE_TILE = 0.30  # metres a side: what one repeat of a table's texture covers
CLEAR = 0.01  # metres between things and the table, or each other, before they drop
WIDER = 1.6  # times SPREAD, if there are several
SETTLING = 2.0  # seconds at most
LIGHTEST = 0.02  # kg: how fingers hold lighter things depends on how finely time is cut
ATTEMPTS = 50  # at a scene that comes to rest within reach
OBSERVATIONS = {  # name -> which camera sees it, and what of its picture it is
    "rgb": ("overhead", "rgb"),
    "depth": ("overhead", "depth"),
    "segmentation": ("overhead", "segmentation"),
    "oblique": ("oblique", "rgb"),
    "oblique_depth": ("oblique", "depth"),
    "oblique_segmentation": ("oblique", "segmentation"),
}
RENDERERS = ("raster", "tiny")


@dataclass(frozen=True)
class Randomisation:
    """What is drawn anew for each scene, besides the things and how they lie. Zeros and `False` leave it as it is."""

    table: bool = True  # a surface of the bank, in a colour of its own; grey if not
    light: float = 0.7  # radians from straight above, at most, to any side
    brightness: float = 0.25  # of the light: less by this share at most
    camera_tilt: float = 0.06  # radians off the vertical, at most: it still looks at the same point
    camera_distance: float = 0.04  # metres nearer or farther, at most
    mass: float = 0.25  # factor from 1 / (1 + mass) to 1 + mass
    friction: float = 0.15  # as mass
    colour: float = 0.08  # share by which red, green and blue of a thing are changed, at most
    upright: float = 0.5  # share of things that are set down as they stand; the others fall as they come

    def __post_init__(self):
        if not np.isfinite(astuple(self)).all():
            raise ValueError(f"{self}: all are numbers")
        if min(self.light, self.brightness, self.camera_tilt, self.camera_distance, self.colour, self.upright) < 0:
            raise ValueError(f"{self}: nothing is changed by less than 0")
        if min(self.mass, self.friction) < 0 or max(self.brightness, self.colour, self.upright) > 1:
            raise ValueError(f"{self}: mass and friction are 0 or more; brightness, colour and upright are up to 1")
        if self.light > 1.4 or self.camera_tilt > 0.5 or self.camera_distance > 0.5:
            raise ValueError(f"{self}: light is up to 1.4 rad, camera_tilt up to 0.5 rad, camera_distance up to 0.5 m")

    @classmethod
    def none(cls) -> "Randomisation":
        """The things alone, and how they lie, are drawn anew."""
        return cls(False, 0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class Thing:
    """An object of the scene: which it is, what it is made of, and its body."""

    category: int  # in the set's sorted categories
    shape: Shape
    material: int  # in MATERIALS
    friction: float
    stiffness: float  # N/m
    mass: float  # kg
    body: int


class Tabletop(gymnasium.Env):
    """A scene, its cameras and a hand. Tasks say what a step does, in `act`, and what is told of it, in `told`.

    Observation: those of `observe`, of the scene that the next step begins from: "rgb" (size, size, 3) uint8, "depth"
    (size, size) float32 in metres and "segmentation" (size, size) int32, -1 for the table, else the number of the thing,
    all three from above; "oblique", "oblique_depth" and "oblique_segmentation", the same from the side. What `reset` tells
    beside it has both cameras: info["cameras"]["overhead"]["intrinsics"] (3, 3), pixels, and "T_world_camera" (4, 4), metres;
    and "oblique".

    Args:
        objects: one of OBJECT_SETS.
        unseen: take the instances that are kept for tests, instead of the others; `object_seed` says which they are.
        hand: one of HANDS, "gripper" (fast) or "panda".
        size: side of all pictures in pixels.
        renderer: "raster" (fast) or "tiny" (PyBullet's TinyRenderer, without shadows).
        randomisation: what is drawn anew for each scene.
        objects_per_scene: things on the table, 1 to 5. Those that are not meant stay where they are during a trial.
        restore: begin each step from the scene as it was after `reset`. If not, it goes on from where the last ended.
        render_mode: "rgb_array" for `render`, "human" for PyBullet's window.
        observe: any of OBSERVATIONS, which are all that is drawn. Without any, a step is fastest.
        physics: how fine trials are simulated. Scenes come to rest by the default, whatever is said here.

    Raises:
        ValueError: an argument is none of those that are named here.
        ImportError: PyBullet is not installed.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["human", "rgb_array"], "render_fps": 30}
    task: ClassVar[str]  # its name
    trials: ClassVar[int]  # of one scene; after so many the episode is cut
    jaws: ClassVar[bool]  # whether the hand bears jaws, or a tip
    low: ClassVar[tuple[float, ...]]  # range of the action
    high: ClassVar[tuple[float, ...]]
    spots: ClassVar[tuple[int, ...]]  # where in the action an x is, with its y behind it, to which the hand goes
    most: ClassVar[int] = 5  # things on the table

    def __init__(
        self,
        objects: str = "household",
        unseen: bool = False,
        hand: str = "gripper",
        size: int = 128,
        renderer: str = "raster",
        randomisation: Randomisation = Randomisation(),
        objects_per_scene: int = 1,
        restore: bool = True,
        render_mode: str | None = None,
        object_seed: int = 0,
        observe: tuple[str, ...] = ("rgb",),
        physics: Physics = PHYSICS,
    ):
        _one_of("objects", objects, OBJECT_SETS)
        _one_of("hand", hand, HANDS)
        _one_of("renderer", renderer, RENDERERS)
        _one_of("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        for name in observe:
            _one_of("observe", name, OBSERVATIONS)
        if not 8 <= size <= 1024 or not 1 <= objects_per_scene <= self.most:
            raise ValueError(
                f"size {size}, objects_per_scene {objects_per_scene}: {self.task} takes sizes of 8 to 1024 pixels and "
                f"1 to {self.most} objects"
            )
        self.objects, self.unseen, self.hand_name, self.size = OBJECT_SETS[objects], unseen, hand, size
        self.renderer, self.randomisation, self.count = renderer, randomisation, objects_per_scene
        self.restore, self.render_mode, self.observe, self.physics = restore, render_mode, tuple(observe), physics
        self.categories = tuple(sorted(self.objects.categories))
        self.instances = split(self.objects, unseen, object_seed)
        self.action_space = spaces.Box(np.float32(self.low), np.float32(self.high), dtype=np.float32)
        self.observation_space = spaces.Dict(self._observations())
        self.fields = self._common() | self.told()
        self.world = World(window=render_mode == "human")
        self.things: list[Thing] = []

    # What a task says.

    def told(self) -> dict[str, Field]:
        """What a record of this task holds besides what all do."""
        raise AssertionError("a task says what it tells")

    def act(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool]:
        """One interaction: what is told of it, the reward, and whether the task is done."""
        raise AssertionError("a task says what it does")

    def equip(self) -> None:
        """What else things need that lie on the table."""

    def prepare(self, rng: np.random.Generator) -> None:
        """What else a scene needs, when all lies on the table."""

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """An action that may come to something: the hand goes to where a thing is."""
        raise AssertionError("a task says where it tries")

    # What gymnasium asks for.

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        for _ in range(ATTEMPTS):
            self._lay(self.np_random)
            if self._drop(self.np_random):
                break
        else:
            raise RuntimeError(f"no scene of {self.count} things came to rest within reach, in {ATTEMPTS} attempts")
        self.equip()
        self.prepare(self.np_random)
        self.tried = 0
        if self.count > 1:
            self.laid = [self.world.pose(thing.body) for thing in self.things]
        else:
            self.world.keep()
        self.seen = self._observation()
        if self.render_mode == "human":
            self.world.watch = self._wait
        return deepcopy(self.seen), {"cameras": self._cameras()}

    def step(self, action: np.ndarray):
        action = self._checked(action)
        self.begin()
        if self.restore and self.count > 1:
            self._set_again()
        self.world.tune(self.physics)
        told, reward, done = self.act(action.astype(np.float64))
        record = {name: np.asarray(value) for name, value in (self._known(action) | told).items()}
        assert record.keys() == self.fields.keys(), record.keys() ^ self.fields.keys()
        record = {name: _as(field, record[name]) for name, field in self.fields.items()}
        self.tried += 1
        self.world.tune(PHYSICS)
        if not self.restore:
            self.hand.park()
            for thing in self.things[: self.count]:
                self.world.release(thing.body)
            self.world.settle([thing.body for thing in self.things[: self.count]], SETTLING)
            self.seen = self._observation()
        return deepcopy(self.seen), float(reward), bool(done), self.tried >= self.trials, {"record": record}

    def render(self) -> np.ndarray | None:
        """The table and the hand from the side, (H, W, 3) uint8, as they are now."""
        if self.render_mode != "rgb_array":
            return None  # the window shows all at all times
        return self.picture(self.oblique, hand=True).rgb

    def film(self, action: np.ndarray, fps: int = 30) -> np.ndarray:
        """Do a step, and film it from the side: (T, H, W, 3) uint8, in the time of the simulation."""
        frames, taken = [], 0

        def watch():
            nonlocal taken
            if taken % max(1, round(1 / fps / self.world.physics.step)) == 0:
                frames.append(self.picture(self.oblique, hand=True).rgb)
            taken += 1

        before, self.world.watch = self.world.watch, watch
        try:
            self.step(action)
        finally:
            self.world.watch = before
        return np.stack([*frames, self.picture(self.oblique, hand=True).rgb])

    def close(self) -> None:
        self.world.close()

    # Scenes.

    def _lay(self, rng: np.random.Generator) -> None:
        """A new table with new things, not yet on it, a light and cameras."""
        self.world.physics = PHYSICS
        self.world.watch = None
        self._clear()
        self._look(rng)
        self.things = [self._thing(rng) for _ in range(self.cast())]
        for thing in self.things[self.count :]:
            self.world.hold(thing.body)

    def _clear(self) -> None:
        """A new table, without things, and a hand."""
        self.world.renew()
        self.hand: Hand = HANDS[self.hand_name](self.world, self.jaws)
        self.hand.park()
        self.drawn: dict[int, Drawn] = {}
        self.poses = {self.world.table: ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))}
        self.textures: dict[int, int] = {}

    def _set_again(self) -> None:
        """The scene as it lay when it was kept, made anew: of several things Bullet remembers more than it restores."""
        drawn = self.drawn
        self._clear()
        self._show(self.world.table, drawn[self.world.table])
        for thing, pose in zip(self.things, self.laid, strict=True):
            body = self._add(thing.shape, thing.mass, thing.friction, drawn[thing.body])
            assert body == thing.body, "what is made in the same order has the same number"
            self.world.put(body, pose)
        self.equip()

    def cast(self) -> int:
        """How many things there are, on the table or beside it."""
        return self.count

    def _look(self, rng: np.random.Generator) -> None:
        vary = self.randomisation
        tilt, around = vary.light * np.sqrt(rng.uniform()), rng.uniform(0, 2 * pi)
        dim = 1 - vary.brightness * rng.uniform()
        up = (sin(tilt) * cos(around), sin(tilt) * sin(around), cos(tilt))
        self.light = Light(up, (dim, dim, dim), 0.55 * dim, 0.45, 0.05)
        tilt, around = vary.camera_tilt * np.sqrt(rng.uniform()), rng.uniform(0, 2 * pi)
        self.distance = HEIGHT + vary.camera_distance * rng.uniform(-1, 1)
        self.aside = self.distance * np.array([sin(tilt) * cos(around), sin(tilt) * sin(around), cos(tilt)])
        self.overhead = self._above((0, 0, 0), VIEW)
        self.oblique = Camera(look(OBLIQUE, (0, 0, 0.04)), self.size, self.size, 0.6)
        surface, colour = rng.choice(TABLES), rng.uniform(0.35, 1.0) * rng.uniform(0.8, 1.0, 3)
        look_of = (tuple(colour.tolist()), int(surface)) if vary.table else ((0.6, 0.6, 0.6), PLAIN)
        self._show(self.world.table, Drawn(mesh_of(_TABLE, TABLE_TILE), *look_of))

    def _above(self, target, side: float) -> Camera:
        """A camera that looks down at a point, and sees `side` metres a side there."""
        eye = np.asarray(target, float) + self.aside
        return Camera(
            look(eye, target, (0.0, 1.0, 0.0)), self.size, self.size, 2 * float(np.arctan(side / 2 / self.distance))
        )

    def close_up(self, x: float, y: float, z: float = 0.0) -> Camera:
        """The overhead camera turned and zoomed to a point: PATCH metres a side."""
        return self._above((x, y, z), PATCH)

    def _thing(self, rng: np.random.Generator) -> Thing:
        category, number = self.instances[rng.integers(len(self.instances))]
        shape, made, vary = self.objects.shape(category, number), finish(rng), self.randomisation
        heavier, rougher = rng.uniform(-1, 1, 2)
        mass = max(LIGHTEST, made.density * shape.volume) * (1 + vary.mass) ** heavier
        friction = made.friction * (1 + vary.friction) ** rougher
        colour = np.clip(made.colour * (1 + vary.colour * rng.uniform(-1, 1, 3)), 0, 1)
        drawn = Drawn(mesh_of(shape), tuple(colour.tolist()), made.texture)
        body = self._add(shape, mass, friction, drawn)
        material = [material.name for material in MATERIALS].index(made.material)
        return Thing(self.categories.index(category), shape, material, friction, made.stiffness, mass, body)

    def _add(self, shape: Shape, mass: float, friction: float, drawn: Drawn) -> int:
        """A body that looks so; its number."""
        visual = visual_shape(self.world.client, drawn) if self._drawn_by_bullet else -1
        body = self.world.add(shape, mass, friction, visual)
        self._show(body, drawn)
        return body

    def _show(self, body: int, drawn: Drawn) -> None:
        """Have pictures show a body so."""
        self.drawn[body] = drawn
        if self._drawn_by_bullet:
            self._dress(body, drawn)

    def _drop(self, rng: np.random.Generator) -> bool:
        """Let the things fall and come to rest; whether they did, within reach."""
        laid, height = self.things[: self.count], 0.0
        if self.count == 1:
            return self.lay(laid[0], self._orientation(rng), rng.uniform(-SPREAD, SPREAD, 2))
        for thing, spot in zip(laid, rng.uniform(-SPREAD, SPREAD, (len(laid), 2)) * WIDER, strict=True):
            height = self._lift(thing, self._orientation(rng), spot, height)
        bodies = [thing.body for thing in laid]
        if not self.world.settle(bodies, SETTLING):
            return False
        poses = np.stack([self.world.pose(body) for body in bodies])
        return bool((np.abs(poses[:, :2]) < REACH).all() and (poses[:, 2] > 0).all())

    def lay(self, thing: Thing, quaternion: np.ndarray, spot: np.ndarray) -> bool:
        """Let a thing fall so, and have it lie at a spot: if it rolls away, it is brought back as it lies."""
        self._lift(thing, quaternion, spot, 0.0)
        settled = self.world.settle([thing.body], SETTLING)
        pose = self.world.pose(thing.body)
        self.world.put(thing.body, np.concatenate([spot, pose[2:]]))
        self.world.run(0.02)
        return settled and pose[2] > 0

    def _lift(self, thing: Thing, quaternion: np.ndarray, spot: np.ndarray, height: float) -> float:
        """Put a thing over a spot, clear of what is below a height; the height of its top."""
        corners = np.concatenate(thing.shape.parts) @ matrix(quaternion).T
        self.world.put(thing.body, np.array([*spot, height + CLEAR - corners[:, 2].min(), *quaternion]))
        return height + CLEAR + np.ptp(corners[:, 2])

    def _orientation(self, rng: np.random.Generator) -> np.ndarray:
        """A quaternion: any, or as a thing stands, turned about the vertical."""
        upright, turn, any_way = rng.uniform() < self.randomisation.upright, rng.uniform(0, pi), rng.normal(size=4)
        if upright:
            return np.array([0, 0, sin(turn), cos(turn)])
        return any_way / np.linalg.norm(any_way)

    # What tasks ask of the scene.

    def begin(self) -> None:
        """Have things lie as the next step begins: `sample` and `step` call this before anything."""
        if not self.things:
            raise RuntimeError("there is no scene yet: call reset first")
        if self.restore and self.count > 1:
            self.hand.park()
            for thing, pose in zip(self.things, self.laid, strict=True):
                self.world.put(thing.body, pose)
        elif self.restore:
            self.world.restore()

    def corners(self, thing: Thing) -> np.ndarray:
        """Corners of a thing's parts, in the world, (n, 3)."""
        pose = self.world.pose(thing.body)
        return np.concatenate(thing.shape.parts) @ matrix(pose[3:]).T + pose[:3]

    def nearest(self, x: float, y: float) -> Thing:
        """The thing on the table whose centre is nearest to a spot: the one that is meant."""
        laid = self.things[: self.count]
        spots = np.stack([self.world.pose(thing.body)[:2] for thing in laid])
        return laid[int(np.hypot(*(spots - (x, y)).T).argmin())]

    def aim(self, x: float, y: float) -> np.ndarray:
        """The thing nearest to a spot is what the trial is about, and the others are held; its pose."""
        self.target = self.nearest(x, y)
        for thing in self.things[: self.count]:
            if thing is not self.target:
                self.world.hold(thing.body)
        return self.world.pose(self.target.body)

    def obstructed(self) -> bool:
        """Whether the hand, as it stands, is inside of something."""
        return any(self.world.overlapping(self.hand.tool, thing.body) for thing in self.things[: self.count])

    def seen_by(self, camera: Camera) -> dict[str, np.ndarray]:
        return {"T_world_camera": camera.pose, "intrinsics": camera.intrinsics}

    def nudge(self, action: np.ndarray, metres: float, rng: np.random.Generator) -> np.ndarray:
        """The same action, with where the hand goes moved so far in some horizontal direction."""
        around = rng.uniform(0, 2 * pi)
        moved = np.array(action, np.float32)
        for first in self.spots:
            moved[first : first + 2] += np.float32(metres) * np.float32([cos(around), sin(around)])
        return np.clip(moved, self.action_space.low, self.action_space.high)

    # Pictures and what is told.

    @property
    def _drawn_by_bullet(self) -> bool:
        return self.renderer == "tiny" or self.render_mode == "human"

    def _dress(self, body: int, drawn: Drawn) -> None:
        """Give a body of PyBullet its texture, and the table its look."""
        client = self.world.client
        if drawn.texture not in self.textures:
            self.textures[drawn.texture] = load_texture(client, drawn.texture)
        if body == self.world.table:
            body = client.createMultiBody(0, baseVisualShapeIndex=visual_shape(client, drawn))
        client.changeVisualShape(body, -1, textureUniqueId=self.textures[drawn.texture])

    def picture(self, camera: Camera, hand: bool = False) -> Picture:
        """What a camera sees; the hand, only if asked for."""
        if self.renderer == "tiny" and not hand:
            return render_tiny(self.world.client, camera, self.light)
        drawn, poses, client = dict(self.drawn), dict(self.poses), self.world.client
        for thing in self.things:
            poses[thing.body] = client.getBasePositionAndOrientation(thing.body)
        if hand:
            parts = self.hand.parts()
            drawn |= {key: part for key, (part, _) in parts.items()}
            poses |= {key: pose for key, (_, pose) in parts.items()}
        return raster(drawn, poses, camera, self.light)

    def _observations(self) -> dict[str, spaces.Space]:
        flat = self.size, self.size
        kinds = {
            "rgb": spaces.Box(0, 255, (*flat, 3), np.uint8),
            "depth": spaces.Box(0, FAR, flat, np.float32),
            "segmentation": spaces.Box(-1, 5, flat, np.int32),
        }
        return {name: kinds[OBSERVATIONS[name][1]] for name in self.observe}

    def _observation(self) -> dict[str, np.ndarray]:
        cameras = dict.fromkeys(OBSERVATIONS[name][0] for name in self.observe)
        pictures = {camera: self.picture(getattr(self, camera)) for camera in cameras}
        seen = {name: getattr(pictures[OBSERVATIONS[name][0]], OBSERVATIONS[name][1]) for name in self.observe}
        numbers = np.full(self.things[-1].body + 2, -1, np.int32)  # the last is for what is nothing, -1
        for number, thing in enumerate(self.things):
            numbers[thing.body] = number
        return {name: numbers[kind] if name.endswith("segmentation") else kind for name, kind in seen.items()}

    def _cameras(self) -> dict[str, dict[str, np.ndarray]]:
        cameras = {"overhead": self.overhead, "oblique": self.oblique}
        return {name: {"intrinsics": c.intrinsics, "T_world_camera": c.pose} for name, c in cameras.items()}

    def _common(self) -> dict[str, Field]:
        return {
            "category": Field((), "int32", "of the object", self.categories),
            "instance": Field((), "int32", "of the object, within its category"),
            "material": Field((), "int32", "of the object", tuple(material.name for material in MATERIALS)),
            "unseen": Field((), "uint8", "1 if the instance is kept for tests"),
            "friction": Field((), "float32", "Coulomb's coefficient of the object"),
            "stiffness": Field((), "float32", "N/m, of the object's contacts"),
            "mass": Field((), "float32", "kg, of the object"),
            "T_world_object": Field((7,), "float64", "m and quaternion xyzw, before the trial"),
            "T_world_camera": Field((4, 4), "float64", "of the first picture's camera: x right, y down, z ahead"),
            "intrinsics": Field((3, 3), "float64", "of that camera, in pixels; the first pixel's middle is (0, 0)"),
            "action": Field(self.action_space.shape, "float32", "as given to step"),
        }

    def _known(self, action: np.ndarray) -> dict[str, Any]:
        thing = self.target
        return {
            "category": thing.category,
            "instance": thing.shape.number,
            "material": thing.material,
            "unseen": self.unseen,
            "friction": thing.friction,
            "stiffness": thing.stiffness,
            "mass": thing.mass,
            "action": action,
        }

    def _checked(self, action: np.ndarray) -> np.ndarray:
        action = np.asarray(action)
        if action.shape != self.action_space.shape or action.dtype.kind not in "fiu":
            raise ValueError(
                f"the action is {action.dtype} of shape {action.shape}, but {self.task} takes "
                f"{self.action_space.shape[0]} numbers"
            )
        action = action.astype(np.float32)
        if not self.action_space.contains(action):
            raise ValueError(
                f"the action {action.tolist()} is not between {self.action_space.low.tolist()} and "
                f"{self.action_space.high.tolist()}, which {type(self).__name__} explains"
            )
        return action

    def _wait(self) -> None:
        """For the window: no faster than real."""
        time.sleep(self.world.physics.step)


_TABLE = Shape(
    "table", 0, (np.array(np.meshgrid(*[(-s / 2, s / 2) for s in TABLE[:2]], (-TABLE[2], 0))).reshape(3, -1).T,), 0
)


def matrix(quaternion: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) of a quaternion (x, y, z, w)."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _one_of(name: str, found, known) -> None:
    if found not in known:
        raise ValueError(f"{name} is {found!r}, but it is one of {', '.join(map(repr, known))}")


def _as(field: Field, value: np.ndarray) -> np.ndarray:
    value = value.astype(field.dtype)
    assert value.shape == field.shape, f"{value.shape} is told, {field} was said"
    return value
