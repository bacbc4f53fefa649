import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

import videossl.datasets.index as index_module
from videossl.datasets.index import find, index_videos, read_index
from videossl.experiments.index import Index, index

# name: frames, height, width, rate, codec; from the README of the folder. Frame counts are those of a full decode.
FORMATS = {
    "av1_video.mkv": (125, 360, 640, 25, "av1"),
    "bikes.mp4": (250, 272, 640, 25, "h264"),
    "demo.mp4": (280, 256, 340, 28, "h264"),
    "flipping_a_pancake.mkv": (310, 240, 426, 30, "h264"),
    "h265_10bits.mp4": (30, 200, 200, 30, "hevc"),
    "long_ceiling_20200627_185209.mp4": (2301, 240, 320, 25, "h264"),
    "nasa_13013.mp4": (325, 180, 320, 25, "h264"),
    "part_0.mp4": (32, 256, 340, 30, "h264"),
    "smth-smth-1.webm": (47, 240, 427, 12, "vp9"),
    "video2.avi": (120, 240, 320, 25, "mpeg4"),
    "video2.webm": (120, 240, 320, 25, "vp8"),
    "video_0.mov": (3, 320, 568, 30, "h264"),
    "video_90.mov": (3, 568, 320, 30, "h264"),  # upright
    "video_large.webm": (116, 480, 640, 24, "vp9"),
    "video_large_mpeg4.mp4": (145, 480, 640, 29.97, "mpeg4"),
}


@pytest.fixture
def folder(tmp_path, film, counting) -> Path:
    """Three videos, one of them in a sub-folder."""
    for n, name in enumerate(["a.avi", "b.MKV", "sub/c.avi"]):
        film(tmp_path / "videos" / name, counting[: 10 + n])
    return tmp_path / "videos"


@pytest.fixture
def surveyed(monkeypatch) -> list[str]:
    """Names of the files that are decoded, as it goes."""
    names = []

    def survey(path):
        names.append(path.name)
        return original(path)

    original = index_module.survey
    monkeypatch.setattr(index_module, "survey", survey)
    return names


def make(folder: Path, **options) -> dict:
    return index_videos(folder, workers=1, progress=False, **{"decoder": "pyav", **options})


def test_every_format_has_the_frames_and_size_that_are_published(shared, tmp_path):
    found = make(shared / "video_formats", out=tmp_path / "index.json")
    entries = read_index(shared / "video_formats", tmp_path / "index.json")
    assert entries == found["videos"] and len(entries) == 17
    keys = ("frames", "height", "width", "rate", "codec")
    assert {name: tuple(entries[name][key] for key in keys) for name in FORMATS} == FORMATS
    assert entries["unordered.mov"]["frames"] == 4
    for name, entry in entries.items():
        assert len(entry["motion"]) == entry["frames"] - 1
        assert entry["bytes"] == (shared / "video_formats" / name).stat().st_size
    assert found["unreadable"].keys() == {"corrupted.mp4"} and not found["warnings"]
    assert "decoding fails after 28 of 50 declared frames" in found["unreadable"]["corrupted.mp4"]
    assert found["others"] == {".md": 1}


def test_broken_files_are_reported_and_nothing_else_is_lost(shared, folder):
    avi = (shared / "video_formats" / "video2.avi").read_bytes()
    mp4 = (shared / "video_formats" / "bikes.mp4").read_bytes()
    webm = (shared / "video_formats" / "video2.webm").read_bytes()
    (folder / "half.avi").write_bytes(avi[: len(avi) // 2])
    (folder / "half.mp4").write_bytes(mp4[: len(mp4) // 2])
    (folder / "half.webm").write_bytes(webm[: len(webm) // 2])
    (folder / "zero.avi").write_bytes(b"")
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    (folder / "noise.mkv").write_bytes(np.random.default_rng(0).bytes(50_000))
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    (folder / "folder.avi").mkdir()
    shutil.copy(folder / "a.avi", folder / "folder.avi" / "inside.avi")
    (folder / "gone.avi").symlink_to("nowhere.avi")
    (folder / "round.avi").symlink_to("round.avi")
    os.mkfifo(folder / "pipe.avi")

    found = make(folder)
    errors = found["unreadable"]
    assert errors["zero.avi"] == "is empty (0 bytes)"
    assert errors["sound.mp4"] == "holds no video stream (only audio)"
    assert errors["folder.avi"] == "is a folder, not a video file"
    assert errors["gone.avi"] == "is a link to nowhere.avi, which is not there"
    assert errors["pipe.avi"] == "is a device or pipe, not a video file"
    assert errors["round.avi"].startswith("cannot be opened")
    for name in ("half.mp4", "text.mp4", "noise.mkv"):
        assert errors[name].startswith("is not a video that can be opened")
    assert len(errors) == 9
    assert found["warnings"].keys() == {"half.avi", "half.webm"}
    assert "of 120 declared frames" in found["warnings"]["half.avi"]
    assert "of 4.8 seconds" in found["warnings"]["half.webm"]
    assert 50 < found["videos"]["half.avi"]["frames"] < 70
    fine = {
        name: entry["frames"] for name, entry in found["videos"].items() if not entry["error"] and "half" not in name
    }
    assert fine == {"a.avi": 10, "b.MKV": 11, "sub/c.avi": 12, "folder.avi/inside.avi": 10}


def test_a_second_run_decodes_only_what_is_new_changed_or_was_unreadable(folder, surveyed):
    (folder / "zero.avi").write_bytes(b"")
    first = make(folder)
    assert (first["decoded"], first["kept"]) == (4, 0) and sorted(surveyed) == ["a.avi", "b.MKV", "c.avi", "zero.avi"]
    surveyed.clear()
    shutil.copy(folder / "a.avi", folder / "zero.avi")
    shutil.copy(folder / "a.avi", folder / "sub" / "c.avi")
    os.utime(folder / "b.MKV", (1, 1))  # other time, same size
    (folder / "a.avi").rename(folder / "new.avi")
    second = make(folder)
    assert sorted(surveyed) == ["b.MKV", "c.avi", "new.avi", "zero.avi"]
    assert second["videos"].keys() == {"b.MKV", "new.avi", "sub/c.avi", "zero.avi"}  # what is gone is dropped
    assert second["videos"]["sub/c.avi"]["frames"] == second["videos"]["zero.avi"]["frames"] == 10
    surveyed.clear()
    third = make(folder)
    assert not surveyed and third["kept"] == 4 and third["videos"] == second["videos"]


def test_the_index_has_one_video_a_line_and_names_as_they_are(folder, film, counting):
    odd = ["a:b #1 [x] %03d (1).avi", "Ümläut &;!'\".avi", os.fsdecode(b"latin-\xe9.avi"), "-x.avi"]
    for name in odd:
        film(folder / "plain.avi", counting[:3]).rename(folder / name)
    found = make(folder)
    assert not found["unreadable"]
    assert set(odd) < read_index(folder).keys()
    lines = (folder / "index.json").read_text().splitlines()
    assert len(lines) == 7 + 2
    assert lines[0].startswith('{"format": 2, "kinds": {') and lines[0].endswith('}, "videos": {') and lines[-1] == "}}"
    assert all("frames" in json.loads("{" + line.removesuffix(",") + "}").popitem()[1] for line in lines[1:-1])


def test_an_index_that_cannot_be_written_leaves_the_old_one_whole(folder, film, counting, monkeypatch):
    make(folder)
    before = (folder / "index.json").read_bytes()
    film(folder / "d.avi", counting)
    monkeypatch.setattr(index_module.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match=r"index.json cannot be written \(No space left\): the old one is as it was"):
        make(folder)
    with pytest.raises(OSError, match=r"new.json cannot be written \(No space left\): there is none yet"):
        make(folder, out=folder / "new.json")
    monkeypatch.undo()
    assert (folder / "index.json").read_bytes() == before
    assert sorted(os.listdir(folder)) == [
        "a.avi",
        "b.MKV",
        "d.avi",
        "index.json",
        "sub",
    ]  # nothing half written is left


def test_what_is_done_when_interrupted_is_kept_and_marked_unfinished(folder, monkeypatch, surveyed):
    counted = index_module.survey

    def interrupted(path):
        if len(surveyed) == 2:
            raise KeyboardInterrupt
        return counted(path)

    monkeypatch.setattr(index_module, "survey", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(folder)
    with pytest.raises(ValueError, match=r"unfinished: 1 of 3 videos are not in it yet. Run `videossl index .*` again"):
        read_index(folder)
    monkeypatch.setattr(index_module, "survey", counted)
    surveyed.clear()
    assert make(folder)["kept"] == 2 and len(surveyed) == 1
    assert len(read_index(folder)) == 3


def test_workers_find_what_one_process_finds(folder, tmp_path):
    for n in range(40):
        shutil.copy(folder / "a.avi", folder / f"copy{n:02}.avi")
    one = make(folder)["videos"]
    two = index_videos(folder, tmp_path / "two.json", workers=2, progress=False, decoder="pyav")["videos"]
    assert one == two and list(one) == list(two)


def test_links_are_followed_loops_are_not_and_hidden_files_are_left_out(folder, tmp_path):
    (folder / "link").symlink_to(folder / "sub")
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "._a.avi").write_bytes(b"resource fork")
    (folder / "notes.txt").write_text("x")
    names, others = find(folder)
    assert names == ["a.avi", "b.MKV", "link/c.avi", "sub/c.avi"]
    assert others == {".txt": 1}


def test_a_folder_without_readable_videos_is_an_error_and_nothing_is_written(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere is not there"):
        make(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="no files at all"):
        make(empty)
    (empty / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"other files: 1 .txt"):
        make(empty)
    (empty / "x.avi").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no readable video.* Of 1 unreadable: x.avi is empty \(0 bytes\)"):
        make(empty)
    with pytest.raises(NotADirectoryError, match=r"x.avi is a file"):
        make(empty / "x.avi")
    assert sorted(os.listdir(empty)) == ["notes.txt", "x.avi"]


def test_nothing_else_is_overwritten(folder, film, tmp_path, counting):
    (tmp_path / "other.json").write_text('{"mine": 1}')
    with pytest.raises(ValueError, match="no index of videos, but some other JSON"):
        make(folder, out=tmp_path / "other.json")
    with pytest.raises(ValueError, match="nor JSON at all"):
        make(folder, out=folder / "a.avi")
    film(tmp_path / "elsewhere" / "z.avi", counting)
    make(tmp_path / "elsewhere", out=tmp_path / "index.json")
    with pytest.raises(ValueError, match=r"index of another folder.*--out"):
        make(folder, out=tmp_path / "index.json")
    assert (tmp_path / "other.json").read_text() == '{"mine": 1}'
    assert read_index(tmp_path / "elsewhere", tmp_path / "index.json").keys() == {"z.avi"}


def test_a_place_that_cannot_be_written_is_noticed_before_decoding(folder, tmp_path, monkeypatch, surveyed):
    with pytest.raises(IsADirectoryError, match="--out is the file to write"):
        make(folder, out=tmp_path)
    with pytest.raises(FileNotFoundError, match="make the folder first"):
        make(folder, out=tmp_path / "no" / "index.json")

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(OSError, match=r"cannot be written \(Read-only file system\).*--out FILE"):
        make(folder)
    assert not surveyed


def test_reading_an_index_that_is_not_there_names_the_command(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`videossl index .*videos`"):
        read_index(folder)
    with pytest.raises(FileNotFoundError, match=r"`videossl index .*videos --out .*i.json`"):
        read_index(folder, tmp_path / "i.json")
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        read_index(tmp_path / "nowhere")
    (folder / "index.json").write_text('{"format": 0, "videos": {}}')
    with pytest.raises(ValueError, match="format 0, but 2 is needed: run `videossl index"):
        read_index(folder)
    assert len(make(folder)["videos"]) == 3  # and that command mends it


def test_the_command_says_what_was_found_and_why_files_are_unreadable(folder, film, counting, capsys):
    for n in range(25):
        (folder / f"zero{n:02}.avi").write_bytes(b"")
    whole = film(folder / "cut.avi", counting, lossless=False).read_bytes()
    (folder / "cut.avi").write_bytes(whole[: len(whole) * 2 // 3])
    index(Index(folder, workers=1))
    said = capsys.readouterr().out
    assert "29: 4 readable, 25 unreadable" in said
    assert "64x48 (4)" in said and "ffv1 (3), mpeg4 (1)" in said and "29 videos decoded" in said
    assert "zero19.avi is empty (0 bytes)" in said and "zero20" not in said and "... and 5 more" in said
    assert "cut.avi ends after" in said
