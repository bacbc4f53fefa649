import dataclasses
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from videossl.datasets.frames import VideoFile
from videossl.experiments.data import Videos, content
from videossl.experiments.devices import Devices
from videossl.experiments.pretrain import Pretrain, Resume, measure, pretrain, resume, usable
from videossl.experiments.runs import read_log
from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.models.small import Small
from videossl.training import checkpoints
from videossl.training.draws import Draws

METHOD = ShuffleAndLearn(far=4, near=2, different=0.0, jitter=1, negatives=0.5)


def config(tiny, out, **changes) -> Pretrain:
    plan = Pretrain(
        Videos(tiny, size=(32, 32)),
        out,
        method=METHOD,
        trunk=Small(length=1, width=4, size=28),
        steps=30,
        batch=8,
        rate=0.01,
        held_out=0.2,
        probes=16,
        workers=0,
        log=2,
        save=10,
        engine=Devices(accelerator="cpu"),
    )
    return dataclasses.replace(plan, **changes)


def losses(run) -> list[tuple]:
    return [(line["step"], line["loss"], line["accuracy"]) for line in read_log(run / "log.jsonl")]


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    return pretrain(config(tiny, tmp_path_factory.mktemp("runs") / "whole"))


def test_a_run_leaves_all_that_is_needed_to_run_it_again(whole, tiny):
    stored = json.loads((whole / "config.json").read_text())
    assert checkpoints.restore(stored["config"]).method == METHOD
    assert stored["versions"]["torch"] == importlib.metadata.version("torch")
    assert stored["data"]["listed"] == 12 and stored["data"]["train"] + stored["data"]["held_out"] == 12
    log = read_log(whole / "log.jsonl")
    assert [line["step"] for line in log] == list(range(2, 31, 2))
    assert all({"loss", "accuracy", "examples_per_second", "waiting", "rate"} <= line.keys() for line in log)
    assert [line["step"] for line in log if "held_out_accuracy" in line] == [10, 20, 30]
    assert list((whole / "tensorboard").iterdir())
    result = json.loads((whole / "result.json").read_text())
    assert 0 <= result["held_out_accuracy"] <= 1 and result["chance"] == {"accuracy": 0.5}
    saved = checkpoints.load(whole)
    assert saved["step"] == 30 and saved["split"] == 1
    videos = Videos(tiny).records(True, 1, (32, 32))
    assert saved["seen"] == sorted(content(record) for record in videos)  # 12, held-out ones too
    with np.load(whole / "examples.npz") as examples:
        assert len(examples["clips"]) == len(examples["predicted"]) == 12


def test_losses_do_not_depend_on_the_number_of_workers(whole, tiny, tmp_path):
    assert losses(pretrain(config(tiny, tmp_path / "run", workers=2))) == losses(whole)


def test_repeated_sampling_decodes_once_for_several_examples_and_resumes_alike(tiny, tmp_path, monkeypatch):
    decoded, read = [], VideoFile.__getitem__

    def noted(frames, index):
        decoded.append(len(index) if np.ndim(index) else 1)
        return read(frames, index)

    monkeypatch.setattr(VideoFile, "__getitem__", noted)
    plan = {"repeats": 4, "window": 12, "held_out": 0.0, "steps": 10, "save": 10, "watch": 0}
    out = pretrain(config(tiny, tmp_path / "run", **plan))
    assert decoded == [12] * (10 * 8 // 4)
    assert checkpoints.restore(json.loads((out / "config.json").read_text())["config"]).repeats == 4
    assert losses(pretrain(config(tiny, tmp_path / "other", **plan, workers=2))) == losses(out)


def test_videos_of_which_no_window_can_be_asked_are_left_out_before_training(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"no video is left .* 9 frames .* or raise window, for none of 8 frames"):
        pretrain(config(tiny, tmp_path / "run", repeats=2, window=8))
    assert not (tmp_path / "run").exists()


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import torch; torch.set_num_threads(1)
from test_pretrain import config, pretrain
pretrain(config(Path({tiny!r}), Path({out!r}), workers={workers}))
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_resumes_to_the_same_losses_bit_for_bit(whole, tiny, tmp_path, workers):
    out = tmp_path / "run"
    folder = os.path.dirname(__file__)
    code = KILLED.format(folder=folder, tiny=str(tiny), out=str(out), workers=workers)
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.time() + 90
    while time.time() < limit and child.poll() is None:
        if len(read_log(out / "log.jsonl")) >= 6:  # past the first checkpoint, before the end
            break
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert checkpoints.load(out)["step"] >= 10
    assert resume(Resume(out)) == out
    assert losses(out) == losses(whole)
    one, other = checkpoints.load(whole)["net"], checkpoints.load(out)["net"]
    assert all(torch.equal(one[key], other[key]) for key in one)


class Recording(torch.nn.Module):
    """A net whose loss is the mean of what it is given, and which remembers how much that was."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, batch):
        self.sizes.append(len(batch["x"]))
        return batch["x"].mean(), {}


def test_just_so_many_probes_are_measured_and_each_counts_alike(tmp_path):
    probe = Draws([{"name": "one"}], lambda record, rng: {"x": rng.random()})
    plan = config(tmp_path, tmp_path, batch=8, probes=11)
    net = Recording()
    found = measure(net, probe, plan, plan.engine.launch())
    assert net.sizes == [8, 3]
    assert found["held_out_loss"] == pytest.approx(np.mean([probe[n]["x"] for n in range(11)]), abs=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{name: 0} for name in ("steps", "batch", "repeats", "window", "log", "save", "probes")]
    + [{"batch": 9, "repeats": 2}]
    + [{"workers": -1}, {"seed": -1}, {"held_out": 1.0}, {"held_out": -0.1}, {"save": 11, "log": 10}],
)
def test_a_number_out_of_range_is_refused_in_words(tmp_path, wrong):
    with pytest.raises(ValueError, match=rf"^{next(iter(wrong))} (is|must)"):
        config(tmp_path, tmp_path, **wrong)


def test_a_file_is_no_folder_for_a_run(tiny, tmp_path):
    (tmp_path / "run").write_text("a note")
    with pytest.raises(FileExistsError, match="run is a file, but --out names the folder"):
        pretrain(config(tiny, tmp_path / "run"))
    assert (tmp_path / "run").read_text() == "a note"


@pytest.mark.parametrize("written", ["{}", "[]", '{"config": {"is": "videossl.models.small:Small"}}'])
def test_a_config_that_is_not_of_a_run_is_refused_in_words(tmp_path, written):
    (tmp_path / "config.json").write_text(written)
    with pytest.raises(ValueError, match="is not of a pretraining run"):
        resume(Resume(tmp_path))


def test_a_trunk_made_for_other_clips_than_it_is_shown_is_noted(tiny, tmp_path, capsys):
    small = Small(length=4, width=4, size=28)
    pretrain(config(tiny, tmp_path / "run", trunk=small, steps=2))
    note = "note: Small reads clips of 4 frames, but this method shows it clips of 1 (--method.length)"
    assert capsys.readouterr().out.count(note) == 1
    frames = dataclasses.replace(small, length=1)
    pretrain(config(tiny, tmp_path / "frames", trunk=frames, method=dataclasses.replace(METHOD, length=2), steps=2))
    note = "note: Small reads single frames, and takes the mean over the 2 that this method shows it"
    assert capsys.readouterr().out.count(note) == 1
    pretrain(config(tiny, tmp_path / "other", steps=2))
    assert "note:" not in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_an_accelerator_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no run on --accelerator cuda"):
        Devices(accelerator="cuda").launch()


def test_a_run_killed_before_its_first_checkpoint_begins_anew(whole, tiny, tmp_path):
    out = tmp_path / "run"
    pretrain(config(tiny, out))
    (out / "checkpoint.pt").unlink()
    assert losses(resume(Resume(out))) == losses(whole)


def test_a_folder_that_is_there_is_not_touched(whole, tiny):
    before = (whole / "log.jsonl").read_bytes()
    with pytest.raises(FileExistsError, match="videossl resume"):
        pretrain(config(tiny, whole))
    assert (whole / "log.jsonl").read_bytes() == before


def test_videos_shorter_than_a_tuple_are_refused(tiny, tmp_path):
    long = config(tiny, tmp_path / "run", method=ShuffleAndLearn())
    with pytest.raises(
        ValueError, match=r"no video is left to pretrain on: fewer than the 91 frames .* \(12 \(.*c01, "
    ):
        pretrain(long)
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_method_or_trunk_is_not_taken_up(whole, tiny, tmp_path):
    out = tmp_path / "run"
    pretrain(config(tiny, out, steps=10))
    stored = json.loads((out / "config.json").read_text())
    for part, key, value in (("method", "far", 5), ("trunk", "width", 5)):
        other = json.loads(json.dumps(stored))
        other["config"][part][key] = value
        (out / "config.json").write_text(json.dumps(other))
        with pytest.raises(ValueError, match=f"is of another {part} than config.json"):
            resume(Resume(out))


def test_other_videos_than_those_it_began_with_are_noticed(whole, tiny, tmp_path):
    out = tmp_path / "run"
    pretrain(config(tiny, out, steps=10))
    stored = json.loads((out / "config.json").read_text())
    stored["data"]["fingerprint"] = "of others"
    (out / "config.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="the videos are not those"):
        resume(Resume(out))


def test_a_loss_that_is_not_finite_stops_the_run(tiny, tmp_path):
    with pytest.raises(FloatingPointError, match="lower --rate"):
        pretrain(config(tiny, tmp_path / "run", rate=1e30))


def test_nothing_is_learned_from_files_that_are_cut_short_or_damaged(tiny, capsys):
    records = Videos(tiny, size=(32, 32)).records(True, 1, (32, 32))
    method, fabric = ShuffleAndLearn(far=8, near=4), Devices(accelerator="cpu").launch()
    records[1]["warning"] = "ends after 27 of 187 declared frames"
    kept = usable(records, method, fabric)
    assert [record["name"] for record in kept] == [r["name"] for n, r in enumerate(records) if n != 1]
    printed = " ".join(capsys.readouterr().out.split())
    name = records[1]["name"]
    assert f"1 ({name}) of {len(records)} videos are left out of pretraining: cut short or damaged" in printed
