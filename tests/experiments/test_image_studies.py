"""The design studies, on made pictures in a few steps; what they find at full length is in experiments/results."""

import dataclasses
import json

import numpy as np
import PIL.Image
import pytest
import torch

from videossl.datasets.cifar10 import CLASSES
from videossl.evaluation.finetune import Action, ActionNet
from videossl.experiments import image_studies
from videossl.experiments.augmentation_pairs import WAYS, ChangedViews, changed
from videossl.experiments.image_studies import FrozenStem, ImageStudies, Projected, run
from videossl.methods.simclr import SimCLR
from videossl.models.small import Small


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Noise of ten colours, in CIFAR-10's folders."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 2)):
        for label, name in enumerate(CLASSES):
            folder = root / part / name
            folder.mkdir(parents=True)
            for n in range(count):
                picture = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8)
                picture[..., label % 3] += 100
                PIL.Image.fromarray(picture).save(folder / f"{n}.png")
    return root


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(image_studies, "CONVOLUTIONAL", Small(length=1, width=4, size=48))
    monkeypatch.setattr(image_studies, "AVERAGED", dataclasses.replace(image_studies.AVERAGED, width=24, depth=1))
    monkeypatch.setattr(image_studies, "BATCHES", (8, 32))
    monkeypatch.setattr(image_studies, "SHARES", (1.0,))
    monkeypatch.setattr(image_studies, "LABELLED", (2, 5, 10))
    monkeypatch.setattr(image_studies, "MASKS", (("random", 0.75), ("block", 0.5)))
    monkeypatch.setattr(image_studies, "WAYS", WAYS[:2])
    fewer = {loss: fields | {"step": 40} for loss, fields in image_studies.COLOUR_LOSSES.items()}
    monkeypatch.setattr(image_studies, "COLOUR_LOSSES", fewer)


CELLS = {"rotnet": 6, "simclr": 6, "augmentations": 4, "mae": 3, "colour": 4}


@pytest.mark.parametrize("name", CELLS)
def test_a_study_is_written_plotted_and_not_run_again(name, pictures, tmp_path, monkeypatch, capsys):
    config = ImageStudies((name,), pictures, tmp_path / "out", tmp_path / "runs", seeds=(0,), steps=4)
    found = run(config)[name]
    assert json.loads((config.out / f"{name}.json").read_text()) == found
    assert len(found["cells"]) == CELLS[name] and all(cell["runs"].keys() == {"0"} for cell in found["cells"].values())
    shares = {"accuracy", "linear", "knn", "linear_of_projector", "knn_of_projector"}
    for cell in found["cells"].values():
        assert all(0 <= v <= 1 for key, v in cell["runs"]["0"].items() if key in shares)
    assert ("random weights" in found["cells"]) == (name != "rotnet")  # whose random arm has a stem of them
    assert PIL.Image.open(config.out / f"{name}.png").width > 300
    painted = config.out / f"{name}_pictures.png"
    assert painted.exists() == (name in ("mae", "colour"))
    assert name in capsys.readouterr().out
    monkeypatch.setattr(image_studies.Setting, "run", lambda *_: pytest.fail("was run again"))
    monkeypatch.setitem(image_studies.STUDIES, name, image_studies.STUDIES[name]._replace(pictures=None))
    assert run(config)[name]["cells"] == found["cells"]
    with pytest.raises(ValueError, match=r"is of other steps: name another --out"):
        run(dataclasses.replace(config, steps=5))


def test_studies_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"no study 'moco'; there are: rotnet, simclr, augmentations, mae, colour"):
        ImageStudies(("moco",))
    with pytest.raises(ValueError, match="name one study or more"):
        ImageStudies(())
    with pytest.raises(ValueError, match="steps start at 4"):
        ImageStudies(("mae",), steps=3)


def test_a_frozen_stem_stays_bit_for_bit_and_the_rest_learns():
    torch.manual_seed(0)
    net = FrozenStem(Small(length=1, width=4, size=32).build(), Action(3, 1, 1, 32)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
    loss, _ = net({"clips": torch.rand(6, 1, 3, 32, 32), "label": torch.arange(6) % 3})
    loss.backward()
    optimizer.step()
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    frozen = {f"trunk.net.{n}." for n in range(image_studies.STEM)}
    assert not any(name.startswith(tuple(frozen)) for name in moved)
    assert {"trunk.net.6.weight", "trunk.net.9.weight", "trunk.net.10.running_mean", "linear.weight"} <= moved
    assert all(p.grad is None for p in net.trunk.net[: image_studies.STEM].parameters())
    assert isinstance(net, ActionNet) and not net.eval().trunk.training


def test_a_projector_is_scored_as_the_net_compares():
    torch.manual_seed(0)
    net = SimCLR(hidden=8, out=5).build(Small(length=1, width=2, size=32).build()).eval()
    clips = torch.rand(4, 1, 3, 32, 32)
    assert torch.equal(Projected(net)(clips), net.projector(net.trunk(clips)))
    assert Projected(net)(clips).shape == (4, 5)


def test_views_are_changed_in_the_ways_named_alone():
    torch.manual_seed(0)
    clips = torch.rand(40, 2, 1, 3, 20, 20)
    cut = clips[..., 2:18, 2:18]
    turned = changed(clips, ChangedViews(ways=("turn",)), 16)
    quarters = torch.stack([torch.rot90(cut, n, (-2, -1)) for n in range(4)])
    which = (turned - quarters).abs().amax((-4, -3, -2, -1)) < 1e-5  # (4, 40, 2)
    assert (which.sum(0) == 1).all() and (which.sum((1, 2)) > 5).all()  # each is one of four turns
    grey = changed(clips, ChangedViews(ways=("grey",)), 16)
    plain = (grey == cut).flatten(2).all(2)
    assert 20 < plain.sum() < 60 and (grey[~plain].std(-3) < 1e-6).all()
    blurred = changed(clips, ChangedViews(ways=("blur",)), 16)
    assert 20 < (blurred == cut).flatten(2).all(2).sum() < 60
    coloured = changed(clips, ChangedViews(ways=("colour",)), 16)
    assert 4 < (coloured == cut).flatten(2).all(2).sum() < 30  # four of five are changed
    cropped = changed(clips, ChangedViews(ways=("crop",)), 16)
    assert cropped.shape == cut.shape and not (cropped == cut).flatten(2).all(2).any()


def test_views_in_eval_mode_are_always_the_same_and_unknown_ways_are_refused():
    net = ChangedViews(hidden=8, out=4).build(Small(length=1, width=2, size=32).build())
    batch = {"clips": torch.randint(256, (4, 2, 1, 3, 40, 40), dtype=torch.uint8)}
    assert not torch.equal(net.views(batch), net.views(batch))
    net.eval()
    assert torch.equal(net.views(batch), net.views(batch))
    with pytest.raises(ValueError, match=r"one or more of crop, turn, colour, grey, blur, but \('shear',\)"):
        ChangedViews(ways=("shear",))
    with pytest.raises(ValueError, match="ways are one or more"):
        ChangedViews(ways=())
