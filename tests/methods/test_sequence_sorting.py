import dataclasses
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from torch import nn

from videossl.methods.parts import channels_in_turn, standing_still
from videossl.methods.sequence_sorting import OPN, orders
from videossl.models.base import Trunk
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

PLAIN = OPN(gap=4, different=0.0, region=1.0, slack=0, jitter=0, split=False, fc7=32, dropout=0.0)


def shown(method: OPN, record: dict, seed: int) -> tuple[list[int], int]:
    """Numbers of the frames shown (the first of each picture), and the answer."""
    example = method.sample(record, np.random.default_rng(seed))
    return example["clips"][:, 0, 0, 0, 0].tolist(), example["answer"]


@pytest.mark.parametrize(("pictures", "classes"), [(3, 3), (4, 12), (5, 60)])
def test_every_order_or_its_reverse_is_one_answer_and_never_both(pictures, classes):
    kept = orders(pictures)
    assert len(kept) == classes
    assert sorted(kept + [order[::-1] for order in kept]) == sorted(permutations(range(pictures)))
    method = dataclasses.replace(PLAIN, pictures=pictures)
    assert len(set(method.answers)) == classes and method.chance == {"accuracy": 1 / classes}


def test_answers_are_the_releases_orders_in_words():
    release = ["1234", "1324", "1342", "1243", "1423", "1432", "2134", "2143", "2314", "3124", "3142", "3214"]
    answers = [answer.replace(" ", "") for answer in PLAIN.answers]
    assert len(answers) == 12
    assert all((order in answers) != (order[::-1] in answers) for order in release)


@pytest.mark.parametrize("pictures", [3, 4, 5])
def test_the_answer_undoes_the_shuffle_in_either_direction(pictures, counting):
    method = dataclasses.replace(PLAIN, pictures=pictures)
    directions = {True: 0, False: 0}
    for seed in range(200):
        frames, answer = shown(method, counting(60), seed)
        assert np.diff(sorted(frames)).tolist() == [method.gap] * (pictures - 1)
        ranks = np.argsort(np.argsort(frames)).tolist()
        right = list(orders(pictures)[answer])
        assert ranks in (right, right[::-1])
        directions[ranks == right] += 1
    assert min(directions.values()) > 60


def test_all_orders_are_as_frequent(counting):
    record = counting(60)
    found = np.bincount([PLAIN.sample(record, np.random.default_rng([3, n]))["answer"] for n in range(1200)])
    assert ((found - 100) ** 2 / 100).sum() < 31.3  # chi squared, 11 degrees of freedom, p = 0.001


def test_pictures_that_are_clips_run_forwards_and_share_no_frame(counting):
    method = dataclasses.replace(PLAIN, length=4)
    for seed in range(40):
        clips = method.sample(counting(60), np.random.default_rng(seed))["clips"][..., 0, 0, 0].int()  # (4, 4)
        assert torch.equal(clips.diff(dim=1), torch.ones(4, 3, dtype=torch.int))
        assert clips.unique().numel() == 16


def test_weights_are_the_motion_within_a_tuple_and_nothing_where_two_pictures_are_the_same():
    rng = np.random.default_rng(0)
    motion = np.where(rng.random(59) < 0.3, rng.random(59), 0)
    weights = PLAIN.weights(motion)
    assert len(weights) == 60 - PLAIN.span + 1
    assert 0 < (weights > 0).sum() < len(weights)
    for start, weight in enumerate(weights):
        between = [motion[start + 4 * k : start + 4 * k + 4].sum() for k in range(3)]
        assert weight == pytest.approx(sum(between) if min(between) > 0 else 0)


def test_tuples_are_drawn_in_proportion_to_their_motion():
    motion = np.ones(199, np.float32)
    motion[100:] = 9
    rng = np.random.default_rng(0)
    starts = np.array([PLAIN.start(200, motion, rng) for _ in range(4000)])
    weights = PLAIN.weights(motion)
    expected = np.histogram(np.arange(len(weights)), 8, (0, len(weights)), weights=weights / weights.sum())[0] * 4000
    found = np.histogram(starts, 8, (0, len(weights)))[0]
    assert ((found - expected) ** 2 / expected).sum() < 24.3  # chi squared, 7 degrees of freedom, p = 0.001
    even = np.array([PLAIN.start(200, None, rng) for _ in range(4000)])
    assert abs(even.mean() - (len(weights) - 1) / 2) < 4


def passing(top: int, left: int) -> dict:
    """A frame of noise in which a square of 6 pixels flickers."""
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 255, (1, 3, 24, 40), dtype=np.uint8), 30, 0)
    frames[:, :, top : top + 6, left : left + 6] = rng.integers(0, 255, (30, 3, 6, 6))
    return {"frames": torch.from_numpy(frames), "motion": np.ones(29, np.float32), "name": "passing"}


@pytest.mark.parametrize(("top", "left"), [(0, 0), (18, 34), (9, 20)])
def test_the_window_is_where_the_motion_is(top, left):
    method = dataclasses.replace(PLAIN, region=0.5)  # 12 pixels
    record = passing(top, left)
    flicker = record["frames"][:, :, top : top + 6, left : left + 6]
    for seed in range(10):
        clips = method.sample(record, np.random.default_rng(seed))["clips"]
        assert clips.shape == (4, 1, 3, 12, 12)
        changing = (clips != clips[:1]).any(0).any(0).any(0)
        assert changing.sum() >= 35  # all of it, but for pixels that are equal by chance
        rows, columns = (changing.any(side).nonzero() for side in (1, 0))
        cut = clips[0, 0, :, rows.min() : rows.min() + 6, columns.min() : columns.min() + 6]
        assert any(torch.equal(cut, frame) for frame in flicker)


def test_where_no_window_moves_more_than_another_any_is_taken(counting):
    clips = torch.arange(64).view(8, 8).expand(4, 1, 3, 8, 8) + torch.arange(4).view(4, 1, 1, 1, 1)
    method = dataclasses.replace(PLAIN, region=0.5)
    corners = {int(method.window(clips.byte(), np.random.default_rng(seed))[0, 0, 0, 0, 0]) for seed in range(200)}
    assert len(corners) > 20  # of 25


def test_a_tuple_with_two_pictures_alike_is_passed_over_where_there_is_a_clear_one():
    frames = torch.zeros(200, 3, 8, 8, dtype=torch.uint8)
    frames[150:] = (4 * torch.arange(1, 51, dtype=torch.uint8))[:, None, None, None]
    method = dataclasses.replace(PLAIN, different=1.0, tries=200, motion=False)
    for seed in range(10):
        clips = method.sample({"frames": frames}, np.random.default_rng(seed))["clips"]
        assert clips.flatten(1).float().mean(1).unique().numel() == 4


def test_videos_that_cannot_be_asked_are_refused_in_words(counting):
    cut = {**counting(60), "motion": np.eye(59, dtype=np.float32)[30]}  # a slideshow with one cut
    for record, reason in [
        (counting(PLAIN.span - 1), "fewer than the 13 frames"),
        ({**counting(60), "motion": np.zeros(59, np.float32)}, "nothing moves"),
        (standing_still(counting(60), (0, 0, 0)), "nothing moves"),
        (cut, "motion between each two"),
        ({"frames": counting(60)["frames"]}, "no motion profile"),
    ]:
        with pytest.raises(ValueError, match=reason):
            PLAIN.check(record)
    constant = {"frames": torch.full((60, 3, 8, 8), 7, dtype=torch.uint8)}
    with pytest.raises(ValueError, match="are the same"):
        dataclasses.replace(PLAIN, motion=False).sample(constant, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"length": 9}, "share a frame"), ({"region": 0.0}, "share of the frame"), ({"slack": 9}, "10 or more")],
)
def test_fields_that_make_no_sense_are_refused(fields, reason):
    with pytest.raises(ValueError, match=reason):
        OPN(**fields)


def test_untreated_pictures_are_the_raw_crops_but_for_one_mirror_image(tiny):
    net = PLAIN.build(tiny())
    clips = torch.randint(256, (20, 4, 1, 3, 16, 16), dtype=torch.uint8)
    mirrored = 0
    for before, after in zip(clips / 255, net.views(clips), strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(-1))
        mirrored += torch.equal(after, before.flip(-1))
    assert 0 < mirrored < 20
    assert torch.equal(net.eval().views(clips), clips / 255)


def test_pictures_share_a_crop_and_are_shifted_apart_by_at_most_the_jitter(tiny):
    net = dataclasses.replace(PLAIN, slack=12, jitter=3).build(tiny())
    columns = torch.arange(28.0).expand(200, 4, 1, 3, 28, 28) / 100
    torch.manual_seed(0)
    seen = net.views(columns) * 100
    left = torch.minimum(seen[..., 0, 0], seen[..., 0, -1])[:, :, 0, 0].round()  # (200, 4), mirrored or not
    assert left.min() == 0 and left.max() == 12
    assert (left.amax(1) - left.amin(1)).max() == 6  # 3 either way
    assert (left.mean(1).round().unique().numel()) > 5  # the crop itself moves
    assert torch.equal(net.eval().views(columns)[..., 0].unique() * 100, torch.tensor([6.0]))  # the centre


def test_windows_of_any_size_are_scaled_to_the_trunk(tiny):
    net = dataclasses.replace(PLAIN, slack=4).build(tiny())
    for side in (8, 20, 50):
        assert net.views(torch.rand(2, 4, 1, 3, side, side)).shape == (2, 4, 1, 3, 16, 16)


def test_each_picture_shows_one_channel_of_its_own(tiny):
    net = dataclasses.replace(PLAIN, split=True).build(tiny())
    clips = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1).expand(50, 4, 1, 3, 16, 16)
    seen = net.views(clips)
    assert torch.equal(seen, seen[..., :1, :, :].expand_as(seen))
    assert seen[:, :, 0, 0, 0, 0].unique(dim=0).shape[0] > 20  # of 81
    again = net.eval().views(clips)
    assert torch.equal(again[0, :, 0, :, 0, 0], torch.tensor([0.1, 0.2, 0.3, 0.1]).view(4, 1).expand(4, 3))


def test_channels_in_turn_are_those_of_the_clips():
    clips = torch.rand(2, 5, 3, 3, 4, 6)
    turned = channels_in_turn(clips)
    for k in range(5):
        for channel in range(3):
            assert torch.equal(turned[:, k, :, channel], clips[:, k, :, k % 3])


def test_the_pairs_are_the_releases(tiny):
    assert PLAIN.build(tiny()).places == [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 3)]
    net = dataclasses.replace(PLAIN, fc6=24, fc7=40).build(tiny())
    assert net.picture[0].weight.shape == (24, 16)
    assert net.pair[0].weight.shape == (40, 48)
    assert net.order.weight.shape == (12, 240)


@pytest.mark.parametrize("pairs", ["concat", "difference"])
def test_the_slot_of_every_picture_matters_and_all_share_one_trunk(pairs, tiny):
    net = dataclasses.replace(PLAIN, pairs=pairs).build(tiny()).eval()
    assert len([m for m in net.modules() if isinstance(m, Trunk)]) == 1
    clips = torch.rand(4, 4, 1, 3, 16, 16)
    logits = {order: net.predict({"clips": clips[:, list(order)]}) for order in permutations(range(4))}
    for a, b in pairwise(logits):
        assert not torch.allclose(logits[a], logits[b], atol=1e-5)


def test_uniform_logits_cost_log_12(tiny):
    net = PLAIN.build(tiny())
    nn.init.zeros_(net.order.weight)
    nn.init.zeros_(net.order.bias)
    loss, _ = net({"clips": torch.rand(4, 4, 1, 3, 16, 16), "answer": torch.tensor([0, 1, 7, 11])})
    assert loss.item() == pytest.approx(np.log(12), abs=1e-6)


def learn(method: OPN, trunk: Trunk, records: list[dict], steps: int) -> nn.Module:
    net = method.build(trunk)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in fit(net, loader(Draws(records, method.sample, 0), 32), optimizer, steps, cosine(3e-3)):
        pass
    return net.eval()


def accuracy(net: nn.Module, method: OPN, records: list[dict]) -> float:
    with torch.no_grad():
        return net(next(iter(loader(Draws(records, method.sample, 1), 400))))[1]["accuracy"].item()


@pytest.mark.parametrize("pairs", ["concat", "difference"])
def test_it_learns_a_toy_in_seconds(pairs, falling, tiny):
    method = dataclasses.replace(PLAIN, pairs=pairs)
    torch.manual_seed(0)
    net = learn(method, tiny(), [falling(i) for i in range(40)], steps=120)
    assert accuracy(net, method, [falling(100 + i) for i in range(20)]) > 0.5  # chance 0.083


@pytest.mark.parametrize(
    ("drift", "treatment"),
    [((3, 0, -3), {"split": True}), ((3, 3, 3), {"light": 0.4})],
    ids=["colours that drift, channel splitting", "brightness that drifts, light"],
)
def test_the_shortcut_of_still_pictures_that_drift_is_closed(drift, treatment, falling, tiny):
    train, test = ([standing_still(falling(i), drift) for i in part] for part in (range(40), range(100, 120)))
    found = []
    for fields in ({}, treatment):
        method = dataclasses.replace(PLAIN, pairs="difference", **fields)
        torch.manual_seed(0)
        found.append(accuracy(learn(method, tiny(), train, 100), method, test))
    assert found[0] > 0.6  # left alone, it gives the order away
    assert found[1] < 0.25  # chance 0.083


def test_standing_still_keeps_one_frame_and_drifts_as_asked(counting):
    record = standing_still(counting(61), (1, 0, -2))
    frames = record["frames"][np.array([[30, 31], [33, 0]])]
    assert frames.dtype == torch.uint8 and frames.shape == (2, 2, 3, 8, 8)
    assert frames[..., 0, 0].tolist() == [[[30, 30, 30], [31, 30, 28]], [[33, 30, 24], [0, 30, 90]]]
    assert record["frames"][np.array(31)].shape == (3, 8, 8)
    assert len(record["frames"]) == 61 and record["motion"].tolist() == [1.0] * 60
