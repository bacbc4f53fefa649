"""SUN397, and any set of images that is laid out and listed as it is.

Source: Xiao et al., "SUN Database: Large-scale Scene Recognition from Abbey to Zoo", CVPR 2010.
"""

from collections import Counter
from pathlib import Path

from videossl.datasets.image_folder import gather_images
from videossl.datasets.records import Records, lists_folder, plain_root


def sun397(
    root: str | Path,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
) -> Records:
    """SUN397: 108754 images of 397 scenes, of many sizes; one of ten published splits, 50 to train and 50 to test a class.

    Images are ROOT/a/abbey/sun_aaa.jpg, classes of two names ROOT/a/apse/indoor/sun_aaa.jpg; or the same below
    ROOT/SUN397. They need no index: each listed file is looked at (see `image_folder.unreadable`). Those that are absent
    or no whole images are told in `missing`: the records are then a subset.

    Few labels a class, as in the tables of Jayaraman and Grauman (ICCV 2015, six), are the protocols' to draw:
    `--linear.labels 6`.

    Args:
        root: the folder of images.
        split: 1 to 10.
        train: the training images, otherwise the test images.
        size: height and width in pixels that images are scaled to; None leaves them as they are, so they differ.
        lists: folder with ClassName.txt, Training_01.txt, Testing_01.txt, ...; by default `root`, or Partitions in it or
            beside it. Lists have the benchmark's name if they are as large as the published ones, 397 classes with 50
            images to train and 50 others to test; that they are the same images is not checked.
        index: as of the other data sets, but images have none: leave it out.

    Records hold "frames" (one), "name" (a/abbey/sun_aaa.jpg), "digest" (see `image_folder.digest`), "label" (0 to 396, in the order of ClassName.txt) and
    "group" (the name: each image is its own).

    Raises:
        FileNotFoundError: the folder or a list is not there.
        ValueError: a list contradicts ClassName.txt, no image of it is there, or an index was given.
    """
    root = plain_root(root, "sun397", index=index)
    lists = lists_folder(root, lists, "Partitions", "ClassName.txt")
    classes = [line.strip().strip("/") for line in (lists / "ClassName.txt").read_text().splitlines() if line.strip()]
    if len(set(classes)) < len(classes):
        twice = next(name for name, count in Counter(classes).items() if count > 1)
        raise ValueError(f"{lists / 'ClassName.txt'} names /{twice} twice: a class has one line")
    read = {part: read_list(lists / f"{part}_{split:02}.txt", classes) for part in ("Training", "Testing")}
    names = read["Training" if train else "Testing"]
    numbers = {name: n for n, name in enumerate(classes)}
    wanted = [
        (name, [name, f"SUN397/{name}"], {"label": numbers[name.rpartition("/")[0]], "group": name}) for name in names
    ]
    records, missing = gather_images(root, wanted, size)
    benchmark = "SUN397" if as_published(classes, *read.values()) else None
    series, part = benchmark or lists.resolve().name, "train" if train else "test"
    return Records(records, series, split, part, classes, benchmark, missing)


def read_list(path: Path, classes: list[str]) -> list[str]:
    """The images of a list, whose lines are "/a/abbey/sun_aaalbzqrimafwbiv.jpg", as paths relative to the root.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: a line is of no class of `classes`.
    """
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in path.parent.glob("T*ing_*.txt"))) or "no list"
        raise FileNotFoundError(f"{path} is not there: {path.parent} has {there}")
    known, names = set(classes), []
    for n, line in enumerate(path.read_text().splitlines(), 1):
        name = line.strip().lstrip("/")
        if name and name.rpartition("/")[0] not in known:
            raise ValueError(
                f"{path}, line {n} is {line.strip()!r}, but should be an image of a class in ClassName.txt, such as "
                f"/{classes[0] if classes else 'a/abbey'}/sun_aaa.jpg"
            )
        names += [name] if name else []
    return names


def as_published(classes: list[str], train: list[str], test: list[str]) -> bool:
    """Whether lists are as large as the published ones: 397 classes, 50 images to train and 50 others to test in each."""
    counts = [Counter(name.rpartition("/")[0] for name in names) for names in (train, test)]
    whole = all(count == dict.fromkeys(classes, 50) for count in counts)
    return len(classes) == 397 and whole and not set(train) & set(test)
