"""What becomes of broken files: indexing goes on and says why, records hold none of them, evaluation counts them."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from videossl.datasets import decoders
from videossl.datasets.choice import video_file
from videossl.datasets.frames import VideoFile
from videossl.datasets.index import index_videos, read_index
from videossl.datasets.survey import survey
from videossl.datasets.ucf101 import ucf101
from videossl.datasets.video_folder import video_folder
from videossl.evaluation.features import Encoder
from videossl.evaluation.views import Views
from videossl.training.draws import Draws, loader

CLIPS = {
    "avi": "video_formats/video2.avi",
    "mp4": "video_formats/bikes.mp4",
    "webm": "video_formats/video2.webm",
    "mkv": "video_formats/flipping_a_pancake.mkv",
    "ucf": "UCF-101/YoYo/v_YoYo_g01_c01.avi",
}
LOW = (60, 80)  # height and width that frames are compared at


class Mean(nn.Module):
    """A trunk whose feature is the mean colour."""

    dim, length, size, resize = 3, 2, 16, (16, 20)

    def forward(self, clips):
        return clips.mean((1, 3, 4))


@pytest.fixture
def broken(tmp_path, shared, film, counting, forked, monkeypatch) -> Path:
    """Class A: what cannot be read, an AVI cut short, and two fine videos; lists train on some and test on others."""
    root = tmp_path / "videos" / "A"
    root.mkdir(parents=True)
    avi, mp4 = ((shared / CLIPS[kind]).read_bytes() for kind in ("avi", "mp4"))
    (root / "header.mp4").write_bytes(bytes(4096) + mp4[4096:])
    (root / "cut.mp4").write_bytes(mp4[: len(mp4) // 2])
    (root / "cut.avi").write_bytes(avi[: len(avi) // 2])
    (root / "zero.mkv").write_bytes(b"")
    (root / "text.mp4").write_text("this is no video\n" * 100)
    (root / "x.avi").mkdir()
    (root / "gone.avi").symlink_to("nowhere.avi")
    shutil.copy(shared / "video_formats" / "corrupted.mp4", root / "corrupted.mp4")
    for name in ("locked.avi", "fine.avi", "other.avi"):
        film(root / name, counting)
    may = os.access  # tests run as root, whom permissions do not bind
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked.avi" and may(path, mode))
    names = sorted(path.name for path in root.iterdir() if path.name != "other.avi")
    (root.parent / "classInd.txt").write_text("1 A\n")
    (root.parent / "trainlist01.txt").write_text("".join(f"A/{name} 1\n" for name in names if name != "cut.mp4"))
    (root.parent / "testlist01.txt").write_text("A/other.avi\nA/cut.mp4\n")
    return root.parent


WHY = {
    "A/header.mp4": "is not a video that can be opened: cut short, damaged or not one",
    "A/cut.mp4": "is not a video that can be opened: cut short, damaged or not one",
    "A/zero.mkv": "is empty (0 bytes)",
    "A/text.mp4": "is not a video that can be opened: cut short, damaged or not one",
    "A/x.avi": "is a folder, not a video file",
    "A/gone.avi": "is a link to nowhere.avi, which is not there",
    "A/corrupted.mp4": "decoding fails after 28 of 50 declared frames",
    "A/locked.avi": "may not be read (permission denied)",
}


def index(root: Path) -> dict:
    return index_videos(root, workers=1, progress=False, decoder="pyav")


@pytest.mark.parametrize("kind", CLIPS)
def test_a_clip_cut_at_any_tenth_is_unreadable_or_has_the_frames_before_the_cut(shared, tmp_path, kind):
    source = shared / CLIPS[kind]
    data, suffix = source.read_bytes(), source.suffix
    total = survey(source)["frames"]
    whole = VideoFile(source, total, LOW)[np.arange(total)]
    for tenth in range(10):
        (tmp_path / f"{tenth}{suffix}").write_bytes(data[: len(data) * tenth // 10])
    shutil.copy(source, tmp_path / f"whole{suffix}")
    found = index(tmp_path)
    videos = read_index(tmp_path)
    assert videos.keys() == {*(f"{tenth}{suffix}" for tenth in range(10)), f"whole{suffix}"}
    assert videos[f"whole{suffix}"]["error"] is videos[f"whole{suffix}"]["warning"] is None
    counts = [videos[f"{tenth}{suffix}"]["frames"] for tenth in range(10)]
    for tenth in range(10):
        name = f"{tenth}{suffix}"
        entry, path = videos[name], tmp_path / name
        if tenth == 0:
            assert entry["error"] == "is empty (0 bytes)"
        elif kind == "mp4":  # its table of frames stands at the end
            assert entry["error"].startswith("is not a video that can be opened: cut short") and counts[tenth] == 0
        else:
            of = rf"{counts[tenth]} of {total} declared frames" if entry["declared"] else r"\d+\.\d of \d+\.\d seconds"
            assert entry["error"] is None and re.match(f"ends after {of}", found["warnings"][name])
            assert counts[tenth - 1] < counts[tenth] < total and abs(counts[tenth] / total - tenth / 10) < 0.1
            # The cut may go through a packet: what its frame shows of it is reckoned as damaged, and is the last.
            damaged = "has 1 damaged frame" in entry["warning"]
            frames = video_file(path, entry, LOW)
            sound = np.random.default_rng(tenth).permutation(counts[tenth] - damaged)
            assert torch.equal(frames[sound], whole[sound])
            assert torch.equal(frames[counts[tenth] - 1], whole[counts[tenth] - 1]) != damaged
            with pytest.raises(ValueError, match=rf"{name} has frames 0 to \d+, but {counts[tenth]} was asked for"):
                frames[counts[tenth]]
        assert (name in found["unreadable"]) == (entry["error"] is not None)


@pytest.mark.parametrize("kind", CLIPS)
def test_a_destroyed_header_leaves_an_error_or_frames_that_are_there(shared, tmp_path, kind):
    source = shared / CLIPS[kind]
    data, path = source.read_bytes(), tmp_path / f"header{source.suffix}"
    shutil.copy(source, tmp_path / f"whole{source.suffix}")
    total = survey(source)["frames"]
    for size in (16, 256, 4096):
        path.write_bytes(np.random.default_rng(size).bytes(size) + data[size:])
        entry = index(tmp_path)["videos"][path.name]
        if kind in ("mp4", "webm", "mkv"):
            assert entry["error"].startswith("is not a video that can be opened") and entry["frames"] == 0
        if entry["frames"]:  # AVI frames that were found behind it, as a bare MPEG-4 stream
            assert entry["error"] is None or "decoding fails after" in entry["error"]
            read = video_file(path, entry, LOW)[np.arange(entry["frames"])]
            assert torch.equal(read, VideoFile(source, total, LOW)[np.arange(entry["frames"])])


def test_damage_that_the_decoder_keeps_to_itself_is_found_by_another(shared, tmp_path):
    source = shared / CLIPS["webm"]
    whole, data = VideoFile(source, 120, LOW)[np.arange(120)], bytearray(source.read_bytes())
    data[len(data) * 8 // 10] ^= 255  # FFmpeg's VP8 decoder leaves parts of that picture unwritten, and is content
    (tmp_path / "vp8.webm").write_bytes(data)
    shutil.copy(source, tmp_path / "whole.webm")
    found = index(tmp_path)
    why = "is damaged: from frame 93 on two decoders show other pictures"
    assert found["unreadable"] == {"vp8.webm": why} and found["videos"]["whole.webm"]["frames"] == 120
    entry = found["videos"]["vp8.webm"]
    assert entry["frames"] == 93 and len(entry["motion"]) == 92 and entry["keyframes"] == [0]
    assert torch.equal(video_file(tmp_path / "vp8.webm", entry, LOW)[np.arange(93)], whole[:93])


def test_a_file_whose_list_of_key_frames_is_wrong_is_not_jumped_in(shared, tmp_path):
    source = shared / "ceiling_actions" / "LieStill" / "v_LieStill_g12_c01.avi"
    data, path = bytearray(source.read_bytes()), tmp_path / "list.avi"
    entry = survey(source)
    assert entry["frames"] == 75 and len(entry["jumps"]) == 6
    entries = data.rindex(b"idx1") + 8  # of 16 bytes: kind, flags, where, how long
    data[entries + 16 * 47 + 11] = 0xDE  # far behind the end
    data[entries + 16 * 74 + 9] = 0x05  # near the start: frames between are numbered otherwise after a jump
    path.write_bytes(data)
    damaged = index(tmp_path)["videos"]["list.avi"]
    assert damaged["frames"] == 75 and damaged["error"] is None and damaged["jumps"] == []
    wanted = [5, 20, 30, 40, 50, 62, 73]
    assert torch.equal(video_file(path, damaged, LOW)[wanted], VideoFile(source, 75, LOW)[wanted])


def test_indexing_goes_on_and_says_which_files_are_broken_and_why(broken):
    found = index(broken)
    assert found["unreadable"].keys() == WHY.keys()
    for name, why in WHY.items():
        assert found["unreadable"][name].startswith(why), name
    assert found["warnings"].keys() == {"A/cut.avi"}
    videos = read_index(broken)
    assert videos.keys() == {*WHY, "A/cut.avi", "A/fine.avi", "A/other.avi"}
    assert {name for name, entry in videos.items() if entry["error"]} == WHY.keys()
    assert {name: videos[name]["frames"] for name in WHY if videos[name]["frames"]} == {"A/corrupted.mp4": 28}


def test_the_frames_before_an_error_can_be_read_and_those_beyond_are_refused(broken):
    entry = index(broken)["videos"]["A/corrupted.mp4"]
    frames = video_file(broken / "A" / "corrupted.mp4", entry, LOW)
    assert len(frames) == entry["frames"] == 28 and len(entry["motion"]) == 27
    first = frames[np.arange(28)]
    assert torch.equal(frames[[27, 3, 14]], first[[27, 3, 14]])
    with pytest.raises(ValueError, match=r"corrupted.mp4 has frames 0 to 27, but 28 was asked for"):
        frames[28]
    with pytest.raises(ValueError, match=r"corrupted.mp4 cannot be decoded up to frame 28"):
        VideoFile(frames.path, 29, LOW)[28]


def test_records_hold_none_of_the_unreadable_files_and_count_them(broken):
    index(broken)
    for records in (ucf101(broken), video_folder(broken)):
        assert {Path(record["name"]).stem for record in records} <= {"cut", "fine", "other"}
        bad = {name: why for name, why in WHY.items() if name != "A/cut.mp4" or records.part == ""}
        assert len(records.missing) == len(bad) and records.listed == len(records) + len(bad)
        for name, why in bad.items():
            given = name if records.part == "" else name.rsplit(".", 1)[0]
            assert records.missing[given].startswith(f"unreadable: {why}"), name
        assert [Path(name).stem for name in records.damaged] == ["cut"] and not records.complete
        said = records.summary()
        assert f"{len(records)} of {records.listed} videos (0 not there, {len(bad)} unreadable: A/" in said
        assert "1 cut short or damaged: A/cut" in said and "ends after 55 of 120 declared frames" in said
        for record in records:
            assert record["frames"][[0, len(record["frames"]) - 1]].shape[0] == 2


def test_a_broken_file_that_is_mended_is_noticed_too(broken):
    index(broken)
    shutil.copy(broken / "A" / "fine.avi", broken / "A" / "zero.mkv")
    (broken / "A" / "nowhere.avi").symlink_to("fine.avi")
    with pytest.raises(ValueError, match=r"2 of the videos .* changed since they were indexed: A/gone.avi, A/zero.mkv"):
        ucf101(broken)


def test_evaluation_counts_what_was_unreadable_and_what_became_so(broken):
    index(broken)
    (broken / "testlist01.txt").write_text("A/other.avi\nA/fine.avi\nA/cut.mp4\n")
    test = ucf101(broken, train=False, size=(24, 32))
    assert test.missing.keys() == {"A/cut"} and test.listed == 3
    path = broken / "A" / "fine.avi"
    path.write_bytes(path.read_bytes()[:-100])
    encoded = Encoder(Mean()).features(test, Views(clips=2, crops=1))
    assert encoded.kept == [0] and encoded.failed.keys() == {"A/fine"}
    assert encoded.failed["A/fine"].startswith(f"{path} changed since it was indexed: run `videossl index`")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_changes_during_training_is_named_by_whoever_reads_it(tmp_path, film, counting, workers):
    for name in ("a", "b"):
        film(tmp_path / f"{name}.avi", counting)
    index(tmp_path)
    records = video_folder(tmp_path)
    draws = Draws(records, lambda record, rng: {"frame": record["frames"][rng.integers(30)]})
    next(iter(loader(draws, 2, workers=workers)))
    info = (tmp_path / "b.avi").stat()
    film(tmp_path / "b.avi", counting[::-1])  # as long, and other frames
    assert (tmp_path / "b.avi").stat().st_size == info.st_size
    with pytest.raises(ValueError, match=r"b.avi changed since it was indexed: run `videossl index`") as caught:
        next(iter(loader(draws, 2, workers=workers)))
    assert any("from record b.avi" in note for note in caught.value.__notes__)
    with pytest.raises(ValueError, match=r"1 of the videos .* changed since they were indexed: b.avi"):
        video_folder(tmp_path)
    os.utime(tmp_path / "b.avi", ns=(info.st_atime_ns, info.st_mtime_ns))
    (tmp_path / "b.avi").write_bytes((tmp_path / "b.avi").read_bytes() + b"more")
    os.utime(tmp_path / "b.avi", ns=(info.st_atime_ns, info.st_mtime_ns))  # the time is the same, the size is not
    with pytest.raises(ValueError, match=r"b.avi changed since it was indexed"):
        next(iter(loader(draws, 2, workers=workers)))
    (tmp_path / "b.avi").unlink()
    with pytest.raises(FileNotFoundError, match=r"b.avi"):
        next(iter(loader(draws, 2, workers=workers)))


def test_a_file_that_breaks_after_indexing_gives_no_frames_of_its_old_self(tmp_path, film, counting):
    path = film(tmp_path / "a.avi", counting)
    index(tmp_path)
    frames = video_folder(tmp_path)[0]["frames"]
    assert frames[5].float().mean() == 40 and decoders._kept.files  # it is open from now on
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: 2 * len(whole) // 3]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a.avi changed since it was indexed"):
            frames[5]
    film(tmp_path / "b.avi", counting)
    assert index(tmp_path)["unreadable"]["a.avi"].startswith("decoding fails after")
    assert [record["name"] for record in video_folder(tmp_path)] == ["b.avi"]
