"""Trunks as files that others read."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from videossl.experiments import publish as publishing
from videossl.experiments.publish import Publish, adaptive_pooling_by_windows, publish
from videossl.models.caffenet import CaffeNet
from videossl.models.resnet import ResNet
from videossl.models.small import Small
from videossl.training import checkpoints


@pytest.fixture
def stored(tmp_path):
    """`stored(config)`: a checkpoint of a trunk that was never trained, and the trunk."""

    def make(config):
        torch.manual_seed(0)
        trunk = config.build().eval()
        net = nn.Module()
        net.trunk = trunk
        path = tmp_path / "run" / "checkpoint.pt"
        path.parent.mkdir()
        none = {"prepared": None, "optimizer": torch.optim.SGD(trunk.parameters(), lr=1), "seed": 0, "split": 1}
        checkpoints.save(path, method=None, trunk=config, net=net, step=0, seen=[], **none)
        return path.parent, trunk

    return make


def test_torchvision_reads_the_weights_and_gives_the_same_features(stored, tmp_path):
    run, trunk = stored(ResNet(depth=18))
    out = tmp_path / "files" / "trunk.pth"
    publish(Publish(run, out))
    net = torchvision.models.resnet18()
    net.fc = nn.Identity()
    net.load_state_dict(torch.load(out, weights_only=True))
    clips = torch.rand(2, 1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(net.eval()(trunk.normalise(clips)[:, 0]), trunk(clips), atol=1e-5)
        assert torch.equal(ResNet(depth=18, weights=out).build().eval()(clips), trunk(clips))  # and so do we
    assert [path.name for path in out.parent.iterdir()] == ["trunk.pth"]
    with pytest.raises(FileExistsError, match="is there already"):
        publish(Publish(run, out))


@pytest.mark.parametrize("config", [Small(length=2, width=2, size=32), CaffeNet(size=67, widths=(32,))])
def test_onnxruntime_gives_the_same_features_for_any_number_of_clips(config, stored, tmp_path, capsys):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run, trunk = stored(config)
    publish(Publish(run, tmp_path / "trunk.onnx"))
    assert f"clips of {trunk.length} frame" in capsys.readouterr().out
    session = runtime.InferenceSession(str(tmp_path / "trunk.onnx"), providers=["CPUExecutionProvider"])
    clips = torch.rand(5, trunk.length, 3, trunk.size, trunk.size)
    with torch.inference_mode():
        assert torch.allclose(torch.from_numpy(session.run(None, {"clips": clips.numpy()})[0]), trunk(clips), atol=1e-5)


def test_a_file_that_gives_other_features_is_not_left(stored, tmp_path, monkeypatch):
    run, _ = stored(Small(length=1, width=2, size=32))

    def wrong(run, trunk, clips, out):
        out.write_text("half a file")
        return trunk(clips) + 1

    monkeypatch.setitem(publishing.WRITERS, ".pth", wrong)
    with pytest.raises(ValueError, match="gives other features"):
        publish(Publish(run, tmp_path / "trunk.pth"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with pytest.raises(ValueError, match="should end in one of"):
        Publish(run, tmp_path / "trunk.bin")


def test_windows_are_those_of_adaptive_pooling():
    maps, clips = torch.randn(2, 3, 7, 10), torch.randn(2, 3, 4, 7, 10)
    expected = F.adaptive_max_pool2d(maps, (3, 4)), F.adaptive_avg_pool3d(clips, (None, 2, 3))
    with adaptive_pooling_by_windows():
        found = F.adaptive_max_pool2d(maps, (3, 4)), F.adaptive_avg_pool3d(clips, (None, 2, 3))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(expected, found, strict=True))
    assert F.adaptive_max_pool2d.__name__ != "pooled"
