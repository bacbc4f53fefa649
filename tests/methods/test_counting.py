import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from videossl.methods.counting import SMALLER, Counting, counting_loss, halved
from videossl.models.caffenet import CaffeNet
from videossl.models.resnet import ResNet
from videossl.models.small import Small

TOY = Counting(numbers=16, grey=0.0)


def dots(seed: int) -> dict:
    """1 to 6 white squares on a dark ground."""
    rng = np.random.default_rng(seed)
    frame = torch.full((1, 3, 32, 32), 20, dtype=torch.uint8)
    for n in rng.permutation(16)[: rng.integers(1, 7)]:
        y, x = 8 * np.array(divmod(n, 4)) + 1
        frame[..., y : y + 6, x : x + 6] = 240
    return {"frames": frame}


def test_counting_nothing_costs_the_margin(tiny):
    net = TOY.build(tiny())
    nn.init.zeros_(net.count[0].weight)
    nn.init.zeros_(net.count[0].bias)
    loss, metrics = net({"clips": torch.rand(4, 1, 3, 32, 32)})
    assert loss.item() == 10 and metrics["same"] == 0 and metrics["accuracy"] == 0.5


def test_true_counts_cost_nothing_once_others_are_far_enough():
    quarters = torch.randint(0, 5, (6, 4, 3)).float()
    whole = quarters.sum(1)
    loss, same, other = counting_loss(whole, quarters, margin=10.0)
    assert not same.any()
    expected = [(whole[(i + 1) % 6] - whole[i]).square().sum().item() for i in range(6)]
    assert other.tolist() == expected
    assert loss.item() == pytest.approx(np.mean([max(0, 10 - far) for far in expected]))
    assert counting_loss(10 * whole + torch.arange(6)[:, None] * 100, 10 * quarters, 10.0)[0] >= 0
    apart = torch.arange(6.0)[:, None].expand(6, 3) * 4  # each next one is 48 away
    assert counting_loss(apart, (apart / 4)[:, None].expand(6, 4, 3), 10.0)[0] == 0


def test_quarters_and_the_halved_whole_are_of_one_size_and_show_the_same(tiny):
    net = TOY.build(tiny()).eval()
    clips = torch.rand(2, 1, 3, 32, 32)
    seen = net.view({"clips": clips})
    assert seen.shape == (2, 5, 1, 3, 16, 16)
    torch.testing.assert_close(seen[:, 0], nn.functional.avg_pool2d(clips[:, 0], 2).unsqueeze(1))
    top, bottom = (torch.cat([seen[:, n], seen[:, n + 1]], -1) for n in (1, 3))
    assert torch.equal(torch.cat([top, bottom], -2), clips)


def test_each_picture_is_halved_in_a_way_of_its_own():
    clips = torch.rand(8, 1, 3, 12, 12)
    ways = torch.arange(8) % 4
    small = halved(clips, ways)
    for clip, way, result in zip(clips, ways, small, strict=True):
        torch.testing.assert_close(result, nn.functional.interpolate(clip, (6, 6), **SMALLER[way]).clamp(0, 1))
    assert small.shape == (8, 1, 3, 6, 6)


def test_counts_are_never_negative_and_small_pictures_are_enlarged(tiny):
    net = TOY.build(tiny())
    seen = net.view({"clips": torch.randint(256, (3, 1, 3, 10, 12), dtype=torch.uint8)})
    assert seen.shape == (3, 5, 1, 3, 16, 16) and net.count(torch.randn(50, 16)).min() == 0


def test_it_learns_to_count_squares_it_was_never_told_of(learn, batch, tiny):
    net = learn(TOY, [dots(n) for n in range(200)], tiny(), 100)
    records = [dots(1000 + n) for n in range(100)]
    examples = batch(TOY, records)
    with torch.no_grad():
        metrics = net(examples)[1]
        counted = net.count(net.trunk(net.view(examples)[:, 0])).sum(1)
    true = examples["clips"].float().mean((1, 2, 3, 4))
    assert metrics["accuracy"] > 0.8 and metrics["same"] < 0.3 * metrics["other"]
    assert abs(np.corrcoef(counted, true)[0, 1]) > 0.5


def test_a_batch_of_one_and_fields_that_mean_nothing_are_refused(tiny):
    with pytest.raises(ValueError, match="raise batch to 2 or more"):
        TOY.build(tiny())({"clips": torch.rand(1, 1, 3, 32, 32)})
    for wrong in ({"numbers": 0}, {"margin": 0.0}, {"grey": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Counting(**wrong)


@pytest.mark.parametrize("trunk", [Small(4, 4, 32), ResNet(18), CaffeNet(64, (16,))], ids=str)
def test_any_trunk_takes_a_step(trunk, batch):
    net = dataclasses.replace(TOY, grey=0.3).build(trunk.build())
    net(batch(TOY, [dots(0), dots(1)]))[0].backward()
    assert all(weight.grad is not None for weight in net.parameters())
