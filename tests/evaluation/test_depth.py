import dataclasses
import math

import numpy as np
import pytest
import torch

from videossl.evaluation.dense import Stages
from videossl.evaluation.depth import Depth, DepthNet, Measure, errors, usual_depth
from videossl.evaluation.features import Encoder
from videossl.models.lstm import LSTM
from videossl.models.small import Small

SMALL = Small(length=1, width=4, size=32)


def toy(count: int, seed: int) -> list[dict]:
    """A wall whose brightness tells how far it is, 1 to 4 m, and a square at 1 m; of the first row nothing is known."""
    rng = np.random.default_rng(seed)
    records = []
    for n in range(count):
        metres = float(rng.uniform(1.5, 4))
        picture = torch.full((1, 3, 32, 32), int(60 * metres), dtype=torch.uint8)
        depth = torch.full((1, 32, 32), metres)
        y, x = rng.integers(0, 20, 2).tolist()
        picture[0, 1:, y : y + 12, x : x + 12], depth[0, y : y + 12, x : x + 12] = 0, 1.0
        depth[0, 0] = 0
        records.append({"frames": picture, "depth": depth, "name": str(n), "group": str(n)})
    return records


def encoder(config=SMALL) -> Encoder:
    torch.manual_seed(0)
    return Encoder(config.build(), progress=False)


def tiny(**changes) -> Depth:
    return dataclasses.replace(Depth(steps=2, batch=4, width=8), **changes)


def test_depth_is_told_once_it_has_learned():
    plan = tiny(steps=60, batch=8, rate=0.02, width=16)
    found = plan.score(encoder(), toy(32, 0), toy(8, 1)).metrics
    assert found["abs rel"] < 0.5 * found["chance abs rel"] and found["RMSE"] < 0.6 * found["chance RMSE"]
    assert found["delta 1.25"] > 0.75 > found["chance delta 1.25"] and found["train_loss"] < 0.2


def test_errors_are_those_of_counting_pixels():
    rng = np.random.default_rng(0)
    told, depth = rng.uniform(0.5, 5, (2, 12, 10))
    depth[rng.random((12, 10)) < 0.3] = 0
    pairs = [(t, d) for t, d in zip(told.ravel().tolist(), depth.ravel().tolist(), strict=True) if d]
    found = errors(torch.tensor(told), torch.tensor(depth))
    assert found["abs rel"] == pytest.approx(sum(abs(t - d) / d for t, d in pairs) / len(pairs))
    assert found["RMSE"] == pytest.approx(math.sqrt(sum((t - d) ** 2 for t, d in pairs) / len(pairs)))
    assert found["delta 1.25"] == pytest.approx(sum(max(t / d, d / t) < 1.25 for t, d in pairs) / len(pairs))
    same = errors(torch.tensor(depth), torch.tensor(depth))
    assert same == {"abs rel": 0, "RMSE": 0, "delta 1.25": 1}
    twice = errors(torch.tensor([[2.0, 9.0]]), torch.tensor([[1.0, 0.0]]))
    assert twice == {"abs rel": 1, "RMSE": 1, "delta 1.25": 0}


def test_the_usual_depth_is_the_geometric_mean_of_what_is_known():
    depth = torch.tensor([[[1.0, 4.0], [0.0, 0.0]]])
    assert usual_depth([{"depth": depth}, {"depth": 2 * depth}]) == pytest.approx((1 * 4 * 2 * 8) ** 0.25)
    with pytest.raises(ValueError, match="depth is 0, which is not known, in all 1 training pictures"):
        usual_depth([{"depth": torch.zeros(1, 2, 2)}])


def test_the_loss_is_of_logarithms_and_of_known_pixels():
    net = DepthNet(Stages(SMALL.build(), 1, (32, 32), True), 2, 8, 2.0).eval()
    net.head.scores[0][3].weight.data.zero_()
    net.head.scores[1][3].weight.data.zero_()
    for score in net.head.scores:
        score[3].bias.data.zero_()
    target = torch.zeros(2, 32, 32)
    batch = {"picture": torch.rand(2, 3, 32, 32), "target": target}
    assert torch.allclose(net.logarithms(batch["picture"], (5, 6)), torch.tensor(math.log(2)))
    assert net(batch)[0] == 0  # nothing is known
    target[0, 1, 2], target[1, 3, 4] = 8, 2
    assert net(batch)[0].item() == pytest.approx(math.log(4) / 2)


def test_examples_are_mirrored_with_their_depth():
    record = toy(1, 0)[0]
    seen = set()
    for seed in range(8):
        example = Measure((32, 32)).sample(record, np.random.default_rng(seed))
        mirrored = not torch.equal(example["picture"], record["frames"][0])
        target = example["target"].flip(-1) if mirrored else example["target"]
        assert torch.equal(target, record["depth"][0])
        seen.add(mirrored)
    assert seen == {False, True}
    with pytest.raises(ValueError, match=r"the depth of 0 is \(16, 32\), but its picture \(32, 32\)"):
        Measure((32, 32)).sample({**record, "depth": record["depth"][:, :16]}, np.random.default_rng(0))


def test_what_it_cannot_be_asked_of_is_refused_and_pictures_without_known_depth_are_told():
    train, test = toy(4, 0), toy(3, 1)
    with pytest.raises(ValueError, match='Depth needs "depth" of each video, but x has none'):
        tiny().score(encoder(), train, [{"frames": train[0]["frames"], "name": "x"}])
    with pytest.raises(ValueError, match="LSTMTrunk has one cell for all of a picture"):
        tiny().score(encoder(LSTM(size=16, units=8)), train, test)
    with pytest.raises(ValueError, match="0 stages"):
        tiny(stages=0)
    test[1] = {**test[1], "depth": torch.zeros(1, 32, 32)}
    first, again = (tiny().score(encoder(), train, test, seed=1) for _ in range(2))
    assert first == again and first.tested == [0, 2] and first.failed == {"1": "none of its depth is known"}


def test_a_clip_trunk_sees_pictures_stand_still():
    clips = encoder(Small(length=4, width=4, size=32))
    assert tiny().score(clips, toy(4, 0), toy(2, 1)).metrics["abs rel"] > 0
