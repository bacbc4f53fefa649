import pytest
import torch
from torch import nn

from videossl.evaluation.base import interval
from videossl.evaluation.features import Encoder
from videossl.evaluation.robustness import IN_PICTURES, IN_TIME, SEVERITIES, Robustness
from videossl.evaluation.views import Views


def test_damage_keeps_shape_and_range_and_grows_with_severity():
    clips = torch.rand(2, 4, 3, 24, 32)
    for name, damage in IN_PICTURES.items():
        off = [(damage(clips, severity) - clips).abs().mean() for severity in SEVERITIES]
        assert off[0] < off[1] < off[2], name
        worst = damage(clips, 3)
        assert worst.shape == clips.shape and worst.min() >= 0 and worst.max() <= 1
        assert torch.equal(worst, damage(clips, 3))


def test_damage_of_time_moves_whole_frames():
    clips = torch.arange(6.0)[None, :, None, None, None].expand(1, 6, 3, 2, 2) / 6
    times = {name: (6 * damage(clips, 1)[0, :, 0, 0, 0]).round().tolist() for name, damage in IN_TIME.items()}
    assert times["reversed"] == [5, 4, 3, 2, 1, 0] and times["static"] == [3] * 6
    assert sorted(times["shuffled"]) == [0, 1, 2, 3, 4, 5] != times["shuffled"]


class Rising(nn.Module):
    """A trunk that knows how much brighter a clip becomes."""

    dim, length, size = 1, 4, 4

    def forward(self, clips):
        means = clips.mean((2, 3, 4))
        return means[:, -1:] - means[:, :1]


def test_what_rises_and_what_falls_cannot_be_told_when_time_runs_backwards_or_stands_still():
    records = []
    for n in range(20):
        levels = torch.linspace(50, 150, 4) + n
        levels = levels if n % 2 else levels.flip(0)
        frames = levels.to(torch.uint8)[:, None, None, None].expand(4, 3, 4, 4)
        records.append({"frames": frames, "label": n % 2, "name": str(n), "group": str(n)})
    probe = Robustness(penalty=1e-3, views=Views(clips=1, crops=1))
    scores = probe.score(Encoder(Rising()), records[:12], records[12:])
    metrics = scores.metrics
    assert metrics["clean"] == 1 and metrics["reversed"] == 0 and metrics["static"] == 0.5
    assert metrics["blur 3"] == 1 and metrics["chance"] == 0.5
    assert scores.intervals.keys() == metrics.keys() - {"chance", "majority", "drop"}
    assert scores.intervals["static"] == interval(0.5, 8)
    pictures = [metrics[f"{name} {severity}"] for name in IN_PICTURES for severity in SEVERITIES]
    assert metrics["drop"] == pytest.approx(1 - sum(pictures) / len(pictures))
