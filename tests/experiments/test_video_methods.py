import pytest

from videossl.experiments.runs import read_json
from videossl.experiments.video_methods import VideoMethods, run


def test_a_world_is_run_measured_beside_its_trivial_answer_and_gone_on_with(tmp_path, capsys):
    config = VideoMethods(tmp_path, only=("real_actions", "moving_digits"), seeds=(0,), steps=10, workers=0)
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


def test_an_unknown_world_is_named():
    with pytest.raises(ValueError, match="there is no world 'moon'; there are: simulated_actions"):
        VideoMethods(only=("moon",))
