import dataclasses
import sys
import zlib

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from videossl.methods.tracking import (
    Tracking,
    agreement,
    apart,
    busiest,
    cut_out,
    flow,
    follow,
    mined,
    moving_points,
    ranking,
    strangers,
)
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

HARD, RANDOM = torch.tensor(True), torch.tensor(False)
SHORT = Tracking(frames=9, window=0.5)


def texture(seed: int, height: int, width: int) -> np.ndarray:
    """A picture (height, width, 3) uint8 with corners everywhere."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def moving_disc(seed: int, frames: int = 9, speed: float = 1.5, pan: float = 0.0) -> dict:
    """A textured disc that moves to the right over another texture, seen by a camera that pans; centres in "centre"."""
    rng = np.random.default_rng(seed)
    behind, front = texture(seed, 96, 160), texture(seed + 1000, 96, 160)
    start = rng.uniform([30, 36], [44, 60])
    pictures, centres = [], []
    for t in range(frames):
        x, y = start[0] + speed * t, start[1]
        disc = np.zeros((96, 160), np.uint8)
        cv2.circle(disc, (round(x * 16), round(y * 16)), 18 * 16, 255, -1, cv2.LINE_AA, 4)
        shifted = cv2.warpAffine(front, np.array([[1, 0, speed * t], [0, 1, 0.0]]), (160, 96))
        share = disc[..., None] / 255
        whole = (share * shifted + (1 - share) * behind).astype(np.uint8)
        pictures.append(cv2.warpAffine(whole, np.array([[1, 0, -pan * t], [0, 1, 0.0]]), (160, 96))[:, :128])
        centres.append((x - pan * t, y))
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    motion = np.ones(frames - 1, np.float32)
    return {"frames": stacked, "motion": motion, "name": f"disc{seed}", "centre": np.array(centres)}


def grey(record: dict) -> np.ndarray:
    return np.stack([cv2.cvtColor(f.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY) for f in record["frames"]])


def units(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def none_elsewhere(pairs: int, dim: int) -> torch.Tensor:
    return torch.zeros(pairs, 0, dim)


def test_flow_finds_points_where_they_went():
    before = grey(moving_disc(0))[0]
    after = cv2.warpAffine(before, np.array([[1, 0, 2.5], [0, 1, -1.5]]), (128, 96))
    points = np.array([[40, 40], [64, 50], [90, 30]], np.float32)
    there, found = flow(before, after, points)
    assert found.all() and np.abs(there - points - [2.5, -1.5]).max() < 0.1


@pytest.mark.parametrize("pan", [0.0, 2.0, -3.0])
def test_points_move_that_move_beside_the_camera(pan):
    record = moving_disc(1, pan=pan)
    points, moves = moving_points(*grey(record)[:2], moved=0.5)
    distance = np.linalg.norm(points - record["centre"][0], axis=1)
    inside, outside = distance < 14, (distance > 24) & (points[:, 0] > 10) & (points[:, 0] < 118)
    assert inside.sum() > 5 and outside.sum() > 20
    assert moves[inside].mean() > 0.9 and moves[outside].mean() < 0.1


def test_a_still_video_and_one_without_corners_have_no_moving_points():
    still = grey(moving_disc(2))[0]
    assert not moving_points(still, still, 0.5)[1].any()
    blank = np.full((60, 80), 7, np.uint8)
    points, moves = moving_points(blank, blank, 0.5)
    assert points.shape == (0, 2) and moves.shape == (0,)


def test_the_window_with_the_most_points_is_found_as_by_counting():
    for seed in range(20):
        points = np.random.default_rng(seed).uniform(0, [40, 30], (12, 2))
        left, top = busiest(points, 11, (30, 40))

        def inside(x, y, points=points):
            return ((points >= [x, y]) & (points < [x + 11, y + 11])).all(1).sum()

        assert 0 <= left <= 29 and 0 <= top <= 19
        assert inside(left, top) == max(inside(x, y) for x in range(30) for y in range(20))
    assert busiest(np.array([[20.0, 15.0]]), 11, (30, 40)) == (15, 10)  # a point in the middle of it, rounded up
    assert busiest(np.zeros((0, 2)), 10, (30, 40)) == (15, 10)


@pytest.mark.parametrize("pan", [0.0, 1.0])
def test_the_window_follows_what_moves(pan):
    for seed in range(4):
        record = moving_disc(seed, frames=20, pan=pan)
        track = Tracking(frames=20, moving=(0.02, 0.6), window=0.3).track(grey(record))
        middles = track.boxes[:, :2] + track.boxes[:, 2:] / 2
        assert track.begun and track.seen == 1
        assert np.linalg.norm(middles[0] - record["centre"][0], axis=-1) < 12
        assert np.abs((middles[-1] - middles[0]) - (record["centre"][-1] - record["centre"][0])).max() < 3


def test_the_window_grows_with_what_comes_nearer():
    picture = cv2.cvtColor(texture(5, 96, 128), cv2.COLOR_RGB2GRAY)
    zooms = [cv2.getRotationMatrix2D((64, 48), 0, 1.02**t) for t in range(15)]
    boxes, seen = follow(
        np.stack([cv2.warpAffine(picture, m, (128, 96)) for m in zooms]), np.array([48.0, 32, 32]), 2.0
    )
    assert seen == 1
    assert boxes[-1, 2] == pytest.approx(32 * 1.02**14, rel=0.05)
    assert np.abs(boxes[-1, :2] + boxes[-1, 2] / 2 - [64, 48]).max() < 1


def test_a_track_that_is_lost_says_so_and_stays_where_it_was_inside_the_frame():
    frames = grey(moving_disc(3))
    frames[5:] = np.random.default_rng(0).integers(0, 256, frames[5:].shape)  # a cut to noise
    boxes, seen = follow(frames, np.array([30.0, 30, 30]), astray=2.0)
    assert seen == 4 / 8
    assert (boxes[4:] == boxes[4]).all()
    leaving = np.stack([np.roll(frames[0], -4 * t, axis=1)[:, :64] for t in range(20)])
    boxes, seen = follow(leaving, np.array([8.0, 30, 30]), astray=2.0)
    assert seen < 1 and (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= [64, 96]).all()


def test_patches_are_cut_out_as_they_are_or_scaled():
    frame = torch.from_numpy(texture(0, 30, 40)).permute(2, 0, 1)
    assert torch.equal(cut_out(frame, np.array([7.0, 4, 12]), 12), frame[:, 4:16, 7:19])
    double = cut_out(frame, np.array([7.0, 4, 12]), 24)
    half = F.avg_pool2d(double.float(), 2)
    assert (half - frame[:, 4:16, 7:19]).abs().mean() < 6


def test_the_first_and_the_last_patch_are_of_the_first_and_the_last_frame(counting):
    method = Tracking(frames=12, length=3, background=True)
    example = method.sample(counting(40), np.random.default_rng(0))
    assert example["clips"].shape == (3, 3, 3, 4, 4) and example["clips"].dtype == torch.uint8
    first, last, background = example["clips"][:, :, 0, 0, 0].int()
    assert torch.equal(first, first[0] + torch.arange(3)) and torch.equal(last, first[0] + 9 + torch.arange(3))
    assert torch.equal(background, last)
    assert example["video"] == zlib.crc32(b"counting") and example["tracked"] == 0.0  # no corners to track


def test_the_same_seed_gives_the_same_example_and_records_stay_as_they_were():
    record = moving_disc(4, frames=30)
    before = record["frames"].clone()
    one, other = (Tracking(frames=9, background=True).sample(record, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(one["clips"], other["clips"]) and torch.equal(record["frames"], before)


def test_the_place_with_a_good_track_is_taken():
    still = moving_disc(6, frames=40, speed=0)["frames"]
    record = moving_disc(6, frames=12)
    frames = torch.cat([still, record["frames"], still])
    motion = np.full(len(frames) - 1, 1e-3, np.float32)
    motion[40:51] = 1.0
    method = Tracking(frames=9, moving=(0.05, 0.75), tries=30)
    for seed in range(4):
        assert method.sample({"frames": frames, "motion": motion, "name": "x"}, np.random.default_rng(seed))["tracked"]
    assert not method.sample({"frames": still, "name": "still"}, np.random.default_rng(0))["tracked"]


def test_the_background_lies_elsewhere():
    rng = np.random.default_rng(0)
    for _ in range(50):
        side = rng.uniform(5, 30)
        box = np.array([*rng.uniform(0, [80 - side, 60 - side]), side])
        left, top, _ = apart(box, (60, 80), rng)
        assert 0 <= left <= 80 - side and 0 <= top <= 60 - side
        assert abs(left - box[0]) >= side - 1e-6 or abs(top - box[1]) >= side - 1e-6  # they share nothing


def test_windows_begin_where_there_is_motion(counting):
    motion = np.zeros(59, np.float32)
    motion[20] = 1
    starts = {
        int(SHORT.sample({**counting(60, motion)}, np.random.default_rng(seed))["clips"][0, 0, 0, 0, 0])
        for seed in range(100)
    }
    assert starts == set(range(13, 21))


def test_videos_and_fields_that_cannot_be_are_refused_in_words(counting):
    for record, reason in [
        (counting(29), "fewer than the 30 frames"),
        ({**counting(60), "motion": np.zeros(59, np.float32)}, "nothing moves"),
        ({"frames": counting(60)["frames"]}, 'no "name"'),
    ]:
        with pytest.raises(ValueError, match=reason):
            Tracking().check(record)
    for fields, reason in [
        ({"frames": 5, "length": 3}, "shares no frame"),
        ({"window": 0.0}, r"within \[0, 1\]"),
        ({"margin": 0.0}, "over 0"),
    ]:
        with pytest.raises(ValueError, match=reason):
            Tracking(**fields)


def test_without_opencv_it_says_what_to_install(monkeypatch, counting):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match="apt-get install libgl1"):
        SHORT.sample(counting(60), np.random.default_rng(0))


def test_identical_pairs_with_orthogonal_negatives_cost_nothing():
    features = torch.eye(6)
    for hard in (HARD, RANDOM):
        video = torch.arange(6)
        assert ranking(features, features, none_elsewhere(6, 6), video, 0.5, 4, hard) == 0
        assert ranking(features, features, none_elsewhere(6, 6), video, 1.5, 4, hard).item() == pytest.approx(1.0)


def test_equal_features_cost_twice_the_margin():
    same = F.normalize(torch.ones(5, 8), dim=1)
    for margin in (0.5, 1.0):
        for negatives in (1, 4, 50):
            loss = ranking(same, same, none_elsewhere(5, 8), torch.arange(5), margin, negatives, HARD)
            assert loss.item() == pytest.approx(2 * margin, rel=1e-5)
        assert ranking(same, same, same[:, None], torch.arange(5), margin, 4, HARD).item() == pytest.approx(2 * margin)


def test_the_loss_is_that_of_a_loop_where_all_negatives_are_taken():
    first, last, elsewhere = units(6, 8), units(6, 8, seed=1), units(6, 1, 8, seed=2)
    video, margin = torch.tensor([3, 1, 3, 0, 1, 9]), 0.5

    def distance(a, b):
        return -float(a @ b)

    total, triplets = 0.0, 0
    for i in range(6):
        others = [x[j] for x in (first, last) for j in range(6) if video[j] != video[i]]
        pair = distance(first[i], last[i])
        for k, z in enumerate([*others, elsewhere[i, 0]]):
            triplets += 1
            one = max(0, pair - distance(first[i], z) + margin)
            two = max(0, pair - distance(last[i], z) + margin)
            if one > 0 or k == len(others):  # those that do not violate are no candidates; the background always is
                total += one + two
    loss = ranking(first, last, elsewhere, video, margin, 50, HARD)
    assert loss.item() == pytest.approx(total / triplets, rel=1e-5)


def test_patches_of_one_video_are_never_negatives_of_each_other():
    video = torch.tensor([1, 1, 2, 2, 2])
    assert strangers(video).tolist() == [[False, False, True, True, True]] * 2 + [[True, True, False, False, False]] * 3
    first = torch.zeros(5, 4)
    first[:2, 0] = first[2:, 1] = 1  # within a video all are alike, between videos all are orthogonal
    last = torch.zeros(5, 4)
    last[:2, 0] = last[2:, 1] = 1
    for hard in (HARD, RANDOM):
        assert ranking(first, last, none_elsewhere(5, 4), video, 0.9, 4, hard) == 0
    assert ranking(first, last, none_elsewhere(5, 4), torch.arange(5), 0.9, 4, HARD) > 0
    assert agreement(first, last, none_elsewhere(5, 4), video)["accuracy"] == 1


def test_half_of_the_mined_negatives_are_among_the_nearest_and_the_rest_are_any_candidates():
    torch.manual_seed(0)
    near = units(1, 20)  # candidates, in an order of their own
    candidates = torch.ones(1, 20, dtype=torch.bool)
    candidates[0, near[0].argmax()] = False
    order = near.masked_fill(~candidates, -9)[0].argsort(descending=True).tolist()
    counts = {"hard": np.zeros(20), "random": np.zeros(20)}
    for _ in range(1500):
        for name, hard in (("hard", HARD), ("random", RANDOM)):
            chosen, kept = mined(near, candidates, 4, hard)
            assert kept.all() and len(set(chosen[0].tolist())) == 4
            ranks = [order.index(i) for i in chosen[0].tolist()]
            assert name == "random" or sum(rank < 4 for rank in ranks) >= 2
            counts[name][ranks] += 1 / 1500
    assert counts["hard"][19] == counts["random"][19] == 0  # no candidate
    assert np.abs(counts["random"][:19] - 4 / 19).max() < 0.06
    # two of the four nearest are drawn first; the other two are drawn from the 17 that are left
    assert np.abs(counts["hard"][:4] - (0.5 + 0.5 * 2 / 17)).max() < 0.06
    assert np.abs(counts["hard"][4:19] - 2 / 17).max() < 0.06


def test_few_candidates_are_taken_all_and_no_other():
    candidates = torch.zeros(2, 10, dtype=torch.bool)
    candidates[0, [2, 5]] = True
    chosen, kept = mined(units(2, 10), candidates, 4, HARD)
    assert set(chosen[0][kept[0]].tolist()) == {2, 5} and not kept[1].any()


def test_negatives_are_random_until_the_warm_up_is_over_also_in_a_run_that_resumes(tiny):
    net = Tracking(warmup=0.25).build(tiny())
    assert not net.hard
    net.update(0.24)
    assert not net.hard
    net.update(0.25)
    assert net.hard
    again = Tracking(warmup=0.25).build(tiny())
    again.load_state_dict(net.state_dict())
    assert again.hard and Tracking(warmup=0).build(tiny()).hard


def test_accuracy_and_recall_are_those_of_a_loop():
    first, last, elsewhere = units(7, 5), units(7, 5, seed=1), units(7, 1, 5, seed=2)
    video = torch.tensor([0, 0, 1, 2, 3, 3, 4])
    farther, nearest, background = [], [], []
    for i in range(7):
        pair = first[i] @ last[i]
        farther += [float(pair > first[i] @ x[j]) for x in (first, last) for j in range(7) if video[j] != video[i]]
        nearest.append(all(pair > first[i] @ last[j] for j in range(7) if video[j] != video[i]))
        background.append(float(pair > first[i] @ elsewhere[i, 0]))
    found = agreement(first, last, elsewhere, video)
    assert found["accuracy"].item() == pytest.approx(np.mean(farther))
    assert found["recall"].item() == pytest.approx(np.mean(nearest))
    assert found["background_accuracy"].item() == pytest.approx(np.mean(background))
    same = F.normalize(torch.ones(7, 5), dim=1)
    assert agreement(same, same, none_elsewhere(7, 5), video)["accuracy"] == 0.5  # knowing nothing


def batch_of(method: Tracking, records: list[dict], count: int, seed: int = 0) -> dict:
    return next(iter(loader(Draws(records, method.sample, seed), count)))


def test_features_are_compared_by_direction_alone(tiny, monkeypatch):
    net = SHORT.build(tiny()).eval()
    batch = batch_of(SHORT, [moving_disc(i) for i in range(4)], 4)
    torch.manual_seed(0)
    loss, metrics = net(batch)
    forward = net.trunk.forward
    monkeypatch.setattr(net.trunk, "forward", lambda clips: 7 * forward(clips))
    torch.manual_seed(0)
    longer, again = net(batch)
    assert longer.item() == pytest.approx(loss.item(), rel=1e-4)
    assert again["accuracy"] == metrics["accuracy"]


def test_a_batch_without_another_video_is_refused_in_words(tiny):
    net = SHORT.build(tiny())
    for count in (1, 3):
        with pytest.raises(ValueError, match=f"a batch of {count} pairs, all of one video"):
            net(batch_of(SHORT, [moving_disc(0)], count))


def test_the_background_is_a_negative_only_where_it_is_asked_for(tiny):
    records = [moving_disc(i) for i in range(4)]
    net = SHORT.build(tiny()).eval()
    assert "background_accuracy" not in net(batch_of(SHORT, records, 4))[1]
    method = Tracking(frames=9, background=True)
    assert "background_accuracy" in method.chance
    _, metrics = method.build(tiny()).eval()(batch_of(method, records, 4))
    assert 0 <= metrics["background_accuracy"] <= 1


def test_grey_patches_have_no_colour_and_light_changes_each_patch_in_training_alone(tiny):
    batch = batch_of(SHORT, [moving_disc(0)], 1)
    batch["clips"][:, 1] = batch["clips"][:, 0]  # twice the same patch
    net = dataclasses.replace(SHORT, grey=True, light=0.3).build(tiny())
    torch.manual_seed(0)
    training, evaluating = net.views(batch), net.eval().views(batch)
    for views in (training, evaluating):
        assert torch.equal(views[:, :, :, 0], views[:, :, :, 2])
    assert torch.equal(evaluating[:, 0], evaluating[:, 1])
    assert (training.mean((2, 3, 4, 5)).diff() / training.mean()).abs() > 0.02


def test_panels_are_pictures_of_one_size(tiny):
    net = SHORT.build(tiny()).eval()
    for clips in net.panels(batch_of(SHORT, [moving_disc(i) for i in range(3)], 3)).values():
        assert clips.shape == (3, 1, 3, 16, 16) and clips.min() >= 0 and clips.max() <= 1


def glyph(seed: int) -> dict:
    """One of 40 coloured shapes in a clutter of its video, that moves while brightness falls: pixels tell pairs badly."""
    rng = np.random.default_rng(seed)
    shape = np.random.default_rng(seed % 40).integers(0, 2, (4, 4, 3)).astype(np.uint8)
    shape = 60 + 190 * shape.repeat(4, 0).repeat(4, 1)
    behind = cv2.GaussianBlur(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8), (0, 0), 1.5)
    left, top, step = *rng.integers(2, 12, 2), rng.choice([1, 2])
    frames = []
    for t in range(9):
        picture = behind.copy()
        picture[top : top + 16, left + step * t : left + step * t + 16] = shape
        frames.append((picture * (1 - 0.06 * t)).astype(np.uint8))
    return {"frames": torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2), "name": f"glyph{seed}"}


def test_it_learns_a_toy_in_seconds(tiny):
    method = Tracking(frames=9, moving=(0.0, 1.0), tries=1, window=0.5)
    train, test = [glyph(i) for i in range(40)], [glyph(1000 + i) for i in range(40)]
    torch.manual_seed(0)
    net = method.build(tiny())
    examples = [method.sample(record, np.random.default_rng(0)) for record in train]  # tracked once, to save time
    batches = loader(Draws([{"example": e} for e in examples], lambda r, rng: r["example"], 0), 20)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    batch = batch_of(method, test, 40)
    before = net.eval()(batch)[1]
    for _ in fit(net, batches, optimizer, 150, cosine(3e-3)):
        pass
    after = net.eval()(batch)[1]
    assert before["accuracy"] < 0.5 and after["pixels_accuracy"] < 0.5  # the darker a patch, the nearer to dark ones
    assert after["accuracy"] > 0.8
    assert after["recall"] > 2 * max(before["recall"], after["pixels_recall"])
