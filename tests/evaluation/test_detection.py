import dataclasses

import numpy as np
import pytest
import torch

from videossl.datasets.records import Records
from videossl.evaluation.average_precision import Boxes
from videossl.evaluation.detection import Detection, DetectionNet, Locate, Pyramid, mean_ap, stages_by_cell
from videossl.evaluation.features import Encoder
from videossl.models.caffenet import CaffeNet
from videossl.models.lstm import LSTM, ConvLSTM
from videossl.models.small import Small
from videossl.models.vit import ViT

SMALL = Small(length=1, width=8, size=64)


def toy(count: int, seed: int, side: int = 64) -> Records:
    """Red and blue squares on a dark ground, one of them in each picture."""
    rng = np.random.default_rng(seed)
    records = []
    for n in range(count):
        picture = torch.from_numpy(rng.integers(0, 60, (1, 3, side, side), dtype=np.uint8))
        size, label = int(rng.integers(14, 22)), n % 2
        x, y = rng.integers(0, side - size, 2).tolist()
        picture[0, 2 * label, y : y + size, x : x + size] = 230
        records.append(
            {
                "frames": picture,
                "name": str(n),
                "group": str(n),
                "boxes": np.array([[x, y, x + size, y + size]], np.float32) / side,
                "things": np.array([label]),
                "difficult": np.array([False]),
            }
        )
    return Records(records, "toy", classes=("red", "blue"))


def encoder(config=SMALL) -> Encoder:
    torch.manual_seed(0)
    return Encoder(config.build(), progress=False)


def tiny(**changes) -> Detection:
    return dataclasses.replace(Detection(steps=1, batch=2, width=8, regions=16), **changes)


def test_squares_are_found_once_it_has_learned():
    train, test = toy(24, 0), toy(8, 1)
    plan = tiny(steps=40, batch=3, width=16, rate=4e-3, optimizer="adamw")
    found = plan.score(encoder(), train, test)
    before = dataclasses.replace(plan, steps=0).score(encoder(), train, test)
    assert found.metrics["AP50"] > 0.6 > 0.2 > before.metrics["AP50"] and found.tested == list(range(8))
    assert found.trained == 24 and "train_loss" not in before.metrics and found.metrics["train_loss"] < 1.5
    ap = [found.metrics[f"AP50 {name}"] for name in ("red", "blue")]
    assert found.metrics["AP50"] == pytest.approx(np.mean(ap)) and found.metrics["AP75"] <= found.metrics["AP50"]


def test_the_same_seed_gives_the_same_scores_and_the_trunk_stays_as_it_is():
    one = encoder()
    before = {name: value.clone() for name, value in one.trunk.state_dict().items()}
    state = torch.get_rng_state()
    train, test = toy(4, 0), toy(3, 1)
    first, again = (tiny(steps=2).score(one, train, test, seed=3).metrics for _ in range(2))
    other = tiny(steps=2).score(one, train, test, seed=4).metrics
    assert first == again and other != first and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in one.trunk.state_dict().items())


def test_a_frozen_trunk_learns_nothing_though_its_heads_do():
    for frozen in (True, False):
        net = DetectionNet(SMALL.build(), 2, 1, (64, 64), 8, 16, frozen).train()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        batch = [Locate(1, (64, 64)).sample(record, np.random.default_rng(0)) for record in toy(2, 0)]
        batch = {key: torch.stack([torch.as_tensor(one[key]) for one in batch]) for key in batch[0]}
        optimizer = torch.optim.SGD([w for w in net.parameters() if w.requires_grad], 0.1)
        loss, metrics = net(batch)
        loss.backward()
        optimizer.step()
        assert loss.item() == pytest.approx(sum(value.item() for value in metrics.values()))
        changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
        assert any(".trunk." in name for name in changed) != frozen and any("fpn" in name for name in changed)


@pytest.mark.parametrize(
    ("config", "cells"),
    [
        (SMALL, {4: 1, 8: 2}),
        (Small(length=4, width=4), {4: 1, 8: 2}),
        (CaffeNet(), {4: 0, 8: 1, 16: 2}),
        (ConvLSTM(), {4: 0}),
        (ViT(width=24, depth=1, heads=2, patch=14), {16: 0}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_pyramid_stands_on_every_trunk_that_has_maps(config, cells):
    pyramid = Pyramid(config.build(), 1, (64, 96), 8, True).eval()
    assert pyramid.stage_of == cells
    maps = pyramid(torch.zeros(1, 3, 64, 96))
    sizes = [(64 // cell, 96 // cell) for cell in cells]
    last = tuple(-(-side // 2) for side in sizes[-1])
    assert [tuple(m.shape) for m in maps.values()] == [(1, 8, *size) for size in [*sizes, last]]


def test_stages_are_sorted_by_their_cells_without_gaps():
    assert stages_by_cell([4, 8, 16, 32]) == {4: 0, 8: 1, 16: 2, 32: 3}
    assert stages_by_cell([1, 2, 4, 8, 64]) == {4: 2, 8: 3, 16: 3, 32: 4}
    assert stages_by_cell([17.3]) == {16: 0} and stages_by_cell([1, 2]) == {4: 1}


def test_an_example_is_mirrored_with_its_boxes_and_difficult_things_are_left_out():
    record = {**toy(1, 0)[0], "boxes": np.array([[0, 0, 1, 1], [0.125, 0.25, 0.5, 0.75]], np.float32)}
    record |= {"things": np.array([1, 0]), "difficult": np.array([True, False])}
    seen = set()
    for seed in range(8):
        example = Locate(3, (64, 64)).sample(record, np.random.default_rng(seed))
        assert example["things"].tolist() == [0, -1, -1] and example["boxes"].shape == (3, 4)
        mirrored = not torch.equal(example["picture"], record["frames"][0])
        assert torch.equal(example["picture"].flip(-1) if mirrored else example["picture"], record["frames"][0])
        assert example["boxes"][0].tolist() == ([0.5, 0.25, 0.875, 0.75] if mirrored else [0.125, 0.25, 0.5, 0.75])
        seen.add(mirrored)
    assert seen == {False, True}


def test_means_are_over_classes_that_occur():
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.6]])
    truth = [Boxes(boxes[[0, 0]], torch.tensor([0, 1]), torch.tensor([False, False]))]
    found = [Boxes(boxes, torch.tensor([0, 1]), torch.tensor([0.9, 0.9]))]  # the second overlaps by 0.6
    metrics = mean_ap(found, truth, ("a", "b", "c"))
    assert metrics == pytest.approx(
        {"AP50": 1, "AP50 11-point": 1, "AP75": 0.5, "AP": (1 + 3 / 10) / 2, "AP50 a": 1, "AP50 b": 1}
    )


def test_what_it_cannot_be_asked_of_is_refused():
    train, test = toy(4, 0), toy(2, 1)
    with pytest.raises(ValueError, match='Detection needs "boxes" of each video, but x has none'):
        tiny().score(encoder(), [{"frames": train[0]["frames"], "name": "x"}], test)
    with pytest.raises(ValueError, match="a list is empty"):
        tiny().score(encoder(), train, [])
    with pytest.raises(ValueError, match="needs the names of the classes"):
        tiny().score(encoder(), list(train), test)
    red = Records(train[::2], "toy", classes=train.classes)
    with pytest.raises(
        ValueError, match="detection cannot be learned of blue: there are some in test pictures, but none"
    ):
        tiny().score(encoder(), red, test)
    hard = Records([{**record, "difficult": np.array([True])} for record in test], "toy", classes=train.classes)
    with pytest.raises(ValueError, match="needs things that are not difficult"):
        tiny().score(encoder(), train, hard)
    with pytest.raises(ValueError, match="1 has 32x32 pixels, but the first picture 64x64: give the data set a `size`"):
        tiny().score(encoder(), Records([train[0], toy(2, 0, 32)[1]], "toy", classes=train.classes), test)
    with pytest.raises(ValueError, match="LSTMTrunk has one cell for all of a picture of 64x64"):
        tiny().score(encoder(LSTM(size=16, units=8)), train, test)


def test_test_pictures_that_cannot_be_read_are_told():
    class Broken:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            raise ValueError("is broken")

    test = toy(3, 1)
    test[1] = {**test[1], "frames": Broken()}
    scores = tiny().score(encoder(), toy(4, 0), test)
    assert scores.tested == [0, 2] and scores.failed == {"1": "is broken"}
    nothing = {"boxes": np.zeros((0, 4), np.float32), "things": np.zeros(0, int), "difficult": np.zeros(0, bool)}
    test = Records([test[1], {**test[0], **nothing}], "toy", classes=test.classes)
    with pytest.raises(ValueError, match="none of the 1 test pictures that can be read shows a thing"):
        tiny().score(encoder(), toy(4, 0), test)
