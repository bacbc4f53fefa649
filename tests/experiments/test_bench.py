"""The benches run and write what they found; how fast anything is, no test asks."""

import json
import shutil

import numpy as np
import pytest

from videossl.datasets import decoders
from videossl.experiments.bench import loader
from videossl.experiments.bench.decoders import BenchDecoders, bench_decoders
from videossl.experiments.bench.evaluation import EXACT, BenchEvaluation, bench_evaluation
from videossl.experiments.bench.loader import BenchLoader, RandomFrames, bench_loader, by_pyav, decode_only
from videossl.models.small import Small

THERE = [name for name in decoders.DECODERS if not decoders.missing(name)]


@pytest.fixture
def clips(shared, tmp_path):
    """Three real videos, without an index."""
    (tmp_path / "videos").mkdir()
    for name in ("v_Punch_g01_c03.avi", "v_Punch_g02_c03.avi", "v_Punch_g02_c04.avi"):
        shutil.copy(shared / "UCF-101" / "Punch" / name, tmp_path / "videos")
    return tmp_path / "videos"


def test_the_loader_is_timed_beside_the_raw_limit_and_what_others_write(clips, tmp_path, capsys):
    out = tmp_path / "loader.json"
    config = BenchLoader(clips, out, length=4, batch=2, batches=1, rounds=5, size=(32, 43), short=32, settle=0)
    found = bench_loader(config)
    assert json.loads(out.read_text()) == found
    speeds = found["clips a second"]
    assert {"raw limit", "ours, 0 workers", "ours, 2 workers", "packed, small, 1 workers"} <= speeds.keys()
    assert "PyAV in a DataLoader" in speeds and all(speed["min"] > 0 for speed in speeds.values())
    assert found["ratios"]["ours, 1 worker / raw limit"]["median"] > 0
    assert set(found["memory in MB"]) == {name for name in speeds if "raw" not in name and "0 workers" not in name}
    assert found["scaling"]["ours"]["mean absolute"] < found["scaling"]["OpenCV, bilinear"]["mean absolute"]
    assert 0 < found["index"]["decoding / all, processor time"] < 1
    assert found["packed"]["videos"] == 3 and "from" not in found["packed"]
    assert sorted(path.name for path in clips.iterdir()) == sorted(p.name for p in clips.glob("*.avi"))  # nothing left
    said = capsys.readouterr().out
    assert "raw limit" in said and "packed / unpacked" in said
    assert found["videos"]["left out"] == {}
    with pytest.raises(ValueError, match=r"none of 3 videos in .* has the 991 frames of a clip"):
        bench_loader(BenchLoader(clips, out, length=100, stride=10))
    with pytest.raises(ValueError, match="rounds is a whole number from 5, but 1"):
        BenchLoader(clips, rounds=1)


def test_files_that_one_of_those_compared_cannot_read_are_left_out_of_the_bench_for_all(clips, tmp_path, monkeypatch):
    def by_others(path, numbers, size):
        if "g02_c03" in path:
            raise RuntimeError("no such codec\nand more")
        return by_pyav(path, numbers, size)

    monkeypatch.setattr(loader, "written", lambda: {"others": by_others})
    (tmp_path / "few").mkdir()
    found = loader.link_some(BenchLoader(clips, length=4), tmp_path / "few")
    assert found["left out"] == {"v_Punch_g02_c03.avi": "is not read by others: RuntimeError: no such codec"}
    assert found["count"] == 2 == len(list((tmp_path / "few").iterdir()))


def test_the_raw_limit_decodes_just_the_frames_from_the_last_key_frame_before(shared, monkeypatch):
    path = shared / "video_formats" / "long_ceiling_20200627_185209.mp4"
    keys = tuple((n, 1000 * n) for n in range(60, 2301, 60))
    decoded = []

    class Counted:
        def __init__(self, container):
            self.container = container

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.container.close()

        def seek(self, *args, **options):
            self.container.seek(*args, **options)

        def decode(self, stream):
            for frame in self.container.decode(stream):
                decoded.append(frame.pts // 1000)
                yield frame

    def opened(file):
        container, stream = decoders.open_video(file)
        return Counted(container), stream

    monkeypatch.setattr("videossl.experiments.bench.loader.open_video", opened)
    decode_only(str(path), keys, [605, 607, 800])
    assert decoded == [*range(600, 608), *range(780, 801)]
    decoded.clear()
    decode_only(str(path), (), [2, 5])
    assert decoded == list(range(6))
    assert RandomFrames((0, 2, 4)).start({"frames": range(5)}, np.random.default_rng(0)) == 0


def test_every_decoder_is_compared_on_every_file(clips, shared, tmp_path, capsys):
    shutil.copy(shared / "video_formats" / "corrupted.mp4", clips)
    out = tmp_path / "decoders.json"
    found = bench_decoders(BenchDecoders(clips, opens=60, out=out))
    assert json.loads(out.read_text()) == found
    assert found["same"] == dict.fromkeys(THERE, 3)
    assert "decoding fails after 28" in found["files"]["corrupted.mp4"]["error"]
    punch = found["files"]["v_Punch_g01_c03.avi"]
    assert punch["pyav"] == {"differs": None, "grey levels apart": 0} and punch["frames"] == 48
    assert all(grown < 50 for grown in found["growth in MB"].values())
    assert "same" in capsys.readouterr().out


def test_scores_are_compared_between_decoders_and_packed_copies(clips, tmp_path, capsys):
    (clips / "classInd.txt").write_text("1 Punch\n")
    (clips / "trainlist01.txt").write_text("Punch/v_Punch_g01_c03.avi 1\nPunch/v_Punch_g02_c03.avi 1\n")
    (clips / "testlist01.txt").write_text("Punch/v_Punch_g02_c04.avi\n")
    out = tmp_path / "evaluation.json"
    config = BenchEvaluation(clips, seeds=(0,), trunk=Small(length=1, width=2, size=32), workers=1, short=48, out=out)
    found = bench_evaluation(config)
    assert json.loads(out.read_text()) == found
    assert list(found["sources"]) == [*THERE, EXACT, "packed, step 1", "packed, step 4"]
    assert 0 < found["sources"][EXACT]["grey levels apart"] < 1
    assert found["sources"]["pyav"]["grey levels apart"] == 0 < found["sources"]["packed, step 4"]["grey levels apart"]
    for row in found["sources"].values():
        assert row["test videos"] == 1 and row["accuracy"]["linear probe"] == {"random 0": 1.0}
        assert row["other answers"] == {"k-NN": 0, "linear probe": 0}
    assert "packed, step 4" in capsys.readouterr().out


def test_a_broken_link_is_named_and_the_other_files_compared(clips, tmp_path):
    (clips / "gone.avi").symlink_to(clips / "nowhere.avi")
    found = bench_decoders(BenchDecoders(clips, opens=1, out=tmp_path / "decoders.json"))
    assert "No such file" in found["files"]["gone.avi"]["error"]
    assert found["same"] == dict.fromkeys(THERE, 3)


def test_a_folder_without_videos_is_no_comparison_of_decoders(tmp_path):
    with pytest.raises(ValueError, match="has no videos"):
        bench_decoders(BenchDecoders(tmp_path))
