"""CIFAR-10, in each of the ways in which it is handed out: pickled batches, binary batches, or folders of images.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; file formats after
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import hashlib
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from videossl.datasets.frames import Frames
from videossl.datasets.image_folder import image_folder
from videossl.datasets.records import Records, plain_root
from videossl.datasets.scaling import scaled

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32  # pixels
BYTES = 3 * SIDE**2  # of an image: its red, green and blue, each row by row
COUNTS = {True: 50_000, False: 10_000}  # images to train and to test on
# What a pickled batch is made of; any other name in the file is refused, for unpickling it would run its code.
KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


@dataclass(frozen=True, eq=False)
class MemoryImage(Frames):
    """An image in memory as a video of one frame, number 0."""

    path: str  # what errors call it
    pixels: np.ndarray = field(repr=False)  # (3, H, W) uint8
    size: tuple[int, int] | None = None  # height and width in pixels to scale to; None: as it is
    frames: int = field(default=1, init=False, repr=False)

    def _read(self, wanted):
        return (scaled(self.pixels, self.size) if self.size else self.pixels)[None]


def cifar10(
    root: str | Path,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
) -> Records:
    """CIFAR-10: 50,000 images to train and 10,000 to test on, 32 x 32 pixels, of ten classes.

    Found are ROOT/data_batch_1 to 5 and ROOT/test_batch as cifar-10-python.tar.gz holds them (pickled; or the same in
    ROOT/cifar-10-batches-py), with ".bin" those of cifar-10-binary.tar.gz (or in ROOT/cifar-10-batches-bin), or images in
    ROOT/train/CLASS and ROOT/test/CLASS.

    Args:
        root: the folder.
        train: the training images, otherwise the test images.
        size: height and width in pixels that images are scaled to; None leaves them at 32 x 32.
        split, lists, index: as of the other data sets, but there is one split, which the files are: leave them out.

    Records hold "frames" (one), "name" ("data_batch_1/0", or the file's path), "digest" (of its pixels), "label" (0 to 9, in alphabetical order of
    the classes) and "group" (the name: each image is its own). They have the benchmark's name if there are as many as
    were published.

    Raises:
        FileNotFoundError: the folder, or one of the batches, is not there.
        ValueError: a batch is not what it should be, folders are not the ten classes, or other lists are asked for.
    """
    root = plain_root(root, "CIFAR-10", split=split, lists=lists, index=index)
    part = "train" if train else "test"
    if (root / "train").is_dir() and (root / "test").is_dir():
        found = image_folder(root, train=train, size=size)
        if found.classes != list(CLASSES):
            raise ValueError(
                f"{root} has folders of {', '.join(found.classes)}, but CIFAR-10's are {', '.join(CLASSES)}"
            )
        whole = len(found) == COUNTS[train]
        benchmark = "CIFAR-10" if whole else None
        return Records(found, benchmark or found.series, None, part, CLASSES, benchmark, found.missing)
    names = [f"data_batch_{n}" for n in range(1, 6)] if train else ["test_batch"]
    records = []
    for name in names:
        path = find_batch(root, name)
        images, labels = (read_binary if path.suffix == ".bin" else read_pickled)(path)
        for n, (image, label) in enumerate(zip(images, labels, strict=True)):
            place = f"{name}/{n}"
            frames = MemoryImage(f"{path}, image {n}", image, size)
            shown = hashlib.sha256(image.tobytes()).hexdigest()[:12]
            records.append({"frames": frames, "name": place, "label": int(label), "group": place, "digest": shown})
    benchmark = "CIFAR-10" if len(records) == COUNTS[train] else None
    return Records(records, benchmark or root.resolve().name, None, part, CLASSES, benchmark)


def find_batch(root: Path, name: str) -> Path:
    """The file of a batch, pickled or binary.

    Raises:
        FileNotFoundError: there is none.
    """
    for folder, ending in (("cifar-10-batches-py", ""), ("cifar-10-batches-bin", ".bin")):
        for place in (root, root / folder):
            if (path := place / f"{name}{ending}").is_file():
                return path
    raise FileNotFoundError(
        f"{root} has neither {name} nor {name}.bin, nor folders train and test: give the unpacked cifar-10-batches-py or"
        " cifar-10-batches-bin"
    )


def read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) uint8 and labels (N,) of a binary batch: for each image one byte of label, then its pixels.

    Raises:
        ValueError: it holds no whole number of images, or a label over 9.
    """
    data = np.fromfile(path, np.uint8)
    if not len(data) or len(data) % (1 + BYTES):
        raise ValueError(
            f"{path} has {len(data)} bytes, but images of {1 + BYTES} bytes each are expected: it is cut short"
        )
    rows = data.reshape(-1, 1 + BYTES)
    return checked(path, rows[:, 1:], rows[:, 0])


def read_pickled(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) uint8 and labels (N,) of a pickled batch, a dict with "data" (N, 3072) and "labels".

    Raises:
        ValueError: it is none, or a label is over 9.
    """
    with path.open("rb") as file:
        try:
            batch = Plain(file, encoding="bytes").load()
        except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
            raise ValueError(f"{path} is no pickled batch of CIFAR-10: {error}") from error
    if not (isinstance(batch, dict) and {b"data", b"labels"} <= batch.keys()):
        raise ValueError(f'{path} is no batch of CIFAR-10: it lacks "data" and "labels"')
    return checked(path, np.asarray(batch[b"data"]), np.asarray(batch[b"labels"]))


class Plain(pickle.Unpickler):
    """Unpickles arrays and plain values, and nothing that could run code."""

    def __init__(self, file: BinaryIO, encoding: str):
        super().__init__(file, encoding=encoding)

    def find_class(self, module, name):
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch needs")
        return super().find_class(module, name)


def checked(path: Path, data: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) and their labels, from (N, 3072) and (N,).

    Raises:
        ValueError: there are others.
    """
    if data.dtype != np.uint8 or data.shape != (len(labels), BYTES):
        raise ValueError(
            f"{path} holds data of {data.shape} {data.dtype}, but ({len(labels)}, {BYTES}) uint8 is expected"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(CLASSES)):
        raise ValueError(
            f"{path} has labels {labels.min()} to {labels.max()}, but CIFAR-10 has 0 to 9 (CIFAR-100 is another)"
        )
    return np.ascontiguousarray(data).reshape(-1, 3, SIDE, SIDE), labels
