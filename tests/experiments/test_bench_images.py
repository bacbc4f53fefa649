"""The bench of image methods runs and counts what it says; how fast anything is, no test asks."""

import json
from copy import deepcopy

import pytest
import torch
from torch import nn

from videossl.experiments.bench import images
from videossl.experiments.bench.fit import noise
from videossl.experiments.bench.images import PAIRS, BenchImages, LightlySimCLR, bench_images, counted
from videossl.methods.dino import DINO
from videossl.methods.mae import MAE
from videossl.methods.moco import MoCo
from videossl.methods.simclr import SimCLR
from videossl.models.small import Small
from videossl.models.vit import ViT
from videossl.training.draws import Draws, loader

SMALL = {
    "SimCLR": SimCLR(hidden=16, out=8),
    "MoCo": MoCo(queue=16, hidden=16, out=8),
    "DINO": DINO(small=2, prototypes=16, hidden=16, bottleneck=8),
    "MAE": MAE(width=16, depth=1, heads=2),
}
TRUNK, TRANSFORMER = Small(1, width=2, size=32), ViT(width=16, depth=2, heads=2, patch=8, size=32)


def test_all_are_timed_beside_lightlys_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(images, "PAIRS", {name: (SMALL[name], theirs) for name, (_, theirs) in PAIRS.items()})
    out = tmp_path / "runs" / "images.json"
    numbers = {"steps": 1, "rounds": 5, "batch": 4, "accelerator": "cpu"}
    found = bench_images(BenchImages(out, trunk=TRUNK, transformer=TRANSFORMER, **numbers))
    assert json.loads(out.read_text()) == found and found["command"] and found["device"] == "cpu"
    assert list(found["methods"]) == ["SimCLR", "MoCo", "DINO", "MAE"]
    for of in found["methods"].values():
        spreads = [*of["images_per_second"].values(), of["ours_over_lightly"]]
        assert all(0 < s["min"] <= s["median"] <= s["max"] for s in spreads)
        assert 0.5 < of["kept_mb"]["ours"] / of["kept_mb"]["lightly"] < 2 and "peak_mb" not in of
    assert "ours / lightly" in capsys.readouterr().out
    with pytest.raises(ValueError, match="rounds is a whole number from 5, but 4 was given"):
        BenchImages(rounds=4)
    with pytest.raises(ValueError, match="name a method or more: SimCLR, MoCo, DINO, MAE"):
        BenchImages(methods=())


def test_simclr_of_both_has_the_same_loss_on_the_same_weights():
    torch.manual_seed(0)
    method, trunk = SMALL["SimCLR"], TRUNK.build()
    net, other = method.build(trunk), LightlySimCLR(deepcopy(trunk), method)
    other.projection_head.load_state_dict(net.projector.state_dict())
    (batch,) = loader(Draws(noise(1, trunk.resize), method.sample, 0), 8, stop=1)
    torch.manual_seed(1)
    ours, _ = net.train()(batch)
    torch.manual_seed(1)
    assert other.train()(batch).item() == pytest.approx(ours.item(), rel=1e-4)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # lightly's own
@pytest.mark.parametrize("name", ["MoCo", "DINO", "MAE"])
def test_both_have_about_as_many_weights_to_learn_and_learn_them(name):
    torch.manual_seed(0)
    method, trunk = SMALL[name], (TRANSFORMER if name == "MAE" else TRUNK).build()
    net, other = method.build(trunk), PAIRS[name][1](deepcopy(trunk), method)
    mine, theirs = (sum(p.numel() for p in n.parameters() if p.requires_grad) for n in (net, other))
    assert mine == pytest.approx(theirs, rel=0.1)
    (batch,) = loader(Draws(noise(1, trunk.resize), method.sample, 0), 8, stop=1)
    other(batch).backward()
    learned = [p for p in other.parameters() if p.requires_grad]
    assert sum(p.grad is not None and bool(p.grad.abs().max() > 0) for p in learned) > 0.8 * len(learned)


def test_bytes_that_are_kept_are_counted_once_for_each_storage():
    layer, x = nn.Linear(3, 5), torch.rand(7, 3)
    with counted() as kept:
        y = layer(x)  # keeps x
        (y.exp() * y.exp().view(-1, 5)).sum()  # exp keeps its result, and so does the product
    assert sum(kept.values()) == 4 * (7 * 3 + 2 * 7 * 5)
