"""Anyone's own images, in a folder, and what data sets of images share: an image is a video of one frame."""

import hashlib
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import PIL.Image

from videossl.datasets.captions import captions_of
from videossl.datasets.frames import IMAGES, Frames, read_image
from videossl.datasets.records import Records, numbered_group, plain_root
from videossl.datasets.scaling import scaled

ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}  # by which a file that is whole ends, in the last bytes looked at
TAIL = 512  # bytes at the end of a file that are looked at
PART = 2**14  # bytes of a large file that are looked at in each of three places, to tell it from others
MASKS = ("_depthcrop.png", "_maskcrop.png")  # beside the pictures of UW RGB-D, which are no pictures
AT_ONCE = 8  # files opened at a time: disks and networks answer several questions faster than one after the other


@dataclass(frozen=True)
class ImageFile(Frames):
    """A JPEG or PNG file as a video of one frame, number 0."""

    path: str | Path
    size: tuple[int, int] | None = None  # height and width in pixels to scale to; None: as it is
    frames: int = field(default=1, init=False, repr=False)

    def _read(self, wanted):
        if not os.path.isfile(self.path):
            raise FileNotFoundError(f"{self.path} is not there any more")
        image = read_image(str(self.path))
        return (scaled(image, self.size) if self.size else image)[None]


def image_folder(
    root: str | Path,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
) -> Records:
    """All JPEG and PNG images under a folder, in the order of their names; they need no index.

    Household objects in UW RGB-D's layout (Lai et al., ICRA 2011: apple/apple_1/apple_1_1_1_crop.png) and Caltech-256's
    (Griffin et al., 2007: 001.ak47/001_0001.jpg) are such folders, and so is what `videossl simulate objects` writes.

    Where there are folders ROOT/train and ROOT/test, their sub-folders are the classes, ROOT/train/class/image.jpg, and
    training and test lists share one numbering of them. Otherwise there is one list, to train on: ROOT/class/image.jpg,
    or ROOT/image.jpg without labels. Images lie at any depth below their class. Every file is looked at (see
    `unreadable`), and those that are no whole images are told in `missing`.

    Args:
        root: the folder. What begins with a dot is passed over.
        train: the training images, otherwise the test images.
        split, lists, index: as of the other data sets, but folders are the lists here: leave them out.
        size: height and width in pixels that images are scaled to; None leaves them as they are, so they may differ.

    Records hold "frames" (one), "name" (the path relative to `root`), "digest" (see `digest`), "label" (index of the
    class among the sorted ones, where all images lie in classes), "instance" (which thing of its class: 7 of
    mug/mug_7_1.png; where all names are CLASS_NUMBER_...), "group" (g07 of a name such as kitchen_g07_c02.jpg, or the
    instance; otherwise each image is its own), and "caption" where one is given (see `captions_of`).

    Raises:
        FileNotFoundError: the folder is not there.
        ValueError: no readable image is there, there is no test list, captions cannot be read, or other lists are asked
            for.
    """
    root = plain_root(root, "an image_folder", split=split, lists=lists, index=index)
    parted = all((root / part).is_dir() for part in ("train", "test"))
    if not parted and not train:
        raise ValueError(
            f"{root} has no test images: sort them into {root / 'train'}/CLASS and {root / 'test'}/CLASS to test on them"
        )
    part = ("train" if train else "test") if parted else ""
    classes = sorted({place.name for p in (("train", "test") if parted else ("",)) for place in _folders(root / p)})
    names = [name for name in find_images(root / part) if not name.endswith(MASKS)]
    if any("/" not in name for name in names):
        classes = []
    numbers = [instance_of(name) for name in names]
    told = bool(classes) and None not in numbers
    below = f"{part}/" if part else ""
    there = {below + name for name in names}
    captions = captions_of(root, there)
    wanted = []
    for name, number in zip(names, numbers, strict=True):
        path = below + name
        rest = {"label": classes.index(name.split("/")[0])} if classes else {}
        rest |= {"caption": captions[path]} if path in captions else {}
        group = numbered_group(PurePosixPath(name).stem) or path
        if told:
            rest["instance"] = number
            group = f"{name.split('/')[0]} {number}"
        wanted.append((path, [path], rest | {"group": group}))
    records, missing = gather_images(root, wanted, size)
    for path in captions:
        if path.startswith(below) and path not in there:
            found = (root / path).exists()
            missing[path] = "unreadable: it has a caption, and is no JPEG or PNG picture" if found else "not there"
    return Records(records, root.resolve().name, None, part, classes, missing=missing)


def instance_of(name: str) -> int | None:
    """7 of "mug/mug_7_1.png" and "mug/mug_7/mug_7_1_1_crop.png": which thing of its class; None where that is not told."""
    category, _, rest = name.partition("/")
    found = re.match(rf"{re.escape(category)}_(\d+)_", PurePosixPath(rest).name)
    return int(found[1]) if found else None


def _folders(root: Path) -> list[Path]:
    return [place for place in root.iterdir() if place.is_dir() and not place.name.startswith(".")]


def find_images(root: Path) -> list[str]:
    """Paths of the images under a folder, relative to it and sorted; links to folders are followed."""
    found = []
    for place, folders, files in os.walk(root, followlinks=True):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        inside = Path(place).relative_to(root)
        found += [
            (inside / file).as_posix() for file in files if file.lower().endswith(IMAGES) and not file.startswith(".")
        ]
    return sorted(found)


def gather_images(
    root: Path, wanted: Iterable[tuple[str, list[str], dict]], size: tuple[int, int] | None
) -> tuple[list[dict], dict[str, str]]:
    """Records of the images wanted, as `records.gather` makes them of videos.

    Args:
        root: the folder.
        wanted: for each image its name, the paths relative to `root` where it may be, and the rest of its record.
        size: what images are scaled to, (height, width); None leaves them as they are.

    Returns: (records, missing); the latter as in `Records`.

    Raises:
        ValueError: none of the images is there and readable, or one is listed twice.
    """
    wanted = list(wanted)
    seen = set()
    for name, _, _ in wanted:
        if name in seen:
            raise ValueError(f"{name} is listed twice: it would count double")
        seen.add(name)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        looked = list(pool.map(lambda item: _look(root, item[1]), wanted))
    records, missing = [], {}
    for (name, _, rest), (path, why, known) in zip(wanted, looked, strict=True):
        if why:
            missing[name] = why
        else:
            records.append({"frames": ImageFile(path, size), "name": name, **rest, "digest": known})
    if not records:
        some = f", such as {next(iter(missing))} ({next(iter(missing.values()))})" if missing else ""
        raise ValueError(
            f"{root} holds none of the {len(missing)} images wanted{some}: give a folder with JPEG or PNG images"
        )
    return records, missing


def _look(root: Path, places: list[str]) -> tuple[str, str | None, str]:
    """The first of the paths that is there, why it is no record, and its digest."""
    paths = [os.path.join(root, place) for place in places]
    path = next((path for path in paths if os.path.isfile(path)), None)
    if path is None:
        return paths[0], "not there", ""
    why = unreadable(path)
    return path, f"unreadable: {why}" if why else None, "" if why else digest(path)


def digest(path: str | Path) -> str:
    """A name for an image's bytes, whatever the file is called.

    Of a large file it is made of its size and of what stands at its beginning, in its middle and at its end: pictures
    are compressed, so that two of one size that agree there are the same, and a data set is looked at, not read.
    """
    size = os.path.getsize(path)
    places = (0, (size - PART) // 2, size - PART) if size > 3 * PART else range(0, size, PART)
    found = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for place in places:
            file.seek(place)
            found.update(file.read(PART))
    return found.hexdigest()[:12]


def unreadable(path: str | Path) -> str | None:
    """Why a file is no whole image; None where nothing speaks against it.

    Looking at its header and its last bytes tells of empty, foreign and cut files without decoding any: a hundred times
    as fast. A file that does not end as its format should is decoded, and fails only if that does. Damage in the middle
    shows when the image is read, which raises a ValueError then, or not at all, as in any JPEG.
    """
    try:
        with PIL.Image.open(path) as image, open(path, "rb") as file:
            file.seek(-min(TAIL, os.path.getsize(path)), os.SEEK_END)
            if ENDS.get(image.format, b"\0") not in file.read():
                image.load()
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:  # SyntaxError: broken PNGs
        if os.path.getsize(path) == 0:
            return "is empty (0 bytes)"
        kind = isinstance(error, PIL.UnidentifiedImageError)
        return "is no image" if kind else str(error)
    return None
