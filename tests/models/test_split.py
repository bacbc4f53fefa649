import pytest
import torch

from videossl.lab import lab_to_rgb
from videossl.models.caffenet import CaffeNet
from videossl.models.resnet import ResNet
from videossl.models.small import Small
from videossl.models.split import Split, split


@pytest.mark.parametrize("half", [Small(1, 4, 32), CaffeNet(64, (16,)), ResNet(18)], ids=str)
def test_features_are_both_halves_side_by_side_lightness_first(half):
    trunk, clips = Split(half).build().eval(), torch.rand(2, 1, 3, 64, 64)
    lightness, colour = split(clips)
    with torch.no_grad():
        features = trunk(clips)
        expected = torch.cat([trunk.halves[0](lightness), trunk.halves[1](colour)], 1)
        assert trunk.maps(clips).shape[1] == 2 * trunk.halves[0].maps(clips).shape[1]
        assert [m.shape[1] for m in trunk.stages(clips)] == [2 * m.shape[1] for m in trunk.halves[0].stages(clips)]
    assert features.shape == (2, trunk.dim) and torch.equal(features, expected)


def test_a_half_knows_nothing_of_what_the_other_sees():
    trunk = Split(Small(1, 4, 32)).build().eval()
    lab = torch.cat([torch.full((1, 1, 32, 32), 50.0), torch.zeros(1, 2, 32, 32)], 1) + torch.randn(1, 3, 32, 32)
    lighter, redder = lab.clone(), lab.clone()
    lighter[:, 0, :16] += 30
    redder[:, 1, :16] += 15
    with torch.no_grad():
        before, after_light, after_red = (trunk(lab_to_rgb(x).unsqueeze(1)) for x in (lab, lighter, redder))
    dim = trunk.dim // 2
    torch.testing.assert_close(before[:, dim:], after_light[:, dim:], atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(before[:, :dim], after_red[:, :dim], atol=1e-5, rtol=1e-3)
    assert not torch.allclose(before[:, :dim], after_light[:, :dim], atol=1e-5, rtol=1e-2)
    assert not torch.allclose(before[:, dim:], after_red[:, dim:], atol=1e-5, rtol=1e-2)
