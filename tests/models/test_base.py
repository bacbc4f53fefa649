import pytest
import timm
import torch
from torch import nn
from torchvision.models import resnet18, video

from videossl.models.base import Pool, Trunk, by_frame
from videossl.models.r3d import R3D
from videossl.models.resnet import ResNet
from videossl.models.s3d import S3D


def test_colours_at_their_mean_become_zero_and_at_one_deviation_one():
    trunk = Trunk(1, 1, 8, (8, 8), colours=((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    clips = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1).expand(1, 2, 3, 8, 8)
    assert trunk.normalise(clips).abs().max() == 0
    torch.testing.assert_close(trunk.normalise(clips + trunk.std), torch.ones(1, 2, 3, 8, 8))
    assert not trunk.state_dict()
    with pytest.raises(ValueError, match="Trunk has no maps"):
        trunk(clips)


def test_by_frame_is_a_loop_over_frames():
    net, clips = nn.Conv2d(3, 5, 3).eval(), torch.rand(2, 4, 3, 6, 6)
    expected = torch.stack([net(clips[:, t]) for t in range(4)], 1)
    torch.testing.assert_close(by_frame(net, clips), expected)


@pytest.mark.parametrize("window", [(2, 2, 2), (1, 2, 2), (1, 3, 2)])
def test_pool_is_max_pooling_where_that_has_a_result_and_keeps_what_is_one(window):
    for frames in (2, 3, 7, 8):
        maps = torch.rand(1, 2, frames, 9, 6)
        assert torch.equal(Pool(*window)(maps), nn.MaxPool3d(window)(maps))
    maps = torch.rand(1, 2, 1, 1, 6)
    assert torch.equal(Pool(*window)(maps), nn.MaxPool3d((1, 1, 2))(maps))


FAMILIES = pytest.mark.parametrize(
    ("config", "theirs"),
    [
        (ResNet, resnet18),
        (ResNet, lambda: timm.create_model("resnet18")),
        (R3D, video.r3d_18),
        (S3D, video.s3d),
    ],
)


@FAMILIES
def test_weights_come_from_a_file_of_torchvisions_or_timms(config, theirs, tmp_path):
    net = theirs()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    trunk = config(weights=tmp_path / "net.pth").build()
    theirs = net.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in trunk.net.state_dict().items())
    assert {name.split(".")[0] for name in theirs.keys() - trunk.net.state_dict().keys()} <= {"fc", "classifier"}


def test_older_files_lack_the_counters_of_batch_norm(tmp_path):
    state = {name: w for name, w in resnet18().state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "net.pth")
    assert torch.equal(ResNet(weights=tmp_path / "net.pth").build().net.conv1.weight, state["conv1.weight"])


def test_weights_that_do_not_fit_are_told_apart(tmp_path):
    state = resnet18().state_dict()
    state["extra.weight"] = state.pop("conv1.weight")
    state["bn1.weight"] = torch.ones(65)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ValueError) as error:
        ResNet(weights=tmp_path / "net.pth").build()
    for part in ("net.pth", "1 missing: conv1.weight", "1 unexpected: extra.weight", "bn1.weight (65,) for (64,)"):
        assert part in str(error.value)
    with pytest.raises(ValueError, match=r"missing: .*, \.\.\."):
        R3D(weights=tmp_path / "net.pth").build()


def test_weights_that_are_not_there_are_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth.*leave `weights` out"):
        S3D(weights=tmp_path / "none.pth").build()
