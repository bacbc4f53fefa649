import pytest
import torch
from torch import nn
from torchvision.models import video
from torchvision.transforms import Normalize

from videossl.models.base import KINETICS
from videossl.models.r3d import R3D, R21D

EIGHTEEN = pytest.mark.parametrize(("config", "theirs"), [(R3D(18), video.r3d_18), (R21D(18), video.r2plus1d_18)])


@EIGHTEEN
def test_depth_18_has_the_features_of_torchvision_on_normalised_clips(config, theirs):
    trunk, net = config.build().eval(), theirs()
    net.fc = nn.Identity()
    net.load_state_dict(trunk.net.state_dict())
    clips = torch.rand(2, 16, 3, 32, 32)
    with torch.no_grad():
        expected = net.eval()(Normalize(*KINETICS)(clips).transpose(1, 2))
        torch.testing.assert_close(trunk(clips), expected, rtol=1e-4, atol=1e-5)


def test_weights_are_as_many_as_published_without_the_classifier():
    with torch.device("meta"):  # shapes without numbers
        counts = {c: sum(w.numel() for w in c.build().parameters()) for c in (R3D(18), R21D(18), R3D(10), R21D(10))}
    classifier = 400 * 513  # Kinetics-400
    assert counts[R3D(18)] + classifier == video.R3D_18_Weights.DEFAULT.meta["num_params"] == 33_371_472
    assert counts[R21D(18)] + classifier == video.R2Plus1D_18_Weights.DEFAULT.meta["num_params"] == 31_505_325
    assert counts[R3D(10)] == 14_361_792  # counted on VCOP's R3DNet((1, 1, 1, 1))
    assert counts[R21D(10)] == 12_487_005  # the sum over its layers, by hand


def test_the_depth_is_the_number_of_convolutions_and_the_classifier():
    for depth in (10, 18):
        with torch.device("meta"):
            for config in (R3D(depth), R21D(depth)):
                layers = [m for m in config.build().modules() if isinstance(m, nn.Conv3d) and m.kernel_size[0] == 3]
                assert len(layers) + 1 == depth  # short cuts of 1x1x1 are not counted, nor halves of a split layer


@pytest.mark.parametrize("config", [R3D(10), R21D(10)], ids=str)
def test_a_clip_is_halved_three_times_in_time_and_four_in_space(config):
    trunk = config.build().eval()
    with torch.no_grad():
        assert trunk.maps(torch.rand(1, 16, 3, 64, 48)).shape == (1, 512, 2, 4, 3)
        assert trunk.maps(torch.rand(1, 9, 3, 65, 33)).shape == (1, 512, 2, 5, 3)


def test_other_depths_are_refused():
    with pytest.raises(ValueError, match="depth is 10 or 18"):
        R3D(34).build()
