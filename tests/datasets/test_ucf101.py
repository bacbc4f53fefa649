import shutil

import numpy as np
import pytest

from videossl.datasets.index import index_videos
from videossl.datasets.ucf101 import ucf101

SIZES = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}  # train, test; Soomro et al. 2012, 13320 videos in all


@pytest.fixture
def subset(shared, tmp_path_factory):
    """The subset of UCF101 and its index, written once for all tests: a second run decodes nothing."""
    out = tmp_path_factory.getbasetemp() / "ucf101.json"
    index_videos(shared / "UCF-101", out, workers=1, progress=False, decoder="pyav")
    return shared / "UCF-101", out


@pytest.fixture
def small(tmp_path, film, counting):
    """A data set in UCF101's layout: classes A and B, two groups of two clips each, and lists of it."""
    root = tmp_path / "small"
    lists = {"train": [], "test": []}
    for n, kind in enumerate("AB", 1):
        for group in (1, 2):
            for clip in (1, 2):
                name = f"{kind}/v_{kind}_g{group:02}_c{clip:02}.avi"
                film(root / name, counting[: 3 + clip])
                lists["test" if group == 1 else "train"].append(name if group == 1 else f"{name} {n}")
    (root / "classInd.txt").write_text("1 A\r\n2 B\r\n")
    for kind, lines in lists.items():
        (root / f"{kind}list01.txt").write_text("\r\n".join(lines) + "\r\n\r\n")
    index_videos(root, workers=1, progress=False, decoder="pyav")
    return root


@pytest.mark.parametrize("split", [1, 2, 3])
def test_official_splits_have_the_published_sizes_and_say_how_much_is_there(subset, split):
    root, index = subset
    for train, size in zip((True, False), SIZES[split], strict=True):
        records = ucf101(root, split, train, index=index)
        assert records.listed == size and len(records) + len(records.missing) == size
        assert records.benchmark == "UCF101" and not records.complete and len(records.classes) == 101
        which = "train" if train else "test"
        absent = size - len(records)
        assert records.summary() == (
            f"UCF101 split {split} {which}: {len(records)} of {size} videos ({absent} not there, 0 unreadable)"
        )
        for record in records:
            kind = record["name"].split("/")[0]
            assert records.classes[record["label"]] == kind
            assert f"_{record['group']}_" in record["name"]
            assert record["motion"].shape == (len(record["frames"]) - 1,) and record["motion"].dtype == np.float32
    there = [ucf101(root, split, train, index=index) for train in (True, False)]
    assert sum(map(len, there)) == 35 and not {r["name"] for r in there[0]} & {r["name"] for r in there[1]}


def test_other_lists_select_their_videos_and_do_not_bear_the_benchmarks_name(subset, shared):
    root, index = subset
    train = ucf101(root, 1, True, lists=shared / "ucfMiniTrainTestlist", index=index, size=(32, 40))
    test = ucf101(root, 1, False, lists=shared / "ucfMiniTrainTestlist", index=index)
    assert (len(train), len(test)) == (22, 11) and train.complete and test.complete
    assert train.name == "ucfMiniTrainTestlist split 1 train" and train.benchmark is None
    assert train.classes == ["Punch", "YoYo"] and {r["label"] for r in train} == {0, 1}
    assert not {(r["label"], r["group"]) for r in train} & {(r["label"], r["group"]) for r in test}
    assert train[0]["frames"][[0, 5]].shape == (2, 3, 32, 40)
    assert test[0]["frames"][0].shape == (3, 240, 320)


def test_a_changed_official_list_loses_the_name(subset, shared, tmp_path):
    root, index = subset
    shutil.copytree(shared / "ucfTrainTestlist", tmp_path / "lists")
    path = tmp_path / "lists" / "testlist01.txt"
    path.chmod(0o644)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(reversed(lines)))  # the order of lines does not matter
    assert ucf101(root, 1, False, lists=tmp_path / "lists", index=index).benchmark == "UCF101"
    path.write_text("\n".join(lines[1:]))
    records = ucf101(root, 1, False, lists=tmp_path / "lists", index=index)
    assert records.benchmark is None and records.name == "lists split 1 test" and records.listed == 3782


@pytest.mark.parametrize("layout", ["class folders", "below UCF-101", "flat"])
def test_videos_are_found_in_each_layout(small, layout):
    before = {r["name"]: len(r["frames"]) for r in ucf101(small)}
    (small / "index.json").unlink()
    if layout == "below UCF-101":
        (small / "UCF-101").mkdir()
        for kind in "AB":
            (small / kind).rename(small / "UCF-101" / kind)
    if layout == "flat":
        for path in sorted(small.glob("*/*.avi")):
            path.rename(small / path.name)
    index_videos(small, workers=1, progress=False, decoder="pyav")
    records = ucf101(small)
    assert {r["name"]: len(r["frames"]) for r in records} == before and records.complete
    assert [r["label"] for r in records] == [0, 0, 1, 1] and {r["group"] for r in records} == {"g02"}


def test_lists_are_found_in_beside_and_where_told(small, tmp_path):
    for place in (small / "ucfTrainTestlist", tmp_path / "ucfTrainTestlist", tmp_path / "own"):
        place.mkdir()
        for path in [*small.glob("*.txt"), *tmp_path.glob("ucfTrainTestlist/*.txt"), *small.glob("ucf*/*.txt")]:
            path.rename(place / path.name)
        records = ucf101(small, lists=place if place.name == "own" else None)
        assert len(records) == 4 and records.name == f"{place.name} split 1 train"
    with pytest.raises(FileNotFoundError, match=r"no list files \(classInd.txt\) in .*small, .*ucfTrainTestlist"):
        ucf101(small)


def test_a_list_that_is_not_there_is_named_with_those_that_are(small):
    with pytest.raises(
        FileNotFoundError, match=r"trainlist02.txt is not there: .* has testlist01.txt, trainlist01.txt"
    ):
        ucf101(small, split=2)
    with pytest.raises(FileNotFoundError, match="no list files"):
        ucf101(small, lists=small / "A")
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        ucf101(small / "nowhere")


def test_absent_and_unreadable_videos_are_told_and_replaced_by_none(small):
    (small / "A" / "v_A_g02_c01.avi").write_bytes(b"")
    (small / "B" / "v_B_g02_c02.avi").unlink()
    index_videos(small, workers=1, progress=False, decoder="pyav")
    records = ucf101(small)
    assert [r["name"] for r in records] == ["A/v_A_g02_c02", "B/v_B_g02_c01"]
    assert records.missing == {"A/v_A_g02_c01": "unreadable: is empty (0 bytes)", "B/v_B_g02_c02": "not there"}
    assert records.listed == 4 and not records.complete
    (small / "A" / "v_A_g02_c02.avi").unlink()  # after indexing
    assert len(ucf101(small)) == 1
    (small / "B" / "v_B_g02_c01.avi").unlink()
    with pytest.raises(
        ValueError, match=r"holds none of the 4 videos listed .*3 not there, 1 unreadable .*Its index names"
    ):
        ucf101(small)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("A/v_A_g02_c01.avi 2", "line 1 gives A the number 2, but classInd.txt 1"),
        ("C/v_C_g02_c01.avi 1", "line 1 has class C, which classInd.txt lacks"),
        ("v_A_g02_c01.avi", "line 1 is 'v_A_g02_c01.avi', but should be"),
        ("", "names no video"),
        ("A/v_A_g02_c01.avi 1\nA/v_A_g02_c01.avi 1", "is listed twice"),
    ],
)
def test_a_list_of_something_else_is_refused(small, line, said):
    (small / "trainlist01.txt").write_text(line + "\n")
    with pytest.raises(ValueError, match=said):
        ucf101(small)


@pytest.mark.parametrize("text", ["", "A\nB\n", "0 A\n1 B\n", "1 A\n3 B\n", "1 A\n2\n"])
def test_a_class_list_of_another_form_is_refused(small, text):
    (small / "classInd.txt").write_text(text)
    with pytest.raises(ValueError, match=r"classInd.txt (should number|names no class)"):
        ucf101(small)
