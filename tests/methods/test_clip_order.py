import dataclasses
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from torch import nn

from videossl.methods.clip_order import ClipOrder
from videossl.methods.parts import standing_still
from videossl.models.base import Trunk
from videossl.models.small import Small
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

SHORT = ClipOrder(length=4, gap=2, pair=32, dropout=0.0)


def starts(method: ClipOrder, record: dict, seed: int) -> tuple[list[int], int]:
    """Numbers of the clips' first frames, and the answer."""
    example = method.sample(record, np.random.default_rng(seed))
    return example["clips"][:, 0, 0, 0, 0].tolist(), example["answer"]


@pytest.mark.parametrize("clips", [2, 3, 4])
def test_the_answer_undoes_the_shuffle(clips, counting):
    method = dataclasses.replace(SHORT, clips=clips)
    orders = list(permutations(range(clips)))
    for seed in range(100):
        first, answer = starts(method, counting(60), seed)
        assert np.diff(sorted(first)).tolist() == [method.length + method.gap] * (clips - 1)
        assert orders[answer] == tuple(np.argsort(np.argsort(first)))
    assert len(method.answers) == len(orders) and method.chance == {"accuracy": 1 / len(orders)}


def test_answers_say_which_clip_is_shown_where():
    assert SHORT.answers == ("1 2 3", "1 3 2", "2 1 3", "2 3 1", "3 1 2", "3 2 1")


def test_clips_run_forwards_and_lie_anywhere_in_the_video(counting):
    seen = set()
    for seed in range(200):
        clips = SHORT.sample(counting(SHORT.span + 3), np.random.default_rng(seed))["clips"][..., 0, 0, 0].int()
        assert torch.equal(clips.diff(dim=1), torch.ones(3, 3, dtype=torch.int))
        seen.add((clips.min().item(), clips.max().item()))
    assert seen == {(start, start + SHORT.span - 1) for start in range(4)}


def test_defaults_are_the_releases():
    assert ClipOrder().span == 64  # three clips of 16 frames, 8 apart
    assert ClipOrder().chance == {"accuracy": 1 / 6}


def test_all_orders_are_as_frequent(counting):
    record = counting(60)
    found = np.bincount([SHORT.sample(record, np.random.default_rng([3, n]))["answer"] for n in range(1200)])
    assert ((found - 200) ** 2 / 200).sum() < 20.5  # chi squared, 5 degrees of freedom, p = 0.001


def test_tuples_in_which_nothing_moves_are_never_drawn(counting):
    motion = np.zeros(99, np.float32)
    motion[60] = 1
    record = {**counting(100), "motion": motion}
    for seed in range(100):
        first, _ = starts(SHORT, record, seed)
        assert min(first) <= 60 < min(first) + SHORT.span - 1


def test_videos_that_cannot_be_asked_are_refused_in_words(counting):
    with pytest.raises(ValueError, match="fewer than the 16 frames"):
        SHORT.check(counting(SHORT.span - 1))
    for still in ({**counting(60), "motion": np.zeros(59, np.float32)}, standing_still(counting(60), (0, 0, 0))):
        with pytest.raises(ValueError, match="nothing moves"):
            SHORT.check(still)
    constant = {"frames": torch.full((60, 3, 8, 8), 7, dtype=torch.uint8)}
    with pytest.raises(ValueError, match="are the same"):
        SHORT.sample(constant, np.random.default_rng(0))
    with pytest.raises(ValueError, match="clips are 2 to 5"):
        ClipOrder(clips=6)
    with pytest.raises(ValueError, match="jitter is a number of pixels"):
        ClipOrder(jitter=-1)


def test_each_clip_has_a_crop_of_its_own_and_its_frames_share_it(tiny):
    columns = torch.arange(26.0).expand(200, 3, 2, 3, 26, 26) / 100
    left = (SHORT.build(tiny()).views(columns)[:, :, :, 0, 0, 0] * 100).round()  # first columns, (200, 3, 2)
    assert torch.equal(left[..., 0], left[..., 1])
    apart = left[..., 0].amax(1) - left[..., 0].amin(1)
    assert left.min() == 0 and left.max() == 10 and apart.max() > 6


def test_with_jitter_clips_share_a_crop_but_for_so_many_pixels(tiny):
    net = dataclasses.replace(SHORT, jitter=2).build(tiny())
    tape = torch.arange(26.0).expand(50, 3, 2, 3, 26, 26) / 100
    torch.manual_seed(0)
    seen = net.views(tape) * 100
    assert seen.shape == (50, 3, 2, 3, 16, 16)
    left = seen[..., 0, 0, :].mean(-1)  # the middle of each crop, mirrored or not
    apart = (left.amax((1, 2)) - left.amin((1, 2))).max()
    assert 0 < apart <= 4 * 26 / 20 * (4 / 3) ** 0.5 + 0.1  # 2 pixels either way, of frames that a crop has scaled


def test_in_eval_mode_clips_show_their_centre_and_with_split_channels_in_turn(tiny):
    clips = torch.rand(2, 3, 2, 3, 20, 20)
    net = SHORT.build(tiny()).eval()
    assert torch.equal(net.views(clips), clips[..., 2:18, 2:18])
    seen = dataclasses.replace(SHORT, split=True).build(tiny()).eval().views(clips)
    for k in range(3):
        for channel in range(3):
            assert torch.equal(seen[:, k, :, channel], clips[:, k, :, k, 2:18, 2:18])


@pytest.mark.parametrize("pairs", ["concat", "difference"])
def test_the_place_of_every_clip_matters_and_all_share_one_trunk(pairs, tiny):
    net = dataclasses.replace(SHORT, pairs=pairs).build(tiny()).eval()
    assert len([m for m in net.modules() if isinstance(m, Trunk)]) == 1
    clips = torch.rand(4, 3, 4, 3, 16, 16)
    logits = [net.predict({"clips": clips[:, list(order)]}) for order in permutations(range(3))]
    for a, b in pairwise(logits):
        assert not torch.allclose(a, b, atol=1e-5)


def test_uniform_logits_cost_log_6(tiny):
    net = SHORT.build(tiny())
    nn.init.zeros_(net.order[-1].weight)
    nn.init.zeros_(net.order[-1].bias)
    loss, _ = net({"clips": torch.rand(4, 3, 4, 3, 16, 16), "answer": torch.tensor([0, 1, 4, 5])})
    assert loss.item() == pytest.approx(np.log(6), abs=1e-6)


@pytest.mark.parametrize("pairs", ["concat", "difference"])
def test_it_learns_a_toy_in_seconds_with_a_frame_trunk(pairs, falling, tiny):
    method = dataclasses.replace(SHORT, length=2, gap=6, pairs=pairs)
    torch.manual_seed(0)
    net = method.build(tiny())
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    batches = loader(Draws([falling(i) for i in range(40)], method.sample, 0), 32)
    for _ in fit(net, batches, optimizer, 120, cosine(3e-3)):
        pass
    with torch.no_grad():
        held_out = loader(Draws([falling(100 + i) for i in range(20)], method.sample, 1), 300)
        accuracy = net.eval()(next(iter(held_out)))[1]["accuracy"].item()
    assert accuracy > {"concat": 0.6, "difference": 0.4}[pairs]  # chance 0.167; distances alone cannot exceed 0.5


def test_a_clip_trunk_takes_a_step(falling):
    net = SHORT.build(Small(length=4, width=4, size=16).build())
    loss, _ = net(next(iter(loader(Draws([falling(0)], SHORT.sample, 0), 4))))
    loss.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
