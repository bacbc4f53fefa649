import dataclasses
from math import log

import numpy as np
import pytest
import torch
from torch import nn

from videossl.methods.bigan import BiGAN
from videossl.models.caffenet import CaffeNet
from videossl.models.resnet import ResNet
from videossl.models.small import Small
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

TOY = BiGAN(code=4, size=16, width=8, joint=64)


def plain(seed: int) -> dict:
    """A picture of one grey."""
    grey = int(np.random.default_rng(seed).integers(256))
    return {"frames": torch.full((1, 3, 16, 16), grey, dtype=torch.uint8)}


def example(count: int = 8) -> dict:
    return {"clips": torch.rand(count, 1, 3, 16, 16), "code": torch.rand(count, 4) * 2 - 1}


def test_codes_are_even_between_minus_one_and_one():
    record = plain(0)
    codes = np.stack([BiGAN().sample(record, np.random.default_rng(seed))["code"] for seed in range(50)])
    assert codes.shape == (50, 200) and codes.dtype == np.float32
    assert abs(codes.mean()) < 0.02 and codes.var() == pytest.approx(1 / 3, rel=0.03) and np.abs(codes).max() <= 1


def test_at_first_the_discriminator_loses_about_log_2_and_exactly_when_it_says_nothing(tiny):
    net = TOY.build(tiny())
    assert net(example(32))[1]["discriminator"].item() == pytest.approx(log(2), abs=0.1)
    nn.init.zeros_(net.critic.joint[-1].weight)
    nn.init.zeros_(net.critic.joint[-1].bias)
    loss, metrics = net(example())
    assert metrics["discriminator"].item() == pytest.approx(log(2), abs=1e-6)
    assert loss.item() == pytest.approx(2 * log(2), abs=1e-6)


def test_each_side_learns_from_its_own_loss_and_the_encoder_from_true_pairs_alone(tiny):
    net, batch = TOY.build(tiny()), example()
    true, code, false, drawn = net.pairs(batch)
    assert code.requires_grad and false.requires_grad and not true.requires_grad and not drawn.requires_grad
    loss, _ = net.eval()(batch)  # in eval mode, so that what batch norm sees is the same below
    loss.backward()
    true, code, false, drawn = net.pairs(batch)
    pictures, codes, truth = torch.cat([true, false]), torch.cat([code, drawn]), torch.ones(16, 1)
    truth[8:] = 0
    told = net.critic(pictures, codes)
    entropy = nn.functional.binary_cross_entropy_with_logits
    for side, own in (
        (net.critic, entropy(told, truth)),
        (net.encoder, entropy(told[:8], truth[8:]) / 2),  # of true pairs alone, which are to be taken for false
        (net.generator, entropy(told[8:], truth[:8]) / 2),
    ):
        weights = list(side.parameters())
        for weight, expected in zip(weights, torch.autograd.grad(own, weights, retain_graph=True), strict=True):
            torch.testing.assert_close(weight.grad, expected, atol=1e-6, rtol=1e-4)


def test_an_encoder_that_undoes_a_linear_generator_cannot_be_told_from_it():
    """With G(z) = A z and E(x) = A^-1 x, pairs of both kinds are the same ones: no discriminator tells them apart."""
    torch.manual_seed(0)
    a = torch.randn(4, 4)
    z = torch.rand(500, 4) * 2 - 1
    x = (torch.rand(500, 4) * 2 - 1) @ a.T  # pictures, drawn as the generator draws
    painted, true = torch.cat([z @ a.T, z], 1), torch.cat([x, torch.linalg.solve(a, x.T).T], 1)
    wrong = torch.cat([x, x.roll(1, 0)], 1)  # codes that do not undo it
    told = {}
    for name, pairs in (("right", true), ("wrong", wrong)):
        critic = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1))
        adam = torch.optim.Adam(critic.parameters(), lr=1e-2)
        truth = torch.cat([torch.ones(250, 1), torch.zeros(250, 1)])
        for _ in range(150):
            adam.zero_grad()
            logits = critic(torch.cat([pairs[:250], painted[:250]]))
            nn.functional.binary_cross_entropy_with_logits(logits, truth).backward()
            adam.step()
        held_out = critic(torch.cat([pairs[250:], painted[250:]])) > 0
        told[name] = (held_out == (truth > 0.5)).float().mean().item()
    assert abs(told["right"] - 0.5) < 0.08 and told["wrong"] > 0.8


def test_pictures_are_painted_again_from_their_codes_better_than_by_chance(batch):
    torch.manual_seed(0)
    method = dataclasses.replace(TOY, size=8)
    net = method.build(Small(1, 8, 16).build())
    adam = torch.optim.Adam(net.parameters(), lr=4e-3, betas=(0.5, 0.999))
    batches = loader(Draws([plain(n) for n in range(200)], method.sample, 0), 32)
    for _ in fit(net, batches, adam, 100, cosine(4e-3)):
        pass
    with torch.no_grad():
        _, metrics = net.eval()(batch(method, [plain(n) for n in range(300, 400)]))
    assert metrics["rebuilt"] < 0.8  # 1 where codes tell nothing


@pytest.mark.parametrize("trunk", [Small(4, 4, 32), ResNet(18), CaffeNet(64, (16,))], ids=str)
def test_any_trunk_encodes_and_small_pictures_are_painted(trunk):
    net = TOY.build(trunk.build()).eval()
    batch = {"clips": torch.randint(256, (2, 1, 3, 40, 50), dtype=torch.uint8), "code": torch.rand(2, 4)}
    with torch.no_grad():
        panels = net.panels(batch)
    assert all(p.shape == (2, 1, 3, 16, 16) and p.min() >= 0 and p.max() <= 1 for p in panels.values())
    assert dataclasses.replace(TOY, size=500).build(Small(1, 2, 16).build()).size == 16


def test_fields_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="counts from 1"):
        BiGAN(code=0)
