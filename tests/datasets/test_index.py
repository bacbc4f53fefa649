import faulthandler
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import videossl.datasets.index as index_module
from videossl.datasets import entries
from videossl.datasets.entries import Entries, load_head, load_index, save_index
from videossl.datasets.index import find, index_videos, read_index
from videossl.datasets.survey import survey
from videossl.datasets.video_folder import video_folder
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


class Surveyed:
    """Names of the files that are decoded, as it goes, in whichever process."""

    def __init__(self, path: Path):
        self.path = path
        path.touch()

    def survey(self, path: Path) -> dict:
        with open(self.path, "a") as file:
            file.write(f"{path.name}\n")
        return survey(path)

    def names(self) -> list[str]:
        return sorted(self.path.read_text().splitlines())

    def clear(self):
        self.path.write_text("")


@pytest.fixture
def surveyed(monkeypatch, forked, tmp_path) -> Surveyed:
    found = Surveyed(tmp_path / "surveyed")
    monkeypatch.setattr(index_module, "survey", found.survey)
    return found


def make(folder: Path, **options) -> dict:
    return index_videos(folder, workers=1, progress=False, **{"decoder": "pyav", **options})


def test_every_format_has_the_frames_and_size_that_are_published(shared, tmp_path):
    found = make(shared / "video_formats", out=tmp_path / "index.json")
    videos = read_index(shared / "video_formats", tmp_path / "index.json")
    assert videos == found["videos"] and len(videos) == 17
    keys = ("frames", "height", "width", "rate", "codec")
    assert {name: tuple(videos[name][key] for key in keys) for name in FORMATS} == FORMATS
    assert videos["unordered.mov"]["frames"] == 4
    for name, entry in videos.items():
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
    assert (first["decoded"], first["kept"]) == (4, 0)
    assert surveyed.names() == ["a.avi", "b.MKV", "c.avi", "zero.avi"]
    surveyed.clear()
    shutil.copy(folder / "a.avi", folder / "zero.avi")
    shutil.copy(folder / "a.avi", folder / "sub" / "c.avi")
    os.utime(folder / "b.MKV", (1, 1))  # other time, same size
    (folder / "a.avi").rename(folder / "new.avi")
    second = make(folder)
    assert surveyed.names() == ["b.MKV", "c.avi", "new.avi", "zero.avi"]
    assert second["videos"].keys() == {"b.MKV", "new.avi", "sub/c.avi", "zero.avi"}  # what is gone is dropped
    assert second["videos"]["sub/c.avi"]["frames"] == second["videos"]["zero.avi"]["frames"] == 10
    surveyed.clear()
    third = make(folder)
    assert not surveyed.names() and third["kept"] == 4 and third["videos"] == second["videos"]


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
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
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


INTERRUPTED = """
import multiprocessing, os, signal, time
from videossl.datasets import index, jobs

def survey(path):
    if path.name == "b.MKV":
        os.kill(os.getppid(), signal.SIGINT)  # as Ctrl-C does
        time.sleep(600)
    return original(path)

original, index.survey = index.survey, survey
jobs.CONTEXT = multiprocessing.get_context("fork")
index.index_videos({root!r}, workers=1, progress=False, decoder="pyav")
"""


def test_what_is_done_when_interrupted_is_kept_and_marked_unfinished(folder, surveyed):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED.format(root=str(folder))], capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT and done.stderr.endswith("KeyboardInterrupt\n")
    with pytest.raises(ValueError, match=r"unfinished: 2 of 3 videos are not in it yet. Run `videossl index .*` again"):
        read_index(folder)
    assert make(folder)["kept"] == 1 and surveyed.names() == ["b.MKV", "c.avi"]
    assert len(read_index(folder)) == 3


def test_a_file_on_which_the_decoder_crashes_or_hangs_is_named_with_the_reason(folder, forked, monkeypatch):
    def reads(path):
        if path.name == "crash.avi":
            faulthandler.disable()  # which would show where
            os.abort()
        if path.name == "hang.avi":
            time.sleep(600)
        if path.name == "bug.avi":
            raise OverflowError("too much")
        return survey(path)

    monkeypatch.setattr(index_module, "survey", reads)
    for name in ("bug.avi", "crash.avi", "hang.avi", *(f"v{n:02}.avi" for n in range(30))):
        shutil.copy(folder / "a.avi", folder / name)
    found = index_videos(folder, workers=2, progress=False, decoder="pyav", limit=2.0)
    assert found["unreadable"] == {
        "bug.avi": f"makes the decoder fail (OverflowError: too much (test_index.py, line {LINE}))",
        "crash.avi": "makes the decoder crash (killed by SIGABRT)",
        "hang.avi": "makes the decoder hang (no sign of life for 2 seconds)",
    }
    videos = read_index(folder)
    assert len(videos) == 36 and videos == found["videos"]
    assert {entry["frames"] for name, entry in videos.items() if name.startswith("v")} == {10}
    crash = videos["crash.avi"]
    assert (crash["frames"], crash["bytes"], crash["motion"]) == (0, (folder / "crash.avi").stat().st_size, [])
    monkeypatch.undo()
    assert not make(folder)["unreadable"]  # they are tried again


LINE = 1 + Path(__file__).read_text().splitlines().index('            raise OverflowError("too much")')


def test_workers_find_what_one_process_finds(folder, tmp_path):
    for n in range(40):
        shutil.copy(folder / "a.avi", folder / f"copy{n:02}.avi")
    one = make(folder)["videos"]
    two = index_videos(folder, tmp_path / "two.json", workers=2, progress=False, decoder="pyav")["videos"]
    assert one == two and list(one) == list(two) == sorted(one)


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

    monkeypatch.setattr(entries.tempfile, "TemporaryFile", refuse)
    with pytest.raises(OSError, match=r"cannot be written \(Read-only file system\).*--out FILE"):
        make(folder)
    assert not surveyed.names()


def test_reading_an_index_that_is_not_there_names_the_command(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`videossl index .*videos`"):
        read_index(folder)
    with pytest.raises(FileNotFoundError, match=r"`videossl index .*videos --out .*i.json`"):
        read_index(folder, tmp_path / "i.json")
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        read_index(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="limit is 0"):
        make(folder, limit=0)
    (folder / "index.json").write_text('{"format": 0, "videos": {}}')
    with pytest.raises(ValueError, match="format 0, but 2 is needed: run `videossl index"):
        read_index(folder)
    assert len(make(folder)["videos"]) == 3  # and that command mends it


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder that holds a video as 12 images, an hour old."""
    place = tmp_path / "videos" / "images"
    place.mkdir(parents=True)
    for n in range(12):
        cv2.imwrite(str(place / f"i_{n:02}.png"), np.full((48, 64, 3), 8 * n, np.uint8))
    before = time.time() - 3600
    for path in (*place.iterdir(), place):
        os.utime(path, (before, before))
    return place


def test_an_image_that_is_overwritten_in_place_is_noticed(images):
    root = images.parent
    entry = make(root)["videos"]["images"]
    assert entry["bytes"] == sum(path.stat().st_size for path in images.iterdir())
    assert entry["modified"] == max(path.stat().st_mtime_ns for path in (*images.iterdir(), images))
    (record,) = video_folder(root)
    assert record["frames"][[3, 5]].float().mean((1, 2, 3)).tolist() == [24, 40]
    assert make(root)["kept"] == 1
    folder = images.stat().st_mtime_ns
    content = (images / "i_07.png").read_bytes()
    (images / "i_03.png").write_bytes(content)
    assert images.stat().st_mtime_ns == folder
    with pytest.raises(ValueError, match=r"images held 12 images when it was indexed, but 12 now, or others"):
        record["frames"][[3, 5]]
    with pytest.raises(ValueError, match="changed since they were indexed: images"):
        video_folder(root)
    assert make(root)["decoded"] == 1 and video_folder(root)[0]["frames"][3].float().mean() == 56
    times = (images / "i_04.png").stat().st_mtime_ns
    (images / "i_04.png").write_bytes(content + b"more")
    os.utime(images / "i_04.png", ns=(times, times))  # no later, but larger
    with pytest.raises(ValueError, match="changed since they were indexed: images"):
        video_folder(root)
    assert make(root)["decoded"] == 1
    (images / "i_05.png").rename(images / "i_99.png")  # as many bytes, but in another order
    with pytest.raises(ValueError, match="changed since they were indexed: images"):
        video_folder(root)


def test_a_decoder_for_what_is_read_in_one_way_alone_is_refused(images):
    with pytest.raises(ValueError, match="holds packed videos and folders of images alone, which are read in one way"):
        make(images.parent, decoder="opencv")


def test_entries_take_little_memory_and_are_what_they_were(tmp_path):
    """An entry of a video of UCF101's length, as lists, takes some 13 kB."""
    rng = np.random.default_rng(0)
    entry = {"frames": 187, "keyframes": list(range(0, 187, 12)), "jumps": [[n, 512 * n] for n in range(12, 187, 12)]}
    motions = rng.exponential(3, (200, 186)).round(2)
    tracemalloc.start()
    try:
        videos = Entries((f"Class/v_Class_g{n:05}.avi", entry | {"motion": m.tolist()}) for n, m in enumerate(motions))
        assert tracemalloc.get_traced_memory()[0] / len(videos) < 1000
    finally:
        tracemalloc.stop()
    name = "Class/v_Class_g00007.avi"
    assert videos[name] == entry | {"motion": motions[7].tolist()}
    save_index(tmp_path / "index.json", videos, 0, {"kind": {}}, None)
    for kept in (Entries(), {}):
        assert load_index(tmp_path / "index.json", kept) == load_head(tmp_path / "index.json")
        assert kept == videos and list(kept) == sorted(videos)
    found = json.loads((tmp_path / "index.json").read_text())
    assert found == {"format": 2, "kinds": {"kind": {}}, "videos": kept}
    (tmp_path / "other.json").write_text(json.dumps(found, indent=1))  # laid out otherwise
    again = Entries()
    assert load_index(tmp_path / "other.json", again)["kinds"] == {"kind": {}} and again == videos
    cut = (tmp_path / "index.json").read_text()[:-5000]
    for text in (cut, cut[: cut.rindex("\n") + 1], cut.replace("frames", 'f"', 1) + "\n}}\n"):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ValueError, match="no index of videos, nor JSON at all"):
            load_index(tmp_path / "other.json", {})


def test_the_command_says_what_was_found_and_why_files_are_unreadable(folder, film, counting, capsys):
    for n in range(25):
        (folder / f"zero{n:02}.avi").write_bytes(b"")
    (folder / "notes.txt").write_text("x")
    whole = film(folder / "cut.avi", counting, lossless=False).read_bytes()
    (folder / "cut.avi").write_bytes(whole[: len(whole) * 2 // 3])
    index(Index(folder, workers=1))
    said = capsys.readouterr().out
    assert "29: 4 readable, 25 unreadable" in said and "1 other file: 1 .txt" in said
    assert "64x48 (4)" in said and "ffv1 (3), mpeg4 (1)" in said and "29 videos decoded" in said
    assert "zero19.avi is empty (0 bytes)" in said and "zero20" not in said and "... and 5 more" in said
    assert "cut.avi ends after" in said


def test_images_beside_videos_hide_none_of_them(images, film, counting):
    root = images.parent
    film(images / "deep" / "clip.avi", counting[:10])
    found = make(root)
    assert sorted(found["videos"]) == ["images/deep/clip.avi"] and found["others"] == {".png": 12}


def test_several_series_of_numbers_in_one_folder_are_said(images):
    for n in range(12):
        os.rename(images / f"i_{n:02}.png", images / f"{'left' if n < 6 else 'right'}_{n % 6}.png")
    warning = make(images.parent)["warnings"]["images"]
    assert warning == "holds several series of numbers (give each a folder of its own)"


def test_a_limit_under_the_time_between_two_signs_of_life_is_refused(folder):
    with pytest.raises(ValueError, match=r"limit is 0\.3, but should be seconds .* from 1:"):
        make(folder, limit=0.3)


def test_what_a_killed_process_left_does_not_stop_indexing(folder):
    (folder / ".index.json.abc.part").touch()
    assert len(make(folder)["videos"]) == 3


def test_a_name_with_a_line_break_is_told_in_one_line(tmp_path, film, counting, capsys):
    film(tmp_path / "fine.avi", counting)
    (tmp_path / "two\nlines.mp4").write_text("no video")
    index(Index(tmp_path))
    told = [line for line in capsys.readouterr().out.splitlines() if "lines.mp4" in line]
    assert len(told) == 1 and told[0].startswith(r"  two\nlines.mp4 ")
