import torch
from torch import nn
from torch.nn import functional as F

from videossl.models.base import KINETICS
from videossl.models.c3d import C3D


def test_weights_are_as_many_as_those_of_the_papers_convolutions():
    widths = [(3, 64), (64, 128), (128, 256), (256, 256), (256, 512), (512, 512), (512, 512), (512, 512)]
    counted = sum(27 * i * o + 2 * o for i, o in widths)  # 3x3x3, and scale and shift of batch norm
    assert counted == 27_658_688
    assert sum(weight.numel() for weight in C3D().build().parameters()) == counted


def test_maps_are_those_of_the_layers_one_by_one():
    trunk, clips = C3D().build().eval(), torch.rand(1, 16, 3, 32, 32)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in KINETICS)
    maps = ((clips - mean) / std).transpose(1, 2)
    pools = {0: (1, 2, 2), 1: (2, 2, 2), 3: (2, 2, 2), 5: (2, 2, 2)}  # after the convolution of that index
    with torch.no_grad():
        for i, layer in enumerate(m for m in trunk.net if isinstance(m, nn.Conv3d)):
            maps = F.conv3d(maps, layer.weight, padding=1).div((1 + 1e-5) ** 0.5).relu()  # batch norm of a new net
            maps = F.max_pool3d(maps, pools[i]) if i in pools else maps
        torch.testing.assert_close(trunk.maps(clips), maps, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(trunk(clips), maps.mean((2, 3, 4)), rtol=1e-4, atol=1e-5)


def test_16_frames_become_2_moments_and_a_single_frame_stays_one():
    trunk = C3D().build().eval()
    with torch.no_grad():
        assert trunk.maps(torch.rand(1, 16, 3, 48, 32)).shape == (1, 512, 2, 3, 2)
        assert trunk.maps(torch.rand(1, 1, 3, 32, 32)).shape == (1, 512, 1, 2, 2)
