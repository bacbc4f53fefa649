from dataclasses import replace

import numpy as np
import pytest

from videossl.datasets.records import Records
from videossl.experiments import touched
from videossl.experiments.curious_robot import SMALL_HEADS
from videossl.experiments.touched import collected, read

pytest.importorskip("pybullet", reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone")
FEW = {"grasp": 20, "push": 10, "poke": 20, "identity": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return collected(tmp_path_factory.mktemp("touched") / "data", FEW, 1, size=32)


def test_every_task_is_read_and_its_pictures_are_scaled_once_for_all(folder, monkeypatch):
    first = read(folder, folder / "pictures", 16, SMALL_HEADS)
    assert list(first.tasks) == list(touched.TASKS) and len(first.tasks["grasp"]) == 20
    assert first.tasks["push"][3]["frames"].shape == (2, 3, 16, 16)
    stored = touched._records(folder, "push", True)[3]
    full = stored["frames"][np.arange(2)].float()
    small = next(r for r in first.tasks["push"] if r["name"] == stored["name"])["frames"].float()
    assert abs(full.mean() - small.mean()) < 1
    monkeypatch.setattr(touched, "replace", None)  # nothing is scaled again
    again = read(folder, folder / "pictures", 16, SMALL_HEADS)
    assert again.tasks["poke"][0]["frames"].equal(first.tasks["poke"][0]["frames"])
    monkeypatch.setattr(touched, "collect", None)  # is there: nothing is collected
    assert collected(folder, FEW, 1, size=32) == folder


def test_held_out_scenes_are_none_of_those_to_train_on(folder):
    train, held_out = (read(folder, folder / "pictures", 16, SMALL_HEADS, part=part) for part in (True, False))
    for task in ("grasp", "identity"):
        groups = [{record["group"] for record in part.tasks[task]} for part in (train, held_out)]
        assert groups[0] and groups[1] and not groups[0] & groups[1]


def test_each_picture_is_labelled_by_what_it_shows(folder):
    found = read(folder, folder / "pictures", 16, SMALL_HEADS)
    pictures = found.pictures()
    assert len(pictures) == sum(len(r["frames"]) for records in found.tasks.values() for r in records)
    assert all(picture["frames"].shape == (1, 3, 16, 16) for picture in pictures)
    pairs = found.tasks["identity"]
    labels = [picture["label"] for picture in pictures[-2 * len(pairs) :]]
    assert labels[0::2] == [r["label"] for r in pairs] and labels[1::2] == [int(r["other_category"]) for r in pairs]
    assert any(a != b for a, b in zip(labels[0::2], labels[1::2], strict=True))


def test_a_folder_that_lacks_a_task_goes_on_only_if_asked_to(folder, tmp_path):
    (tmp_path / "grasp").symlink_to(folder / "grasp")
    with pytest.raises(FileNotFoundError, match=r"holds no interactions of push and poke and identity.*--without push"):
        read(tmp_path, tmp_path / "pictures", 16, SMALL_HEADS)
    found = read(tmp_path, tmp_path / "pictures", 16, SMALL_HEADS, without=("push", "poke", "identity"))
    assert list(found.tasks) == ["grasp"]
    with pytest.raises(FileNotFoundError, match="no interactions of any task"):
        read(tmp_path, tmp_path / "pictures", 16, SMALL_HEADS, without=touched.TASKS)


def test_pokes_without_a_line_are_left_out_and_a_line_says_so(folder, monkeypatch, capsys):
    whole = touched._records

    def spoiled(place, task, train):
        records = whole(place, task, train)
        if task == "poke":
            for record in records:
                record["valid"] = False
        return records

    monkeypatch.setattr(touched, "_records", spoiled)
    with pytest.raises(ValueError, match=r"none of 20 interactions of poke can be learned from: the force .* no line"):
        read(folder, folder / "pictures", 16, SMALL_HEADS)
    assert "poke: 20 of 20 are left out" in capsys.readouterr().out


def test_pictures_of_several_sizes_are_refused(folder):
    records = touched._records(folder, "grasp", True)
    other = {**records[0], "intrinsics": records[0]["intrinsics"] * 2 + 0.5}
    with pytest.raises(ValueError, match="grasp has pictures of 32 and 6"):
        touched._at_hand([*records, other], folder / "pictures", "grasp-test", 16)


def test_pictures_of_several_cameras_are_refused(folder):
    records, pushes = (touched._records(folder, task, True) for task in ("grasp", "push"))
    assert touched.side_of(records[0]) == 32
    with pytest.raises(ValueError, match=r"grasp has pictures of cameras that see 0\.20 and 0\.45 m of the table"):
        touched._at_hand([*records, pushes[0]], folder / "pictures", "grasp-test", 16)


def test_too_few_scenes_to_hold_some_out_are_said(folder, monkeypatch):
    monkeypatch.setattr(touched, "_records", lambda folder, task, train: Records([], task))
    with pytest.raises(ValueError, match=r"no scene of grasp in this part of the data \(every fifth is held out\)"):
        read(folder, folder / "pictures", 16, SMALL_HEADS, part=False)


def test_a_layer_that_the_trunk_lacks_is_said(folder):
    from videossl.models.small import Small

    with pytest.raises(ValueError, match="SmallTrunk has no layer 'conv9' for a head to branch from"):
        replace(SMALL_HEADS["grasp"], branch="conv9").build(Small(length=1).build())
