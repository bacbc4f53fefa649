import dataclasses
from math import log

import numpy as np
import pytest
import torch
from torch import nn

from videossl.lab import colour_bins, lab_to_rgb, rgb_to_lab
from videossl.methods.colourisation import Colourisation, class_weights, constant_cost
from videossl.models.base import Trunk
from videossl.models.caffenet import CaffeNet
from videossl.models.resnet import ResNet
from videossl.models.small import Small

TOY = Colourisation(step=20, width=16)
EVEN = dataclasses.replace(TOY, uniform=1.0)


def tone(seed: int, colours: int = 2) -> dict:
    """A grey ground with a bright band that is red and a dark one that is blue, or with `colours` 1 red or green by lot."""
    rng = np.random.default_rng(seed)
    lab = torch.zeros(3, 20, 20)
    lab[0] = 50 + torch.from_numpy(rng.normal(0, 2, (20, 20)))
    top = rng.integers(0, 5)
    lab[:, top : top + 6] = torch.tensor([75.0, 45, 35])[:, None, None]
    if colours == 2:
        lab[:, top + 8 : top + 14] = torch.tensor([25.0, 30, -60])[:, None, None]
    elif rng.random() < 0.5:
        lab[1, top : top + 6] = -45
    return {"frames": (255 * lab_to_rgb(lab)).round().byte()[None], "name": str(seed)}


def test_the_prior_is_how_frequent_colours_are():
    lab = torch.zeros(3, 8, 8)
    lab[0], lab[1, :2] = 60, 40.0  # a quarter of all places
    record = {"frames": (255 * lab_to_rgb(lab)).round().byte()[None]}
    method = dataclasses.replace(TOY, sigma=0.1).prepare([record])
    bins = colour_bins(20).tolist()
    assert method.prior[bins.index([40, 0])] == pytest.approx(0.25, abs=1e-4)
    assert method.prior[bins.index([0, 0])] == pytest.approx(0.75, abs=1e-4)
    smooth = Colourisation().prepare([record])
    assert len(smooth.prior) == 313 and sum(smooth.prior) == pytest.approx(1, abs=1e-5)
    middle = colour_bins().tolist().index([40, 0])
    assert smooth.prior[middle] > smooth.prior[middle + 1] > 0
    assert smooth.prepare([]) == smooth


def test_weights_are_one_in_the_mean_and_all_one_without_rebalancing():
    prior = torch.rand(313).softmax(0) ** 2
    prior = prior / prior.sum()
    weights = class_weights(prior, 0.5)
    assert (prior * weights).sum().item() == pytest.approx(1, abs=1e-5)
    assert weights.argmax() == prior.argmin()
    expected = 1 / (0.5 * prior + 0.5 / 313)
    torch.testing.assert_close(weights / weights[0], expected / expected[0])
    torch.testing.assert_close(class_weights(prior, 1.0), torch.ones(313))


def test_even_logits_cost_log_313(tiny):
    net = dataclasses.replace(EVEN, step=10).build(tiny()).eval()
    nn.init.zeros_(net.head.out.weight)
    nn.init.zeros_(net.head.out.bias)
    loss, _ = net({"clips": torch.rand(3, 1, 3, 16, 16)})
    assert loss.item() == pytest.approx(log(313), abs=1e-4)


def test_the_loss_is_that_of_a_loop_over_places(tiny):
    method = TOY.prepare([tone(n) for n in range(4)])
    net = method.build(tiny()).eval()
    clips = torch.stack([tone(n)["frames"][:, :, :16, :16] for n in range(2)])
    lab = net.view({"clips": clips})
    small = nn.functional.avg_pool2d(lab[:, 1:], 16 // net.side)
    logits, bins, total = net.answer(lab), colour_bins(20), 0.0
    weights = class_weights(torch.tensor(method.prior), 0.5)
    for b in range(2):
        for y in range(net.side):
            for x in range(net.side):
                squared = (bins - small[b, :, y, x]).square().sum(1)
                near = squared.argsort()[:5]
                share = torch.exp(-squared[near] / 50)
                cost = -(share / share.sum() * logits[b, :, y, x].log_softmax(0)[near]).sum()
                total = total + weights[near[0]] * cost
    torch.testing.assert_close(net({"clips": clips})[0], total / (2 * net.side**2))


def test_grey_pictures_count_nothing(tiny):
    net = EVEN.build(tiny()).eval()
    colourful, grey = tone(0)["frames"], torch.full((1, 3, 20, 20), 90, dtype=torch.uint8)
    alone, _ = net({"clips": colourful[None]})
    beside, _ = net({"clips": torch.stack([colourful, grey])})
    torch.testing.assert_close(alone, beside)
    assert net({"clips": grey[None]})[0] == 0


def test_records_without_colours_are_refused_and_frequencies_must_be_counted(counting, tiny):
    with pytest.raises(ValueError, match="none of the 2 pictures looked at has colours"):
        Colourisation().prepare([counting(20), counting(20)])
    with pytest.raises(ValueError, match="call prepare"):
        TOY.build(tiny())
    with pytest.raises(ValueError, match="Trunk has none"):
        EVEN.build(Trunk(4, 1, 16, (16, 16), colours=((0.5,) * 3, (0.25,) * 3)))
    for wrong in ({"step": 0}, {"temperature": 0.0}, {"uniform": 2.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Colourisation(**wrong)


def test_the_trunk_sees_lightness_alone(tiny):
    net = EVEN.build(tiny()).eval()
    lab = rgb_to_lab(torch.rand(2, 3, 16, 16))
    other = torch.cat([lab[:, :1], torch.randn(2, 2, 16, 16)], 1)
    assert torch.equal(net.answer(lab), net.answer(other))


def test_the_best_constant_answer_costs_what_a_search_finds():
    numbers = torch.randint(6, (2, 3, 3, 2))
    shares, weight = torch.rand(2, 3, 3, 2).softmax(-1), torch.rand(2, 3, 3)
    logits = torch.zeros(6, requires_grad=True)
    search = torch.optim.LBFGS([logits], max_iter=200)

    def cost():
        search.zero_grad()
        value = -(weight * (shares * logits.log_softmax(0)[numbers]).sum(-1)).sum()
        value.backward()
        return value

    search.step(cost)
    assert constant_cost(numbers, shares, weight, 6).item() == pytest.approx(cost().item(), rel=1e-3)


@pytest.mark.parametrize("loss", ["classes", "regression"])
def test_it_learns_colours_of_pictures_that_it_has_not_seen(loss, learn, batch, tiny):
    method = dataclasses.replace(TOY, loss=loss).prepare([tone(n) for n in range(20)])
    net = learn(method, [tone(n) for n in range(40)], tiny(), 80)
    with torch.no_grad():
        found, metrics = net(batch(method, [tone(n) for n in range(100, 140)]))
    assert found < 0.8 * metrics["constant_loss"] and metrics["error"] < 0.75 * metrics["grey_error"]


def test_where_two_colours_are_as_likely_squared_errors_answer_grey_and_classes_do_not(learn, batch, tiny):
    vivid = {}
    for loss in ("classes", "regression"):
        method = dataclasses.replace(TOY, loss=loss, temperature=0.1).prepare([tone(n, 1) for n in range(40)])
        net = learn(method, [tone(n, 1) for n in range(200)], tiny(), 80)
        with torch.no_grad():
            vivid[loss] = net(batch(method, [tone(n, 1) for n in range(300, 340)]))[1]["vivid"].item()
    assert vivid["classes"] > 1.2 * vivid["regression"]


@pytest.mark.parametrize("trunk", [Small(4, 4, 32), ResNet(18), CaffeNet(64, (16,))], ids=str)
def test_it_colours_pictures_with_any_trunk_that_has_maps(trunk):
    net = EVEN.build(trunk.build()).eval()
    clips = torch.randint(256, (2, 1, 3, 40, 50), dtype=torch.uint8)
    panels = net.panels({"clips": clips})
    size = net.trunk.size
    assert all(p.shape == (2, 1, 3, size, size) and p.min() >= 0 and p.max() <= 1 for p in panels.values())
    assert panels["shown"].std(2).max() < 1e-3  # grey
