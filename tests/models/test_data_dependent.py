"""Data-dependent initialisation: what each unit responds, on the clips that it was suited to and on others."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from videossl.models.base import Trunk
from videossl.models.caffenet import CaffeNet
from videossl.models.data_dependent import LAYERS, looked_at, rescale
from videossl.models.resnet import ResNet
from videossl.models.small import Small
from videossl.models.vit import ViT


def clips(count: int, length: int, size: int, seed: int = 0) -> torch.Tensor:
    """Smooth pictures of many brightnesses."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((count, length * 3, 6, 6), np.float32))
    fine = nn.functional.interpolate(coarse, (size, size), mode="bilinear")
    return (fine * torch.from_numpy(rng.uniform(0.3, 1, (count, 1, 1, 1)).astype(np.float32))).unflatten(1, (length, 3))


@torch.no_grad()
def responses(trunk: Trunk, shown: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor, bool]]:
    """Mean and variance of each unit of each layer and norm, and whether its mean can be moved."""
    found = {}

    def note(name, module):
        def hook(_, given, response):
            channel = -1 if isinstance(module, nn.Linear) else 1
            units = response.movedim(channel, 0).flatten(1)
            found.setdefault(name, (units.mean(1), units.var(1, correction=0), module.bias is not None))

        return module.register_forward_hook(hook)

    kinds = (*LAYERS, _BatchNorm)
    hooks = [note(name, module) for name, module in trunk.named_modules() if isinstance(module, kinds)]
    trunk.eval()(shown)
    for hook in hooks:
        hook.remove()
    return found


TRUNKS = {
    "small": Small(length=1, width=4, size=32),  # convolutions without biases, and batch norms
    "small, of clips": Small(length=4, width=2, size=32),
    "CaffeNet": CaffeNet(),  # convolutions with biases alone, and dense layers
    "ResNet": ResNet(18),
    "transformer": ViT(width=24, depth=2, heads=2, patch=8, size=32),
}


@pytest.mark.parametrize("name", TRUNKS)
def test_every_units_response_has_mean_0_and_variance_1(name):
    torch.manual_seed(0)
    trunk = TRUNKS[name].build()
    shown = clips(6, min(trunk.length, 8), 64 if name in ("CaffeNet", "ResNet") else 32)
    before = responses(trunk, shown)
    assert max((variance - 1).abs().max() for _, variance, _ in before.values()) > 0.5
    trunk.train()
    rescale(trunk, shown)
    assert trunk.training
    for layer, (mean, variance, moved) in responses(trunk, shown).items():
        live = variance > 1e-6  # what a ReLU has silenced before is constant, and stays so
        assert live.float().mean() > 0.9, layer
        assert torch.allclose(variance[live], torch.ones(int(live.sum())), atol=0.02), layer
        assert not moved or mean.abs().max() < 0.02, layer


def test_on_other_clips_means_are_about_0_and_variances_about_1():
    torch.manual_seed(0)
    trunk = TRUNKS["small"].build()
    rescale(trunk, clips(40, 1, 32))
    for layer, (mean, variance, moved) in responses(trunk, clips(40, 1, 32, seed=1)).items():
        assert 0.6 < variance.mean() < 1.6 and (not moved or mean.abs().mean() < 0.3), layer


def test_one_layer_is_scaled_as_in_closed_form():
    class One(Trunk):
        def __init__(self):
            super().__init__(4, 1, 8, (8, 8), ((0.0,) * 3, (1.0,) * 3))
            self.net = nn.Conv2d(3, 4, 3)

        def maps(self, clips):
            return self.net(self.normalise(clips).flatten(0, 1)).unflatten(0, clips.shape[:2]).transpose(1, 2)

    trunk, shown = One(), clips(5, 1, 8)
    weight, bias = trunk.net.weight.clone(), trunk.net.bias.clone()
    response = trunk.net(shown[:, 0]).transpose(0, 1).flatten(1)
    rescale(trunk, shown)
    deviation, mean = response.std(1, correction=0), response.mean(1)
    assert torch.allclose(trunk.net.weight, weight / deviation.view(-1, 1, 1, 1), rtol=1e-4)
    assert torch.allclose(trunk.net.bias, (bias - mean) / deviation, atol=1e-4)


def test_silent_units_are_left_and_the_same_clips_give_the_same_weights():
    def made():
        torch.manual_seed(0)
        trunk = Small(length=1, width=2, size=16).build()
        trunk.net[0].weight.data[0] = 0
        rescale(trunk, clips(4, 1, 16))
        return trunk

    one, other = made(), made()
    assert one.net[0].weight[0].abs().max() == 0
    assert all(torch.isfinite(value).all() for value in one.state_dict().values())
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_trunks_without_such_layers_and_videos_that_cannot_be_read_are_refused():
    class Means(Trunk):
        def __init__(self):
            super().__init__(3, 1, 8, (8, 8), ((0.0,) * 3, (1.0,) * 3))

        def forward(self, clips):
            return clips.mean((1, 3, 4))

    with pytest.raises(ValueError, match="Means has no convolution or dense layer to rescale"):
        rescale(Means(), clips(2, 1, 8))

    class Broken:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            raise OSError("cut short")

    frames = torch.randint(256, (5, 3, 12, 12), dtype=torch.uint8)
    trunk = Small(length=1, width=2, size=8).build()
    records = [{"frames": frames, "name": "good"}, {"frames": Broken(), "name": "bad"}]
    seen = looked_at(records, trunk)
    assert torch.equal(seen, frames[2:3, None, :, 2:10, 2:10].float() / 255)  # the centre of the middle frame
    assert len(looked_at(records[:1] * 9, trunk, count=4)) == 4
    with pytest.raises(ValueError, match="none of 1 videos can be read; bad: cut short"):
        looked_at(records[1:], trunk)
