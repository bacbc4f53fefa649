import numpy as np
import pytest
import torch

from videossl.experiments.runs import read_json
from videossl.experiments.video_methods import VideoMethods, last_frame_alone, run
from videossl.methods.frame_prediction import FramePrediction
from videossl.methods.voxel2voxel import Voxel2Voxel


def test_a_world_is_run_measured_beside_its_trivial_answer_and_gone_on_with(tmp_path, capsys):
    one = {"methods": ("future predictor",), "seeds": (0,), "steps": 3, "workers": 0}
    config = VideoMethods(tmp_path, only=("real_actions", "moving_digits"), **one)
    found = run(config)
    assert "real_actions: left out" in capsys.readouterr().out and list(found) == ["moving_digits"]
    stored = read_json(tmp_path / "video_methods.json")
    assert stored["worlds"] == found
    asked = found["moving_digits"]["methods"]["future predictor"]
    assert asked["held out"]["held_out_future_mse"][0] > 0 < asked["held out"]["held_out_copy_mse"][0]
    assert len(asked["steps"]["future_mse"][0]) == 10 == len(asked["steps"]["copy_ssim"][0])
    assert (tmp_path / "moving_digits" / "report.html").read_text().count("data:image/webp") > 8
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checkpoint.pt")}
    again = run(config)["moving_digits"]
    assert again["methods"] == found["moving_digits"]["methods"] and made == {
        path: path.stat().st_mtime_ns for path in made
    }


def test_an_unknown_method_is_named():
    assert VideoMethods(methods=("OPN", "clip order, split", "DrLIM", "composite LSTM"))
    with pytest.raises(ValueError, match="there is no method 'opn'; there are: Shuffle and Learn, OPN, "):
        VideoMethods(methods=("opn",))
    with pytest.raises(ValueError, match="there is no method 'DrLIM'; there are: Shuffle and Learn, "):
        VideoMethods(only=("simulated_actions",), methods=("DrLIM",))


def test_a_world_without_the_methods_named_is_left_out_before_it_is_made(tmp_path, capsys):
    assert run(VideoMethods(tmp_path, methods=("clip order, split",))) == {}
    printed = capsys.readouterr().out
    assert printed.count("left out, since it has none of the methods named") == 3
    assert "real_actions: left out, since no folder was given" in printed and len(list(tmp_path.iterdir())) == 1


def test_an_unknown_world_is_named():
    with pytest.raises(ValueError, match="there is no world 'moon'; there are: simulated_actions"):
        VideoMethods(only=("moon",))


@pytest.mark.parametrize(
    ("method", "name"),
    [(FramePrediction(past=3, future=2), "video"), (Voxel2Voxel("future", length=3), "clips")],
)
def test_with_the_last_frame_alone_the_past_stands_still_and_what_follows_is_the_same(method, name):
    frames = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 3, 4, 4).clone()
    sample, records = last_frame_alone(method, [{"frames": frames}])
    before, after = (draw(records[0], np.random.default_rng(0)) for draw in (method.sample, sample))
    assert after[name][:3, 0, 0, 0].tolist() == [int(before[name][2, 0, 0, 0])] * 3
    assert torch.equal(after[name][3:], before[name][3:]) and frames[:, 0, 0, 0].tolist() == list(range(6))
    assert all(np.array_equal(after[key], before[key]) for key in after.keys() - {name})
