"""Moving MNIST, made on the fly: handwritten digits that glide over a black canvas and bounce off its walls.

Source: Srivastava et al., "Unsupervised Learning of Video Representations using LSTMs", ICML 2015, section 3.2; motion
after the authors' release (BouncingMNISTDataHandler in data_handler.py of github.com/emansim/unsupervised-videos).
"""

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from videossl.datasets.records import Records

VIDEOS = {True: 2000, False: 500}  # to train on, to test on
FRAMES = 100  # of a video: the release's clips of 20 are windows of it
GROUPS = 20  # of pictures in a part; a video takes its digits from one
STEP = 0.1  # of a digit between two frames, in lengths of the box that its corner moves in
SHARE = 28 / 64  # side of a digit, of the canvas's shorter side
LOW = (32, 32)  # pixels: the canvas on which motion is measured, whatever `size` is
PARTS = ("train", "t10k")  # what the names of MNIST's files begin with


def moving_digits(
    root: str | Path | None = None,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
) -> Records:
    """Videos of `split` moving digits: one, two (the paper's Moving MNIST) or three, on the command line `--split 2`.

    2000 videos to train on and 500 to test on, of 100 frames each. At 64x64 pixels all is the release's: digits of 28x28
    that begin anywhere, move 0.1 of their room a frame in any direction, turn at the walls, and where two meet the
    brighter pixel is seen. Other sizes show the same at their scale. What differs: videos are longer than the release's
    20 frames, so that there are windows to draw.

    No picture of a digit is in both parts, nor in two groups: a held-out group shows digits that were not seen.

    Args:
        root: a folder with MNIST's IDX files, packed (.gz) or not; train-... and t10k-... where both are there, and
            otherwise four fifths of the one part's digits to train on and the others to test on. None takes the 1797
            digits of 8x8 pixels that come with scikit-learn.
        split: how many digits a video shows, 1, 2 or 3.
        train: the training videos, otherwise the test videos.
        size: height and width of the canvas in pixels, 16 at least; None is (64, 64).
        lists, index: as of the other data sets, but there is nothing to list here.

    Records hold "frames" (grey, in three equal channels), "name", "group", "motion" (mean change between two frames, in
    grey levels, on a canvas of 32x32) and, where they show one digit, "label" (0 to 9).

    Raises:
        FileNotFoundError: `root` holds no IDX files of MNIST's names.
        ValueError: such a file is damaged; the number of digits or the size is out of range; lists or an index are
            given.
    """
    if split not in (1, 2, 3):
        raise ValueError(f"split is the number of digits in a video, 1, 2 or 3, but {split} was asked for")
    if lists is not None or index is not None:
        raise ValueError(
            f"moving_digits are made, so lists or an index ({lists or index}) mean nothing: leave them out"
        )
    size = (64, 64) if size is None else tuple(size)
    if min(size) < 16:
        raise ValueError(f"a canvas has 16 pixels a side at least, for digits of 7, but {size} was asked for")
    digits, labels = digit_pictures(root, train)
    shown, low = scale(digits, round(SHARE * min(size))), scale(digits, round(SHARE * min(LOW)))
    part, records = "train" if train else "test", []
    for n in range(VIDEOS[train]):
        rng = np.random.default_rng([split, train, n])
        group = n % GROUPS
        chosen = group + GROUPS * rng.integers(len(digits[group::GROUPS]), size=split)
        places = glide(rng, split)
        record = {
            "frames": MovingDigits(shown[chosen], places, size),
            "name": f"{split} digits/{part}{n:04}",
            "group": f"{part} digits {group:02}",
            "motion": MovingDigits(low[chosen], places, LOW).motion(),
        }
        records.append(record | ({"label": int(labels[chosen[0]])} if split == 1 else {}))
    classes = [str(digit) for digit in range(10)] if split == 1 else ()
    source = "scikit-learn's" if root is None else Path(root).resolve().name
    return Records(records, f"moving digits ({source})", split, part, classes)


@dataclass(frozen=True, eq=False)
class MovingDigits:
    """A video's frames, drawn when they are asked for: uint8 (*index.shape, 3, H, W)."""

    pictures: np.ndarray  # (digits, side, side) uint8
    places: np.ndarray  # (frames, digits, 2) float32: down and across, in [0, 1] of the room that a digit has
    size: tuple[int, int]  # height and width of the canvas in pixels

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: np.ndarray) -> Tensor:
        index = np.asarray(index)
        canvas = self.draw(index.reshape(-1))
        return torch.from_numpy(canvas).view(*index.shape, 1, *self.size).expand(*index.shape, 3, *self.size)

    def draw(self, numbers: np.ndarray) -> np.ndarray:
        """The frames of these numbers: (len(numbers), H, W) uint8."""
        side = self.pictures.shape[-1]
        room = np.array(self.size) - side
        canvas = np.zeros((len(numbers), *self.size), np.uint8)
        corners = (self.places[numbers] * room).astype(int).tolist()  # rounded down, as in the release
        for frame, row in zip(canvas, corners, strict=True):
            for picture, (top, left) in zip(self.pictures, row, strict=True):
                under = frame[top : top + side, left : left + side]
                np.maximum(under, picture, out=under)
        return canvas

    def motion(self) -> np.ndarray:
        """Mean absolute change from each frame to the next, in grey levels: (frames - 1,) float32."""
        drawn = self.draw(np.arange(len(self))).astype(np.int16)
        return np.abs(np.diff(drawn, axis=0)).mean((1, 2), dtype=np.float32)


def glide(rng: np.random.Generator, digits: int) -> np.ndarray:
    """Places of digits over the frames, (FRAMES, digits, 2) float32 in [0, 1]: any start, any direction, one speed."""
    starts, angles = rng.random((digits, 2)), rng.random(digits) * 2 * np.pi
    paths = [
        [bounce(y, STEP * math.sin(angle)), bounce(x, STEP * math.cos(angle))]
        for (y, x), angle in zip(starts.tolist(), angles.tolist(), strict=True)
    ]
    return np.array(paths, np.float32).transpose(2, 0, 1)


def bounce(place: float, step: float) -> list[float]:
    """One coordinate in [0, 1], frame by frame: at a wall it stops short and turns round."""
    places = []
    for _ in range(FRAMES):
        place += step
        if not 0 < place < 1:
            place, step = min(max(place, 0.0), 1.0), -step
        places.append(place)
    return places


def scale(pictures: np.ndarray, side: int) -> np.ndarray:
    """Pictures (N, H, W) uint8 at `side` pixels a side: (N, side, side) uint8."""
    if pictures.shape[1:] == (side, side):
        return pictures
    floats = torch.from_numpy(pictures)[:, None].float()
    scaled = F.interpolate(floats, (side, side), mode="bilinear", antialias=True)
    return scaled[:, 0].round().byte().numpy()


def digit_pictures(root: str | Path | None, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """Digits of a part, (N, H, W) uint8, and which they are, (N,)."""
    if root is None:
        found = load_digits()
        parts = [((found.images * 255 / 16).round().astype(np.uint8), found.target)]
    else:
        parts = [read_part(*files) for part in PARTS if (files := find_part(Path(root), part))]
    if not parts:
        raise FileNotFoundError(
            f"{root} holds neither {' nor '.join(f'{part}-images-idx3-ubyte(.gz)' for part in PARTS)} with labels: give "
            "the folder of MNIST's files, or leave root out for scikit-learn's digits"
        )
    if len(parts) == 2:
        return parts[0] if train else parts[1]
    pictures, labels = parts[0]
    testing = np.arange(len(pictures)) % 5 == 4
    return pictures[testing != train], labels[testing != train]


def find_part(root: Path, part: str) -> tuple[Path, Path] | None:
    """Pictures and labels of MNIST's part, in the folder or where torchvision puts them; None where one is missing."""
    for folder in (root, root / "MNIST" / "raw"):
        names = [f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"]
        found = [next((folder / f"{n}{s}" for s in ("", ".gz") if (folder / f"{n}{s}").is_file()), None) for n in names]
        if all(found):
            return tuple(found)
    return None


def read_part(pictures: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """The arrays of two IDX files that belong together."""
    images, answers = read_idx(pictures, 3), read_idx(labels, 1)
    if len(images) != len(answers) or len(images) < 5 * GROUPS:
        raise ValueError(
            f"{pictures} holds {len(images)} digits and {labels} {len(answers)} labels, but they should be as many, and "
            f"{5 * GROUPS} at least: bring MNIST's own files"
        )
    return images, answers


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """An array of bytes in the IDX format: 0, 0, 8 (bytes), how many dimensions, their lengths, the bytes."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}): bring it anew") from error
    begin = 4 + 4 * dimensions
    if content[:4] != bytes((0, 0, 8, dimensions)) or len(content) < begin:
        raise ValueError(f"{path} is no IDX file of bytes in {dimensions} dimensions: it begins with {content[:4]!r}")
    shape = np.frombuffer(content, ">u4", dimensions, offset=4).tolist()
    if len(content) != begin + math.prod(shape):
        raise ValueError(f"{path} should hold {math.prod(shape)} bytes for {shape}, but has {len(content) - begin}")
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape).copy()  # torch wants to be able to write
