import inspect
import shutil

import numpy as np
import PIL.Image
import pytest

from videossl.datasets.hmdb51 import hmdb51
from videossl.datasets.sun397 import as_published, sun397

CLASSES = ("a/abbey", "a/apse/indoor", "o/outhouse/outdoor")


@pytest.fixture
def small(tmp_path):
    """Three classes of four images, two to train and two to test, in SUN397's layout."""
    root = tmp_path / "scenes"
    lists = {"Training_01": [], "Testing_01": []}
    for kind in CLASSES:
        (root / kind).mkdir(parents=True)
        for n in range(4):
            name = f"{kind}/sun_{n}.jpg"
            PIL.Image.fromarray(np.full((20 + n, 30, 3), 50, np.uint8)).save(root / name)
            lists["Training_01" if n < 2 else "Testing_01"].append(f"/{name}")
    (root / "ClassName.txt").write_text("".join(f"/{kind}\n" for kind in CLASSES))
    for name, lines in lists.items():
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def test_it_is_called_like_the_data_sets_of_videos():
    assert inspect.signature(sun397) == inspect.signature(hmdb51)


def test_lists_part_the_images_and_classes_may_be_nested(small):
    train, test = sun397(small, size=(8, 8)), sun397(small, train=False)
    assert train.classes == list(CLASSES) and train.name == "scenes split 1 train" and train.benchmark is None
    assert [r["label"] for r in train] == [r["label"] for r in test] == [0, 0, 1, 1, 2, 2]
    assert train[2]["name"] == train[2]["group"] == "a/apse/indoor/sun_0.jpg"
    assert not {r["name"] for r in train} & {r["name"] for r in test} and train.complete
    assert train[0]["frames"][[0]].shape == (1, 3, 8, 8) and test[1]["frames"][[0]].shape == (1, 3, 23, 30)


@pytest.mark.parametrize("layout", ["inside", "beside"])
def test_images_below_sun397_and_lists_in_partitions_are_found(small, layout):
    parts = small / "Partitions" if layout == "inside" else small.parent / "Partitions"
    parts.mkdir()
    for path in small.glob("*.txt"):
        path.rename(parts / path.name)
    (small / "SUN397").mkdir()
    for kind in ("a", "o"):
        shutil.move(small / kind, small / "SUN397" / kind)
    assert len(sun397(small)) == 6 and sun397(small).series == "Partitions"


def test_what_is_missing_or_broken_is_counted_and_named(small):
    (small / "a/abbey/sun_0.jpg").unlink()
    (small / "a/abbey/sun_1.jpg").write_bytes(b"")
    records = sun397(small)
    assert records.missing == {
        "a/abbey/sun_0.jpg": "not there",
        "a/abbey/sun_1.jpg": "unreadable: is empty (0 bytes)",
    }
    assert len(records) == 4 and records.listed == 6 and not records.complete


def test_only_lists_as_large_as_the_published_ones_bear_the_benchmarks_name():
    classes = [f"c/{n}" for n in range(397)]
    lists = [[f"{kind}/{part}{n}.jpg" for kind in classes for n in range(50)] for part in ("a", "b")]
    assert as_published(classes, *lists)
    assert not as_published(classes[1:], *lists) and not as_published(classes, lists[0][1:], lists[1])
    assert not as_published(classes, lists[0], lists[0])


def test_lists_that_are_not_there_or_contradict_the_classes_are_refused(small):
    with pytest.raises(
        FileNotFoundError, match=r"Training_03.txt is not there: .* has Testing_01.txt, Training_01.txt"
    ):
        sun397(small, split=3)
    with pytest.raises(ValueError, match="sun397 has no index"):
        sun397(small, index=small / "index.json")
    (small / "Testing_01.txt").write_text("/a/abbey/sun_2.jpg\n/a/attic/sun_2.jpg\n")
    with pytest.raises(ValueError, match=r"line 2 is '/a/attic/sun_2.jpg', but should be an image of a class in"):
        sun397(small)
    (small / "Testing_01.txt").write_text("/a/abbey/sun_2.jpg\n/a/abbey/sun_2.jpg\n")
    with pytest.raises(ValueError, match=r"sun_2.jpg is listed twice"):
        sun397(small, train=False)
    (small / "ClassName.txt").write_text("/a/abbey\n/a/abbey\n")
    with pytest.raises(ValueError, match="names /a/abbey twice"):
        sun397(small)
    (small / "ClassName.txt").unlink()
    with pytest.raises(FileNotFoundError, match="no list files"):
        sun397(small)
