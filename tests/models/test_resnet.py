import pytest
import torch
import torchvision
from torch import nn

from videossl.models.base import IMAGENET
from videossl.models.resnet import ResNet


@pytest.mark.parametrize("depth", [18, 50])
def test_features_are_those_of_torchvision_on_normalised_frames(depth):
    trunk = ResNet(depth).build().eval()
    theirs = torchvision.models.get_model(f"resnet{depth}")
    theirs.fc = nn.Identity()
    theirs.load_state_dict(trunk.net.state_dict())
    frames = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.eval()(torchvision.transforms.Normalize(*IMAGENET)(frames))
        torch.testing.assert_close(trunk(frames[:, None]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("depth", "published", "dim"), [(18, 11_689_512, 512), (50, 25_557_032, 2048)])
def test_weights_are_as_many_as_published_without_the_classifier(depth, published, dim):
    with torch.device("meta"):  # shapes without numbers
        trunk = ResNet(depth).build()
    assert sum(weight.numel() for weight in trunk.parameters()) == published - 1000 * (dim + 1)
    assert trunk.dim == dim


def test_random_weights_are_spread_as_torchvision_spreads_them():
    ours, theirs = ResNet().build().net.state_dict(), torchvision.models.resnet18().state_dict()
    for name, weight in ours.items():
        if weight.ndim > 1:
            torch.testing.assert_close(weight.std(), theirs[name].std(), rtol=0.05, atol=0)
        else:  # those of batch norm
            assert torch.equal(weight, theirs[name]), name


def test_a_frame_is_halved_five_times():
    with torch.no_grad():
        assert ResNet().build().eval().maps(torch.rand(1, 2, 3, 224, 96)).shape == (1, 512, 2, 7, 3)
