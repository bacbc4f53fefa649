"""Which videos a command works on: the data sets' functions, as they stand on the command line."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from videossl.datasets.hmdb51 import hmdb51
from videossl.datasets.records import Records
from videossl.datasets.ucf101 import ucf101
from videossl.datasets.video_folder import video_folder

DATASETS = {function.__name__: function for function in (ucf101, hmdb51, video_folder)}


@dataclass(frozen=True)
class Videos:
    """Indexed videos (`videossl index ROOT`) and the lists that part them into training and test."""

    root: Path  # the folder with the videos
    dataset: Literal["ucf101", "hmdb51", "video_folder"] = "ucf101"  # how files are laid out and listed
    lists: Path | None = None  # folder with the official lists, where it is not beside or in root
    index: Path | None = None  # the index, where it is not root/index.json
    size: tuple[int, int] | None = None  # height and width that frames are scaled to; None is what the trunk asks for

    def records(self, train: bool, split: int, size: tuple[int, int]) -> Records:
        """The training or the test list of a split; `size` stands in where the command line gives none."""
        size = self.size or size
        if self.dataset == "video_folder":
            if not train:
                raise ValueError(
                    "video_folder has no test list: evaluate on ucf101 or hmdb51 layouts, which have lists"
                )
            return video_folder(self.root, size=size, index=self.index)
        read = DATASETS[self.dataset]
        return read(self.root, split=split, train=train, size=size, lists=self.lists, index=self.index)


def fingerprint(records: list[dict]) -> str:
    """A name for just these videos: from their names, lengths and motion, so it follows their content."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(f"{record['name']} {len(record['frames'])} {record.get('label')}\n".encode())
        if "motion" in record:
            digest.update(record["motion"].tobytes())
    return digest.hexdigest()[:16]
