"""Pictures of several things on a table, with a box and a mask of each, and depth, in PASCAL VOC's layout.

`DIR/VOCdevkit/VOC2007/JPEGImages/000001.jpg`, `Annotations/000001.xml` (boxes), `SegmentationClass/000001.png` (0 is no thing,
1, 2, ... are the categories in the order of their names, 255 is void: pixels around things, and things too small to be
named), `SegmentationObject/000001.png` (the same, 1, 2, ... being the objects in the XML's order), `Depth/000001.png` (16
bits, millimetres along the optical axis, 0 where nothing is) and `ImageSets/Main` and `Segmentation`: trainval.txt, test.txt,
and in Main those of each category. `videossl.datasets.voc` reads it, and so does what reads VOC: torchvision, for one.

Things in trainval are of the instances that a robot touches, those in test of the ones that are kept unseen. A picture
comes from the seed and its own number alone.

Source of the layout: Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010, and the development kit of
2007; depth as 16-bit PNG is KITTI's way, whose unit is 1/256 m.
"""

from dataclasses import dataclass
from math import cos, pi, sin
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple
from xml.etree import ElementTree as XML

import cv2
import joblib
import numpy as np
import PIL.Image
from scipy.ndimage import binary_dilation

from videossl.datasets.shards import Field
from videossl.robot.camera import Camera, look
from videossl.robot.humanoid import new_client
from videossl.robot.masks import palette
from videossl.robot.objects import OBJECT_SETS, split
from videossl.robot.outputs import claim_for, run_jobs, write_picture, write_whole
from videossl.robot.raster import render as raster
from videossl.robot.tabletop import Randomisation, Tabletop, Thing

VERSION = 1  # of the pictures: raise it when the same config gives others, so that no folder mixes both
PLACE = Path("VOCdevkit/VOC2007")  # where torchvision looks
KINDS = "JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject", "Depth"
QUALITY = 95  # of JPEG, of 100
VOID = 255
MOST = 5  # things in a picture
TILT = 0.2, 0.9  # radians of the camera off the vertical
AWAY = 0.55, 0.85  # metres from the camera to where it looks
ASIDE = 0.03  # metres along x and y, at most, from the table's middle to there
FIELD = 0.7  # radians that a picture takes in
SMALLEST = 16  # pixels that a thing shows at least, to be named
WHOLE, HIDDEN = (
    0.95,
    0.25,
)  # a thing is "occluded" that shows less than the one share of itself, "difficult" less than the other
HOUSEHOLD = OBJECT_SETS["household"].categories


@dataclass(frozen=True)
class SimulateClutter:
    """Photograph tables with several simulated things, with boxes, masks and depth, in PASCAL VOC's layout."""

    out: Path  # folder to make, or to go on with: pictures that are there are kept
    train: int = 400  # pictures in trainval.txt
    test: int = 200  # pictures in test.txt, of instances that robots never touch
    size: int = 224  # side in pixels
    categories: tuple[Literal[HOUSEHOLD], ...] = ()  # none named: all 30 household ones
    seed: int = 0  # of the scenes
    object_seed: int = 0  # of which objects are kept unseen, as that of `videossl collect`
    workers: int | None = None  # processes; all cores when not given. The pictures do not depend on it

    def __post_init__(self):
        if self.train < 1 or self.test < 1 or not 32 <= self.size <= 1024 or self.seed < 0:
            raise ValueError(
                f"train {self.train}, test {self.test}, size {self.size}, seed {self.seed}: lists hold a picture or more, "
                "sizes are 32 to 1024 pixels, and seeds start at 0"
            )
        if unknown := set(self.categories) - set(HOUSEHOLD):
            raise ValueError(f"there is no category {min(unknown)!r}; there are: {', '.join(HOUSEHOLD)}")

    @property
    def classes(self) -> list[str]:
        """Names of the categories, sorted."""
        return sorted(set(self.categories or HOUSEHOLD))

    @property
    def names(self) -> dict[str, list[str]]:
        """Of the pictures in each list."""
        every = [f"{number:06}" for number in range(1, self.train + self.test + 1)]
        return {"trainval": every[: self.train], "test": every[self.train :]}


class Clutter(Tabletop):
    """A table with things on it, which `reset` lays down. Nothing is done to them: `photograph` looks at them."""

    task = "clutter"
    trials = 1
    jaws = False
    low, high = (0.0,), (0.0,)
    spots: ClassVar[tuple[int, ...]] = ()
    most = MOST

    def told(self) -> dict[str, Field]:
        return {}

    def silhouette(self, thing: Thing, camera: Camera) -> np.ndarray:
        """(H, W) bool, the pixels that would show a thing if it were alone."""
        pose = self.world.pose(thing.body)
        drawn = {thing.body: self.drawn[thing.body]}
        return raster(drawn, {thing.body: (pose[:3], pose[3:])}, camera, self.light).segmentation == thing.body


class Seen(NamedTuple):
    """A thing in a picture: its category, its box in pixels (from x, y to, both counted, from 1) and VOC's three flags."""

    name: str
    box: tuple[int, int, int, int]
    truncated: bool
    occluded: bool
    difficult: bool


class Scene(NamedTuple):
    """A picture (H, W, 3) uint8, what is seen in it, masks (H, W) uint8 of classes and of objects, and depth (H, W) uint16."""

    picture: np.ndarray
    things: list[Seen]
    classes: np.ndarray
    objects: np.ndarray
    depth: np.ndarray


def photograph(config: SimulateClutter, number: int) -> Scene:
    """Picture number 1, 2, ...; see the file's top."""
    entropy = [config.seed, number]
    rng = np.random.default_rng(entropy)
    table = Clutter(
        "household", number > config.train, size=config.size, randomisation=Randomisation(light=1.0), observe=()
    )
    try:
        unseen = split(OBJECT_SETS["household"], number > config.train, config.object_seed)
        table.instances = [(category, n) for category, n in unseen if category in config.classes]
        table.count = int(rng.integers(2, MOST + 1))
        table.reset(seed=int(np.random.SeedSequence([*entropy, 1]).generate_state(1)[0]))
        camera = aimed(rng, config.size)
        rgb, metres, bodies = table.picture(camera)
        found = [(thing, bodies == thing.body, table.silhouette(thing, camera)) for thing in table.things]
        names = table.categories
    finally:
        table.close()
    things, classes, objects = [], np.zeros(bodies.shape, np.uint8), np.zeros(bodies.shape, np.uint8)
    for thing, shown, alone in found:
        if shown.sum() < SMALLEST:
            classes[shown] = objects[shown] = VOID
            continue
        things.append(seen(names[thing.category], shown, alone))
        classes[shown], objects[shown] = 1 + config.classes.index(names[thing.category]), len(things)
    around = binary_dilation(objects > 0) & (objects == 0)
    classes[around] = objects[around] = VOID
    depth = np.where(bodies < 0, 0, np.round(1000 * metres)).astype(np.uint16)
    return Scene(rgb, things, classes, objects, depth)


def aimed(rng: np.random.Generator, size: int) -> Camera:
    """A camera that looks down at the table from some side."""
    tilt, around, away = rng.uniform(*TILT), rng.uniform(0, 2 * pi), rng.uniform(*AWAY)
    target = np.array([*rng.uniform(-ASIDE, ASIDE, 2), 0.02])
    eye = target + away * np.array([sin(tilt) * cos(around), sin(tilt) * sin(around), cos(tilt)])
    return Camera(look(eye, target), size, size, FIELD)


def seen(name: str, shown: np.ndarray, alone: np.ndarray) -> Seen:
    """What is told of a thing: of the pixels (H, W) bool that show it, and of those that would if it were alone."""
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    box = tuple(int(side) + 1 for side in (columns[0], rows[0], columns[-1], rows[-1]))
    cut = bool(alone[[0, -1]].any() or alone[:, [0, -1]].any())
    share = shown.sum() / alone.sum()
    return Seen(name, box, cut, bool(share < WHOLE), bool(share < HIDDEN))


def annotation(name: str, scene: Scene) -> bytes:
    """VOC's XML."""
    root = XML.Element("annotation")
    for tag, value in (("folder", "VOC2007"), ("filename", f"{name}.jpg"), ("segmented", 1)):
        XML.SubElement(root, tag).text = str(value)
    size = XML.SubElement(root, "size")
    for tag, value in zip(("height", "width", "depth"), scene.picture.shape, strict=True):
        XML.SubElement(size, tag).text = str(value)
    for thing in scene.things:
        item = XML.SubElement(root, "object")
        XML.SubElement(item, "name").text = thing.name
        XML.SubElement(item, "pose").text = "Unspecified"
        for tag in ("truncated", "occluded", "difficult"):
            XML.SubElement(item, tag).text = str(int(getattr(thing, tag)))
        box = XML.SubElement(item, "bndbox")
        for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), thing.box, strict=True):
            XML.SubElement(box, tag).text = str(value)
    XML.indent(root, "\t")
    return XML.tostring(root)


def _write(config: SimulateClutter, name: str) -> int:
    cv2.setNumThreads(1)  # workers share the cores
    place, scene = config.out / PLACE, photograph(config, int(name))
    (place / "Annotations" / f"{name}.xml").write_bytes(annotation(name, scene))
    for kind, mask in (("SegmentationClass", scene.classes), ("SegmentationObject", scene.objects)):
        image = PIL.Image.fromarray(mask)
        image.putpalette(palette())
        image.save(place / kind / f"{name}.png")
    PIL.Image.fromarray(scene.depth).save(place / "Depth" / f"{name}.png")
    picture = place / "JPEGImages" / f"{name}.jpg"
    write_picture(picture, scene.picture, QUALITY)  # it comes last: where it is, all else of it is
    return 1


def simulate_clutter(config: SimulateClutter) -> None:
    """Make the set, or what is missing of it: the lists come last, so where they are there, all is there.

    Raises:
        ValueError: the folder holds a set made with another config, or whose simulation.json is damaged.
        FileExistsError: the folder holds something else, or is a file. Nothing is overwritten.
        ImportError: PyBullet is not installed.
    """
    new_client().disconnect()  # which says what to do where there is no PyBullet
    claim_for(config, VERSION)
    place = config.out / PLACE
    for kind in (*KINDS, "ImageSets/Main", "ImageSets/Segmentation"):
        (place / kind).mkdir(parents=True, exist_ok=True)
    every = [name for names in config.names.values() for name in names]
    missing = [name for name in every if not (place / "JPEGImages" / f"{name}.jpg").exists()]
    jobs = [joblib.delayed(_write)(config, name) for name in missing]
    run_jobs(jobs, len(every), len(every) - len(missing), config.workers, "pictures")
    write_lists(config)


def write_lists(config: SimulateClutter) -> None:
    """VOC's lists: the names, and for each category the names with 1, -1 or, where all it shows is difficult, 0."""
    place = config.out / PLACE
    for part, names in config.names.items():
        shown = []
        for name in names:
            things = XML.parse(place / "Annotations" / f"{name}.xml").iter("object")
            shown.append([(thing.findtext("name"), thing.findtext("difficult") == "1") for thing in things])
        for category in config.classes:
            lines = []
            for name, things in zip(names, shown, strict=True):
                flags = [difficult for found, difficult in things if found == category]
                lines.append(f"{name} {-1 if not flags else 0 if all(flags) else 1:2}")
            write_whole(place / "ImageSets" / "Main" / f"{category}_{part}.txt", "\n".join(lines) + "\n")
        for task in ("Segmentation", "Main"):
            write_whole(place / "ImageSets" / task / f"{part}.txt", "\n".join(names) + "\n")
