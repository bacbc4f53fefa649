import torch
from torch import nn
from torchvision.models import video
from torchvision.transforms import Normalize

from videossl.models.base import KINETICS
from videossl.models.s3d import S3D


def shared(trunk):
    """torchvision's net with the trunk's weights, up to its maps."""
    net = video.s3d()
    net.classifier = nn.Identity()
    net.load_state_dict(trunk.net.state_dict())
    return net.eval()


def test_maps_and_features_are_those_of_torchvision_on_normalised_clips():
    trunk = S3D().build().eval()
    for frames in (16, 20):  # 20: an odd number of moments comes to the last pooling
        clips = torch.rand(1, frames, 3, 64, 64)
        with torch.no_grad():
            expected = shared(trunk).features(Normalize(*KINETICS)(clips).transpose(1, 2))
            torch.testing.assert_close(trunk.maps(clips), expected, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(trunk(clips), expected.mean((2, 3, 4)), rtol=1e-4, atol=1e-5)


def test_features_are_the_input_of_torchvisions_classifier_for_16_frames_of_224_pixels():
    trunk, clips = S3D().build().eval(), torch.rand(1, 16, 3, 224, 224)
    with torch.no_grad():
        expected = shared(trunk)(Normalize(*KINETICS)(clips).transpose(1, 2))
        torch.testing.assert_close(trunk(clips), expected, rtol=1e-4, atol=1e-5)


def test_weights_are_as_many_as_published_without_the_classifier():
    published = video.S3D_Weights.DEFAULT.meta["num_params"]
    assert published == 8_320_048
    assert sum(weight.numel() for weight in S3D().build().parameters()) == published - 400 * 1025


def test_running_statistics_follow_within_a_hundred_steps():
    norms = [module for module in S3D().build().modules() if isinstance(module, nn.BatchNorm3d)]
    assert norms and all(norm.momentum == 0.1 and norm.eps == 0.001 for norm in norms)
