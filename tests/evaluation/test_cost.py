import pytest
import torch
from torch import nn

from videossl.evaluation.cost import Cost, measured
from videossl.evaluation.features import Encoder
from videossl.evaluation.views import Views


class Counted(nn.Module):
    """A trunk of one convolution and one linear layer, whose arithmetic is known."""

    dim, length, size = 5, 1, 8

    def __init__(self):
        super().__init__()
        self.convolution, self.linear, self.seen = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Linear(4, 5), []

    def forward(self, clips):
        self.seen.append(len(clips))
        return self.linear(self.convolution(clips[:, 0]).mean((2, 3)))


def test_weights_and_arithmetic_are_those_of_the_layers():
    found = measured(Counted().train(), torch.rand(6, 1, 3, 8, 8), batch=4, repeats=3)
    assert found["million weights"] == pytest.approx((3 * 4 * 9 + 4 * 5 + 5) / 1e6)
    each = 2 * (8 * 8 * 4 * 3 * 9) + 2 * 4 * 5
    assert found["GFLOPs a video"] == pytest.approx(6 * each / 1e9)
    assert found["videos a second"] == pytest.approx(1 / found["seconds a video"])
    weights, clips, maps, means = 3 * 4 * 9 + 4 * 5 + 5, 6 * 3 * 8 * 8, 4 * 4 * 8 * 8, 4 * 4
    assert found["GB"] == pytest.approx(4 * (weights + clips + maps + means) / 1e9)  # of a batch of four


def test_all_views_of_a_video_go_through_in_batches_and_the_mode_is_restored():
    trunk = Counted().train()
    scores = Cost(repeats=1, views=Views(clips=3, crops=10)).score(Encoder(trunk, batch=16), [{}] * 4, [{}] * 2)
    assert trunk.seen == [1, 16, *[16, 14] * 3] and trunk.training
    assert (
        scores.trained == 4 and scores.evaluated == 2 and set(scores.metrics) >= {"GFLOPs a video", "seconds a video"}
    )
    with pytest.raises(ValueError, match="repeats are 0: time is taken once at least"):
        Cost(repeats=0)
