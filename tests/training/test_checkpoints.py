import errno
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.models.resnet import ResNet
from videossl.models.small import Small
from videossl.training import checkpoints


@dataclass(frozen=True)
class Nested:
    where: Path
    method: ShuffleAndLearn
    sizes: tuple[int, int] = (3, 4)
    nothing: None = None


def test_a_dataclass_survives_json():
    value = Nested(Path("a/b"), ShuffleAndLearn(far=12))
    stored = json.loads(json.dumps(checkpoints.plain(value)))
    again = checkpoints.restore(stored)
    assert (str(again.where), again.method, again.sizes, again.nothing) == ("a/b", value.method, (3, 4), None)


def test_only_dataclasses_are_restored():
    with pytest.raises(ValueError, match="no dataclass"):
        checkpoints.restore({"is": "subprocess:Popen", "args": "true"})
    with pytest.raises(ValueError, match="another version"):
        checkpoints.restore({"is": "videossl.models.small:Small", "gone": 1})


def test_a_trunk_comes_back_with_its_weights(tmp_path):
    config = Small()
    net = ShuffleAndLearn().build(config.build())
    path = tmp_path / "checkpoint.pt"
    checkpoints.save(path, method=ShuffleAndLearn(), trunk=config, net=net, step=5)
    trunk = checkpoints.load_trunk(tmp_path)
    clips = torch.rand(2, trunk.length, 3, trunk.size, trunk.size)
    assert torch.equal(trunk(clips), net.trunk.eval()(clips))
    assert checkpoints.load(path)["step"] == 5


def test_a_trunk_does_not_need_the_file_that_its_run_began_with(tmp_path):
    trunk = ResNet(weights=tmp_path / "gone.pth")
    net = ShuffleAndLearn().build(ResNet().build())
    checkpoints.save(tmp_path / "checkpoint.pt", method=ShuffleAndLearn(), trunk=trunk, net=net, step=5)
    loaded = checkpoints.load_trunk(tmp_path).state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in net.trunk.state_dict().items())
    assert checkpoints.untrained(trunk) == ResNet() and checkpoints.untrained(Small(width=3)) == Small(width=3)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_cut_checkpoint_is_refused_in_words(tmp_path, share):
    path = tmp_path / "checkpoint.pt"
    net = ShuffleAndLearn().build(Small().build())
    checkpoints.save(path, method=ShuffleAndLearn(), trunk=Small(), net=net, step=5)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match="is no checkpoint"):
        checkpoints.load(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04garbage"])
def test_what_is_no_checkpoint_is_refused_in_words(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is no checkpoint"):
        checkpoints.load(path)


def test_another_file_of_torch_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="no checkpoint of videossl"):
        checkpoints.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        checkpoints.load(tmp_path / "nowhere.pt")


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoints.write(path, b"old")
    code = f"""
import resource, signal
from pathlib import Path
from videossl.training import checkpoints
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    checkpoints.write(Path({str(path)!r}), b"new" * 10_000)
except OSError as error:
    print("refused", error.errno, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"refused {errno.EFBIG} ")
    assert str(path) in done.stdout and "what was there before is as it was" in done.stdout
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
