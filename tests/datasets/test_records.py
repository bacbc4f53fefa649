import inspect
import os
import pickle

import numpy as np
import pytest

from videossl.datasets.hmdb51 import hmdb51
from videossl.datasets.index import index_videos
from videossl.datasets.records import Records, by_group
from videossl.datasets.ucf101 import ucf101
from videossl.datasets.video_folder import video_folder


def made(groups: dict[str, list[int]]) -> list[dict]:
    return [{"name": f"{g}/{n}", "group": g, "label": k} for g, labels in groups.items() for n, k in enumerate(labels)]


def test_records_know_how_much_of_the_list_they_are_and_a_slice_does_not():
    records = Records(made({"g01": [0, 1]}), "UCF101", 1, "test", ["a", "b"], "UCF101", {"x": "not there"})
    assert (records.listed, records.complete) == (3, False)
    assert records.summary() == "UCF101 split 1 test: 2 of 3 videos (1 not there, 0 unreadable)"
    records.missing["y"] = "unreadable: is empty (0 bytes)"
    assert records.summary().endswith("(1 not there, 1 unreadable: y is empty (0 bytes))")
    whole = Records(made({"g01": [0, 1]}), "some", classes=["a", "b"])
    assert whole.complete and whole.summary() == "some: 2 of 2 videos"
    assert type(whole[:1]) is list and not hasattr(whole[:1], "benchmark")
    whole.pop()
    assert not whole.complete
    copy = pickle.loads(pickle.dumps(records))
    assert copy == records and vars(copy) == vars(records)


def test_the_name_is_made_of_what_it_says():
    def names(*parts):
        return [part.name for part in (Records([], *parts), *by_group(Records(records, *parts), 0.2))]

    records = made({"g01": [0], "g02": [0], "g03": [0]})
    mine, rest, held = names("mine")
    assert (mine, rest, held) == ("mine", "mine (without 1 group)", "mine (only 1 group)")
    assert names("UCF101", 2, "train") == [
        "UCF101 split 2 train",
        "UCF101 split 2 train (without 1 group)",
        "UCF101 split 2 train (only 1 group)",
    ]
    whole = Records(records, "UCF101", 2, "train")
    assert all((part.series, part.split) == ("UCF101", 2) for part in (whole, *by_group(whole)))


def test_a_damaged_video_is_among_the_records_but_they_are_not_complete():
    records = Records(
        made({"g01": [0], "g02": [0]}), "mine", missing={"x": "not there"}, damaged={"g01/0": "ends after 2 of 9"}
    )
    assert records.listed == 3 and not records.complete
    assert records.summary() == (
        "mine: 2 of 3 videos (1 not there, 0 unreadable), 1 cut short or damaged: g01/0 ends after 2 of 9"
    )
    records.missing.clear()
    records.damaged["g02/0"] = "has 1 damaged frame"
    assert not records.complete
    assert records.summary().endswith("3 videos, 2 cut short or damaged: g01/0 ends after 2 of 9, ...")
    train, held = by_group(records, 0.5)  # each knows its own
    assert train.damaged.keys() | held.damaged.keys() == {"g01/0", "g02/0"}
    assert len(train.damaged) == len(held.damaged) == 1


@pytest.mark.parametrize("read", [ucf101, hmdb51, video_folder])
def test_every_data_set_tells_which_videos_are_cut_short(tmp_path, shared, film, counting, read):
    whole = (shared / "video_formats" / "video2.avi").read_bytes()
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "cut.avi").write_bytes(whole[: len(whole) // 2])
    film(tmp_path / "A" / "fine.avi", counting[:4])
    (tmp_path / "classInd.txt").write_text("1 A\n")
    (tmp_path / "trainlist01.txt").write_text("A/cut.avi 1\nA/fine.avi 1\n")
    (tmp_path / "A_test_split1.txt").write_text("cut.avi 1\nfine.avi 1\n")
    index_videos(tmp_path, workers=1, progress=False, decoder="pyav")
    records = read(tmp_path, 1, True, None, None, None)
    assert len(records) == 2 and not records.missing and not records.complete
    ((name, why),) = records.damaged.items()
    assert name.startswith("A/cut") and "of 120 declared frames" in why
    assert "1 cut short or damaged: A/cut" in records.summary()


def test_all_data_sets_are_called_alike():
    ucf, hmdb, folder = (inspect.signature(read) for read in (ucf101, hmdb51, video_folder))
    assert ucf == hmdb == folder


@pytest.mark.parametrize("name", ["clip.gif", ".hidden.avi", ".hidden/clip.avi"])
def test_a_listed_file_that_indexing_passes_over_is_not_said_to_need_indexing(tmp_path, film, counting, name):
    film(tmp_path / "A" / "fine.avi", counting[:4])
    place = tmp_path / "A" / name if name.count("/") == 0 else tmp_path / name
    place.parent.mkdir(exist_ok=True)
    place.write_bytes((tmp_path / "A" / "fine.avi").read_bytes())
    listed = place.relative_to(tmp_path).as_posix()
    classes = sorted({"A", listed.split("/")[0]}, reverse=True)
    (tmp_path / "classInd.txt").write_text("".join(f"{n} {kind}\n" for n, kind in enumerate(classes, 1)))
    (tmp_path / "testlist01.txt").write_text(f"A/fine.avi\n{listed}\n")
    index_videos(tmp_path, workers=1, progress=False, decoder="pyav")
    records = ucf101(tmp_path, train=False)
    assert len(records) == 1
    (why,) = records.missing.values()
    assert why == f"unreadable: {listed} is hidden or not named as a video, so indexing passes it over"


def test_lists_that_are_not_where_they_were_said_to_be_have_no_usual_place(tmp_path, film, counting):
    film(tmp_path / "A" / "a.avi", counting[:4])
    index_videos(tmp_path, workers=1, progress=False, decoder="pyav")
    with pytest.raises(FileNotFoundError, match="or put it there as ucfTrainTestlist"):
        ucf101(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"give their folder as `lists`$"):
        ucf101(tmp_path, lists=tmp_path / "A")


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_on_both_sides_of_the_cut(seed):
    rng = np.random.default_rng(seed)
    records = made({f"g{g:02}": list(rng.integers(0, 3, rng.integers(3, 9))) for g in range(1, 19)})
    train, held = by_group(records, 0.2, seed)
    assert not {r["group"] for r in train} & {r["group"] for r in held}
    assert sorted(r["name"] for r in train + held) == sorted(r["name"] for r in records)
    assert 0.2 <= len(held) / len(records) < 0.2 + 8 / len(records)  # over the share by less than a group
    assert {r["label"] for r in train} == {0, 1, 2}
    assert by_group(records, 0.2, seed) == (train, held)
    assert by_group(records, 0.2, seed + 100) != (train, held)


def test_a_group_with_all_videos_of_a_class_is_not_held_out():
    records = made({"only": [2, 2, 0], "g01": [0, 1], "g02": [0, 1], "g03": [0, 1]})
    for seed in range(10):
        train, held = by_group(records, 0.5, seed)
        assert "only" not in {r["group"] for r in held} and {r["label"] for r in train} == {0, 1, 2}


def test_a_cut_that_cannot_be_made_is_refused():
    with pytest.raises(ValueError, match=r"1 group \['g01'\], but two are needed"):
        by_group(made({"g01": [0, 1]}))
    with pytest.raises(ValueError, match="each of the 2 groups holds all videos of some class"):
        by_group(made({"g01": [0], "g02": [1]}))
    with pytest.raises(ValueError, match="between 0 and 1"):
        by_group(made({"g01": [0], "g02": [0]}), share=20)


def test_the_training_list_of_real_videos_is_cut_by_recording(shared, tmp_path):
    index_videos(shared / "ceiling_actions", tmp_path / "i.json", workers=1, progress=False, decoder="pyav")
    records = ucf101(shared / "ceiling_actions", index=tmp_path / "i.json")
    assert records.complete and records.benchmark is None and len(records) == 145
    train, held = by_group(records)
    assert len(train) + len(held) == 145 and len(held) >= 29
    assert not {r["group"] for r in train} & {r["group"] for r in held}
    assert held.classes == records.classes and held.benchmark is None
    assert (held.series, held.split) == (records.series, records.split) == ("ceiling_actions", 1)


def test_files_that_are_not_as_indexed_are_named_and_the_command_too(tmp_path, film, counting):
    for name in ("a", "b", "c"):
        film(tmp_path / f"{name}.avi", counting[:4])
    index_videos(tmp_path, workers=1, progress=False, decoder="pyav")
    assert len(video_folder(tmp_path)) == 3
    os.utime(tmp_path / "b.avi", (1, 1))
    with pytest.raises(
        ValueError, match=r"1 of the videos .* changed since they were indexed: b.avi. Run `videossl index"
    ):
        video_folder(tmp_path)
    film(tmp_path / "b.avi", counting[:9])
    with pytest.raises(ValueError, match=r"changed since they were indexed: b.avi"):
        video_folder(tmp_path)
    index_videos(tmp_path, workers=1, progress=False, decoder="pyav")
    assert [len(record["frames"]) for record in video_folder(tmp_path)] == [4, 9, 4]
    film(tmp_path / "d.avi", counting[:4])
    with pytest.raises(ValueError, match=r"1 of the videos .* are not in the index yet: d.avi. Run `videossl index"):
        video_folder(tmp_path)
