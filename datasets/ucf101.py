"""UCF101, and any data set that is laid out and listed as it is.

Source: Soomro, Zamir, Shah, "UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild", CRCV-TR-12-01,
2012.
"""

import hashlib
import re
from pathlib import Path

from videossl.datasets.index import command, read_index
from videossl.datasets.records import Records, gather, lists_folder, numbered_group

# SHA-256 of the classes in their order and the sorted names of the official lists, one a line: only these bear the
# benchmark's name.
OFFICIAL = {
    "trainlist01.txt": "13862f67e0e71e07cc3cd0f0c2ac5286e6da8dbbc23df53cea63186b189e739f",
    "trainlist02.txt": "700fd8aa66de9aeeca5e259ce6bcba2c0685ce22f4ce77ee5185efdf25c7a645",
    "trainlist03.txt": "d55d15f6b7dbaaa6200baca5514f841db7116a782e81262ae7153d2ae17b1624",
    "testlist01.txt": "10e187c4112144134d51264d39bee97c8a6c75c7f1fb5adb63b156b78952857d",
    "testlist02.txt": "357f8392eade45f9587dd2efbc7cc4c35b87cbe5ee44fb47efc100f9e4820b36",
    "testlist03.txt": "999b4aae51c71a665a0955736a5aa7c9c7d34864cc3495438aa41f28a5526703",
}


def ucf101(
    root: str | Path,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
) -> Records:
    """UCF101: 13320 videos of 101 actions, 320x240 at 25 frames a second; one of three official splits.

    Videos are ROOT/Class/v_Class_g01_c01.avi, ROOT/UCF-101/Class/... or, all in one folder, ROOT/v_Class_g01_c01.avi.
    Those of the list that are absent or unreadable are told in `missing`: the records are then a subset. Those cut short
    or damaged are among the records, and told in `damaged`.

    Args:
        root: the folder of videos, indexed by `videossl index`.
        split: 1, 2 or 3 for the official lists.
        train: the training list, otherwise the test list.
        size: height and width in pixels that frames are scaled to; None leaves them as filmed.
        lists: folder with classInd.txt, trainlist01.txt, ...; by default `root`, or ucfTrainTestlist in it or beside
            it. Other lists than the official ones, of this format, give records without the benchmark's name.
        index: the index, where it is not `root`/index.json.

    Records hold "frames", "name" (Class/v_Class_g01_c01), "label" (0 to 100, in the order of classInd.txt), "group"
    (g01 to g25: the 4 to 7 clips of a class that share a person and a place) and "motion".

    Raises:
        FileNotFoundError: the folder, its index or a list file is not there.
        ValueError: the list contradicts classInd.txt; no video of it is there; or files changed since they were
            indexed.
    """
    root = Path(root)
    videos = read_index(root, index)
    lists = lists_folder(root, lists, "ucfTrainTestlist", "classInd.txt")
    path = lists / f"{'train' if train else 'test'}list{split:02}.txt"
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in lists.glob("t*list??.txt"))) or "no list"
        raise FileNotFoundError(f"{path} is not there: {lists} has {there}")
    classes = read_classes(lists / "classInd.txt")
    names = read_list(path, classes)
    wanted = []
    for name in names:
        kind, file = name.split("/")
        stem = Path(file).stem
        rest = {"label": classes.index(kind), "group": numbered_group(stem) or stem}
        wanted.append((f"{kind}/{stem}", [name, f"UCF-101/{name}", file], rest))
    records, missing, damaged = gather(root, videos, wanted, size, command(root, index))
    official = OFFICIAL.get(path.name) == hashlib.sha256("\n".join(classes + sorted(names)).encode()).hexdigest()
    benchmark = "UCF101" if official else None
    series, part = benchmark or lists.resolve().name, "train" if train else "test"
    return Records(records, series, split, part, classes, benchmark, missing, damaged)


def read_classes(path: Path) -> list[str]:
    """The classes of a classInd.txt, whose lines are "1 ApplyEyeMakeup", numbered from 1."""
    lines = [line.split(maxsplit=1) for line in path.read_text().splitlines() if line.strip()]
    if not lines or [line[0] for line in lines] != [str(n) for n in range(1, len(lines) + 1)]:
        raise ValueError(f"{path} should number the classes from 1, a line each: `1 ApplyEyeMakeup`")
    if bad := [line[0] for line in lines if len(line) < 2]:
        raise ValueError(f"{path} names no class for number {bad[0]}")
    return [line[1].strip() for line in lines]


def read_list(path: Path, classes: list[str]) -> list[str]:
    """The videos of a list, whose lines are "Class/video.avi", in training lists followed by the class's number."""
    names = []
    for n, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        found = re.fullmatch(r"([^/]+)/([^/]+?)(?:\s+(\d+))?", line.strip())
        if not found:
            raise ValueError(
                f"{path}, line {n} is {line.strip()!r}, but should be `Class/video.avi`, with or without ` 1`"
            )
        kind, file, number = found.groups()
        if kind not in classes:
            raise ValueError(f"{path}, line {n} has class {kind}, which classInd.txt lacks: are they of one data set?")
        if number and int(number) != classes.index(kind) + 1:
            raise ValueError(
                f"{path}, line {n} gives {kind} the number {number}, but classInd.txt {classes.index(kind) + 1}: "
                "are they of one data set?"
            )
        names.append(f"{kind}/{file}")
    if not names:
        raise ValueError(f"{path} names no video")
    return names
