"""The frames of a video by number, from a file or from a folder of images.

Frame n is the n-th one that decoding the file from its start yields; who decodes does not matter (see `decoders`).
"""

import os
import stat
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from videossl.datasets.decoders import Name, reading
from videossl.datasets.scaling import Scaler, scaled, split

IMAGES = (".jpg", ".jpeg", ".png")


class Frames(ABC):
    """What both kinds share: `len(video)`, and `video[index]` for an integer array of any shape, in any order, repeated.

    Frames are read in ascending order, each once, whatever the order asked for. `video[index]` is a uint8 tensor
    (*index.shape, 3, H, W), not always contiguous.

    Raises:
        ValueError: a frame outside 0 to `frames - 1` is asked for; the file is damaged or is not what was indexed.
        FileNotFoundError: the file is gone.
    """

    path: str | Path
    frames: int
    size: tuple[int, int] | None

    def __post_init__(self):
        if self.frames < 1:
            raise ValueError(f"{self.path} has {self.frames} frames: a video has one at least")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ValueError(f"size is {self.size}, but should be (height, width) in pixels, or None")

    def __len__(self):
        return self.frames

    def __getitem__(self, index):
        import torch  # here, so that indexing, which needs none of it, starts quickly

        return torch.from_numpy(self.array(index))

    def array(self, index) -> np.ndarray:
        """`video[index]` as an array."""
        index = np.asarray(index)
        if index.dtype.kind not in "iu" and index.size:
            raise ValueError(f"frames are asked for by number, in an array of integers, not {index.dtype}")
        for n in (index.min(), index.max()) if index.size else ():
            if not 0 <= n < self.frames:
                raise ValueError(f"{self.path} has frames 0 to {self.frames - 1}, but {n} was asked for")
        numbers = index.ravel()
        ascending = numbers.size and (numbers[1:] > numbers[:-1]).all()  # each once, as most clips are
        wanted, place = (numbers, None) if ascending else np.unique(numbers, return_inverse=True)
        try:
            images = self._read((wanted if index.size else np.zeros(1, int)).tolist())
        except ValueError as e:
            raise ValueError(f"{self.path} {e}") from e.__cause__
        if place is not None:
            images = images[place.astype(int)]
        return images.reshape(*index.shape, *images.shape[1:])

    @abstractmethod
    def _read(self, wanted: list[int]) -> np.ndarray:
        """Frames of these ascending numbers, (N, 3, H, W) uint8; a ValueError's text goes on after the file's name."""

    def _changes(self, before: tuple[int, ...], number: int, now: tuple[int, ...]) -> ValueError:
        return ValueError(
            f"has frames of {before[1]}x{before[0]}, but frame {number} has {now[1]}x{now[0]}: give `size`, to which "
            "all are scaled"
        )


@dataclass(frozen=True)
class VideoFile(Frames):
    """Frames of a video file.

    Holds no open decoder: whoever reads opens the file and keeps it open for a while, so it travels to data workers.
    Decoding goes on from where the last reading ended, or from the last key frame before.
    """

    path: str | Path
    frames: int  # as counted by `survey`
    size: tuple[int, int] | None = None  # height and width in pixels to scale to; None: as filmed
    decoder: Name = "pyav"  # who decodes: one that was found to agree with PyAV on this file
    keys: tuple[tuple[int, int], ...] = field(default=(), repr=False)  # number and time of the frames to jump to
    stamp: tuple[int, int] | None = field(default=None, repr=False)  # bytes and time of change when it was indexed

    def _read(self, wanted):
        with reading(self.decoder, str(self.path), self.keys, self.stamp) as file:
            if self.size is not None:
                images = np.empty((3, len(wanted), *self.size), np.uint8)
                scaler = Scaler(images)
                for picture in file.read(wanted, whole=False):
                    scaler.add(picture)
                scaler.finish()
                return images.swapaxes(0, 1)
            images = None
            for n, picture in enumerate(file.read(wanted, whole=True)):
                if images is None:
                    images = np.empty((len(wanted), 3, *picture.planes[0].shape), np.uint8)
                if picture.planes[0].shape != images.shape[2:]:
                    raise self._changes(images.shape[2:], wanted[n], picture.planes[0].shape)
                images[n] = picture.planes
            return images


@dataclass(frozen=True)
class FrameFolder(Frames):
    """Frames of a video that were written as JPEG or PNG files into a folder of their own, in the order of their names.

    So are UCF101's raw frames (v_YoYo_g01_c01/i_0001.jpg) and KITTI's cameras (image_02/data/0000000000.png).
    """

    path: str | Path
    frames: int  # images in the folder when it was indexed
    size: tuple[int, int] | None = None  # height and width in pixels to scale to; None: as they are
    stamp: tuple[int, int] | None = field(default=None, repr=False)  # see `stamp`, when it was indexed

    def _read(self, wanted):
        changed = os.stat(self.path).st_mtime_ns
        names = image_names(str(self.path), changed)
        if len(names) == self.frames and self.stamp is not None:
            # Of the images that are read alone, and by their times alone: `same` has compared all of their bytes.
            changed = max(changed, *(os.stat(os.path.join(self.path, names[n])).st_mtime_ns for n in wanted))
        if len(names) != self.frames or (self.stamp is not None and changed > self.stamp[1]):
            raise ValueError(
                f"held {self.frames} images when it was indexed, but {len(names)} now, or others: run `videossl index` "
                "on its folder again"
            )
        images = None
        for n, number in enumerate(wanted):
            planes = read_image(os.path.join(self.path, names[number]))
            if self.size:
                planes = scaled(planes, self.size)
            if images is None:
                images = np.empty((len(wanted), *planes.shape), np.uint8)
            if planes.shape != images.shape[1:]:
                raise self._changes(images.shape[2:], number, planes.shape[1:])
            images[n] = planes
        return images


def stamp(path: str | Path) -> tuple[int, int]:
    """By what a change of a video is noticed: its bytes, and when it was changed last, in nanoseconds since 1970.

    Of a folder of images that is the sum over all of them, and the latest time, the folder's own included: its own tells
    of images that came, went or were renamed, but not of those that were overwritten.

    Raises:
        OSError: the path cannot be reached.
    """
    info = os.stat(path)
    if not stat.S_ISDIR(info.st_mode):
        return info.st_size, info.st_mtime_ns
    size, modified = 0, info.st_mtime_ns
    with suppress(PermissionError):  # a folder that may not be looked into
        for name in image_names(str(path), info.st_mtime_ns):
            with suppress(FileNotFoundError):  # a link to nowhere
                image = os.stat(os.path.join(path, name))
                size, modified = size + image.st_size, max(modified, image.st_mtime_ns)
    return size, modified


@lru_cache(maxsize=64)
def image_names(folder: str, modified: int) -> list[str]:
    """Names of the images in a folder, sorted by the number at their end; `modified`, its time of change, makes it new."""
    names = [entry for entry in os.listdir(folder) if is_numbered_image(entry)]
    return sorted(names, key=lambda name: (len(os.path.splitext(name)[0]), name))


def is_numbered_image(name: str) -> bool:
    """Whether a file is named as one frame of a video: i_0001.jpg, 0000000000.png."""
    stem, suffix = os.path.splitext(name)
    return suffix.lower() in IMAGES and stem[-1:].isdecimal() and not name.startswith(".")


def read_image(path: str) -> np.ndarray:
    """A JPEG or PNG file as (3, H, W) uint8, upright.

    OpenCV reads it: torchvision's reader fails in processes that have loaded decord, which brings a zlib of its own.

    Raises:
        ValueError: it is none, or damaged; the message goes on after the folder's name.
    """
    import cv2

    image = cv2.imread(path, cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError(f"holds {os.path.basename(path)}, which cannot be read as an image")
    return np.stack(split(image))
