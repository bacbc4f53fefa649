import json
import os
from pathlib import Path

import numpy as np
import pytest

from videossl.datasets.survey import survey
from videossl.experiments.bench.fuzz import (
    FAULTS,
    FLIPS,
    READ,
    SURVEYED,
    BenchFuzz,
    bench_fuzz,
    damaged,
    general,
    jumped,
    source_of,
    sources,
)

SMALL = ("video2.avi", "part_0.mp4", "h265_10bits.mp4", "av1_video.mkv", "smth-smth-1.webm", "unordered.mov")


@pytest.fixture
def clips(shared, tmp_path) -> Path:
    """A folder of short clips of all codecs."""
    (tmp_path / "clips").mkdir()
    for name in SMALL:
        (tmp_path / "clips" / name).symlink_to(shared / "video_formats" / name)
    return tmp_path / "clips"


def test_damage_is_drawn_from_the_seed_and_the_number_alone(tmp_path):
    whole = np.random.default_rng(0).bytes(50_000)
    path = tmp_path / "clip.avi"
    path.write_bytes(whole)
    files = [damaged(path, 0, n) for n in range(200)]
    assert files == [damaged(path, 0, n) for n in range(200)]
    assert len({*files, *(damaged(path, 1, n) for n in range(200))}) == 400
    where = [np.flatnonzero(np.frombuffer(a, np.uint8) != np.frombuffer(whole, np.uint8)) for a in files]
    counts = [len(w) for w in where]
    assert {len(file) for file in files} == {50_000} and min(counts) == 1 and FLIPS / 3 < max(counts) <= FLIPS
    assert sum(w.max() < 1000 for w in where) > 20 and sum(w.min() > 49_000 for w in where) > 10
    path.write_bytes(b"x")
    assert all(len(damaged(path, 0, n)) == 1 for n in range(20))


def test_each_suffix_is_damaged_as_often(tmp_path):
    for name in ("a.avi", "b.avi", "c.avi", "d.mp4", "large.mp4", "empty.mp4", "notes.txt"):
        (tmp_path / name).write_bytes(bytes({"large.mp4": 800_000, "empty.mp4": 0}.get(name, 100)))
    found = sources(tmp_path)
    assert {suffix: [path.name for path in paths] for suffix, paths in found.items()} == {
        ".avi": ["a.avi", "b.avi", "c.avi"],
        ".mp4": ["d.mp4"],
    }
    chosen = [source_of(found, 0, n).name for n in range(400)]
    assert abs(chosen.count("d.mp4") - 200) < 50 and len(set(chosen)) == 4
    for path in tmp_path.glob("?.*"):
        path.unlink()
    with pytest.raises(ValueError, match="holds no video file of up to 700 kB"):
        sources(tmp_path)


def test_a_jump_that_leads_to_other_frames_is_found(shared, tmp_path):
    content = (shared / "video_formats" / "flipping_a_pancake.mkv").read_bytes()
    numbers, answers = np.array([3, 200, 260, 300]), []
    for wrong in (0, 1):
        path = tmp_path / f"{wrong}.mkv"
        path.write_bytes(content)
        entry, info = survey(path), path.stat()
        entry |= {"bytes": info.st_size, "modified": info.st_mtime_ns, "decoder": "pyav"}
        entry["jumps"] = [[n + wrong, time] for n, time in entry["jumps"]]
        answers.append(jumped(path, entry, numbers))
    assert answers[0] is None and answers[1].startswith("gives frame 260 otherwise")


def test_reasons_are_counted_together_whatever_their_numbers():
    assert general("ends after 3 of 120 declared frames; has 1 damaged frame") == "ends after # of # declared frames"
    assert general("fails (h264, /tmp/a/b.cc:12: at 0x7f2a, 0.5 s)") == "fails (h264, b.cc:#: at #, # s)"


def test_options_that_make_no_sense_are_refused():
    for wrong in ({"files": 0}, {"batch": 0}, {"workers": 0}, {"seed": -1}, {"limit": 0.0}, {"others": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            BenchFuzz(Path("x"), **wrong)


def test_damaged_clips_are_read_or_refused_and_nothing_dies(clips, tmp_path, capsys):
    config = BenchFuzz(clips, tmp_path / "fuzz.json", files=80, others=0)
    found = bench_fuzz(config)
    assert found["faults"] == [] and json.loads((tmp_path / "fuzz.json").read_text()) == found
    surveyed, read = found["readers"]["survey"], found["readers"]["pyav"]
    assert surveyed["files"] == 80 == sum(surveyed[kind] for kind in SURVEYED)
    assert read["files"] == surveyed["whole"] + surveyed["odd"] == read["same"]
    assert min(surveyed[kind] for kind in SURVEYED) > 5  # some of each, or nothing was tried
    assert all(found["readers"][reader][kind] == 0 for reader in ("survey", "pyav") for kind in FAULTS)
    assert sum(surveyed["reasons"]["unreadable"].values()) <= surveyed["unreadable"]
    said = capsys.readouterr().out
    assert "damaged files" in said and "survey" in said and "crash" in said
    assert not [name for name in os.listdir(tmp_path) if name not in ("clips", "fuzz.json")]


@pytest.mark.slow
def test_ten_thousand_damaged_files_crash_nothing_and_hang_nothing(shared):
    """About 20 minutes on two cores; its counts are in experiments/results/fuzz.json."""
    found = bench_fuzz(BenchFuzz(shared, None, others=1000))
    ours = [found["readers"][reader] for reader in ("survey", "pyav")]
    assert ours[0]["files"] == 10_000 and ours[1]["files"] == ours[0]["whole"] + ours[0]["odd"]
    assert all(reader[kind] == 0 for reader in ours for kind in FAULTS)
    # What FFmpeg makes up for a picture that it says is damaged may differ from time to time.
    vouched = [fault for fault in found["faults"] if "damaged" not in (fault.get("warning") or "")]
    assert [fault for fault in vouched if fault["reader"] in ("survey", "pyav")] == []
    others = [counts for reader, counts in found["readers"].items() if reader not in ("survey", "pyav")]
    assert all(counts["bug"] == 0 and sum(counts[kind] for kind in READ) > 0 for counts in others)


@pytest.mark.slow
def test_counts_are_equal_whatever_the_batches(clips, tmp_path):
    counts = []
    for batch, workers in ((200, 1), (17, 2)):
        found = bench_fuzz(BenchFuzz(clips, None, files=100, batch=batch, workers=workers))["readers"]
        times = ("slowest", "largest")
        counts.append({name: {k: v for k, v in reader.items() if k not in times} for name, reader in found.items()})
    assert counts[0] == counts[1]
