import dataclasses
from math import log

import numpy as np
import pytest
import torch
from torch import nn

from videossl.methods.context_encoder import ContextEncoder, covered, mean_seen
from videossl.models.base import Trunk
from videossl.models.caffenet import CaffeNet
from videossl.models.resnet import ResNet
from videossl.models.small import Small

TOY = ContextEncoder(code=32, width=8)
PLAIN = dataclasses.replace(TOY, adversary=0.0)
RANDOM = dataclasses.replace(TOY, region="random")


def tinted(seed: int) -> dict:
    """A picture of two colours, one above the other: what is missing goes on as it is seen."""
    rng = np.random.default_rng(seed)
    frame = np.repeat(rng.integers(0, 256, (3, 2, 1)), [10, 10], 1) + rng.integers(-4, 5, (3, 20, 20))
    return {"frames": torch.from_numpy(frame.clip(0, 255).astype(np.uint8))[None]}


def example(method: ContextEncoder, count: int = 4) -> dict:
    pattern = torch.randn(count, 1, 8, 8)
    return {"clips": torch.rand(count, 1, 3, 16, 16), "pattern": pattern}


def test_the_centre_is_a_square_of_its_share_but_for_an_edge_that_is_seen(tiny):
    clips, hidden = PLAIN.build(Small(1, 2, 64).build()).eval().view({"clips": torch.rand(2, 1, 3, 64, 64)})
    assert hidden[:, :, 18:46, 18:46].all() and hidden.sum() == 2 * 28**2  # 32 pixels a side, 2 of them edge
    assert clips.shape == (2, 3, 64, 64)


@pytest.mark.parametrize("share", [0.2, 0.25, 0.5])
def test_random_regions_cover_their_share_and_are_smooth(share):
    hidden = covered(torch.randn(20, 1, 8, 8), 64, share)
    assert (hidden.flatten(1).sum(1) == round(share * 64**2)).all()
    borders = (hidden[..., 1:] != hidden[..., :-1]).float().mean()
    assert borders < 0.1  # of pixels drawn apart: 2 * share * (1 - share), 0.32 and more
    assert not torch.equal(hidden[0], hidden[1])


@pytest.mark.parametrize("method", [TOY, RANDOM], ids=lambda method: method.region)
def test_what_is_seen_stays_and_the_trunk_sees_nothing_of_the_hole(method, tiny):
    net, batch = method.build(tiny()).eval(), example(method)
    clips, hidden = net.view(batch)
    painted = net.paint(clips, hidden)
    whole = net.composed(clips, hidden, painted)
    seen = ~hidden.expand_as(clips)
    assert torch.equal(whole[seen], clips[seen]) and not torch.equal(whole, clips)
    other = torch.where(hidden, torch.rand_like(clips), clips)
    assert torch.equal(net.paint(other, hidden), painted)


def test_only_what_is_asked_for_is_judged_and_the_edge_counts_ten_times(tiny):
    batch = example(RANDOM)
    for method in (RANDOM, dataclasses.replace(TOY, overlap=0.0)):
        net = method.build(tiny()).eval()
        clips, hidden = net.view(batch)
        painted = net.paint(clips, hidden).detach().requires_grad_()
        net.rebuilding(clips, hidden, painted).backward()
        inside = hidden[..., net.hole[0], net.hole[1]].expand_as(painted)
        assert (painted.grad[~inside] == 0).all() and (painted.grad[inside] != 0).any()
    net = dataclasses.replace(TOY, overlap=1 / 16).build(tiny()).eval()
    clips, hidden = net.view(batch)
    wrong = clips[..., 4:12, 4:12] + net.trunk.std  # off by one unit everywhere
    assert net.rebuilding(clips, hidden, wrong).item() == pytest.approx((36 + 10 * (64 - 36)) / 36, rel=1e-5)


def test_painting_the_mean_costs_the_regions_variance(tiny):
    net, batch = dataclasses.replace(PLAIN, overlap=0.0).build(tiny()).eval(), example(PLAIN)
    clips, hidden = net.view(batch)
    hole = clips[..., 4:12, 4:12]
    mean = hole.mean((2, 3), keepdim=True).expand_as(hole)
    expected = (hole.var((2, 3), correction=0) / net.trunk.std.view(3).square()).mean()
    torch.testing.assert_close(net.rebuilding(clips, hidden, mean), expected)


def test_the_mean_of_what_is_seen_is_beside_it(tiny):
    clips, hidden = torch.rand(2, 3, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    hidden[:, :, 1:3, 1:3] = True
    expected = clips[0][:, ~hidden[0, 0]].mean(1)
    torch.testing.assert_close(mean_seen(clips, hidden)[0, :, 0, 0], expected)


@pytest.mark.parametrize("method", [TOY, RANDOM], ids=lambda method: method.region)
def test_both_sides_of_the_game_learn_from_their_own_loss_alone(method, tiny):
    net, batch = method.build(tiny()), example(method, 8)
    clips, hidden = net.view(batch)
    painted = net.paint(clips, hidden)
    critic, painter = net.judging(clips, hidden, painted)
    makers = [weight for name, weight in net.named_parameters() if not name.startswith("critic")]
    makers_of_maps = [*net.code.parameters(), *net.painter.parameters()]
    judges = list(net.critic.parameters())
    assert all(g is None for g in torch.autograd.grad(critic, makers, retain_graph=True, allow_unused=True))
    assert all(g is None for g in torch.autograd.grad(painter, judges, retain_graph=True, allow_unused=True))
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(critic, judges[-2:], retain_graph=True))
    assert any(g.abs().sum() > 0 for g in torch.autograd.grad(painter, makers_of_maps))


def test_the_loss_is_mixed_as_said(tiny):
    net, batch = dataclasses.replace(TOY, adversary=0.3).build(tiny()).eval(), example(TOY)
    nn.init.zeros_(net.critic[-1].weight)
    nn.init.zeros_(net.critic[-1].bias)
    loss, metrics = net(batch)
    clips, hidden = net.view(batch)
    rebuilding = net.rebuilding(clips, hidden, net.paint(clips, hidden))
    assert metrics["discriminator"].item() == pytest.approx(log(2), abs=1e-6)
    assert loss.item() == pytest.approx(0.7 * rebuilding.item() + 0.3 * log(2) + log(2), rel=1e-5)


@pytest.mark.parametrize("method", [TOY, RANDOM], ids=lambda method: method.region)
def test_it_learns_to_fill_pictures_that_it_has_not_seen(method, learn, batch, tiny):
    net = learn(method, [tinted(n) for n in range(60)], tiny(), 120)
    with torch.no_grad():
        _, metrics = net(batch(method, [tinted(n) for n in range(100, 160)]))
    assert metrics["mse"] < 0.85 * metrics["mean_mse"]


@pytest.mark.parametrize("trunk", [Small(4, 4, 32), ResNet(18), CaffeNet(64, (16,))], ids=str)
def test_it_fills_pictures_with_any_trunk_that_has_maps(trunk):
    net = TOY.build(trunk.build()).eval()
    batch = {"clips": torch.randint(256, (2, 1, 3, 40, 50), dtype=torch.uint8)}
    with torch.no_grad():
        panels = net.panels(batch)
    size = net.trunk.size
    assert all(p.shape == (2, 1, 3, size, size) and p.min() >= 0 and p.max() <= 1 for p in panels.values())


def test_what_cannot_be_asked_is_refused_in_words(tiny):
    with pytest.raises(ValueError, match="ContextEncoder paints from feature maps"):
        TOY.build(Trunk(4, 1, 16, (16, 16), colours=((0.5,) * 3, (0.25,) * 3)))
    with pytest.raises(ValueError, match="nothing is hidden of 16 pixels"):
        ContextEncoder(hidden=0.0005, overlap=0.0).build(tiny())
    for wrong in ({"hidden": 1.0}, {"adversary": 1.0}, {"overlap": 0.3}, {"code": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ContextEncoder(**wrong)
