"""HMDB51, and any data set that is laid out and listed as it is.

Source: Kuehne et al., "HMDB: A Large Video Database for Human Motion Recognition", ICCV 2011.
"""

import hashlib
import re
from pathlib import Path

from videossl.datasets.index import command, read_index
from videossl.datasets.records import Records, gather, lists_folder

# SHA-256 of the sorted lines "class/video flag" of all official lists of a split: only these bear the benchmark's name.
OFFICIAL = {
    1: "495199e6c0a368b199b988878f05ab57ed8dea9699a4e4650d83212c50ec2536",
    2: "5c4c8f0cf126a04e362b22419e50ffb5f3cdf95a55943225a92d54cfda36d03d",
    3: "1ec5241ea743044df2397bee019587a7c6f44ae788178f5bf1d9c67945ccde4e",
}


def hmdb51(
    root: str | Path,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
) -> Records:
    """HMDB51: 6766 videos of 51 actions, 240 pixels high at 30 frames a second; one of three official splits.

    Of each class a split takes 70 videos to train and 30 to test (3570 and 1530 in all) and leaves the others unused.
    Videos are ROOT/class/video.avi, ROOT/hmdb51/class/..., ROOT/hmdb51_org/class/... or all in one folder. Those of the
    list that are absent or unreadable are told in `missing`: the records are then a subset. Those cut short or damaged
    are among the records, and told in `damaged`.

    Args:
        root: the folder of videos, indexed by `videossl index`.
        split: 1, 2 or 3.
        train: the training videos, otherwise the test videos.
        size: height and width in pixels that frames are scaled to; None leaves them as filmed.
        lists: folder with brush_hair_test_split1.txt, ...; by default `root`, or testTrainMulti_7030_splits in it or
            beside it. Other lists than the official ones give records without the benchmark's name.
        index: the index, where it is not `root`/index.json.

    Records hold "frames", "name" (class/video), "label" (0 to 50, classes in alphabetical order), "group" (the film
    that the clip was cut from) and "motion".

    Raises:
        FileNotFoundError: the folder, its index or the lists are not there.
        ValueError: a list is not of this format; no video of it is there; or files changed since they were indexed.
    """
    root = Path(root)
    videos = read_index(root, index)
    lists = lists_folder(root, lists, "testTrainMulti_7030_splits", "*_test_split?.txt")
    ending = f"_test_split{split}.txt"
    paths = {path.name.removesuffix(ending): path for path in lists.glob(f"*{ending}")}
    if not paths:
        splits = sorted({path.stem[-1] for path in lists.glob("*_test_split?.txt")})
        raise FileNotFoundError(f"{lists} has no *{ending}, but those of split {', '.join(splits)}")
    classes = sorted(paths)
    lines = [(kind, *line) for kind in classes for line in read_list(paths[kind])]
    wanted = []
    for kind, file, flag in lines:
        if flag == (1 if train else 2):
            name = f"{kind}/{file}"
            rest = {"label": classes.index(kind), "group": film(file, kind)}
            places = [name, f"hmdb51/{name}", f"hmdb51_org/{name}", file]
            wanted.append((f"{kind}/{Path(file).stem}", places, rest))
    if not wanted:
        raise ValueError(f"{lists} names no {'training' if train else 'test'} video in split {split}")
    records, missing, damaged = gather(root, videos, wanted, size, command(root, index))
    text = "\n".join(sorted(f"{kind}/{file} {flag}" for kind, file, flag in lines))
    official = OFFICIAL.get(split) == hashlib.sha256(text.encode()).hexdigest()
    benchmark = "HMDB51" if official else None
    series, part = benchmark or lists.resolve().name, "train" if train else "test"
    return Records(records, series, split, part, classes, benchmark, missing, damaged)


def read_list(path: Path) -> list[tuple[str, int]]:
    """The videos of a class and their flags: 1 to train, 2 to test, 0 unused."""
    lines = []
    for n, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        found = re.fullmatch(r"([^/]+?)\s+([012])", line.strip())
        if not found:
            raise ValueError(
                f"{path}, line {n} is {line.strip()!r}, but should be `video.avi 1` (1 train, 2 test, 0 unused)"
            )
        lines.append((found[1], int(found[2])))
    return lines


def film(file: str, kind: str) -> str:
    """The film a clip was cut from: what its name has before the class and the clip's properties, or else all of it.

    Names are "<film>_<class>_<body parts>_<camera motion>_np<people>_<direction>_<quality>_<number>.avi". Clips of one
    film occur in several classes; the official lists keep train and test of one class apart by film, not those of
    different classes.
    """
    found = re.fullmatch(rf"(.+)_{re.escape(kind)}_[fhlu]_[cn]m_np\d+_(?:ba|fr|le|ri)_(?:bad|med|goo)_\d+\.\w+", file)
    return found[1] if found else Path(file).stem
