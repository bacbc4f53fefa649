import pytest

from videossl.datasets.index import index_videos
from videossl.datasets.video_folder import video_folder


def test_sub_folders_give_labels_at_any_depth(tmp_path, film, counting):
    for n, name in enumerate(["walk/b.avi", "walk/day 1/a.avi", "fall/v_fall_g03_c01.avi", "fall/v_fall_g03_c02.avi"]):
        film(tmp_path / name, counting[: 5 + n])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.mp4").write_bytes(b"")
    index_videos(tmp_path, workers=1, progress=False, decoder="pyav")
    records = video_folder(tmp_path)
    assert records.classes == ["broken", "fall", "walk"] and records.benchmark is None
    assert [(r["name"], r["label"], r["group"], len(r["frames"])) for r in records] == [
        ("fall/v_fall_g03_c01.avi", 1, "g03", 7),
        ("fall/v_fall_g03_c02.avi", 1, "g03", 8),
        ("walk/b.avi", 2, "walk/b.avi", 5),
        ("walk/day 1/a.avi", 2, "walk/day 1/a.avi", 6),
    ]
    assert records.missing == {"broken/x.mp4": "unreadable: is empty (0 bytes)"} and records.listed == 5
    assert records.summary() == (
        f"{tmp_path.name}: 4 of 5 videos (0 not there, 1 unreadable: broken/x.mp4 is empty (0 bytes))"
    )


def test_a_flat_folder_has_no_labels_nor_has_a_mixed_one(tmp_path, film, counting):
    film(tmp_path / "a.avi", counting[:5])
    film(tmp_path / "b.avi", counting[:5])
    index_videos(tmp_path, workers=1, progress=False, decoder="pyav")
    assert all("label" not in r for r in video_folder(tmp_path)) and video_folder(tmp_path).classes == []
    film(tmp_path / "walk" / "c.avi", counting[:5])
    index_videos(tmp_path, workers=1, progress=False, decoder="pyav")
    records = video_folder(tmp_path, size=(12, 16))
    assert len(records) == 3 and all("label" not in r for r in records)
    assert records[2]["frames"][[0, 1]].shape == (2, 3, 12, 16)
    (tmp_path / "a.avi").unlink()
    records = video_folder(tmp_path)
    assert records.missing == {"a.avi": "not there"} and len(records) == 2
    for name in ("b.avi", "walk/c.avi"):
        (tmp_path / name).unlink()
    with pytest.raises(ValueError, match="bring them back, or give another folder"):  # there are no lists to give
        video_folder(tmp_path)


def test_it_has_one_list(tmp_path, film, counting):
    film(tmp_path / "a.avi", counting[:5])
    index_videos(tmp_path, workers=1, progress=False, decoder="pyav")
    assert (video_folder(tmp_path).series, video_folder(tmp_path).split) == (tmp_path.name, None)
    for wrong, found in (
        ({"train": False}, "has no test list: .*"),
        ({"split": 2}, "has one list, but split 2 was asked for: .*"),
        ({"lists": tmp_path}, "takes no lists, but .* was given: .*"),
    ):
        with pytest.raises(ValueError, match=found + r"testlist01.txt\) and read it as ucf101"):
            video_folder(tmp_path, **wrong)


def test_real_clips_of_many_sizes_and_rates(shared, tmp_path):
    index_videos(shared / "fight_surv", tmp_path / "i.json", workers=1, progress=False, decoder="pyav")
    records = video_folder(shared / "fight_surv", size=(64, 80), index=tmp_path / "i.json")
    assert len(records) == 32 and records.complete and records.classes == ["fight", "noFight"]
    assert [r["label"] for r in records].count(0) == 16
    counts = [len(r["frames"]) for r in records]
    assert (min(counts), max(counts)) == (39, 104)
    assert records[0]["frames"][[3, 0]].shape == (2, 3, 64, 80)


def test_a_folder_that_is_not_indexed_or_not_there_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        video_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="`videossl index"):
        video_folder(tmp_path)
