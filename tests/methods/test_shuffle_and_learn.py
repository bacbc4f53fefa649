import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.models.base import Trunk
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

TIGHT = ShuffleAndLearn(far=12, near=4, different=0.0)


def shown(method: ShuffleAndLearn, record: dict, seed: int) -> tuple[list[int], int]:
    """Numbers of the frames shown (the first of each clip), and the answer."""
    example = method.sample(record, np.random.default_rng(seed))
    return example["clips"][:, 0, 0, 0, 0].tolist(), example["answer"]


def test_right_tuples_are_in_order_and_wrong_ones_have_their_middle_outside(counting):
    seen = {(0, "before"): 0, (0, "after"): 0, (1, "between"): 0}
    for seed in range(400):
        (first, middle, last), answer = shown(TIGHT, counting(60), seed)
        b, d = min(first, last), max(first, last)
        assert d - b == TIGHT.far
        where = "before" if middle < b else "after" if middle > d else "between"
        seen[answer, where] += 1  # a KeyError is a wrong label
        if answer == 0:
            gap = b - middle if where == "before" else middle - d
            assert TIGHT.near <= gap <= 2 * TIGHT.near  # a and e lie outside [b, d], near it
    assert min(seen.values()) > 50


def test_the_five_moments_are_in_order_and_inside_the_video():
    rng = np.random.default_rng(0)
    method = dataclasses.replace(TIGHT, length=4)
    for frames in (method.span, method.span + 1, 90):
        for _ in range(200):
            a, b, c, d, e = method.moments(frames, np.ones(frames - 1), rng)
            assert 0 <= a < b < c < d < e <= frames - method.length


def test_a_tuple_run_backwards_keeps_its_answer(counting):
    forwards = backwards = 0
    for seed in range(200):
        (first, middle, last), answer = shown(TIGHT, counting(60), seed)
        assert answer == (min(first, last) < middle < max(first, last))
        forwards, backwards = forwards + (first < last), backwards + (first > last)
    assert min(forwards, backwards) > 60


def test_clips_run_forwards_in_tuples_of_both_directions_and_share_no_frame(counting):
    method = dataclasses.replace(TIGHT, length=4)
    first_to_last = set()
    for seed in range(60):
        clips = method.sample(counting(60), np.random.default_rng(seed))["clips"][..., 0, 0, 0].int()  # (3, 4)
        assert torch.equal(clips.diff(dim=1), torch.ones(3, 3, dtype=torch.int))
        assert clips.unique().numel() == 12
        first_to_last.add(bool(clips[0, 0] < clips[2, 0]))
    assert first_to_last == {True, False}


@pytest.mark.parametrize("negatives", [0.75, 0.5])
def test_answers_are_balanced_as_configured(negatives, counting):
    method = dataclasses.replace(TIGHT, negatives=negatives)
    record, count = counting(60), 3000
    right = sum(method.sample(record, np.random.default_rng([7, n]))["answer"] for n in range(count))
    spread = (negatives * (1 - negatives) / count) ** 0.5
    assert abs(right / count - (1 - negatives)) < 4 * spread
    assert method.chance["accuracy"] == max(negatives, 1 - negatives)


def test_wrong_middles_come_from_before_and_after_alike(counting):
    before = after = 0
    for seed in range(1000):
        (first, middle, last), answer = shown(TIGHT, counting(60), seed)
        if answer == 0:
            before, after = before + (middle < min(first, last)), after + (middle > max(first, last))
    assert abs(before - after) < 4 * (before + after) ** 0.5


def test_windows_are_drawn_in_proportion_to_their_motion():
    motion = np.ones(199, np.float32)
    motion[100:] = 9
    rng = np.random.default_rng(0)
    starts = np.array([TIGHT.moments(200, motion, rng)[1] - TIGHT.near for _ in range(4000)])
    windows = 200 - TIGHT.span + 1
    weight = np.convolve(motion, np.ones(TIGHT.span - 1), "valid")[:windows]
    expected = np.histogram(np.arange(windows), 8, (0, windows), weights=weight / weight.sum())[0] * len(starts)
    found = np.histogram(starts, 8, (0, windows))[0]
    assert ((found - expected) ** 2 / expected).sum() < 24.3  # chi squared, 7 degrees of freedom, p = 0.001
    even = np.array([TIGHT.moments(200, None, rng)[1] for _ in range(4000)])
    assert abs(even.mean() - TIGHT.near - (windows - 1) / 2) < 4


def test_an_ambiguous_middle_is_passed_over_where_there_is_a_clear_one():
    frames = torch.zeros(200, 3, 8, 8, dtype=torch.uint8)
    frames[150:] = (4 * torch.arange(50, dtype=torch.uint8))[:, None, None, None]
    record = {"frames": frames, "name": "late mover"}
    method = dataclasses.replace(TIGHT, different=1.0, tries=200, motion=False)
    for seed in range(10):
        clips = method.sample(record, np.random.default_rng(seed))["clips"]
        assert clips.float().mean((1, 2, 3, 4)).unique().numel() > 1


def slides(*lengths: int) -> dict:
    """Still pictures one after the other, so many frames each."""
    values = torch.repeat_interleave(torch.arange(1, len(lengths) + 1) * 50, torch.tensor(lengths))
    frames = values.to(torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)
    return {"frames": frames, "motion": np.abs(np.diff(values.numpy())).astype(np.float32), "name": "slides"}


def test_slides_that_no_window_tells_the_order_of_are_refused_and_others_never_stop_a_run():
    method = dataclasses.replace(TIGHT, different=1.0)  # windows of 21 frames
    for lengths in [(60, 60), (40, 30, 40), (4, 4, 80)]:  # one cut; two cuts too far apart; two in one half
        with pytest.raises(ValueError, match="in their first and in their second half"):
            method.check(slides(*lengths))
    for lengths in [(40, 12, 40), (40, 19, 40), (40, 2, 40)]:
        record = slides(*lengths)
        method.check(record)
        for seed in range(100):
            assert method.sample(record, np.random.default_rng(seed))["clips"].shape == (3, 1, 3, 8, 8)
    starts = np.flatnonzero(method.weights(slides(40, 12, 40)["motion"]))
    assert starts.tolist() == [s for s in range(72) if s <= 39 < s + 10 <= 51 < s + 20]  # cuts after frames 39 and 51


def test_without_a_motion_profile_only_five_equal_pictures_are_refused():
    method = dataclasses.replace(TIGHT, different=1.0, tries=1, motion=False)
    refused = 0
    for seed in range(100):
        try:
            method.sample(slides(12, 60), np.random.default_rng(seed))
        except ValueError as error:
            assert "are the same" in str(error)
            refused += 1
    assert 0 < refused < 100  # windows that hold the cut are asked, though c is as a or as e


def test_videos_that_cannot_be_asked_are_refused_in_words(counting):
    still = {**counting(60), "motion": np.zeros(59, np.float32)}
    for record, reason in [
        (counting(TIGHT.span - 1), "fewer than the 21 frames"),
        (still, "nothing moves"),
        ({"frames": counting(60)["frames"]}, "no motion profile"),
    ]:
        with pytest.raises(ValueError, match=reason):
            TIGHT.check(record)
    constant = {"frames": torch.full((60, 3, 8, 8), 7, dtype=torch.uint8)}
    with pytest.raises(ValueError, match="are the same"):
        dataclasses.replace(TIGHT, motion=False).sample(constant, np.random.default_rng(0))
    with pytest.raises(ValueError, match="no two pictures may share a frame"):
        ShuffleAndLearn(far=1)


TOY = ShuffleAndLearn(far=10, near=5, different=0.0, negatives=0.5, jitter=0, light=0.0, head="mlp", hidden=32)


def learn(method: ShuffleAndLearn, trunk: Trunk, records: list[dict], steps: int) -> nn.Module:
    net = method.build(trunk)
    batches = loader(Draws(records, method.sample, 0), 32)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in fit(net, batches, optimizer, steps, cosine(3e-3)):
        pass
    return net.eval()


def accuracy(net: nn.Module, method: ShuffleAndLearn, records: list[dict]) -> float:
    with torch.no_grad():
        batch = next(iter(loader(Draws(records, method.sample, 1), 400)))
        return net(batch)[1]["accuracy"].item()


@pytest.mark.parametrize("head", ["mlp", "pairs"])
def test_it_learns_a_toy_in_seconds(head, falling, tiny):
    method = dataclasses.replace(TOY, head=head)
    torch.manual_seed(0)
    net = learn(method, tiny(), [falling(i) for i in range(40)], steps=250)
    assert accuracy(net, method, [falling(100 + i) for i in range(20)]) > 0.85


def fading(seed: int) -> dict:
    """Nothing but a fade over a texture: what a camera's exposure does."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(60, 160, (1, 3, 16, 16))
    frames = (texture + np.linspace(0, 80, 30)[:, None, None, None]).round().astype(np.uint8)
    return {"frames": torch.from_numpy(frames), "motion": np.ones(29, np.float32), "name": f"fading{seed}"}


def test_a_fade_alone_does_not_give_the_order_away(tiny):
    train, test = [fading(i) for i in range(40)], [fading(100 + i) for i in range(20)]
    torch.manual_seed(0)
    assert accuracy(learn(TOY, tiny(), train, 250), TOY, test) > 0.8  # left alone, it is a shortcut
    treated = dataclasses.replace(TOY, light=0.4)
    torch.manual_seed(0)
    assert accuracy(learn(treated, tiny(), train, 250), treated, test) < 0.75


def test_the_three_pictures_share_one_trunk_and_the_middle_one_matters(tiny):
    net = TOY.build(tiny()).eval()
    assert len([m for m in net.modules() if isinstance(m, Trunk)]) == 1
    clips = torch.rand(4, 3, 1, 3, 16, 16)
    other = clips.clone()
    other[:, 1] = torch.rand(4, 1, 3, 16, 16)
    assert not torch.allclose(net.predict({"clips": clips}), net.predict({"clips": other}))


def test_split_pictures_show_one_channel_at_random_in_training_and_in_turn_otherwise(tiny, monkeypatch):
    net = dataclasses.replace(TOY, split=True).build(tiny())
    shown = []
    monkeypatch.setattr(net.trunk, "normalise", lambda clips: shown.append(clips) or clips)
    batch = {"clips": torch.rand(8, 3, 1, 3, 16, 16)}
    net.predict(batch)
    net.eval().predict(batch)
    assert not any((clips - clips[..., :1, :, :]).any() for clips in shown)
    for n in range(3):
        assert shown[1].unflatten(0, (8, 3))[:, n, :, 0].equal(batch["clips"][:, n, :, n])


def test_uniform_logits_cost_log_2(tiny):
    net = dataclasses.replace(TOY, head="linear").build(tiny())
    nn.init.zeros_(net.order.weight)
    nn.init.zeros_(net.order.bias)
    loss, _ = net({"clips": torch.rand(4, 3, 1, 3, 16, 16), "answer": torch.tensor([0, 1, 0, 1])})
    assert loss.item() == pytest.approx(np.log(2), abs=1e-6)


def test_who_always_says_out_of_order_scores_the_share_of_such_tuples(tiny, counting):
    method = dataclasses.replace(TIGHT, head="linear")
    net = method.build(tiny()).eval()
    nn.init.zeros_(net.order.weight)
    net.order.bias.data = torch.tensor([1.0, 0.0])
    batch = next(iter(loader(Draws([counting(60)], method.sample, 0), 400)))
    _, metrics = net(batch)
    assert metrics["accuracy"].item() == pytest.approx((batch["answer"] == 0).float().mean().item())
    assert metrics["accuracy"].item() == pytest.approx(method.chance["accuracy"], abs=0.08)
