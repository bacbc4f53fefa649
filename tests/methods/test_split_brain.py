import dataclasses

import numpy as np
import pytest
import torch

from videossl.lab import lab_to_rgb
from videossl.methods.split_brain import SplitBrain
from videossl.models.caffenet import CaffeNet
from videossl.models.resnet import ResNet
from videossl.models.small import Small
from videossl.models.split import Split

TOY = SplitBrain(width=16)
DEPTH = SplitBrain(parts="depth", width=16)


def scene(seed: int) -> dict:
    """A dark blue ground far away, and a bright orange square near by."""
    rng = np.random.default_rng(seed)
    lab, depth = torch.empty(3, 20, 20), np.full((20, 20), 4.0, np.float32)
    lab[:] = torch.tensor([30.0, 10, -40])[:, None, None]
    y, x = rng.integers(0, 12, 2)
    lab[:, y : y + 8, x : x + 8] = torch.tensor([75.0, 30, 50])[:, None, None]
    depth[y : y + 8, x : x + 8] = 0.5
    return {"frames": (255 * lab_to_rgb(lab)).round().byte()[None], "depth": depth[None], "name": str(seed)}


def test_it_learns_lightness_from_colour_and_colour_from_lightness(learn, batch):
    net = learn(TOY, [scene(n) for n in range(40)], Split(Small(1, 4, 16)).build(), 120)
    with torch.no_grad():
        loss, metrics = net(batch(TOY, [scene(n) for n in range(100, 140)]))
    for name in ("colour", "lightness"):
        assert metrics[f"{name}_loss"] < 0.95 * metrics[f"{name}_constant"]
    torch.testing.assert_close(loss, metrics["colour_loss"] + metrics["lightness_loss"])


def test_it_learns_depth_from_colours_and_colours_from_depth(learn, batch, tiny):
    net = learn(DEPTH, [scene(n) for n in range(40)], tiny(), 100)
    with torch.no_grad():
        _, metrics = net(batch(DEPTH, [scene(n) for n in range(100, 140)]))
        panels = net.panels(batch(DEPTH, [scene(n) for n in range(3)]))
    for name in ("depth", "colour", "lightness"):
        assert metrics[f"{name}_loss"] < 0.95 * metrics[f"{name}_constant"]
    assert set(panels) == {"truth", "coloured", "lightness", "depth", "true depth"}


def test_each_answer_hangs_on_its_own_half_and_its_own_picture():
    net = TOY.build(Split(Small(1, 4, 16)).build()).eval()
    view = torch.rand(2, 3, 16, 16)
    answers = net.answers(view)
    for name, half in (("colour", 0), ("lightness", 1)):
        net.zero_grad()
        answers[name].square().sum().backward(retain_graph=True)
        own, other = net.trunk.halves[half], net.trunk.halves[1 - half]
        assert all(weight.grad is None or not weight.grad.any() for weight in other.parameters())
        assert any(weight.grad is not None and weight.grad.any() for weight in own.parameters())
    lightness, colour = net.shown(view)
    seen = [torch.autograd.grad(a.sum(), s, allow_unused=True)[0] for a, s in shown_grads(net, lightness, colour)]
    assert seen == [None, None]


def shown_grads(net, lightness, colour):
    """Each answer beside the picture that it must not depend on."""
    lightness, colour = lightness.clone().requires_grad_(), colour.clone().requires_grad_()
    net.shown = lambda _: (lightness, colour)
    answers = net.answers(lightness)
    return (answers["colour"], colour), (answers["lightness"], lightness)


def test_targets_are_units_of_lightness_nearest_colours_and_logarithms_of_depth(tiny):
    net = dataclasses.replace(DEPTH, near=0.1, far=10.0).build(tiny()).eval()
    lab = torch.tensor([62.4, 41.0, -19.0]).view(1, 3, 1, 1).expand(-1, -1, 16, 16)
    depth = torch.full((1, 1, 1, 16, 16), 1.001)
    depth[..., 6:] = 0.0
    targets = net.targets(net.view({"clips": lab_to_rgb(lab).unsqueeze(1), "depth": depth}))
    assert (targets["lightness"][0] == 62).all()
    assert net.bins[targets["colour"][0][0, 0, 0, 0]].tolist() == [40, -20]
    assert (targets["depth"][0][0, :, 0, 0] == 50).all()  # halfway between 0.1 and 10 m
    assert targets["depth"][2][0, 0].tolist() == [1, 0, 0, 0]  # where some of a place has no depth, nothing is asked


def test_records_that_cannot_be_asked_are_refused_in_words(counting, tiny):
    with pytest.raises(ValueError, match='no "depth"'):
        DEPTH.check(counting(20))
    with pytest.raises(ValueError, match="1 pictures of depth for 20 frames"):
        DEPTH.check({**counting(20), "depth": np.ones((1, 8, 8))})
    with pytest.raises(ValueError, match=r"depth of \(4, 4\) pixels"):
        DEPTH.sample({**counting(20), "depth": np.ones((20, 4, 4))}, np.random.default_rng(0))
    with pytest.raises(ValueError, match="has colours"):
        TOY.prepare([counting(20)])
    with pytest.raises(ValueError, match="parts lightness from colour"):
        DEPTH.build(Split(Small(1, 4, 16)).build())
    with pytest.raises(ValueError, match="near is over 0"):
        SplitBrain(near=2.0, far=1.0)


@pytest.mark.parametrize("trunk", [Small(4, 4, 32), ResNet(18), CaffeNet(64, (16,)), Split(Small(1, 4, 32))], ids=str)
def test_it_takes_a_step_with_any_trunk_that_has_maps(trunk, batch):
    net = TOY.build(trunk.build())
    examples = batch(TOY, [scene(0), scene(1)])
    net(examples)[0].backward()
    panels = net.eval().panels(examples)
    assert all(p.shape == (2, 1, 3, net.side, net.side) and p.min() >= 0 and p.max() <= 1 for p in panels.values())
