import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videossl.models.caffenet import CaffeNet


def test_227_pixels_pass_the_sizes_of_the_release():
    trunk = CaffeNet().build().eval()
    assert (trunk.dim, trunk.size, trunk.resize) == (4096, 227, (256, 340))
    # Weights of conv1 to fc7 in networks/tuple_train.prototxt, with the biases of the first two alone.
    expected = 96 * 364 + 256 * (48 * 25 + 1) + 384 * 256 * 9 + 384 * 192 * 9 + 256 * 192 * 9 + 9216 * 4096 + 4096**2
    assert sum(weight.numel() for weight in trunk.parameters()) == expected == 56_859_008
    with torch.no_grad():
        assert trunk.maps(torch.rand(1, 2, 3, 227, 227)).shape == (1, 256, 2, 13, 13)


def test_features_are_those_of_the_layers_of_the_release_one_by_one():
    trunk = CaffeNet(widths=(32, 16)).build().eval()
    conv1, conv2, *rest = [layer for layer in trunk.convolutions if isinstance(layer, nn.Conv2d)]
    frames = torch.rand(2, 3, 227, 227)
    scale = 255 * 0.226  # Caffe's pixels; with them conv1's bias must be as much larger to be the same net
    x = scale * (frames - trunk.mean) / trunk.std
    norm = (1 + 1e-5) ** 0.5  # batch norm of a new net, in eval mode
    with torch.no_grad():
        x = F.conv2d(x, conv1.weight, scale * conv1.bias, stride=4).relu()
        x = F.local_response_norm(F.max_pool2d(x, 3, 2), 5, 1e-4, 0.75, 1)
        x = F.conv2d(x, conv2.weight, scale * conv2.bias, padding=2, groups=2).relu()
        x = F.local_response_norm(F.max_pool2d(x, 3, 2), 5, 1e-4, 0.75, 1) / scale
        for layer, groups in zip(rest, (1, 2, 2), strict=True):
            x = F.conv2d(x, layer.weight, padding=1, groups=groups).div(norm).relu()
        torch.testing.assert_close(trunk.maps(frames[:, None])[:, :, 0], x, rtol=1e-4, atol=1e-5)
        x = F.max_pool2d(x, 3, 2).flatten(1)
        for layer in (m for m in trunk.dense if isinstance(m, nn.Linear)):
            x = F.linear(x, layer.weight).div(norm).relu()
        torch.testing.assert_close(trunk(frames[:, None]), x, rtol=1e-4, atol=1e-5)


def test_batch_norm_neither_scales_nor_shifts():
    trunk = CaffeNet(size=67, widths=(8, 8)).build()
    norms = [m for m in trunk.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [384, 384, 256, 8, 8]
    assert not any(norm.affine for norm in norms)


def test_opns_80_pixels_leave_2_by_2_for_fc6():
    trunk = CaffeNet(size=80, widths=(1024,)).build().eval()
    assert trunk.dim == 1024 and trunk.dense[2].in_features == 256 * 2 * 2
    with torch.no_grad():
        assert trunk(torch.rand(1, 1, 3, 80, 80)).shape == (1, 1024)


@pytest.mark.parametrize("size", [23, 38, 39])
def test_the_smallest_frames_leave_one_cell_for_fc6(size):
    trunk = CaffeNet(size=size, widths=(4,)).build().eval()
    assert trunk.dense[2].in_features == 256
    with torch.no_grad():
        one, other = trunk(torch.rand(2, 1, 3, size, size))
    assert not torch.equal(one, other)


def test_dropout_is_for_training_alone():
    trunk = CaffeNet(size=67, widths=(64,)).build()
    clips = torch.rand(4, 1, 3, 67, 67)
    assert not torch.equal(trunk(clips), trunk(clips))
    trunk.eval()
    assert torch.equal(trunk(clips), trunk(clips))


@pytest.mark.parametrize("config", [CaffeNet(size=22), CaffeNet(widths=())])
def test_what_cannot_be_built_is_refused(config):
    with pytest.raises(ValueError, match="at least 23 pixels and fc6"):
        config.build()


def test_every_layer_can_be_asked_for_by_its_name():
    trunk = CaffeNet(size=80, widths=(64, 32)).build().eval()
    clips = torch.rand(2, 3, 3, 80, 80)
    assert trunk.layers == ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "maps", "features")
    shapes = {name: tuple(trunk.layer(clips, name).shape) for name in trunk.layers}
    assert [shapes[f"conv{n}"][1:3] for n in range(1, 6)] == [(96, 3), (256, 3), (384, 3), (384, 3), (256, 3)]
    assert (shapes["fc6"], shapes["fc7"]) == ((2, 64), (2, 32))
    assert trunk.layer(clips, "conv5").equal(trunk.maps(clips)) and trunk.layer(clips, "fc7").equal(trunk(clips))
    for n, stage in zip((1, 2, 5), trunk.stages(clips), strict=True):
        assert trunk.layer(clips, f"conv{n}").equal(stage)
    with pytest.raises(ValueError, match="CaffeNetTrunk has no layer 'fc8'; it has: conv1, "):
        trunk.layer(clips, "fc8")
