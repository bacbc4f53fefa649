"""Identity's pairs out of pushes that were collected anyway: a thing before and after its push, or after another's push.

The paper pairs pictures of its robot's interactions: those of one interaction show the same thing, those of two show two.
Taken as they are, pictures of one push also show one table, and those of two pushes two, which a net would learn to see.
So here each thing is cut out along its silhouette, which follows from its form and pose, and all stand before the same
grey. Nor can a single picture tell: each that comes second does so in one pair of both kinds. What is left besides the
thing is the light on it, which is the same before and after a push; pairs by re-posing (`videossl collect identity`)
share table and light whatever they show.

Grasps give no such pairs: a thing lies as it did before the next try, or hangs in the hand.

Source: Pinto et al., "The Curious Robot", ECCV 2016, section 3.4.
"""

import json
from dataclasses import dataclass
from math import atan
from pathlib import Path

import numpy as np

from videossl.datasets.frames import Frames
from videossl.datasets.interactions import Pictures, interactions
from videossl.datasets.records import Records
from videossl.datasets.scaling import scaled
from videossl.robot.camera import Camera, Drawn, Light
from videossl.robot.objects import OBJECT_SETS, Shape, mesh_of

GREY = np.uint8(128)
SIDE = 0.20 / 0.45  # of a picture's side: what a close-up sees of what the overhead camera does, in metres
MOVED = 0.01  # metres that a push moved the thing at least


@dataclass(frozen=True, eq=False)
class Seen:
    """A thing in one of the two pictures of its push. Silhouettes are to the pixel where those were drawn by `raster`."""

    pictures: Pictures
    which: int  # 0: before, 1: after
    objects: str  # of OBJECT_SETS
    thing: tuple[str, int]  # category and instance
    pose: np.ndarray  # T_world_object, (7,): metres and quaternion
    T_world_camera: np.ndarray  # (4, 4)
    intrinsics: np.ndarray  # (3, 3), pixels

    @property
    def shape(self) -> Shape:
        return OBJECT_SETS[self.objects].shape(*self.thing)

    def cut_out(self) -> np.ndarray:
        """The thing in the middle, before grey: (3, side, side) uint8, `SIDE` of the picture's height."""
        from videossl.robot.raster import render  # numba takes long to import, which indexing does without

        picture = self.pictures.array(self.which)
        height, width = picture.shape[1:]
        fov = 2 * atan(height / 2 / self.intrinsics[0, 0])
        camera = Camera(tuple(self.T_world_camera.ravel().tolist()), height, width, fov)
        place = self.pose[:3], self.pose[3:]
        silhouette = render({0: Drawn(mesh_of(self.shape))}, {0: place}, camera, Light()).segmentation == 0
        side = round(SIDE * height)
        around = [(0, 0), (side, side), (side, side)]
        alone = np.pad(np.where(silhouette, picture, GREY), around, constant_values=GREY)
        left, top = np.round(camera.project(self.pose[:3])[0]).astype(int) + side - side // 2
        return alone[:, top : top + side, left : left + side]


@dataclass(frozen=True, eq=False)
class CutOut(Frames):
    """A pair: two things that are cut out of their pictures when they are asked for."""

    path: str  # the pair's name, for messages
    seen: tuple[Seen, Seen]
    size: tuple[int, int] | None = None  # height and width in pixels to scale to; None: as they are

    @property
    def frames(self) -> int:
        return len(self.seen)

    def _read(self, wanted):
        images = [np.ascontiguousarray(self.seen[n].cut_out()) for n in wanted]
        return np.stack([scaled(image, self.size) for image in images] if self.size else images)


def pushed_pairs(
    root: str | Path,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
) -> Records:
    """Pairs for the question of `identity`, as records, out of the pushes of a folder.

    Of each push that moved its thing, and left it in the picture, there are two: before and after it, and before it and
    after another one, half the list away. The latter is left out where it shows the same thing.

    Args:
        root: the folder that `videossl collect push` or `all` made, or the pushes' folder in it.
        split, train, lists, index: as of `interactions`: pushes of the same scenes are held out.
        size: height and width that the cut-outs are scaled to; None leaves them as they are.

    Records hold "frames" (the two cut-outs), "same" (bool), "name", "group" (the scene of the first), "label" and
    "category" (index of its category in `classes`), "instance", "other_category", "other_instance", "episode" and "scene".

    Raises:
        FileNotFoundError, ValueError: as of `interactions`; there are no pushes, too few of them moved anything, or
            several things were on the table, which may hide each other.
    """
    root = Path(root)
    pushes = interactions(root, split, train, lists=lists, index=index, task=None if any(root.glob("*.h5")) else "push")
    if pushes.task != "push":
        raise ValueError(f"{root} holds interactions of {pushes.task}, but pairs are made of pushes: give their folder")
    note = next(folder / "simulation.json" for folder in (root, root.absolute().parent) if (folder / "push").is_dir())
    made = json.loads(note.read_text())
    if made["objects_per_scene"] != 1:
        raise ValueError(
            f"{root} was collected with {made['objects_per_scene']} things on the table, which may hide each other, so none "
            "can be cut out: collect pushes with one"
        )
    moved = [p for p in pushes if p["contact"] and p["inside"] and np.hypot(*p["displacement"]) > MOVED]
    if len(moved) < 2:
        raise ValueError(
            f"{root}: {len(moved)} of {len(pushes)} pushes moved something, but pairs need 2: collect more"
        )
    half, records = len(moved) // 2, []
    for push, other in zip(moved, moved[half:] + moved[:half], strict=True):
        records.append(_pair(push, push, made["objects"], pushes.classes, size))
        if _thing(push, pushes.classes) != _thing(other, pushes.classes):
            records.append(_pair(push, other, made["objects"], pushes.classes, size))
    return Records(records, f"{pushes.series} pairs", split, pushes.part, pushes.classes, missing=pushes.missing)


def _thing(push: dict, classes: list[str]) -> tuple[str, int]:
    return classes[int(push["category"])], int(push["instance"])


def _pair(push: dict, other: dict, objects: str, classes: list[str], size: tuple[int, int] | None) -> dict:
    """What was pushed as it lay before, and what was pushed, then or another time, as it lay after."""
    seen = tuple(
        Seen(p["frames"], n, objects, _thing(p, classes), p[pose], p["T_world_camera"], p["intrinsics"])
        for n, (p, pose) in enumerate([(push, "T_world_object"), (other, "T_world_object_after")])
    )
    same = push is other
    name = f"{push['name']} {'again' if same else 'or ' + other['name']}"
    about = {key: push[key] for key in ("group", "label", "category", "instance", "episode", "scene")}
    about |= {"other_category": other["category"], "other_instance": other["instance"]}
    return {"frames": CutOut(name, seen, size), "name": name, "same": same, **about}
