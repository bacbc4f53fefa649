"""Videos of actions, made here: PyBullet's humanoid plays its 15 motion-capture files in rooms that differ by group.

The folder has UCF101's own layout, so `videossl.datasets.ucf101` reads it unchanged: `Walk/v_Walk_g01_c01.avi`, and
three pairs of lists beside the classes, each with another quarter of the groups for test.

A group fixes actor, clothes, room, light and a range of viewpoints, the same in every class, so that none of these
tells the class. A clip draws where in the motion it starts, speed, viewpoint, camera drift and things that move about.
Both come from the seed and their own numbers alone: the bytes are the same for any number of workers.

The camera rides along on the straight line at constant speed that fits the root's path over the floor best: a runner
stays in view, and all that is not steady travel stays visible. Cyclic motions start anywhere and go on in further
cycles. The others (both ways to get up, kick, punch) start so that the clip ends before they do; a clip that is longer
than its motion shows the whole and then the last pose, held. In easy clips of 32 frames none stands still: walking,
crawling and getting up move least (2 grey levels a pixel from frame to frame at 56 pixels), dancing (A) most (7).
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from math import pi, radians
from pathlib import Path
from typing import Literal

import joblib
import numpy as np

from videossl.datasets.decoders import write_video
from videossl.robot.humanoid import Humanoid, Look, new_client, read_motion
from videossl.robot.outputs import claim_for, run_jobs, write_whole

ACTIONS = {  # class, as in UCF101 without spaces: file in pybullet_data/data/motions
    "Backflip": "humanoid3d_backflip.txt",
    "Cartwheel": "humanoid3d_cartwheel.txt",
    "Crawl": "humanoid3d_crawl.txt",
    "DanceA": "humanoid3d_dance_a.txt",
    "DanceB": "humanoid3d_dance_b.txt",
    "GetUpFaceDown": "humanoid3d_getup_facedown.txt",
    "GetUpFaceUp": "humanoid3d_getup_faceup.txt",
    "Jump": "humanoid3d_jump.txt",
    "Kick": "humanoid3d_kick.txt",
    "Punch": "humanoid3d_punch.txt",
    "Roll": "humanoid3d_roll.txt",
    "Run": "humanoid3d_run.txt",
    "Spin": "humanoid3d_spin.txt",
    "SpinKick": "humanoid3d_spinkick.txt",
    "Walk": "humanoid3d_walk.txt",
}
VERSION = 1  # of the pictures: raise it when the same config gives others, so that no folder mixes both
FIELD = radians(60)  # of view, both ways
AIM = 0.78  # metres over the floor: where the camera looks, for an actor of height 1
ROOM = 6.0  # metres from the middle to a wall


@dataclass(frozen=True)
class Difficulty:
    """What differs between groups and clips; ranges are (least, most)."""

    yaw: float  # radians either side of the actor's front within which groups have their viewpoint
    swing: float  # radians either side of a group's viewpoint for its clips
    pitch: tuple[float, float]  # radians by which the camera looks down
    distance: tuple[float, float]  # metres from the camera to what it looks at
    drift: float  # metres by which the camera wanders in a clip, at most
    speed: tuple[float, float]  # times the recorded speed
    tones: int  # colours of the floor and of the walls: 1 is plain, 2 a checker, more a patchwork
    room: tuple[tuple[float, float], tuple[float, float]]  # saturation and brightness of floor and walls
    clothes: tuple[tuple[float, float], tuple[float, float]]  # saturation and brightness of clothes
    light: float  # radians away from upright, at most
    distractors: tuple[int, int]  # things that move about in a clip


# easy is what `videossl demo` uses. A first trial with what medium and hard have (a drifting camera, a checker floor,
# distractors, far viewpoints) learnt nothing in the demo's minutes: they are for longer runs. In hard the actor is seen
# from all around, and may be as colourful as the room.
DIFFICULTIES = {
    "easy": Difficulty(
        yaw=radians(25),
        swing=radians(5),
        pitch=(radians(4), radians(10)),
        distance=(1.9, 2.2),
        drift=0.0,
        speed=(0.9, 1.1),
        tones=1,
        room=((0.0, 0.2), (0.75, 0.95)),
        clothes=((0.4, 1.0), (0.15, 0.6)),
        light=radians(40),
        distractors=(0, 0),
    ),
    "medium": Difficulty(
        yaw=radians(60),
        swing=radians(15),
        pitch=(radians(0), radians(20)),
        distance=(2.0, 3.0),
        drift=0.2,
        speed=(0.8, 1.25),
        tones=2,
        room=((0.0, 0.5), (0.5, 1.0)),
        clothes=((0.2, 1.0), (0.1, 0.8)),
        light=radians(55),
        distractors=(0, 2),
    ),
    "hard": Difficulty(
        yaw=pi,
        swing=radians(30),
        pitch=(radians(0), radians(35)),
        distance=(2.0, 3.5),
        drift=0.5,
        speed=(0.7, 1.4),
        tones=4,
        room=((0.0, 1.0), (0.2, 1.0)),
        clothes=((0.0, 1.0), (0.1, 1.0)),
        light=radians(65),
        distractors=(2, 5),
    ),
}


@dataclass(frozen=True)
class SimulateActions:
    """Make a data set of simulated actions in UCF101's layout: 15 classes, so 15 * groups * clips videos."""

    out: Path  # folder to make, or to go on with: clips that are there are kept
    groups: int = 80  # of actor, room, light and viewpoint; a quarter of them is test in each of the three splits
    clips: int = 1  # for each class and group
    frames: int = 32  # in a clip
    size: int = 56  # side in pixels, even
    rate: int = 25  # frames in a second
    difficulty: Literal["easy", "medium", "hard"] = "easy"  # easy is the demo's, the others are for longer runs
    seed: int = 0
    workers: int | None = None  # processes; all cores when not given. The videos do not depend on it

    def __post_init__(self):
        if self.groups < 4:
            raise ValueError(f"{self.groups} groups, but a quarter of them is for test: at least 4 are needed")
        if self.clips < 1 or self.frames < 1 or self.rate < 1 or self.seed < 0:
            raise ValueError(
                f"clips {self.clips}, frames {self.frames}, rate {self.rate}, seed {self.seed}: "
                "the first three start at 1 and the seed at 0"
            )
        if self.size < 16 or self.size % 2:
            raise ValueError(f"a size of {self.size} pixels, but the videos need an even one of at least 16")


def _colour(rng: np.random.Generator, saturation: tuple, brightness: tuple) -> tuple[float, float, float]:
    """Red, green and blue in [0, 1], of any hue."""
    hue, s, v = rng.uniform(), rng.uniform(*saturation), rng.uniform(*brightness)
    return tuple(float(v * (1 - s * np.clip(2 - abs((6 * hue + shift) % 6 - 3), 0, 1))) for shift in (0, 4, 2))


def _wander(rng: np.random.Generator, seconds: np.ndarray, most: float) -> np.ndarray:
    """(T, 3): a smooth path that stays within `most` of 0 along each axis."""
    rounds, phase = rng.uniform(0.2, 0.7, 3), rng.uniform(0, 2 * pi, 3)  # a second; radians
    return most * rng.uniform(0.3, 1, 3) * np.sin(2 * pi * rounds * seconds[:, None] + phase)


@cache
def _motion(action: str):
    import pybullet_data

    return read_motion(Path(pybullet_data.getDataPath()) / "data" / "motions" / ACTIONS[action])


class Stage:
    """The actor and the room of one group, in a PyBullet client of its own, where any action is filmed."""

    def __init__(self, config: SimulateActions, group: int):
        self.config, self.group, self.client = config, group, new_client()
        self.difficulty = difficulty = DIFFICULTIES[config.difficulty]
        rng = np.random.default_rng([config.seed, group])  # a clip's has two more numbers, neither of them 0
        tone = rng.uniform(0.35, 1)  # of skin
        look = Look(
            height=float(rng.uniform(0.9, 1.08)),
            girth=float(rng.uniform(0.9, 1.35)),
            skin=(0.95 * tone, 0.75 * tone, 0.62 * tone),
            hair=_colour(rng, (0.2, 0.6), (0.05, 0.5)),
            shirt=_colour(rng, *difficulty.clothes),
            trousers=_colour(rng, *difficulty.clothes),
            shoes=_colour(rng, *difficulty.clothes),
            long_sleeves=bool(rng.integers(2)),
            long_trousers=bool(rng.integers(2)),
        )
        self.actor = Humanoid(self.client, look)
        self.yaw = rng.uniform(-difficulty.yaw, difficulty.yaw)
        tilt = rng.uniform(radians(20), difficulty.light)
        around = self.yaw + rng.uniform(-1, 1)  # radians; the light is on the camera's side
        self.light = {
            "lightDirection": [np.sin(tilt) * np.cos(around), np.cos(tilt), np.sin(tilt) * np.sin(around)],
            "lightAmbientCoeff": rng.uniform(0.6, 0.7),
            "lightDiffuseCoeff": rng.uniform(0.4, 0.5),
            "lightSpecularCoeff": 0.05,
        }
        self.colours = np.array([[_colour(rng, *difficulty.room) for _ in range(difficulty.tones)] for _ in range(2)])
        self.tiles = rng.uniform(0.8, 1.2), rng.uniform(1.5, 2.5)  # metres; of the floor, of the walls
        checker, patchwork = np.indices((4, 4)).sum(0) % 2, rng.integers(difficulty.tones, size=(4, 4))
        self.pattern = checker if difficulty.tones == 2 else patchwork  # which colour each tile has, then again

    def _room(self, eye: np.ndarray, aim: np.ndarray, ride: np.ndarray) -> np.ndarray:
        """The room with nothing in it, (size, size, 3) uint8, seen from `eye` towards `aim`, each (3,) in metres.

        It fills the picture, so TinyRenderer would spend more time on it than on the actor; four walls and a floor
        need no renderer. The floor goes on for ever, and is `ride` (3,) away from where it began; the walls go along.
        """
        ahead = (aim - eye) / np.linalg.norm(aim - eye)
        right = np.cross(ahead, (0, 1, 0))
        right /= np.linalg.norm(right)
        slope = ((np.arange(self.config.size) + 0.5) / self.config.size * 2 - 1) * np.tan(FIELD / 2)
        rays = ahead + slope[:, None] * right + slope[:, None, None] * np.cross(ahead, right)  # (H, W, 3)
        x, y, z = np.moveaxis(rays, -1, 0)
        with np.errstate(divide="ignore"):
            to_floor = np.where(y < 0, -eye[1] / y, np.inf)  # in lengths of the ray
            to_x, to_z = (np.copysign(ROOM, x) - eye[0]) / x, (np.copysign(ROOM, z) - eye[2]) / z
        side = to_x < to_z  # the wall ahead is one across x, else across z
        to_wall = np.minimum(to_x, to_z)
        floor = to_floor < to_wall
        far = np.where(floor, to_floor, to_wall)
        x, y, z = eye[0] + far * x, eye[1] + far * y, eye[2] + far * z  # of the floor or wall
        u = np.where(floor, x + ride[0], np.where(side, z, x)) / np.where(floor, *self.tiles)
        v = np.where(floor, z + ride[2], y) / np.where(floor, *self.tiles)
        tone = self.pattern[np.floor(u).astype(int) % 4, np.floor(v).astype(int) % 4]
        to_light = self.light["lightDirection"]  # walls face inwards
        facing = np.where(floor, to_light[1], -np.where(side, to_light[0] * np.sign(x), to_light[2] * np.sign(z)))
        shade = self.light["lightAmbientCoeff"] + self.light["lightDiffuseCoeff"] * facing.clip(0)
        return (255 * self.colours[np.where(floor, 0, 1), tone] * shade[..., None]).clip(0, 255).astype(np.uint8)

    def _distractor(self, rng: np.random.Generator) -> int:
        colour, size = [*_colour(rng, (0, 1), (0.1, 1)), 1], rng.uniform(0.08, 0.25, 3).tolist()  # metres
        client = self.client
        if rng.integers(2):
            shape = client.createVisualShape(client.GEOM_SPHERE, radius=size[0], rgbaColor=colour)
        else:
            shape = client.createVisualShape(client.GEOM_BOX, halfExtents=size, rgbaColor=colour)
        return client.createMultiBody(baseMass=0, baseVisualShapeIndex=shape)

    def film(self, action: str, clip: int) -> np.ndarray:
        """The clip's frames, (frames, size, size, 3) uint8, red, green, blue."""
        return self.film_with_masks(action, clip)[0]

    def film_with_masks(self, action: str, clip: int) -> tuple[np.ndarray, np.ndarray]:
        """The clip's frames, and what each pixel shows, (frames, size, size) uint8: 0 room, 1 actor, then what moves about.

        Places are told from the ride, which is at (0, 0, 0): however far a runner gets, all numbers stay small.
        """
        config, difficulty, client = self.config, self.difficulty, self.client
        rng = np.random.default_rng([config.seed, list(ACTIONS).index(action), self.group, clip])
        motion, height = _motion(action), self.actor.height
        seconds = np.arange(config.frames) / config.rate
        speed = rng.uniform(*difficulty.speed)
        latest = motion.seconds if motion.cyclic else max(0.0, motion.seconds - speed * seconds[-1])
        places, turns = motion.at(rng.uniform(0, latest) + speed * seconds)
        middle = seconds - seconds.mean()
        velocity = middle @ places / max(middle @ middle, 1e-9)  # of the line that fits best
        ride = (places.mean(0) + middle[:, None] * velocity) * (1, 0, 1)  # (T, 3)
        places, ride = places - ride, ride * height

        yaw = self.yaw + rng.uniform(-difficulty.swing, difficulty.swing)
        pitch, distance = rng.uniform(*difficulty.pitch), rng.uniform(*difficulty.distance)
        aims = np.array([0, AIM * height, 0]) + 0.3 * _wander(rng, seconds, difficulty.drift)
        away = np.array([np.cos(pitch) * np.cos(yaw), np.sin(pitch), np.cos(pitch) * np.sin(yaw)])
        eyes = (0, AIM * height, 0) + distance * away + _wander(rng, seconds, difficulty.drift)
        things = {}
        for _ in range(rng.integers(difficulty.distractors[0], difficulty.distractors[1] + 1)):
            angle, far = yaw + rng.uniform(pi / 3, 5 * pi / 3), rng.uniform(0.8, 2.0)  # not in front of the actor
            spot = np.array([far * np.cos(angle), rng.uniform(0.1, 1.6), far * np.sin(angle)])
            path = spot + ride[rng.integers(len(ride))] - ride + _wander(rng, seconds, 0.5)
            path[:, 1] = path[:, 1].clip(0.25)  # over the floor
            things[self._distractor(rng)] = path
        video = np.empty((config.frames, config.size, config.size, 3), np.uint8)
        masks = np.empty(video.shape[:3], np.uint8)
        shown = np.sort([-1, self.actor.body, *things])  # as the renderer numbers what a pixel is of
        still = difficulty.drift == 0 and difficulty.tones == 1  # the room looks the same in every frame
        projection = client.computeProjectionMatrixFOV(np.degrees(FIELD), 1, 0.1, 2 * ROOM)
        for frame, picture in enumerate(video):
            if frame == 0 or not still:
                room = self._room(eyes[frame], aims[frame], ride[frame])
            picture[:] = room
            self.actor.pose(places[frame], turns[frame])
            for body, path in things.items():
                client.resetBasePositionAndOrientation(body, path[frame], (0, 0, 0, 1))
            _, _, colours, _, bodies = client.getCameraImage(
                config.size,
                config.size,
                viewMatrix=client.computeViewMatrix(eyes[frame], aims[frame], (0, 1, 0)),
                projectionMatrix=projection,
                shadow=0,
                renderer=client.ER_TINY_RENDERER,
                **self.light,
            )
            masks[frame] = np.searchsorted(shown, bodies).reshape(config.size, config.size)
            there = masks[frame] > 0
            picture[there] = np.reshape(colours, (config.size, config.size, 4))[there, :3]
        for body in reversed(things):
            client.removeBody(body)
        return video, masks


def _name(action: str, group: int, clip: int) -> str:
    return f"{action}/v_{action}_g{group:02}_c{clip:02}.avi"


def _film_group(config: SimulateActions, group: int, missing: list[tuple[str, int]]) -> int:
    stage = Stage(config, group)
    for action, clip in missing:
        write_video(config.out / _name(action, group, clip), stage.film(action, clip), config.rate)
    return len(missing)


def _write_lists(config: SimulateActions) -> None:
    """classInd.txt and three pairs of lists. Split k tests on the k-th quarter of the groups."""
    actions = list(ACTIONS)
    lists = {"classInd.txt": [f"{label} {action}" for label, action in enumerate(actions, 1)]}
    quarter = config.groups // 4
    for split in (1, 2, 3):
        test, train = lists[f"testlist{split:02}.txt"], lists[f"trainlist{split:02}.txt"] = [], []
        for label, action in enumerate(actions, 1):
            for group in range(1, config.groups + 1):
                names = [_name(action, group, clip) for clip in range(1, config.clips + 1)]
                if (group - 1) // quarter == split - 1:
                    test += names
                else:
                    train += [f"{name} {label}" for name in names]
    for name, lines in lists.items():
        write_whole(config.out / name, "\n".join(lines) + "\n")


def simulate_actions(config: SimulateActions) -> None:
    """Make the data set, or what is missing of it: the lists come last, so where they are there, all is there.

    Raises:
        ValueError: the folder holds a data set made with another config, or whose simulation.json is damaged.
        FileExistsError: the folder holds something else. Nothing is overwritten.
        ImportError: PyBullet is not installed.
    """
    if find_spec("pybullet") is None:
        new_client()  # which says what to do
    claim_for(config, VERSION)
    missing = {}
    for group in range(1, config.groups + 1):
        clips = [(action, clip) for action in ACTIONS for clip in range(1, config.clips + 1)]
        missing[group] = [each for each in clips if not (config.out / _name(each[0], group, each[1])).exists()]
    for action in ACTIONS:
        (config.out / action).mkdir(exist_ok=True)
    total = config.groups * len(ACTIONS) * config.clips
    done = total - sum(map(len, missing.values()))
    jobs = [joblib.delayed(_film_group)(config, group, clips) for group, clips in missing.items() if clips]
    run_jobs(jobs, total, done, config.workers, "clips")
    _write_lists(config)
