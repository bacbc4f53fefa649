"""DAVIS, and any videos that are laid out as it is: frames, and in every frame which pixels are of which thing.

Source: Pont-Tuset et al., "The 2017 DAVIS Challenge on Video Object Segmentation", arXiv 1704.00675, 2017.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from videossl.datasets.frames import FrameFolder, Frames, image_names
from videossl.datasets.image_folder import digest
from videossl.datasets.records import Records, plain_root, read_names

RESOLUTION = "480p"  # the folders' name; what `videossl simulate masks` writes there is smaller
VOID = 255  # in masks: nobody's, counted as background, as the toolkit of the benchmark does
# SHA-256 of the sorted names of the official lists of 2017, one a line: only these bear the benchmark's name.
OFFICIAL = {
    "train": "023ab66b461db2f62b9fb977c8a4fec890168709464f75e87f5a87c98be48c56",
    "val": "e1645e2050bbe05871aa41863e99cf5865afabbe7b9e9537911981fb2fcd6fd2",
}


@dataclass(frozen=True)
class MaskFolder(Frames):
    """Masks of a video, PNG files of numbers (as a palette's), in the order of their names.

    They are read as frames are, but of one channel, and never scaled: `masks[index]` is uint8 (*index.shape, 1, H, W),
    0 where nothing is and 1, 2, ... where the first, the second thing is.
    """

    path: str | Path
    frames: int
    size: None = None

    def _read(self, wanted):
        names = image_names(str(self.path), os.stat(self.path).st_mtime_ns)
        masks = []
        for number in wanted:
            name = names[number] if number < len(names) else "a mask that was there"
            try:
                with PIL.Image.open(os.path.join(self.path, name)) as image:
                    if image.mode not in ("P", "L"):
                        raise ValueError(
                            f"holds {name}, whose pixels are {image.mode}, but masks are numbers: mode P or L"
                        )
                    masks.append(np.array(image)[None])
            except (OSError, SyntaxError) as error:  # SyntaxError: broken PNGs
                raise ValueError(f"holds {name}, which cannot be read as an image") from error
            if masks[-1].shape != masks[0].shape:
                raise self._changes(masks[0].shape[1:], number, masks[-1].shape[1:])
        found = np.stack(masks)
        return np.where(found == VOID, np.uint8(0), found)


def davis(
    root: str | Path,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
) -> Records:
    """DAVIS 2017: 60 videos to train and 30 to validate, of one thing or several; they need no index.

    Frames are ROOT/JPEGImages/480p/NAME/00000.jpg, masks ROOT/Annotations/480p/NAME/00000.png, and the names are a line
    each in ROOT/ImageSets/2017/train.txt and val.txt. Videos that are not there or not wholly annotated are told in
    `missing`.

    Args:
        root: the folder.
        train: train.txt, otherwise val.txt.
        size: height and width in pixels that frames are scaled to; None leaves them as they are. Masks are not scaled.
        split, index: as of the other data sets, but there is one split and no index: leave them out.
        lists: folder with other train.txt and val.txt.

    Records hold "frames", "masks" (of as many frames, see `MaskFolder`), "name", "group" (the name) and "digest" (of the
    middle frame, see `image_folder.digest`).

    Raises:
        FileNotFoundError: the folder or the list is not there.
        ValueError: none of the listed videos is there, or another split or an index was asked for.
    """
    root, part = plain_root(root, "davis", split=split, index=index), "train" if train else "val"
    path = (root / "ImageSets" / "2017" if lists is None else Path(lists)) / f"{part}.txt"
    names = read_names(path, f"the videos of {root / 'JPEGImages'}")
    records, missing = [], {}
    for name in names:
        places = [root / kind / RESOLUTION / name for kind in ("JPEGImages", "Annotations")]
        shown, marked = (image_names(str(p), os.stat(p).st_mtime_ns) if p.is_dir() else [] for p in places)
        if not shown:
            missing[name] = "not there"
        elif len(shown) != len(marked):
            missing[name] = f"unreadable: has {len(shown)} frames, but {len(marked)} masks"
        else:
            frames, masks = FrameFolder(str(places[0]), len(shown), size), MaskFolder(str(places[1]), len(marked))
            middle = digest(places[0] / shown[len(shown) // 2])
            records.append({"frames": frames, "masks": masks, "name": name, "group": name, "digest": middle})
    if not records:
        why = f" ({next(iter(missing))} {next(iter(missing.values()))})" if missing else ""
        raise ValueError(f"{root} holds none of the {len(names)} videos of {path}{why}: give DAVIS's own folder")
    official = OFFICIAL[part] == hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
    benchmark = "DAVIS-2017" if official else None
    return Records(records, benchmark or root.resolve().name, None, part, (), benchmark, missing)
