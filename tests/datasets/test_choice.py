import faulthandler
import json
import os
import time

import av
import cv2
import numpy as np
import pytest

from videossl.datasets import choice, decoders
from videossl.datasets.choice import FEW, disagreement, telling, video_file
from videossl.datasets.index import index_videos
from videossl.datasets.survey import survey
from videossl.datasets.video_folder import video_folder
from videossl.experiments import index as index_command

OTHERS = [name for name in decoders.DECODERS if name != "pyav" and not decoders.missing(name)]


class Fake(decoders.PyAV):
    """A decoder that is one frame behind from frame 5 on, or shows other colours."""

    shift, tint = 0, 0

    def read(self, wanted, whole):
        for picture in super().read([n + (self.shift if n >= 5 else 0) for n in wanted], whole):
            red, *rest = picture.planes
            yield picture._replace(planes=(np.minimum(red, 255 - self.tint) + np.uint8(self.tint), *rest))


def offer(monkeypatch, versions: dict[str, str]):
    """These decoders alone are there."""
    monkeypatch.setattr(
        choice,
        "look",
        lambda *names: (
            {name: versions[name] for name in names if name in versions},
            {name: "not here" for name in names if name not in versions},
        ),
    )


@pytest.fixture
def fake(monkeypatch, forked):
    """Stands for OpenCV."""
    monkeypatch.setitem(decoders.DECODERS, "opencv", Fake)
    offer(monkeypatch, {"pyav": "1.0", "opencv": "4.0"})
    decoders._kept.forget()
    yield Fake
    decoders._kept.forget()


@pytest.fixture
def folder(tmp_path, film, counting):
    for n in range(FEW):
        film(tmp_path / f"{n}.avi", counting)
    film(tmp_path / "other.mkv", counting)
    return tmp_path


def entry_of(path):
    info = path.stat()
    return survey(path) | {"bytes": info.st_size, "modified": info.st_mtime_ns, "decoder": "pyav"}


def make(folder, **options):
    return index_videos(folder, workers=1, progress=False, **options)


def test_a_decoder_that_numbers_frames_otherwise_is_found_out(film, counting, tmp_path, fake, monkeypatch):
    path = film(tmp_path / "a.avi", counting)
    everyone = np.arange(29)
    assert disagreement(path, entry_of(path), "opencv", everyone) == (None, 0)
    monkeypatch.setattr(fake, "shift", 1)
    why, _ = disagreement(path, entry_of(path), "opencv", everyone)
    assert why == "gives frame 6 as frame 5"
    monkeypatch.setattr(fake, "shift", 0)
    monkeypatch.setattr(fake, "tint", 20)
    why, apart = disagreement(path, entry_of(path), "opencv", everyone[:20])
    assert why == "gives frame 0 in colours 6.7 grey levels away" and apart == pytest.approx(20 / 3)


def test_auto_takes_the_fastest_that_agrees_for_each_kind_of_file(folder, fake, monkeypatch):
    speeds = {"pyav": 100.0, "opencv": 200.0}
    monkeypatch.setattr(choice, "speed", lambda path, entry, decoder: speeds[decoder])
    found = make(folder)
    rest = {"refused": {}, "versions": {"pyav": "1.0", "opencv": "4.0"}}
    assert found["kinds"] == {
        ".avi ffv1 64x48": {"files": FEW, "clips a second": speeds, "decoder": "opencv", **rest},
        ".mkv ffv1 64x48": {"files": 1, "clips a second": {}, "decoder": "pyav", **rest},  # too few
    }
    assert json.loads((folder / "index.json").read_text())["kinds"] == found["kinds"]
    used = {record["name"]: record["frames"].decoder for record in video_folder(folder)}
    assert used == {f"{n}.avi": "opencv" for n in range(FEW)} | {"other.mkv": "pyav"}

    speeds["opencv"] = 1.0
    assert make(folder)["kinds"] == found["kinds"]  # measured once
    monkeypatch.setattr(fake, "shift", 1)
    assert make(folder)["kinds"] == found["kinds"]  # and asked once of each file
    (folder / "index.json").unlink()
    assert make(folder)["kinds"][".avi ffv1 64x48"]["clips a second"] == {"pyav": 100.0}  # what does not agree is out


def test_a_decoder_that_is_asked_for_reads_only_the_files_on_which_it_agrees(folder, fake, monkeypatch):
    monkeypatch.setattr(choice, "_ask", lambda job: "gives frame 2 as frame 1" * (job[0].name == "3.avi") or None)
    found = make(folder, decoder="opencv")["videos"]
    assert [name for name in found if found[name]["decoder"] == "pyav"] == ["3.avi"]
    assert found["3.avi"]["agrees"] == {"opencv": "gives frame 2 as frame 1"}
    assert {entry["decoder"] for entry in make(folder, decoder="pyav")["videos"].values()} == {"pyav"}
    with pytest.raises(ValueError, match=r"torchcodec is not there \(not here\): the others are pyav, opencv"):
        make(folder, decoder="torchcodec")


@pytest.fixture
def read(monkeypatch) -> dict[str, int]:
    """What of the files is read with the fake decoder, as long as it may be: name -> what it then does."""
    does, original = {}, Fake.read

    def reads(self, wanted, whole):
        if (act := does.get(os.path.basename(self.path))) is not None:
            act()
        return original(self, wanted, whole)

    monkeypatch.setattr(Fake, "read", reads)
    return does


def aborts():
    faulthandler.disable()  # which would show where
    os.abort()


@pytest.mark.parametrize("decoder", ["auto", "opencv"])
@pytest.mark.parametrize("name", ["0.avi", "7.avi"], ids=["when measured", "when asked"])
def test_a_decoder_that_crashes_on_a_file_reads_none_of_its_kind(
    folder, fake, monkeypatch, read, decoder, name, capsys
):
    speeds = {"pyav": 100.0, "opencv": 200.0}
    monkeypatch.setattr(choice, "speed", lambda path, entry, decoder: speeds[decoder])
    read[name] = aborts
    found = make(folder, decoder=decoder)
    why = "makes opencv crash (killed by SIGABRT)"
    kind = found["kinds"][".avi ffv1 64x48"]
    assert kind["decoder"] == "pyav" and kind["refused"] == {"opencv": name}
    assert {entry["decoder"] for file, entry in found["videos"].items() if file.endswith(".avi")} == {"pyav"}
    assert found["videos"][name]["agrees"] == {"opencv": why} and not found["unreadable"]
    assert found["videos"]["other.mkv"]["decoder"] == ("pyav" if decoder == "auto" else "opencv")
    assert f"opencv is not used for .avi ffv1 64x48: {name} {why}" in index_command.decoders(
        found["kinds"], found["videos"]
    )
    del read[name]
    assert make(folder, decoder=decoder)["kinds"] == found["kinds"]  # it is not tried again
    offer(monkeypatch, {"pyav": "1.0", "opencv": "4.1"})  # unless it is another
    again = make(folder, decoder=decoder)
    assert again["kinds"][".avi ffv1 64x48"]["decoder"] == "opencv"
    assert again["videos"][name]["agrees"] == {"opencv": None}


def test_a_decoder_that_hangs_reads_none_of_its_kind_and_the_next_fastest_is_asked(folder, fake, monkeypatch, read):
    monkeypatch.setitem(decoders.DECODERS, "decord", decoders.PyAV)
    offer(monkeypatch, {"pyav": "1.0", "opencv": "4.0", "decord": "0.6"})
    speeds = {"pyav": 100.0, "opencv": 200.0, "decord": 150.0}
    monkeypatch.setattr(choice, "speed", lambda path, entry, decoder: speeds[decoder])
    read["7.avi"] = lambda: time.sleep(600)
    found = make(folder, limit=1.0)
    assert found["kinds"][".avi ffv1 64x48"]["decoder"] == "decord"
    assert found["videos"]["7.avi"]["agrees"] == {"opencv": HANGS, "decord": None}
    assert found["videos"]["1.avi"]["decoder"] == "decord"


HANGS = "makes opencv hang (no sign of life for 1 seconds)"


def test_what_was_measured_counts_as_long_as_the_decoders_are_the_same(folder, fake, monkeypatch):
    speeds, there = {"pyav": 100.0}, {"pyav": "1.0"}
    offer(monkeypatch, there)
    monkeypatch.setattr(choice, "speed", lambda path, entry, decoder: speeds[decoder])

    def kind() -> dict:
        return make(folder)["kinds"][".avi ffv1 64x48"]

    assert kind()["decoder"] == "pyav" and kind()["versions"] == {"pyav": "1.0"}
    there["opencv"], speeds["opencv"] = "4.0", 200.0  # installed later
    assert kind()["decoder"] == "opencv" and kind()["versions"] == {"pyav": "1.0", "opencv": "4.0"}
    speeds["opencv"] = 50.0
    assert kind()["clips a second"]["opencv"] == 200.0
    there["opencv"] = "4.1"  # upgraded
    assert kind()["clips a second"] == speeds and kind()["decoder"] == "pyav"
    there["pyav"], speeds["pyav"] = "1.1", 10.0
    assert kind()["decoder"] == "opencv"
    monkeypatch.setattr(fake, "shift", 1)
    assert kind()["decoder"] == "opencv"  # the files were asked
    there["opencv"] = "4.2"  # and are asked again
    assert kind()["clips a second"] == {"pyav": 10.0} and kind()["decoder"] == "pyav"
    del there["opencv"]
    assert kind()["versions"] == {"pyav": "1.1", "opencv": "4.2"}


def test_decoders_that_are_there_are_found_with_their_versions(forked, monkeypatch):
    def missing(name):
        if name == "decord":
            faulthandler.disable()
            os.abort()
        return "no FFmpeg" if name == "torchcodec" else None

    choice.look.cache_clear()
    monkeypatch.setattr(choice, "missing", missing)
    there, absent = choice.look(*decoders.DECODERS)
    choice.look.cache_clear()
    assert there == {"pyav": av.__version__, "opencv": cv2.__version__}
    assert absent == {"torchcodec": "no FFmpeg", "decord": "makes Python crash (killed by SIGABRT)"}


def test_the_reason_of_another_library_is_told_without_its_source_files():
    said = (
        "[12:30:01] /src/video/video_reader.cc:151: [12:30:01] /src/x.cc:2: Check failed: (-1 vs. 0) no\nStack trace:"
    )
    assert decoders.first_line(RuntimeError(said)) == "Check failed: (-1 vs. 0) no"
    assert decoders.first_line(RuntimeError("")) == "RuntimeError"


@pytest.mark.parametrize("decoder", OTHERS)
def test_real_decoders_agree_on_real_videos_or_are_refused_with_the_reason(shared, decoder):
    agree, refused = set(), {}
    for path in sorted((shared / "video_formats").glob("*.*")):
        if path.suffix == ".md" or path.name in ("corrupted.mp4", "long_ceiling_20200627_185209.mp4"):
            continue
        entry = entry_of(path)
        why, apart = disagreement(path, entry, decoder, np.arange(0, entry["frames"], 5))
        if why is None:
            agree.add(path.name)
            assert apart < 4
        else:
            refused[path.name] = why
    assert {"video2.avi", "bikes.mp4", "demo.mp4", "flipping_a_pancake.mkv", "smth-smth-1.webm"} <= agree, refused


@pytest.mark.parametrize("decoder", OTHERS)
def test_records_are_the_same_whoever_decodes(shared, tmp_path, decoder):
    names = ["v_Punch_g01_c03.avi", "v_Punch_g02_c04.avi"]
    for name in names:
        (tmp_path / name).write_bytes((shared / "UCF-101" / "Punch" / name).read_bytes())
    own = make(tmp_path, decoder="pyav", out=tmp_path / "pyav.json")
    other = make(tmp_path, decoder=decoder, out=tmp_path / "other.json")
    assert all(entry["decoder"] == decoder for entry in other["videos"].values())
    records = [video_folder(tmp_path, size=(128, 171), index=found["out"]) for found in (own, other)]
    for one, two in zip(*records, strict=True):
        assert len(one["frames"]) == len(two["frames"]) and np.array_equal(one["motion"], two["motion"])
        apart = one["frames"][np.arange(0, 48, 5)].int() - two["frames"][np.arange(0, 48, 5)].int()
        assert apart.abs().float().mean() < 2


def test_a_video_file_says_who_reads_it(shared):
    path = shared / "video_formats" / "video2.avi"
    video = video_file(path, entry_of(path), (30, 40))
    assert (video.decoder, video.size, len(video)) == ("pyav", (30, 40), 120)


def test_frames_that_tell_decoders_apart_lie_where_most_moves():
    motion = np.zeros(99)
    motion[[10, 40, 60, 90]] = 5
    assert telling(motion.tolist()).tolist() == [0, 10, 11, 40, 41, 60, 61, 90, 91, 99]
    assert telling([]).tolist() == [0] and telling([1.0]).tolist() == [0, 1]
