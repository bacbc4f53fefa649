import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from videossl.methods.image_autoencoder import ImageAutoencoder
from videossl.models.base import Trunk, by_frame
from videossl.models.caffenet import CaffeNet
from videossl.models.resnet import ResNet
from videossl.models.small import Small

TOY = ImageAutoencoder(code=8, width=8)


class Flat(Trunk):
    """Its features are a picture's pixels."""

    def __init__(self):
        super().__init__(dim=48, length=1, size=4, resize=(4, 4), colours=((0.5,) * 3, (1.0,) * 3))

    def forward(self, clips):
        return by_frame(nn.Flatten(), self.normalise(clips)).mean(1)


class Answer(nn.Module):
    """Paints the same, whatever the code."""

    def __init__(self, pictures):
        super().__init__()
        self.pictures = pictures

    def forward(self, code):
        return self.pictures


def painted(seed: int) -> dict:
    """Black and white halves, side by side or one above the other, either way round, in a tint."""
    rng = np.random.default_rng(seed)
    half = torch.zeros(3, 20, 20)
    half[:, : rng.integers(6, 15)] = torch.from_numpy(rng.uniform(0.6, 1, (3, 1, 1)))
    half = half.mT if rng.random() < 0.5 else half
    half = half.flip(-1, -2) if rng.random() < 0.5 else half
    return {"frames": (255 * half).byte()[None]}


def test_a_linear_autoencoder_comes_to_what_principal_components_leave():
    torch.manual_seed(0)
    data = (
        0.5 + 0.1 * torch.randn(64, 48) @ torch.diag(torch.linspace(2, 0, 48)) @ torch.linalg.qr(torch.randn(48, 48))[0]
    )
    net = ImageAutoencoder(code=5, decoder="linear").build(Flat()).eval()
    batch = {"clips": data.view(64, 1, 3, 4, 4)}
    left = torch.linalg.svdvals(data - data.mean(0))[5:].square().sum() / data.numel()
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=400, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = net(batch)[0]
        value.backward()
        return value

    optimizer.step(loss)
    reached = net(batch)[0].item()
    assert left * (1 - 1e-4) <= reached <= left * 1.02


def test_a_denoising_one_is_asked_for_the_clean_picture():
    net = dataclasses.replace(TOY, noise=0.3, hidden=0.5).build(Flat()).eval()
    clips = torch.rand(8, 1, 3, 4, 4) / 2 + 0.5
    seen = []
    net.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net.decoder = Answer(clips[:, 0])
    assert net({"clips": clips})[0] == 0  # the clean picture is the right answer
    assert 0.3 < (seen[0] < 0.5).float().mean() < 0.75 and not torch.equal(seen[0], clips)


def test_hidden_pixels_are_black_in_all_colours_and_noise_has_its_size():
    clips = torch.ones(50, 1, 3, 16, 16)
    hidden = dataclasses.replace(TOY, hidden=0.25).build(Small(1, 2, 16).build()).spoiled(clips)
    assert (hidden.sum(2) % 3 == 0).all() and hidden.mean().item() == pytest.approx(0.75, abs=0.02)
    noisy = dataclasses.replace(TOY, noise=0.1).build(Small(1, 2, 16).build()).spoiled(clips)
    assert (noisy - clips).std().item() == pytest.approx(0.1, rel=0.05)


def test_the_trivial_answer_is_each_pictures_mean_colour_and_sparse_codes_cost_their_size(tiny):
    clips = torch.rand(3, 1, 3, 16, 16)
    net = dataclasses.replace(TOY, sparse=0.5).build(tiny()).eval()
    loss, metrics = net({"clips": clips})
    torch.testing.assert_close(metrics["mean_mse"], (clips - clips.mean((3, 4), keepdim=True)).square().mean())
    code = net.code(net.trunk(clips))
    torch.testing.assert_close(loss, metrics["mse"] + 0.5 * code.abs().mean())


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_it_learns_to_rebuild_pictures_that_it_has_not_seen(noise, learn, batch, tiny):
    method = dataclasses.replace(TOY, noise=noise)
    net = learn(method, [painted(n) for n in range(40)], tiny(), 60)
    with torch.no_grad():
        _, metrics = net(batch(method, [painted(n) for n in range(100, 140)]))
    assert metrics["mse"] < 0.6 * metrics["mean_mse"]


@pytest.mark.parametrize("trunk", [Small(4, 4, 32), ResNet(18), CaffeNet(64, (16,))], ids=str)
def test_any_trunk_rebuilds_pictures_at_any_size(trunk):
    net = dataclasses.replace(TOY, size=20).build(trunk.build()).eval()
    with torch.no_grad():
        panels = net.panels({"clips": torch.randint(256, (2, 1, 3, 40, 50), dtype=torch.uint8)})
    assert set(panels) == {"input", "seen", "rebuilt"}
    assert all(p.shape == (2, 1, 3, 20, 20) and p.min() >= 0 and p.max() <= 1 for p in panels.values())


@pytest.mark.parametrize("wrong", [{"code": 0}, {"hidden": 1.0}, {"noise": -0.1}, {"size": 0}])
def test_fields_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ImageAutoencoder(**wrong)
