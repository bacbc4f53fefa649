import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchmetrics.functional import jaccard_index

from videossl.datasets.records import Records
from videossl.evaluation.dense import Stages
from videossl.evaluation.features import Encoder
from videossl.evaluation.segmentation import Paint, Segmentation, SegmentationNet, confusion, counted, mean_iou
from videossl.models.caffenet import CaffeNet
from videossl.models.lstm import LSTM, ConvLSTM
from videossl.models.small import Small
from videossl.models.vit import ViT

SMALL = Small(length=1, width=4, size=32)
NAMES = ["background", "red", "blue"]


def toy(count: int, seed: int) -> Records:
    """A red or blue square on a dark ground of 32 pixels, with a mask of 64, whose last row is void."""
    rng = np.random.default_rng(seed)
    records = []
    for n in range(count):
        picture = torch.from_numpy(rng.integers(0, 60, (1, 3, 32, 32), dtype=np.uint8))
        mask = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
        y, x = rng.integers(0, 20, 2).tolist()
        picture[0, 2 * (n % 2), y : y + 12, x : x + 12] = 230
        mask[..., 2 * y : 2 * y + 24, 2 * x : 2 * x + 24] = 1 + n % 2
        mask[..., -1, :] = 255
        records.append({"frames": picture, "segmentation": mask, "name": str(n), "group": str(n)})
    return Records(records, "toy", classes=NAMES[1:])


def encoder(config=SMALL) -> Encoder:
    torch.manual_seed(0)
    return Encoder(config.build(), progress=False)


def tiny(**changes) -> Segmentation:
    return dataclasses.replace(Segmentation(steps=2, batch=4, width=8), **changes)


def test_squares_are_segmented_once_it_has_learned():
    plan = tiny(steps=60, batch=8, rate=0.05, width=16)
    found = plan.score(encoder(), toy(32, 0), toy(8, 1)).metrics
    before = dataclasses.replace(plan, steps=0).score(encoder(), toy(32, 0), toy(8, 1)).metrics
    assert (
        found["mIoU"] > 0.75 > 0.4 > before["mIoU"] and found["pixel accuracy"] > found["chance pixel accuracy"] > 0.8
    )
    assert found["mIoU"] == pytest.approx(np.mean([found[f"IoU {name}"] for name in NAMES]))
    assert found["chance mIoU"] == pytest.approx(found["chance pixel accuracy"] / 3) and found["train_loss"] < 0.3


def test_iou_is_that_of_counting_pixels_and_of_torchmetrics():
    rng = np.random.default_rng(0)
    mask = torch.from_numpy(rng.choice([0, 1, 3, 255], (30, 40)).astype(np.uint8))
    answer = torch.from_numpy(rng.choice([0, 1, 2, 3], (30, 40)).astype(np.uint8))
    names = ["background", "a", "b", "c", "d"]
    found = mean_iou(confusion(mask, answer, 5), names, 1)
    pairs = [(t, a) for t, a in zip(mask.ravel().tolist(), answer.ravel().tolist(), strict=True) if t != 255]
    for label, name in enumerate(names[:4]):
        shared, either = sum(t == a == label for t, a in pairs), sum(label in pair for pair in pairs)
        assert found[f"IoU {name}"] == pytest.approx(shared / either)
    assert "IoU d" not in found and found["IoU b"] == 0  # nobody shows or says the one; the other is said alone
    each = jaccard_index(answer.long(), mask.long(), "multiclass", num_classes=5, ignore_index=255, average="none")
    assert found["mIoU"] == pytest.approx(each[:4].mean().item(), abs=1e-6)
    assert found["pixel accuracy"] == pytest.approx(np.mean([t == a for t, a in pairs]))
    ones = np.mean([t == 1 for t, _ in pairs])
    assert found["chance pixel accuracy"] == pytest.approx(ones) and found["chance mIoU"] == pytest.approx(ones / 3)


def test_a_perfect_answer_has_an_iou_of_one_and_void_counts_nowhere():
    mask = torch.tensor([[0, 1], [2, 255]], dtype=torch.uint8)
    found = mean_iou(confusion(mask, torch.tensor([[0, 1], [2, 0]]), 3), NAMES, 0)
    assert found["mIoU"] == found["pixel accuracy"] == found["IoU blue"] == 1


def test_examples_are_mirrored_with_their_masks_in_the_pictures_size():
    record = toy(1, 0)[0]
    straight = record["segmentation"][0, 0, ::2, ::2]
    seen = set()
    for seed in range(8):
        example = Paint((32, 32)).sample(record, np.random.default_rng(seed))
        mirrored = not torch.equal(example["picture"], record["frames"][0])
        target = example["target"].flip(-1) if mirrored else example["target"]
        assert target.shape == (32, 32) and torch.equal(target[:-1], straight[:-1])
        seen.add(mirrored)
    assert seen == {False, True}


def test_void_pixels_are_not_learned():
    net = SegmentationNet(Stages(SMALL.build(), 1, (32, 32), False), 2, 8, 3).eval()
    batch = {"picture": torch.rand(2, 3, 32, 32), "target": torch.full((2, 32, 32), 255, dtype=torch.uint8)}
    assert net(batch)[0] == 0
    batch["target"][0, 3, 4] = 2
    scores = net.scores(batch["picture"], (32, 32))
    assert net(batch)[0].item() == pytest.approx(F.cross_entropy(scores[0, :, 3, 4], torch.tensor(2)).item(), rel=1e-5)


@pytest.mark.parametrize(
    "config", [Small(length=4, width=4), CaffeNet(), ConvLSTM(), ViT(width=24, depth=1, heads=2, patch=14)], ids=str
)
def test_every_trunk_with_maps_can_be_asked(config):
    trunk = config.build()
    net = SegmentationNet(Stages(trunk, trunk.length, (32, 48), True), 3, 8, 3).eval()
    assert net.scores(torch.rand(2, 3, 32, 48), (20, 30)).shape == (2, 3, 20, 30)
    assert not any(weight.requires_grad for weight in net.trunk.parameters())
    assert not net.train().trunk.training and net.head.training


def test_the_same_seed_gives_the_same_scores_and_the_trunk_stays_as_it_is():
    one = encoder()
    before = {name: value.clone() for name, value in one.trunk.state_dict().items()}
    first, again = (tiny().score(one, toy(8, 0), toy(4, 1), seed=3).metrics for _ in range(2))
    assert first == again and tiny().score(one, toy(8, 0), toy(4, 1), seed=4).metrics != first
    assert all(torch.equal(value, before[name]) for name, value in one.trunk.state_dict().items())


def test_what_it_cannot_be_asked_of_is_refused():
    train, test = toy(4, 0), toy(2, 1)
    with pytest.raises(ValueError, match='Segmentation needs "segmentation" of each video, but x has none'):
        tiny().score(encoder(), train, [{"frames": train[0]["frames"], "name": "x"}])
    red = Records(train[::2], "toy", classes=train.classes)
    with pytest.raises(ValueError, match="segmentation cannot be learned of blue: test masks show some"):
        tiny().score(encoder(), red, test)
    with pytest.raises(ValueError, match=r"the mask of 1 has pixels of class 2, but classes are 0 to 1, red, and 255"):
        tiny().score(encoder(), Records(train, "toy", classes=("red",)), test)
    with pytest.raises(ValueError, match="LSTMTrunk has one cell for all of a picture"):
        tiny().score(encoder(LSTM(size=16, units=8)), train, test)
    broken = encoder()
    next(broken.trunk.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match="maps of a black picture are not finite: the trunk has gone astray"):
        tiny().score(broken, train, test)
    with pytest.raises(ValueError, match=r"the loss of step 5 is (nan|inf): give a lower rate"):
        tiny(rate=1e30, steps=5).score(encoder(), train, test)
    with pytest.raises(ValueError, match="0 stages"):
        tiny(stages=0)
    assert counted(torch.tensor([[0, 255], [2, 2]], dtype=torch.uint8), NAMES, {}).tolist() == [1, 0, 2]


def test_test_masks_that_cannot_be_read_are_told():
    class Broken:
        def __getitem__(self, index):
            raise OSError("is gone")

    test = toy(3, 1)
    test[1] = {**test[1], "segmentation": Broken()}
    scores = tiny().score(encoder(), toy(4, 0), test)
    assert scores.tested == [0, 2] and scores.failed == {"1": "is gone"}
    with pytest.raises(ValueError, match="none of 1 pictures can be read: is gone"):
        tiny().score(encoder(), toy(4, 0), [test[1]])
