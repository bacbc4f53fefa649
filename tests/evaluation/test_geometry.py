import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videossl.evaluation.features import Encoder
from videossl.evaluation.geometry import Geometry, alignment, described, rank, spread, uniformity
from videossl.evaluation.views import Views


def units(n: int, d: int) -> torch.Tensor:
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.double), dim=1)


def test_alignment_and_uniformity_of_a_collapse_are_zero():
    same = units(1, 8).expand(5, 8)
    assert alignment(same, same) == 0 and uniformity(same) == pytest.approx(0, abs=1e-12)


def test_uniformity_of_opposite_points_and_of_orthogonal_ones():
    point = units(1, 8)
    assert uniformity(torch.cat([point, -point])) == pytest.approx(-8)
    assert alignment(point, -point) == pytest.approx(4)
    assert uniformity(torch.eye(6)) == pytest.approx(-4)


def test_uniformity_is_that_of_a_loop_and_does_not_change_by_turning():
    points = units(20, 4)
    pairs = [math.exp(-2 * (points[i] - points[j]).square().sum()) for i in range(20) for j in range(i)]
    assert uniformity(points) == pytest.approx(math.log(sum(pairs) / len(pairs)))
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.double)).Q
    assert uniformity(points @ turn) == pytest.approx(uniformity(points))
    with pytest.raises(ValueError, match="there is one video"):
        uniformity(points[:1])


def test_random_vectors_are_nearly_uniform():
    points = units(400, 128)
    assert abs(uniformity(points) + 4) < 0.1
    assert abs(alignment(points[:200], points[200:]) - 2) < 0.05


def test_alignment_by_distance_is_no_more_than_the_root_of_that_by_squares():
    one, other = units(50, 5)[:25], units(50, 5)[25:]
    assert alignment(one, other, power=1) <= math.sqrt(alignment(one, other))


def test_rank_counts_the_directions_that_features_use():
    assert rank(torch.eye(5)) == pytest.approx(5)
    assert rank(torch.ones(7, 3)) == pytest.approx(1)
    assert rank(torch.zeros(4, 3)) == 1
    two = torch.diag(torch.tensor([3.0, 1.0]))
    assert rank(two) == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))


def test_spread_is_zero_in_a_collapse_and_one_on_a_sphere():
    assert spread(torch.ones(9, 4)) == pytest.approx(0, abs=1e-9)
    assert 0.95 < spread(units(500, 64)) <= 1


class Pixels(nn.Module):
    dim, length, size = 12, 1, 2

    def forward(self, clips):
        return clips.mean(1).flatten(1)


def test_videos_without_labels_are_described_and_one_clip_has_no_alignment():
    frames = torch.randint(256, (10, 4, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    records = [{"frames": f, "name": str(n)} for n, f in enumerate(frames)]
    scores = Geometry(Views(clips=4, crops=1)).score(Encoder(Pixels()), records[:6], records[6:])
    clips = frames.flatten(2).float() / 255
    assert scores.metrics == pytest.approx(described(clips), rel=1e-4)
    by_hand = (F.normalize(clips[:, 1:], dim=-1) - F.normalize(clips[:, :-1], dim=-1)).square().sum(-1).mean()
    assert scores.metrics["alignment"] == pytest.approx(by_hand.item(), rel=1e-4)
    assert scores.trained == 6 and scores.evaluated == 4
    single = Geometry(Views(clips=1, crops=1)).score(Encoder(Pixels()), records[:6], records[6:])
    assert "alignment" not in single.metrics
    with pytest.raises(ValueError, match="Geometry needs videos, but a list is empty"):
        Geometry().score(Encoder(Pixels()), [], records)
