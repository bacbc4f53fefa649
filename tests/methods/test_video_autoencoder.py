import dataclasses

import numpy as np
import pytest
import torch

from videossl.methods.video_autoencoder import VideoAutoencoder, code_shape
from videossl.models.base import Trunk
from videossl.models.lstm import LSTM
from videossl.models.s3d import S3D
from videossl.models.small import Small
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

TOY = VideoAutoencoder(length=8, stride=2, width=16)


def test_a_clip_is_so_many_frames_in_order(counting):
    starts = set()
    for seed in range(100):
        shown = TOY.sample(counting(20), np.random.default_rng(seed))["clips"][:, 0, 0, 0].tolist()
        assert np.diff(shown).tolist() == [2] * 7
        starts.add(shown[0])
    assert TOY.span == 15 and starts == set(range(6))


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("trunk", [Small(8, 4, 24), Small(1, 4, 24), Small(8, 4, 33), S3D(), LSTM(16, 8)], ids=str)
def test_any_trunk_with_maps_rebuilds_a_clip_of_any_length(trunk, length):
    method = dataclasses.replace(TOY, length=length, width=4, size=16)
    net = method.build(trunk.build()).eval()
    with torch.no_grad():
        clips, truth = net.view({"clips": torch.rand(2, length, 3, 40, 40)})
        assert clips.shape[-1] == net.trunk.size and truth.shape == (2, length, 3, 16, 16)
        assert net.rebuild(clips).shape == truth.shape


def test_sides_of_powers_of_two_are_doubled_to_the_pixel():
    net = VideoAutoencoder(width=4).build(Small(16, 4, 48).build())
    assert code_shape(net.trunk, 16) == (32, 2, 6, 6)
    assert net.decoder(torch.rand(2, 32, 2, 6, 6)).shape[2:] == (16, 48, 48)


def test_the_trivial_answer_is_the_clips_mean_frame(tiny):
    net = TOY.build(tiny()).eval()
    clips = torch.rand(3, 8, 3, 16, 16)
    loss, metrics = net({"clips": clips})
    expected = (clips - clips.mean(1, keepdim=True)).square().mean()
    torch.testing.assert_close(metrics["mean_mse"], expected)
    assert loss == metrics["mse"]


def test_measuring_the_code_changes_no_trunk():
    trunk = Small(8, 4, 24).build()
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    code_shape(trunk, 8)
    assert trunk.training and all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


@pytest.mark.parametrize("trunk", ["frames", "clips"])
def test_it_learns_to_rebuild_videos_that_it_has_not_seen(trunk, falling, tiny):
    torch.manual_seed(0)
    net = TOY.build(tiny() if trunk == "frames" else Small(8, 8, 16).build())
    batches = loader(Draws([falling(i) for i in range(40)], TOY.sample, 0), 8)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for _ in fit(net, batches, optimizer, 60, cosine(5e-3)):
        pass
    batch = next(iter(loader(Draws([falling(100 + i) for i in range(20)], TOY.sample, 1), 40)))
    with torch.no_grad():
        _, metrics = net.eval()(batch)
    assert metrics["mse"] < 0.9 * metrics["mean_mse"]


def test_panels_show_the_clip_rebuilt_and_its_mean(tiny):
    net = TOY.build(tiny()).eval()
    panels = net.panels({"clips": torch.randint(256, (3, 8, 3, 16, 16), dtype=torch.uint8)})
    assert all(strip.shape == (3, 8, 3, 16, 16) for strip in panels.values())
    assert all(strip.min() >= 0 and strip.max() <= 1 for strip in panels.values())
    torch.testing.assert_close(panels["mean frame"][:, 3], panels["input"].mean(1))


class Featured(Trunk):
    """A trunk that has features and no maps."""

    def __init__(self):
        super().__init__(dim=4, length=4, size=16, resize=(16, 16), colours=((0.5,) * 3, (0.25,) * 3))


def test_what_cannot_be_asked_is_refused_in_words(counting, tiny):
    with pytest.raises(ValueError, match="counts from 1"):
        VideoAutoencoder(stride=0)
    with pytest.raises(ValueError, match="fewer than the 15 frames"):
        TOY.check(counting(14))
    with pytest.raises(ValueError, match=r"Featured has no maps\(\), but a video autoencoder"):
        TOY.build(Featured())
    with pytest.raises(ValueError, match="TinyTrunk has maps of 8 x 4 x 4, finer than the 8 x 3 x 3"):
        dataclasses.replace(TOY, size=3).build(tiny())
