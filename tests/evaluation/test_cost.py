import pytest
import torch
from torch import nn

from videossl.evaluation.cost import Cost, measured
from videossl.evaluation.features import Encoder
from videossl.evaluation.views import Views
from videossl.models.vit import ViT


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


def test_attention_counts_whatever_the_device_computes_it_with():
    found = measured(ViT(24, depth=2, heads=2, patch=4, size=16).build(), torch.rand(1, 1, 3, 16, 16), 1, repeats=1)
    tokens, width = 16 + 1, 24
    embedded = 2 * 16 * (3 * 4 * 4) * width
    layers, attention = 2 * tokens * width * width * (3 + 1 + 4 + 4), 2 * 2 * tokens * tokens * width
    assert found["GFLOPs a video"] == pytest.approx((embedded + 2 * (layers + attention)) / 1e9)


def test_all_views_of_a_video_go_through_in_batches_and_the_mode_is_restored():
    trunk = Counted().train()
    scores = Cost(repeats=1, views=Views(clips=3, crops=10)).score(Encoder(trunk, batch=16), [{}] * 4, [{}] * 2)
    assert trunk.seen == [1, 16, *[16, 14] * 3] and trunk.training
    assert (
        scores.trained == 4 and scores.evaluated == 2 and set(scores.metrics) >= {"GFLOPs a video", "seconds a video"}
    )
    with pytest.raises(ValueError, match="repeats are 0: time is taken once at least"):
        Cost(repeats=0)
