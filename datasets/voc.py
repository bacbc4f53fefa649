"""PASCAL VOC 2007, and any pictures that are laid out as it is: boxes, masks of classes, and, beside what VOC has, depth.

Source: Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010, and the development kit of 2007.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as XML

import numpy as np
import PIL.Image

from videossl.datasets.frames import Frames
from videossl.datasets.image_folder import gather_images
from videossl.datasets.records import Records, plain_root, read_names

VOID = 255  # in masks: of no class that is asked for
PLACES = "VOCdevkit/VOC2007", "VOC2007", "."  # below the root
TWENTY = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
# SHA-256 of the sorted names of the official lists, one a line: only these bear the benchmark's name.
OFFICIAL = {
    "trainval": {
        "03ed77dae14e62ddd1f986ee026261d4ae581adcc04f5c382603d1484de59cf0": "VOC2007",
        "b14942c24296e2b03ee8945041a2bf8e08ef3a8bac79e946fea2d64e9a036e66": "VOC2007 segmentation",
    },
    "test": {
        "e14f93dac92f03b31afd79b82a98589e371f754067c026b2b20ab512afb9dd07": "VOC2007",
        "67365de32b7e450c7f865ef1ad8668359303fc2da7b813f39f748e81e4675fd3": "VOC2007 segmentation",
    },
}


@dataclass(frozen=True)
class ClassFile(Frames):
    """The mask of a picture, a PNG file of numbers (as a palette's), as frames of one channel that are never scaled.

    `mask[index]` is uint8 (*index.shape, 1, H, W): 0 where no thing is, 1 + its class where one is, 255 where it is void.
    """

    path: str | Path
    frames: int = 1
    size: None = None

    def _read(self, wanted):
        numbers = _numbers(self.path, ("P", "L"))
        return numbers.astype(np.uint8)[None, None]


@dataclass(frozen=True)
class DepthFile(Frames):
    """The depth of a picture, a PNG file of 16 bits: `depth[index]` is float32 (*index.shape, H, W), metres.

    0 is not known. Scaled to `size`, a pixel has the depth of the one that lies there: no mean of near and far.
    `np.asarray(depth)` is all of it, (1, H, W).
    """

    path: str | Path
    frames: int = 1
    size: tuple[int, int] | None = None
    per_metre: int = 1000  # numbers in the file to a metre

    def __array__(self, dtype=None, copy=None):
        return self.array(np.arange(self.frames)).astype(dtype or np.float32)

    def _read(self, wanted):
        depth = _numbers(self.path, ("I;16", "I")).astype(np.float32) / self.per_metre
        return (depth if self.size is None else nearest(depth, self.size))[None]


def nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture of numbers (h, w) with as many rows and columns as asked for, each number being the one at its centre."""
    rows, columns = (((np.arange(n) + 0.5) * old / n).astype(int) for n, old in zip(size, values.shape, strict=True))
    return values[rows[:, None], columns]


def _numbers(path: str | Path, modes: tuple[str, ...]) -> np.ndarray:
    """The numbers in a PNG file, (H, W); a ValueError's text goes on after the file's name."""
    try:
        with PIL.Image.open(path) as image:
            if image.mode not in modes:
                raise ValueError(f"has pixels of mode {image.mode}, but numbers are needed: {' or '.join(modes)}")
            return np.array(image)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError) as error:  # SyntaxError: broken PNGs
        raise ValueError("cannot be read as an image") from error


def voc(
    root: str | Path,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
) -> Records:
    """PASCAL VOC 2007: 5011 pictures to train and 4952 to test, with boxes of 20 classes; they need no index.

    Pictures are JPEGImages/NAME.jpg in ROOT, ROOT/VOC2007 or ROOT/VOCdevkit/VOC2007, and beside that folder are
    Annotations/NAME.xml, SegmentationClass/NAME.png, Depth/NAME.png (see `videossl simulate clutter`; VOC has none) and
    ImageSets/Main/trainval.txt and test.txt, which name the pictures. A picture has what is there of the first three. The
    classes are those of which ImageSets/Main has lists of their own (CLASS_trainval.txt), VOC's 20 where there are none.

    Args:
        root: the folder.
        train: trainval.txt, otherwise test.txt.
        size: height and width in pixels that frames and depth are scaled to; None leaves them as they are. Masks are not
            scaled.
        lists: folder with other trainval.txt and test.txt, such as ImageSets/Segmentation, of pictures that have masks.
        split, index: as of the other data sets, but there is one split and no index: leave them out.

    Records hold "frames" (one), "name" and "group" (as in the list), "digest" (see `image_folder.digest`); where there is an annotation "boxes" (N, 4) float32, left,
    top, right and bottom as shares of the picture's width and height, the pixels at the ends being inside, "things" (N,) int64,
    their classes from 0, and "difficult" (N,) bool; "segmentation" (see `ClassFile`); "depth" (see `DepthFile`).
    What VOC says of things besides (pose, truncated, occluded, their parts) is passed over. A picture whose annotation cannot
    be read is told in `missing`.

    Raises:
        FileNotFoundError: the folder or the list is not there.
        ValueError: none of the listed pictures is there, one is listed twice, an annotation names another class, or a split
            or an index was asked for.
    """
    root, part = plain_root(root, "voc", split=split, index=index), "trainval" if train else "test"
    place = place_of(root)
    folder = place / "ImageSets" / "Main" if lists is None else Path(lists)
    names = read_names(folder / f"{part}.txt", f"the pictures of {place / 'JPEGImages'}")
    own = {p.name.removesuffix("_trainval.txt") for p in (place / "ImageSets" / "Main").glob("*_trainval.txt")}
    classes = sorted(own or TWENTY)
    wanted, damaged = [], {}
    for name in names:
        try:
            rest = {"group": name, **annotated(place / "Annotations" / f"{name}.xml", classes)}
        except XML.ParseError as error:
            damaged[name] = f"unreadable: its annotation is no XML ({error})"
            continue
        files = {"segmentation": place / "SegmentationClass" / f"{name}.png", "depth": place / "Depth" / f"{name}.png"}
        if files["segmentation"].is_file():
            rest["segmentation"] = ClassFile(str(files["segmentation"]))
        if files["depth"].is_file():
            rest["depth"] = DepthFile(str(files["depth"]), size=size)
        wanted.append((name, [os.path.join("JPEGImages", f"{name}.jpg")], rest))
    records, missing = gather_images(place, wanted, size)
    digest = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
    benchmark = OFFICIAL[part].get(digest) if classes == sorted(TWENTY) else None
    series = benchmark or root.resolve().name
    return Records(records, series, None, part, classes, benchmark, missing | damaged)


def place_of(root: Path) -> Path:
    """The folder that holds JPEGImages: `root`, or the one that the development kit makes in it.

    Raises:
        FileNotFoundError: there is none.
    """
    place = next((root / place for place in PLACES if (root / place / "JPEGImages").is_dir()), None)
    if place is None:
        raise FileNotFoundError(f"{root} has no JPEGImages, nor have VOC2007 and VOCdevkit/VOC2007 in it")
    return place


def annotated(path: Path, classes: list[str]) -> dict[str, np.ndarray]:
    """ "boxes", "things" and "difficult" of a picture, see `voc`; nothing where there is no such file.

    Raises:
        ValueError: a thing is of another class, or has an empty box, or the picture's size is not told.
        xml.etree.ElementTree.ParseError: it is no XML.
    """
    if not path.is_file():
        return {}
    tree = XML.parse(path)
    width, height = (float(tree.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    if not width or not height:
        raise ValueError(f"{path} does not tell the picture's width and height, but boxes are shares of them")
    boxes, things, difficult = [], [], []
    for thing in tree.iter("object"):
        name = thing.findtext("name")
        if name not in classes:
            raise ValueError(f"{path} names a {name}, but the classes are {', '.join(classes)}")
        left, top, right, bottom = (float(thing.find("bndbox").findtext(s)) for s in ("xmin", "ymin", "xmax", "ymax"))
        if right < left or bottom < top:
            raise ValueError(
                f"{path} has a {name} whose box ends before it begins: {left} to {right}, {top} to {bottom}"
            )
        # Pixels are counted from 1, and the last one is inside.
        boxes.append([(left - 1) / width, (top - 1) / height, right / width, bottom / height])
        things.append(classes.index(name))
        difficult.append(thing.findtext("difficult") == "1")
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "things": np.array(things, np.int64),
        "difficult": np.array(difficult, bool),
    }
