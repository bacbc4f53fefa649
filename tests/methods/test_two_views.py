"""What the methods of two views share: what is shown, their teacher, and that each learns to tell pictures apart."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videossl.methods.barlow_twins import BarlowTwins
from videossl.methods.byol import BYOL
from videossl.methods.moco import MoCo
from videossl.methods.simclr import SimCLR
from videossl.methods.simsiam import SimSiam
from videossl.methods.swav import SwAV
from videossl.methods.two_views import Teacher, TwoViews, augmented, found, rising, seen
from videossl.methods.vicreg import VICReg

WEAK = {"area": (0.5, 1.0), "colour": 0.2, "blurred": 0.0, "blurred_second": None, "solarised": 0.0}
LEARNERS = {
    "SimCLR": SimCLR(hidden=32, out=16, temperature=0.2, **WEAK),
    "SimCLR, linear": SimCLR(head="linear", out=16, temperature=0.2, **WEAK),
    "MoCo": MoCo(queue=64, momentum=0.99, temperature=0.1, hidden=32, out=16, **WEAK),
    "MoCo v1": MoCo(version=1, queue=64, momentum=0.99, temperature=0.1, out=16, **WEAK),
    "MoCo v3": MoCo(version=3, momentum=0.9, hidden=32, out=16, **WEAK),
    "BYOL": BYOL(momentum=0.9, hidden=32, out=16, **WEAK),
    "SimSiam": SimSiam(hidden=32, bottleneck=16, **WEAK),
    "Barlow Twins": BarlowTwins(out=32, **WEAK),
    "VICReg": VICReg(out=32, **WEAK),
    "SwAV": SwAV(prototypes=30, hidden=32, out=16, **WEAK),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_each_learns_which_view_is_of_the_same_picture_and_does_not_collapse(name, learn, batch, tiny, pictures):
    method, records = LEARNERS[name], pictures(256)
    asked = batch(method, records[:48])
    torch.manual_seed(0)
    before = method.build(tiny()).eval()(asked)[0].item()
    if name in ("MoCo", "MoCo v1"):
        before = 0.9 * math.log(method.queue + 1)  # random keys, as a queue begins with, are told apart at once
    after, metrics = learn(method, records, tiny(), 80)(asked)
    assert after < before and metrics["spread"] > 0.3
    assert metrics["guessing"] == pytest.approx(1 / 48) and metrics["accuracy"] > 5 / 48


def test_both_views_of_an_image_are_of_its_one_frame_and_a_videos_lie_within_reach(counting):
    assert TwoViews().sample(counting(1), np.random.default_rng(0))["clips"].shape == (2, 1, 3, 8, 8)
    starts = []
    for seed in range(200):
        shown = TwoViews(length=4, stride=2, apart=10).sample(counting(40), np.random.default_rng(seed))["clips"]
        clips = shown[:, :, 0, 0, 0].int()
        assert (clips.diff(dim=1) == 2).all()
        starts.append(clips[:, 0].tolist())
    apart = np.diff(np.array(starts))[:, 0]
    assert apart.min() == -10 and apart.max() == 10 and np.max(starts) == 40 - 7 and np.min(starts) == 0
    same = TwoViews(length=4).sample(counting(40), np.random.default_rng(0))["clips"]
    assert torch.equal(same[0], same[1])
    with pytest.raises(ValueError, match="fewer than the 7 frames of a view"):
        TwoViews(length=4, stride=2).check(counting(6))
    with pytest.raises(ValueError, match="apart is one from 0"):
        TwoViews(apart=-1)


def test_eval_mode_shows_the_same_views_each_time_and_leaves_the_generator_alone():
    clips = {"clips": torch.randint(256, (3, 2, 1, 3, 16, 16), dtype=torch.uint8)}
    torch.manual_seed(1)
    one, drawn = seen(clips, TwoViews(), 8, training=False), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))
    assert torch.equal(one, seen(clips, TwoViews(), 8, training=False)) and one.shape == (3, 2, 1, 3, 8, 8)
    assert not torch.equal(one, seen(clips, TwoViews(), 8, training=True))
    with pytest.raises(ValueError, match="a batch of one example"):
        seen({"clips": clips["clips"][:1]}, TwoViews(), 8, training=True)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_batch_of_one_is_refused_in_words(name, tiny):
    net = LEARNERS[name].build(tiny())
    with pytest.raises(ValueError, match=r"a batch of one example: .* give --batch 2 or more"):
        net({"clips": torch.rand(1, 2, 1, 3, 16, 16)})


def test_second_views_are_blurred_more_seldom_and_solarised_where_that_is_asked_for():
    method = TwoViews(area=(0.9, 1.0), colour=0.0, blurred=1.0, blurred_second=0.0, solarised=1.0)
    bright = seen({"clips": torch.full((8, 2, 1, 3, 16, 16), 0.8)}, method, 16, training=True)
    for view, expected in ((0, 0.8), (1, 0.2)):
        assert torch.allclose(bright[:, view], torch.tensor(expected), atol=1e-3)
    noise = torch.rand(20, 2, 1, 3, 112, 112) / 2  # nothing to solarise
    rough = seen({"clips": noise}, method, 112, training=True).diff(dim=-1).abs().mean((0, 2, 3, 4, 5))
    assert rough[0] < 0.9 * rough[1]
    assert TwoViews(blurred=0.3).blurring == (0.3, 0.3) and method.blurring == (1.0, 0.0)
    for wrong in ({"blurred": 1.5}, {"blurred_second": -0.1}, {"solarised": 2.0}):
        with pytest.raises(ValueError, match="blurred and solarised are shares"):
            TwoViews(**wrong)


def test_frames_of_a_view_are_treated_alike_and_views_apart():
    clips = torch.rand(4, 2, 1, 3, 24, 24).expand(4, 2, 3, 3, 24, 24)
    shown = augmented(clips, 16, (0.2, 1.0), 1.0, 1.0)
    assert torch.allclose(shown[:, :, 0], shown[:, :, 2], atol=1e-6) and shown.min() >= 0 and shown.max() <= 1
    assert not torch.allclose(shown[:, 0], shown[:, 1])


def test_found_counts_the_views_whose_own_other_is_nearest():
    one = torch.eye(4)
    other = torch.eye(4)[[0, 1, 3, 2]]
    assert found(one, one)["accuracy"] == 1 and found(3 * one, other)["accuracy"] == 0.5
    assert found(torch.ones(4, 3), torch.ones(4, 3))["spread"] == pytest.approx(0, abs=1e-6)
    points = F.normalize(torch.randn(500, 32), dim=1)
    assert found(points, points)["spread"] == pytest.approx(1, abs=0.05)


def test_a_teachers_weights_are_a_running_mean_and_have_no_gradient():
    student = nn.Linear(3, 2)
    teacher = Teacher(student, nn.Identity())
    before = {name: value.clone() for name, value in student.named_parameters()}
    with torch.no_grad():
        student.weight.add_(1.0)
    teacher.follow([student, nn.Identity()], 0.75)
    assert torch.allclose(teacher.copies[0].weight, 0.75 * before["weight"] + 0.25 * student.weight)
    teacher.follow([student, nn.Identity()], 1.0)
    assert torch.allclose(teacher.copies[0].weight, 0.75 * before["weight"] + 0.25 * student.weight)
    assert not teacher(torch.rand(1, 3)).requires_grad and all(not p.requires_grad for p in teacher.parameters())


def test_momentum_rises_to_one():
    values = [rising(0.9, progress) for progress in (0, 0.25, 0.5, 1)]
    assert values[0] == pytest.approx(0.9) and values[3] == 1 and values == sorted(values)
    assert values[2] == pytest.approx(1 - 0.1 * (math.cos(math.pi / 2) + 1) / 2)
