"""Pictures of things to be recognised: in new places, poses and lights, on tables that were never touched.

`DIR/train/CATEGORY/CATEGORY_NUMBER_VIEW.png` and `DIR/test/...` the same, which `image_folder` reads: NUMBER tells the
instance within its category. Household things have the robot's 30 categories; instances in `train` are of those that a
robot touches, those in `test` of those that are kept unseen. Of random_urdfs, which have no categories, every instance
is a category of its own, `blob007/VIEW.png`; all are unseen ones, and `test` holds other views of those in `train`.

An instance has a material and a colour of its own, in whichever picture. What else is drawn anew for each picture: the
table (unless it is plain), the light, the camera, and how and where the thing lies. A picture comes from the seed and its own name alone.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple
from zlib import crc32

import cv2
import joblib
import numpy as np

from videossl.datasets.shards import Field
from videossl.robot.humanoid import new_client
from videossl.robot.objects import OBJECT_SETS, split
from videossl.robot.outputs import claim_for, run_jobs, write_picture, write_whole
from videossl.robot.tabletop import Randomisation, Tabletop, Thing

VERSION = 1  # of the pictures: raise it when the same config gives others, so that no folder mixes both
ASIDE = 0.02  # metres along x and y, at most, from the thing's centre to where the camera looks
SCENES = Randomisation(light=1.0, brightness=0.35, camera_tilt=0.35, camera_distance=0.15)  # wider than a robot's


@dataclass(frozen=True)
class SimulateObjects:
    """Photograph simulated things anew, for recognition and retrieval, in folders of train and test images."""

    out: Path  # folder to make, or to go on with: pictures that are there are kept
    objects: Literal[tuple(OBJECT_SETS)] = "household"
    train: int = 10  # instances of each household category in `train`; of random_urdfs: things in all
    # instances of each household category in `test`, all unseen by robots; of random_urdfs left as it is
    test: int = 10
    views: int = 4  # pictures of each instance; of random_urdfs in `train`, and as many others in `test`
    size: int = 128  # side of the pictures in pixels
    plain: bool = False  # all on one grey table: then what is learned first is the thing, not its surroundings
    seed: int = 0  # of the scenes
    object_seed: int = 0  # of which objects are kept unseen, as that of `videossl collect`
    workers: int | None = None  # processes; all cores when not given. The pictures do not depend on it

    def __post_init__(self):
        if self.train < 1 or self.test < 1 or self.views < 1:
            raise ValueError(f"train {self.train}, test {self.test}, views {self.views}: each is at least 1")
        if not 16 <= self.size <= 1024 or self.seed < 0:
            raise ValueError(f"size {self.size}, seed {self.seed}: sizes are 16 to 1024 pixels, and seeds start at 0")
        for part in ("train", "test"):
            there = len(self.instances(part)) // len(OBJECT_SETS[self.objects].categories)
            if getattr(self, part) > there and (part == "train" or not self.alone):
                raise ValueError(f"{getattr(self, part)} instances are asked for {part}, but there are {there}")

    @property
    def alone(self) -> bool:
        """Whether each instance is a category of its own."""
        return len(OBJECT_SETS[self.objects].categories) == 1

    def instances(self, part: str) -> list[tuple[str, int]]:
        """Category and number of all that a part may show."""
        return split(OBJECT_SETS[self.objects], self.alone or part == "test", self.object_seed)

    def pictures(self) -> list["Shown"]:
        """All there are to be, in the order of their names."""
        found = []
        for part in ("train", "test"):
            counts: dict[str, int] = {}
            for category, number in self.instances(part):
                counts[category] = counts.get(category, 0) + 1
                if counts[category] <= (self.train if self.alone else getattr(self, part)):
                    first = self.views if self.alone and part == "test" else 0
                    found += [Shown(part, category, number, first + view, self.alone) for view in range(self.views)]
        return found


class Shown(NamedTuple):
    """What a picture shows."""

    part: str  # "train" or "test"
    category: str
    number: int  # the instance
    view: int
    alone: bool  # whether the instance is a category of its own

    @property
    def file(self) -> str:
        if self.alone:
            return f"{self.part}/{self.category}{self.number:03}/{self.view:02}.png"
        return f"{self.part}/{self.category}/{self.category}_{self.number:02}_{self.view:02}.png"


class Studio(Tabletop):
    """A table with one thing on it, of which one instance is shown: `instances` says which.

    Action: (2,) float32: where the camera looks, metres in x and y beside the thing's centre.
    Reward: 0. Never done.
    """

    task = "photograph"
    trials = 1
    jaws = False
    low, high = (-ASIDE, -ASIDE), (ASIDE, ASIDE)
    spots: ClassVar[tuple[int, ...]] = ()
    most: ClassVar[int] = 1

    def told(self) -> dict[str, Field]:
        return {"picture": Field((self.size, self.size, 3), "uint8", "RGB, around the thing")}

    def _thing(self, rng: np.random.Generator) -> Thing:
        """The instance in its own material and colour: what is drawn of it comes from which it is alone."""
        (category, number), *_ = self.instances
        return super()._thing(np.random.default_rng([crc32(category.encode()), number]))

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        return np.float32(rng.uniform(-ASIDE, ASIDE, 2))

    def act(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool]:
        place = self.aim(0, 0)
        camera = self.close_up(*(place[:2] + action), place[2])
        told = {"picture": self.picture(camera).rgb, "T_world_object": place}
        return told | self.seen_by(camera), 0.0, False


def photograph(config: SimulateObjects, shown: list[Shown]) -> dict[Shown, np.ndarray]:
    """Pictures (size, size, 3) uint8, red, green, blue. Each is what it is when made alone."""
    scenes = replace(SCENES, table=not config.plain)
    studio = Studio(config.objects, size=config.size, randomisation=scenes, observe=())
    found = {}
    try:
        for one in shown:
            studio.instances = [(one.category, one.number)]
            entropy = [config.seed, crc32(one.category.encode()), one.number, one.view]
            seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
            studio.reset(seed=seed)
            action = studio.sample(np.random.default_rng([*entropy, 1]))
            found[one] = studio.step(action)[-1]["record"]["picture"]
    finally:
        studio.close()
    return found


def _write(config: SimulateObjects, shown: list[Shown]) -> int:
    cv2.setNumThreads(1)  # workers share the cores
    for one, picture in photograph(config, shown).items():
        write_picture(config.out / one.file, picture)
    return len(shown)


def simulate_objects(config: SimulateObjects) -> None:
    """Make the set, or what is missing of it; `objects.json` comes last, so where it is, all is there.

    Raises:
        ValueError: the folder holds a set made with another config, or whose simulation.json is damaged.
        FileExistsError: the folder holds something else, or is a file. Nothing is overwritten.
        ImportError: PyBullet is not installed.
    """
    new_client().disconnect()  # which says what to do where there is no PyBullet
    claim_for(config, VERSION)
    every = config.pictures()
    for folder in {(config.out / one.file).parent for one in every}:
        folder.mkdir(parents=True, exist_ok=True)
    missing = [one for one in every if not (config.out / one.file).exists()]
    jobs = [joblib.delayed(_write)(config, missing[n : n + 32]) for n in range(0, len(missing), 32)]
    run_jobs(jobs, len(every), len(every) - len(missing), config.workers, "pictures")
    write_whole(config.out / "objects.json", f'{{"pictures": {len(every)}}}\n')
