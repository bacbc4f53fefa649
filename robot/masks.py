"""Videos with a mask of every thing in every frame, in DAVIS's layout: a simulated actor and what moves about it.

`DIR/JPEGImages/480p/walk-003/00000.jpg`, `DIR/Annotations/480p/walk-003/00000.png` and `DIR/ImageSets/2017/train.txt`
and `val.txt`, which `videossl.datasets.davis` reads; "480p" is only the folder's name. Every video is of a group of its
own (see `actions`), so of an actor, a room, a light and viewpoints of its own. A video comes from the seed and its own
number alone.

As in DAVIS, masks number the things that are to be followed from the first frame on: those that the first frame shows
enough of. What comes into view later, or is too small there, belongs to the background.

Source of the layout: Pont-Tuset et al., "The 2017 DAVIS Challenge on Video Object Segmentation", arXiv 1704.00675,
2017.
"""

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import cv2
import joblib
import numpy as np
import PIL.Image

from videossl.robot.actions import ACTIONS, SimulateActions, Stage
from videossl.robot.humanoid import new_client
from videossl.robot.outputs import claim_for, part_of, run_jobs, write_picture, write_whole

VERSION = 1  # of the videos: raise it when the same config gives others, so that no folder mixes both
QUALITY = 95  # of JPEG, of 100
SMALLEST = 0.002  # share of the first frame that a thing covers at least
KINDS = "JPEGImages/480p", "Annotations/480p"


@dataclass(frozen=True)
class SimulateMasks:
    """Make videos of an actor and things that move about, with masks of all of them, in DAVIS's layout."""

    out: Path  # folder to make, or to go on with: videos that are there are kept
    train: int = 15  # videos in train.txt
    val: int = 30  # videos in val.txt
    frames: int = 40  # in a video
    size: int = 128  # side in pixels, even
    # that of `simulate actions`: hard has two to five other things
    difficulty: Literal["easy", "medium", "hard"] = "hard"
    seed: int = 0
    workers: int | None = None  # processes; all cores when not given. The videos do not depend on it

    def __post_init__(self):
        if self.train < 1 or self.val < 1 or self.frames < 3:
            raise ValueError(
                f"train {self.train}, val {self.val}, frames {self.frames}: lists hold a video or more, and a video 3 "
                "frames or more, since the first and the last do not count"
            )
        self.staged()  # which refuses what it cannot film

    def staged(self) -> SimulateActions:
        """How the actor is filmed."""
        return SimulateActions(
            self.out,
            frames=self.frames,
            size=self.size,
            difficulty=self.difficulty,
            seed=self.seed,
            workers=self.workers,
        )

    @property
    def names(self) -> list[str]:
        """Of all videos; the first `train` are those of train.txt. Each action comes once before one comes again."""
        actions = list(ACTIONS)
        return [f"{actions[n % len(actions)].lower()}-{n:03}" for n in range(self.train + self.val)]


def film(config: SimulateMasks, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Video number 0, 1, ...: frames (T, H, W, 3), red, green, blue, and masks (T, H, W), both uint8."""
    action = list(ACTIONS)[number % len(ACTIONS)]
    video, masks = Stage(config.staged(), number + 1).film_with_masks(action, 1)
    seen = np.bincount(masks[0].ravel(), minlength=256)
    followed = [thing for thing in range(1, 256) if seen[thing] >= SMALLEST * masks[0].size]
    numbers = np.zeros(256, np.uint8)
    numbers[followed] = np.arange(1, len(followed) + 1)
    return video, numbers[masks]


def palette() -> list[int]:
    """DAVIS's and PASCAL VOC's colours, 256 times red, green and blue: bits of the number, spread over the three."""
    return [
        sum(((number >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3))
        for number in range(256)
        for channel in range(3)
    ]


def _film(config: SimulateMasks, number: int) -> int:
    cv2.setNumThreads(1)  # workers share the cores
    frames, masks = (config.out / kind / config.names[number] for kind in KINDS)
    for place in (frames, masks, part_of(frames)):
        shutil.rmtree(place, ignore_errors=True)
    part_of(frames).mkdir()
    masks.mkdir()
    for n, (picture, mask) in enumerate(zip(*film(config, number), strict=True)):
        image = PIL.Image.fromarray(mask)
        image.putpalette(palette())
        image.save(masks / f"{n:05}.png")
        write_picture(part_of(frames) / f"{n:05}.jpg", picture, QUALITY)
    os.replace(part_of(frames), frames)  # frames come last: where they are, all of the video is
    return 1


def simulate_masks(config: SimulateMasks) -> None:
    """Make the set, or what is missing of it: the lists come last, so where they are there, all is there.

    Raises:
        ValueError: the folder holds a set made with another config, or whose simulation.json is damaged.
        FileExistsError: the folder holds something else, or is a file. Nothing is overwritten.
        ImportError: PyBullet is not installed.
    """
    if find_spec("pybullet") is None:
        new_client()  # which says what to do
    claim_for(config, VERSION)
    for kind in (*KINDS, "ImageSets/2017"):
        (config.out / kind).mkdir(parents=True, exist_ok=True)
    names = config.names
    missing = [n for n, name in enumerate(names) if not (config.out / KINDS[0] / name).exists()]
    jobs = [joblib.delayed(_film)(config, number) for number in missing]
    run_jobs(jobs, len(names), len(names) - len(missing), config.workers, "videos")
    for part, listed in (("train", names[: config.train]), ("val", names[config.train :])):
        write_whole(config.out / "ImageSets" / "2017" / f"{part}.txt", "\n".join(listed) + "\n")
