"""Anyone's own videos, in a folder."""

from pathlib import Path, PurePosixPath

from videossl.datasets.index import command, find, original, read_index
from videossl.datasets.records import Records, gather, numbered_group


def video_folder(
    root: str | Path,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
) -> Records:
    """All videos under a folder, in the order of their names. Where each lies in a sub-folder, that gives its label.

    Args:
        root: the folder, indexed by `videossl index`: root/class/video.mp4, at any depth below the class, or
            root/video.mp4, without labels. With some of both there are no labels.
        split, train, lists: as of the other data sets, but there is one list here, of all videos: to train on.
        size: height and width in pixels that frames are scaled to; None leaves them as filmed, so they may differ.
        index: the index, where it is not `root`/index.json.

    Records hold "frames", "name" (the path relative to `root`; of a packed video its original's), "label" (index of the
    sub-folder among the sorted ones, where there are labels), "group" (g07 of a name such as v_YoYo_g07_c02.avi;
    otherwise each video is its own) and "motion".

    Raises:
        FileNotFoundError: the folder or its index is not there.
        ValueError: no readable video is there; files are not as they were indexed; or other lists are asked for.
    """
    way = "lists in UCF101's format (classInd.txt, trainlist01.txt, testlist01.txt) and read it as ucf101"
    if not train:
        raise ValueError(f"a video_folder has no test list: to test on videos of {root}, give {way}")
    if split != 1:
        raise ValueError(f"a video_folder has one list, but split {split} was asked for: leave it at 1, or give {way}")
    if lists is not None:
        raise ValueError(f"a video_folder takes no lists, but {lists} was given: leave it out, or have there {way}")
    root = Path(root)
    videos = read_index(root, index)
    files = sorted({*find(root)[0], *videos}, key=original)
    loose = any("/" not in file and file in videos and not videos[file]["error"] for file in files)
    classes = [] if loose else sorted({file.split("/")[0] for file in files if "/" in file})
    wanted = []
    for file in files:
        name = original(file)
        rest = {"label": classes.index(name.split("/")[0])} if classes and "/" in name else {}
        wanted.append((name, [file], rest | {"group": numbered_group(PurePosixPath(name).stem) or name}))
    records, missing, damaged = gather(root, videos, wanted, size, command(root, index))
    return Records(records, root.resolve().name, classes=classes, missing=missing, damaged=damaged)
