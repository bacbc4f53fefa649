from pathlib import Path

import pytest

from videossl.datasets.drives import Drive, choose_drives, classes_of, gather_drives, read_scenes


@pytest.fixture
def drives() -> list[Drive]:
    """Two drives of each of 20 recordings."""
    return [Drive(f"r{g:02}/{n}", f"r{g:02}", Path(f"r{g:02}") / str(n)) for g in range(20) for n in range(2)]


def names(chosen) -> list[str]:
    return [drive if isinstance(drive, str) else drive.name for drive in chosen[0]]


def test_every_fifth_recording_is_for_testing_and_each_is_once_in_five_splits(tmp_path, drives):
    tested = []
    for split in range(1, 6):
        train, test = (names(choose_drives(tmp_path, drives, {}, split, part, None)) for part in (True, False))
        assert sorted(train + test) == sorted(drive.name for drive in drives) and len(test) == 8
        assert not {name.split("/")[0] for name in train} & {name.split("/")[0] for name in test}
        tested += test
    assert sorted(tested) == sorted(drive.name for drive in drives)
    assert names(choose_drives(tmp_path, drives, {}, 1, False, None))[:2] == ["r04/0", "r04/1"]
    assert names(choose_drives(tmp_path, drives[:4], {}, 1, True, None)) == ["r00/0", "r00/1", "r01/0", "r01/1"]


def test_every_scene_is_tested_though_scenes_take_turns(tmp_path, drives):
    kinds = ("City", "Residential", "Road", "Campus", "Person")
    scenes = {f"r{g:02}": kinds[g % 5] for g in range(20)} | {"r05/0": "City"}
    drives += [Drive(f"s{g:02}", f"s{g:02}", Path(f"s{g:02}")) for g in range(5)]
    scenes |= {f"s{g:02}": kinds[g] for g in range(5)}
    for split in range(1, 6):
        chosen, _ = choose_drives(tmp_path, drives, scenes, split, False, None)
        assert {scenes[drive.group] for drive in chosen} == set(kinds)


def test_too_few_recordings_have_no_test_list(tmp_path, drives):
    with pytest.raises(ValueError, match=r"has 2 recordings, of which every fifth .* none is for testing in split 1"):
        choose_drives(tmp_path, drives[:4], {}, 1, False, None)
    with pytest.raises(ValueError, match="split is 6, but without lists there are 5"):
        choose_drives(tmp_path, drives, {}, 6, True, None)


def test_lists_say_which_drives_and_a_drive_that_is_not_there_is_told(tmp_path, drives):
    (tmp_path / "train.txt").write_text("r03/1\n\nr99/0\nr00/0\n")
    (tmp_path / "test.txt").write_text("r01|2/1\n")
    for lists in (None, tmp_path):
        assert names(choose_drives(tmp_path, drives, {}, 1, True, lists)) == ["r03/1", "r99/0", "r00/0"]
        assert names(choose_drives(tmp_path, drives, {}, 1, False, lists)) == ["r01_2/1"]
    wanted, series = choose_drives(tmp_path, drives, {}, 1, True, None)
    records = gather_drives(tmp_path, wanted, lambda drive: ({"frames": [0, 1]}, ""), {}, series, 1, True)
    assert [record["name"] for record in records] == ["r03/1", "r00/0"] and records.missing == {"r99/0": "not there"}
    assert records.name == f"{tmp_path.name} split 1 train" and records.benchmark is None


def test_where_no_drive_can_be_read_those_that_are_there_are_named_first(tmp_path, drives):
    def read(drive):
        raise ValueError(f"{drive.name}.txt, line 7 has 11 numbers")

    wanted = [*(f"r9{n}/0" for n in range(5)), drives[3]]
    with pytest.raises(ValueError, match=r"none of the 6 drives .*: r01/1 unreadable: r01/1.txt, line 7 .*; r90/0 not"):
        gather_drives(tmp_path, wanted, read, {}, "mine", 1, True)
    with pytest.raises(ValueError, match=r": r90/0 not there; .* name those that are there in train.txt and test.txt$"):
        gather_drives(tmp_path, wanted[:5], read, {}, "mine", 1, True)


@pytest.mark.parametrize(
    ("train", "test", "split", "why"),
    [
        ("r00/0\nr00/1\nr00/0\n", "r01/0\n", 1, "train.txt lists r00/0 twice"),
        ("r00/0\n", "r01/0\nr00/0\n", 1, "r00/0 is both in .*train.txt and in test.txt"),
        ("\n", "r01/0\n", 1, "train.txt names no drive"),
        ("r00/0\n", "r01/0\n", 2, "one train.txt and one test.txt, but split 2 was asked for"),
    ],
)
def test_bad_lists_are_refused(tmp_path, drives, train, test, split, why):
    (tmp_path / "train.txt").write_text(train)
    (tmp_path / "test.txt").write_text(test)
    with pytest.raises(ValueError, match=why):
        choose_drives(tmp_path, drives, {}, split, True, None)


def test_lists_that_are_not_there_are_asked_for(tmp_path, drives):
    with pytest.raises(FileNotFoundError, match=r"train.txt is not there"):
        choose_drives(tmp_path, drives, {}, 1, True, tmp_path / "lists")


def test_scenes_give_labels_in_kittis_order_to_drives_and_to_whole_recordings(tmp_path, drives):
    assert read_scenes(tmp_path) == {} and classes_of({}) == []
    (tmp_path / "scenes.txt").write_text("r00 Road\nr01|x City\n\nr01/1 City\n")
    scenes = read_scenes(tmp_path)
    assert classes_of(scenes) == ["City", "Road"]
    records = gather_drives(tmp_path, drives[:4], lambda drive: ({"frames": [0, 1]}, "odd"), scenes, "mine", 1, True)
    assert [record.get("label") for record in records] == [1, 1, None, 0] and records.classes == ["City", "Road"]
    assert records.damaged == {drive.name: "odd" for drive in drives[:4]}


@pytest.mark.parametrize("line", ["r01 Motorway", "r01", "r01 City Road"])
def test_a_scene_that_kitti_does_not_know_is_refused(tmp_path, line):
    (tmp_path / "scenes.txt").write_text(f"r00 City\n{line}\n")
    with pytest.raises(ValueError, match=r"scenes.txt, line 2 is .* of City, Residential, Road, Campus, Person"):
        read_scenes(tmp_path)
