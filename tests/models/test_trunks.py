"""What holds for every trunk."""

import itertools
import pickle
from copy import deepcopy
from functools import cache

import pytest
import torch

from videossl.models.base import Trunk
from videossl.models.c3d import C3D
from videossl.models.caffenet import CaffeNet
from videossl.models.lstm import LSTM, ConvLSTM
from videossl.models.r3d import R3D, R21D
from videossl.models.resnet import ResNet
from videossl.models.s3d import S3D
from videossl.models.small import Small
from videossl.models.vit import ViT

TOKENS = {"width": 24, "depth": 1, "heads": 2, "patch": 8, "size": 32}
FRAME_TRUNKS = [CaffeNet(size=67, widths=(64, 32)), ResNet(18), Small(length=1), ViT(**TOKENS)]
READERS = [LSTM(size=16, units=32, layers=2), ConvLSTM(size=32, widths=(8, 8), kernel=3)]
TRUNKS = [
    *FRAME_TRUNKS,
    R3D(depth=10),
    R21D(depth=10),
    S3D(),
    C3D(),
    Small(),
    ViT(**TOKENS, length=16, tubelet=2),
    *READERS,
]
every_trunk = pytest.mark.parametrize("config", TRUNKS, ids=str)


@cache
def built(config) -> Trunk:
    torch.manual_seed(0)
    return config.build().eval()


def clips(n: int, frames: int, height: int = 32, width: int = 32) -> torch.Tensor:
    return torch.rand(n, frames, 3, height, width, generator=torch.Generator().manual_seed(0))


@every_trunk
@pytest.mark.parametrize("frames", [1, 2, 5, 16])
def test_any_number_of_frames_gives_features_and_maps(config, frames):
    trunk = built(config)
    with torch.no_grad():
        features, maps = trunk(clips(2, frames)), trunk.maps(clips(2, frames))
    assert features.shape == (2, trunk.dim)
    assert maps.ndim == 5 and maps.shape[0] == 2 and min(maps.shape) > 0
    assert maps.shape[2] == frames if trunk.length == 1 else maps.shape[2] <= frames
    assert features.isfinite().all() and features.std() > 0


@every_trunk
@pytest.mark.parametrize(("height", "width"), [(45, 33), (64, 96)])
def test_any_size_of_frame_gives_features(config, height, width):
    with torch.no_grad():
        assert built(config)(clips(1, 3, height, width)).shape == (1, built(config).dim)


@every_trunk
def test_what_it_is_made_for_is_told(config):
    trunk = built(config)
    assert all(isinstance(value, int) and value > 0 for value in (trunk.dim, trunk.length, trunk.size, *trunk.resize))
    assert min(trunk.resize) >= trunk.size
    assert (trunk.length == 1) == (config in FRAME_TRUNKS)


@every_trunk
def test_features_of_a_clip_do_not_depend_on_the_batch(config):
    batch = clips(3, 4)
    with torch.no_grad():
        together, alone = built(config)(batch), torch.cat([built(config)(clip[None]) for clip in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@every_trunk
def test_clips_of_different_content_differ(config):
    with torch.no_grad():
        one, other = built(config)(clips(2, 4))
    assert (one - other).norm() > 1e-3 * one.norm()


def gradients(config) -> dict[str, torch.Tensor]:
    """Of every weight, after one step in training mode."""
    trunk = deepcopy(built(config)).train()
    torch.manual_seed(0)  # dropout
    trunk(clips(2, 8)).square().sum().backward()
    return {name: weight.grad for name, weight in trunk.named_parameters()}


once = cache(gradients)


@every_trunk
def test_the_gradient_reaches_every_weight(config):
    for name, gradient in once(config).items():
        assert gradient is not None and gradient.abs().sum() > 0, name


@every_trunk
def test_the_same_step_gives_the_same_bits(config):
    for name, gradient in gradients(config).items():
        assert torch.equal(gradient, once(config)[name]), name


@every_trunk
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(config):
    def weights(trunk):
        return torch.cat([weight.flatten() for weight in trunk.parameters()])

    for seed in (0, 1):
        torch.manual_seed(seed)
        assert torch.equal(weights(config.build()), weights(built(config))) == (seed == 0)


@every_trunk
def test_trunk_and_config_survive_pickling(config):
    assert pickle.loads(pickle.dumps(config)) == config
    again = pickle.loads(pickle.dumps(built(config)))
    with torch.no_grad():
        assert torch.equal(again(clips(1, 2)), built(config)(clips(1, 2)))


@every_trunk
def test_its_state_fits_a_newly_built_one(config):
    again = config.build().eval()
    again.load_state_dict(built(config).state_dict())
    with torch.no_grad():
        assert torch.equal(again(clips(1, 2)), built(config)(clips(1, 2)))


@pytest.mark.parametrize("config", FRAME_TRUNKS, ids=str)
def test_a_frame_trunk_takes_the_mean_over_frames(config):
    trunk, batch = built(config), clips(2, 5)
    with torch.no_grad():
        frames = torch.stack([trunk(batch[:, i : i + 1]) for i in range(5)]).mean(0)
        torch.testing.assert_close(trunk(batch), frames, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", FRAME_TRUNKS, ids=str)
def test_a_frame_trunk_sees_a_still_clip_as_its_frame(config):
    frame = clips(2, 1)
    with torch.no_grad():
        torch.testing.assert_close(built(config)(frame.expand(-1, 4, -1, -1, -1)), built(config)(frame))


@pytest.mark.parametrize("config", [c for c in TRUNKS if c not in FRAME_TRUNKS], ids=str)
def test_a_clip_trunk_tells_a_clip_from_its_reverse(config):
    with torch.no_grad():
        forward, backward = built(config)(clips(1, 8)), built(config)(clips(1, 8).flip(1))
    assert (forward - backward).norm() > 1e-3 * forward.norm()


@every_trunk
def test_what_is_no_clip_is_refused(config):
    trunk = built(config)
    with pytest.raises(ValueError, match=r"\(N, T, 3, H, W\).*\(2, 3, 32, 32\)"):
        trunk(clips(1, 2)[0])
    with pytest.raises(ValueError, match="repeat grey"):
        trunk(clips(1, 2)[:, :, :1])
    with pytest.raises(ValueError, match="at least one frame"):
        trunk(clips(1, 0))
    with pytest.raises(ValueError, match=r"uint8: call augment\.pixels"):
        trunk(clips(1, 2).mul(255).byte())


@pytest.mark.parametrize("config", [c for c in TRUNKS if c not in READERS and not isinstance(c, ViT)], ids=str)
@pytest.mark.parametrize(("frames", "side"), [(16, 64), (5, 45)])
def test_stages_get_coarser_and_end_in_the_maps(config, frames, side):
    trunk = built(config)
    with torch.no_grad():
        stages, maps = trunk.stages(clips(2, frames, side, side)), trunk.maps(clips(2, frames, side, side))
    assert torch.equal(stages[-1], maps) and len(stages) >= 3
    for fine, coarse in itertools.pairwise(stages):
        assert fine.shape[:1] == coarse.shape[:1] and fine.shape[2] >= coarse.shape[2]
        assert fine.shape[3] > coarse.shape[3] and fine.shape[4] > coarse.shape[4]
