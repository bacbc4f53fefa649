import numpy as np
import PIL.Image
import pytest
import torch

from videossl.experiments import attention
from videossl.experiments.attention import Attend, attend
from videossl.experiments.data import Videos
from videossl.models.small import Small
from videossl.models.vit import ViT


@pytest.fixture
def loads(monkeypatch):
    """`loads(config)`: the run that is named has this trunk."""

    def use(config):
        torch.manual_seed(0)
        trunk = config.build().eval()
        monkeypatch.setattr(attention, "load_trunk", lambda path: trunk)
        return trunk

    return use


def test_a_strip_shows_every_head_and_tells_how_steady_it_is(tiny, loads, tmp_path, capsys):
    trunk = loads(ViT(width=24, depth=2, heads=2, patch=8, size=32))
    out = tmp_path / "strips" / "attention.png"
    config = Attend(tmp_path, Videos(tiny, "ucf101", size=(32, 48)), test=True, frames=12, out=out)
    told = attend(config)
    assert len(told) == 2 and all(0 < one["stability"] <= 1 and -1 <= one["correlation"] <= 1 for one in told)
    assert "head 2: stability" in capsys.readouterr().out
    with PIL.Image.open(out) as image:
        assert image.width > image.height * 1.5  # eight frames of 2:3, three rows
        assert np.asarray(image.convert("RGB")).std() > 20
    record = config.data.records(False, 1, trunk.resize)[0]
    assert attend(Attend(tmp_path, config.data, test=True, video=record["name"], out=out)) != told


def test_what_cannot_be_drawn_is_refused(tiny, loads, tmp_path):
    loads(Small(length=1, size=32))
    config = Attend(tmp_path, Videos(tiny, "ucf101"), out=tmp_path / "attention.png")
    with pytest.raises(ValueError, match="SmallTrunk has none, ViT does"):
        attend(config)
    loads(ViT(width=24, depth=1, heads=2, patch=8, size=32))
    with pytest.raises(ValueError, match=r"there is no video 'cat' in .*, but Down/v_Down_g03_c01"):
        attend(Attend(tmp_path, config.data, video="cat"))
    with pytest.raises(ValueError, match=r"mass is 1\.5, but it lies between 0 and 1"):
        Attend(tmp_path, config.data, mass=1.5)
    with pytest.raises(ValueError, match="is to show 1 frame"):
        attend(Attend(tmp_path, config.data, frames=1))
