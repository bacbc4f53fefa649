"""Which videos a command works on: the data sets' functions, as they stand on the command line."""

import hashlib
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Literal

from videossl.datasets.cifar10 import cifar10
from videossl.datasets.comma2k19 import comma2k19
from videossl.datasets.davis import davis
from videossl.datasets.hmdb51 import hmdb51
from videossl.datasets.image_folder import image_folder
from videossl.datasets.interactions import interactions, square
from videossl.datasets.kitti_depth import kitti_depth
from videossl.datasets.kitti_odometry import kitti_odometry
from videossl.datasets.kitti_raw import kitti_raw
from videossl.datasets.moving_digits import moving_digits
from videossl.datasets.records import Records
from videossl.datasets.sun397 import sun397
from videossl.datasets.ucf101 import ucf101
from videossl.datasets.video_folder import video_folder
from videossl.datasets.voc import voc
from videossl.robot.pairs import pushed_pairs

DATASETS = {
    function.__name__: function
    for function in (
        ucf101,
        hmdb51,
        video_folder,
        image_folder,
        cifar10,
        sun397,
        moving_digits,
        kitti_raw,
        kitti_odometry,
        comma2k19,
        interactions,
        pushed_pairs,
        davis,
        voc,
        kitti_depth,
    )
}


@dataclass(frozen=True)
class Videos:
    """Indexed videos (`videossl index ROOT`) and the lists that part them into training and test."""

    root: Path | None = None  # the folder with the videos; data sets that are made on the fly need none
    dataset: Literal[tuple(DATASETS)] = "ucf101"  # how files are laid out and listed
    lists: Path | None = None  # folder with the official lists, where it is not beside or in root
    index: Path | None = None  # the index, where it is not root/index.json
    # height and width that frames are scaled to; None is what the trunk asks for, of a robot's pictures as a square
    size: tuple[int, int] | None = None

    def size_for(self, usual: tuple[int, int]) -> tuple[int, int]:
        """What frames are scaled to for a trunk that asks for this; a robot's pictures stay square."""
        return self.size or (square(usual) if self.dataset in ("interactions", "pushed_pairs") else usual)

    def records(self, train: bool, split: int, size: tuple[int, int]) -> Records:
        """The training or the test list of a split; where the command line gives no size, that of `size_for`."""
        read = DATASETS[self.dataset]
        if self.root is None and signature(read).parameters["root"].default is Parameter.empty:
            raise ValueError(f"{self.dataset} is read from a folder: give it with --root")
        records = read(
            self.root, split=split, train=train, size=self.size_for(size), lists=self.lists, index=self.index
        )
        for record in records:
            if lacking := [key for key in ("frames", "name", "group") if key not in record]:
                raise ValueError(
                    f"records of {self.dataset} lack {' and '.join(lacking)}: {record.get('name', record)}"
                )
            if "label" in record and records.classes:
                record["class"] = records.classes[int(record["label"])]  # words, for methods that read
        return records


def content(record: dict) -> str:
    """A name for what a video shows: from its length and motion, or an image's bytes, whatever the file is called.

    From its name where nothing is known to move and the bytes are not told.
    """
    moves = "motion" in record and record["motion"].any()
    known = record["motion"].tobytes() if moves else str(record.get("digest", record["name"])).encode()
    return hashlib.sha256(str(len(record["frames"])).encode() + known).hexdigest()[:12]


def fingerprint(records: list[dict]) -> str:
    """A name for just this list of videos, with their names, labels and what they show (see `content`)."""
    lines = (f"{record['name']} {record.get('label')} {content(record)}" for record in records)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
