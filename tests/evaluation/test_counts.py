"""How many videos each published protocol is about, by the official lists and an index made of their names alone."""

import os
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest

from videossl.datasets.entries import Entries, save_index
from videossl.datasets.frames import stamp
from videossl.datasets.hmdb51 import hmdb51
from videossl.datasets.hmdb51 import read_list as read_hmdb51
from videossl.datasets.ucf101 import read_classes, ucf101
from videossl.datasets.ucf101 import read_list as read_ucf101
from videossl.evaluation.probe import HELD_OUT, held_out
from videossl.evaluation.protocols import PUBLISHED
from videossl.models.small import Small

# Soomro et al. 2012 and Kuehne et al. 2011: split -> training and test videos
UCF101 = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}
HMDB51 = {1: (3570, 1530), 2: (3570, 1530), 3: (3570, 1530)}
SHORTEST = 29  # frames that every video is said to have: UCF101's shortest
ACTIONS = [name for name, entry in PUBLISHED.items() if "label" in entry.judge.needs]


def named(root, names: list[str], frames: int = SHORTEST):
    """A folder of videos of these names, which have no contents, and an index that says that all can be read."""
    root.mkdir()
    (root / "one").write_bytes(b"1")
    size, modified = stamp(root / "one")
    entry = {
        "bytes": size,
        "modified": modified,
        "frames": frames,
        "codec": "mpeg4",
        "decoder": "pyav",
        "jumps": [],
        "motion": [1.0] * (frames - 1),
        "error": None,
        "warning": None,
    }
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        os.link(root / "one", root / name)
    save_index(root / "index.json", Entries((name, entry) for name in names), 0, {})
    return root


@pytest.fixture
def ucf(shared, tmp_path_factory):
    root = tmp_path_factory.getbasetemp() / "ucf101_names"
    lists = shared / "ucfTrainTestlist"
    if not root.exists():  # made once for all tests
        classes = read_classes(lists / "classInd.txt")
        both = {name for path in lists.glob("t*list01.txt") for name in read_ucf101(path, classes)}
        assert len(both) == 13320
        named(root, sorted(both))
    return root, lists


@pytest.fixture
def hmdb(shared, tmp_path_factory):
    root = tmp_path_factory.getbasetemp() / "hmdb51_names"
    lists = shared / "testTrainMulti_7030_splits"
    if not root.exists():
        paths = sorted(lists.glob("*_test_split1.txt"))
        both = {f"{path.name.split('_test_split')[0]}/{name}" for path in paths for name, _ in read_hmdb51(path)}
        assert len(both) == 6766
        named(root, sorted(both))
    return root, lists


def used(name: str, train: list[dict], test: list[dict]) -> tuple[int, int]:
    """How many videos a protocol learns from, those that choose an epoch included, and how many it tests."""
    judge = PUBLISHED[name].judge
    views = judge.views.resolved(Small(length=16).build())
    seen = []
    for records in (train, test):
        count = 0
        for frames, number in Counter(len(record["frames"]) for record in records).items():
            with suppress(ValueError):  # of videos that a protocol leaves out
                count += number * (len(views.indices(frames)) > 0)
        seen.append(count)
    return seen[0], seen[1]


@pytest.mark.parametrize("split", [1, 2, 3])
def test_every_protocol_uses_all_videos_of_the_official_lists_of_ucf101(ucf, split):
    root, lists = ucf
    train, test = (ucf101(root, split, part, lists=lists) for part in (True, False))
    assert (len(train), len(test)) == UCF101[split] and sum(UCF101[split]) == 13320
    for records in (train, test):
        assert records.benchmark == "UCF101" and records.complete and len(records.classes) == 101
    assert {name: used(name, train, test) for name in ACTIONS} == dict.fromkeys(ACTIONS, UCF101[split])
    groups = [{(r["label"], r["group"]) for r in records} for records in (train, test)]
    assert not groups[0] & groups[1]


@pytest.mark.parametrize("split", [1, 2, 3])
def test_every_protocol_uses_all_videos_of_the_official_lists_of_hmdb51(hmdb, split):
    root, lists = hmdb
    train, test = (hmdb51(root, split, part, lists=lists) for part in (True, False))
    assert (len(train), len(test)) == HMDB51[split]
    assert train.benchmark == test.benchmark == "HMDB51" and train.complete and test.complete
    assert {name: used(name, train, test) for name in ACTIONS} == dict.fromkeys(ACTIONS, HMDB51[split])


def test_what_published_code_loses_is_counted_here(ucf):
    """VCOP's loader drops the last, broken batch of 8: 1 of 9537 training and 7 of 3783 test videos."""
    root, lists = ucf
    train, test = used("vcop-retrieval", *(ucf101(root, 1, part, lists=lists) for part in (True, False)))
    assert (train % 8, test % 8) == (1, 7)
    assert "loses the last 1 training and 7 test videos" in PUBLISHED["vcop-retrieval"].leaves


def test_only_the_protocol_that_repeats_the_mistake_leaves_short_videos_out():
    lengths = np.arange(1, 60)
    records = [{"frames": range(n)} for n in lengths]
    for name in ACTIONS:
        shortest = 16 if name == "coclr-retrieval-centred" else 1
        assert used(name, [], records) == (0, int((lengths >= shortest).sum())), name


def test_epochs_are_chosen_on_groups_of_the_training_list(ucf):
    root, lists = ucf
    train = ucf101(root, 1, True, lists=lists)
    out = held_out(train, HELD_OUT, seed=0)
    assert HELD_OUT * len(train) <= out.sum() < 1.25 * HELD_OUT * len(train)
    groups = [{r["group"] for r, o in zip(train, out, strict=True) if o == which} for which in (True, False)]
    assert not groups[0] & groups[1]
    assert {r["label"] for r, o in zip(train, out, strict=True) if not o} == set(range(101))
