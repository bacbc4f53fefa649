import numpy as np
import pytest
import torch
from torch.nn import functional as F

from videossl.evaluation.equivariance import EquivarianceError, Maps, Patterns, chained, drawn, rho, same_pattern
from videossl.evaluation.features import Encoder

STEPS = EquivarianceError(patterns=3, gap=1)  # pairs of following frames: one step each
NAMES = ["left turn of 17° over 1.0 m", "forward 2.0 m", "right turn of 17° over 1.0 m"]


def planted(drives: list[dict], dim: int = 6, noise: float = 0.0, seed: int = 0) -> list[torch.Tensor]:
    """Features that each step moves by a matrix of its own, and noise."""
    rng = torch.Generator().manual_seed(seed)
    maps = [torch.linalg.qr(torch.randn(dim, dim, generator=rng, dtype=torch.double))[0] for _ in range(3)]
    features = []
    for record in drives:
        z = [torch.randn(dim, generator=rng, dtype=torch.double)]
        for step in record["steps"]:
            z.append(maps[step] @ z[-1])
        z = torch.stack(z)
        features.append(z + noise * torch.randn(z.shape, generator=rng, dtype=torch.double))
    return features


def test_linear_features_have_no_error_alone_or_composed(random_drives, known):
    drives = random_drives(8, 30)
    scores = STEPS.score(Encoder(known(planted(drives))), drives[:6], drives[6:])
    assert scores.metrics["rho"] < 1e-4 and scores.metrics["composed_rho"] < 1e-4
    assert [name for name in scores.metrics if name.startswith("rho ")] == [f"rho {name}" for name in NAMES]
    assert scores.metrics["chance"] == 1 and scores.metrics["unmoved"] == 0
    assert (scores.tested, scores.trained, scores.failed) == ([0, 1], 6, {})


def test_features_that_do_not_know_the_motion_score_like_the_identity(random_drives, known):
    drives = random_drives(12, 40)
    rng = torch.Generator().manual_seed(1)
    invariant = [torch.randn(1, 6, generator=rng) + 0.01 * torch.randn(40, 6, generator=rng) for _ in drives]
    metrics = STEPS.score(Encoder(known(invariant)), drives[:9], drives[9:]).metrics
    assert 0.7 < metrics["rho"] < 1.1  # what is noise in one frame alone can be taken away: sqrt(1 / 2) at best
    noisy = STEPS.score(Encoder(known(planted(drives, noise=0.2))), drives[:9], drives[9:]).metrics
    assert 0.05 < noisy["rho"] < 0.6 < metrics["rho"]


@pytest.mark.parametrize("ridge", [0.0, 1e-2])
def test_rho_is_that_of_a_loop_over_all_pairs_with_maps_solved_directly(random_drives, known, ridge):
    drives = random_drives(7, 25)
    features = planted(drives, noise=0.3)
    protocol = EquivarianceError(patterns=3, gap=1, ridge=ridge)
    metrics = protocol.score(Encoder(known(features)), drives[:5], drives[5:]).metrics
    features = [f.float().double().numpy() for f in features]
    maps = []
    for step in range(3):
        pairs = [(n, t) for n in range(5) for t in np.flatnonzero(drives[n]["steps"] == step)]
        x, y = (np.array([features[n][t + later] for n, t in pairs]) for later in (0, 1))
        weight = ridge * np.square(x).sum()
        left, right = x.T @ x + weight * np.eye(6), x.T @ y + weight * np.eye(6)
        maps.append(np.linalg.solve(left, right).T)
    means = []
    for step in range(3):
        ratios = []
        for n in (5, 6):
            for t in np.flatnonzero(drives[n]["steps"] == step):
                z, later = features[n][t], features[n][t + 1]
                ratios.append(np.linalg.norm(maps[step] @ z - later) / np.linalg.norm(z - later))
        means.append(np.mean(ratios))
    assert [metrics[f"rho {name}"] for name in NAMES] == pytest.approx(means, rel=1e-5)
    assert metrics["rho"] == pytest.approx(np.mean(means), rel=1e-5)


def test_with_a_huge_ridge_maps_are_the_identity_and_rho_is_one():
    rng = torch.Generator().manual_seed(0)
    before, after = torch.randn(20, 4, generator=rng), torch.randn(20, 4, generator=rng)
    (maps,) = Maps.fitted(before, after, np.zeros(20, int), 2, [1e9])
    assert torch.allclose(maps.moved(before, 0), before.double(), atol=1e-6)
    assert rho(maps.moved(before, 0), before, after)[0] == pytest.approx(np.ones(20), abs=1e-6)
    assert torch.equal(maps.moved(before, 1), before.double())  # a pattern that was never seen


def test_fewer_pairs_than_features_give_the_map_that_differs_least_from_identity():
    rng = torch.Generator().manual_seed(0)
    before, after = torch.randn(3, 8, generator=rng).double(), torch.randn(3, 8, generator=rng).double()
    (maps,) = Maps.fitted(before, after, np.zeros(3, int), 1, [0.0])
    found = maps.moved(torch.eye(8), 0).numpy()
    assert np.allclose(before.numpy() @ found, after.numpy())
    assert np.allclose(found, np.eye(8) + np.linalg.pinv(before.numpy()) @ (after - before).numpy())


def test_pairs_whose_features_are_equal_are_left_out_and_counted(random_drives, known):
    drives = random_drives(8, 30)
    features = planted(drives)
    features[7][10:21] = features[7][10]  # ten steps that change nothing
    metrics = STEPS.score(Encoder(known(features)), drives[:6], drives[6:]).metrics
    assert metrics["unmoved"] == pytest.approx(10 / 58)
    assert all(np.isfinite(value) for value in metrics.values())
    found, same = rho(torch.zeros(3, 2), torch.ones(3, 2), torch.tensor([[1.0, 1.0], [1.0, 2.0], [1.0 + 1e-7, 1.0]]))
    assert found.tolist() == pytest.approx([5**0.5]) and same.tolist() == [True, False, True]


def test_a_trunk_that_gives_the_same_for_everything_is_an_error(random_drives, known):
    drives = random_drives(4, 20)
    same = [torch.ones(20, 3)] * 4
    with pytest.raises(ValueError, match=r"the features of all .* training pairs are equal: the trunk gives the same"):
        STEPS.score(Encoder(known(same)), drives[:3], drives[3:])
    with pytest.raises(ValueError, match="the features of all 19 test pairs are equal"):
        EquivarianceError(patterns=3, gap=1, ridge=0.1).score(Encoder(known(same)), drives[:3], drives[3:])


def test_the_ridge_is_chosen_on_other_drives_than_maps_are_fitted_to(random_drives, known):
    drives = random_drives(8, 12)
    rng = torch.Generator().manual_seed(3)
    noise = [torch.randn(12, 40, generator=rng) for _ in drives]  # 22 pairs a pattern could fit 40 numbers exactly
    metrics = STEPS.score(Encoder(known(noise)), drives[:6], drives[6:]).metrics
    free = EquivarianceError(patterns=3, gap=1, ridge=1e-8).score(Encoder(known(noise)), drives[:6], drives[6:]).metrics
    assert metrics["ridge"] > 1e-3 and metrics["rho"] < free["rho"] and metrics["rho"] < 1.0
    with pytest.raises(ValueError, match=r"all are of one group, drive 0: give `ridge`, or more drives"):
        STEPS.score(Encoder(known(noise)), drives[:1], drives[6:])


def test_patterns_are_the_planted_motions_whatever_the_order():
    rng = np.random.default_rng(0)
    centres = np.array([[-0.4, 2.0], [0.0, 0.0], [0.0, 6.0], [0.4, 2.0]])
    motions = np.repeat(centres, 50, 0) + rng.normal(size=(200, 2)) * (0.01, 0.03)
    one, other = Patterns.found(motions, 4), Patterns.found(rng.permutation(motions), 4)
    assert np.allclose(one.centres, [[-0.4, 2.0], *sorted(one.centres[1:3].tolist()), [0.4, 2.0]], atol=0.02)
    assert sorted(one.centres[1:3, 1].round().tolist()) == [0, 6]
    assert np.allclose(one.centres, other.centres, atol=1e-3)
    index, distance = one.nearest(one.centres)
    assert index.tolist() == [0, 1, 2, 3] and (distance < 1e-6).all()
    assert sorted(one.names) == [
        "forward 6.0 m",
        "left turn of 23° over 2.0 m",
        "right turn of 23° over 2.0 m",
        "standing",
    ]
    assert Patterns(np.array([[0, 2.01], [0, 2.02], [0, -3]]), np.ones(2)).names == [
        *("forward 2.0 m", "forward 2.0 m (2)", "backward 3.0 m")
    ]


def test_a_turn_over_the_back_is_a_small_one():
    patterns = Patterns(np.array([[-3.1, 0.0], [0.0, 0.0]]), np.ones(2))
    assert patterns.nearest(np.array([[3.1, 0.0]]))[0].tolist() == [0]


def test_pairs_are_all_those_within_the_gap(random_drives, known):
    drives = random_drives(2, 6)
    protocol = EquivarianceError(patterns=2, gap=3)
    pairs = protocol.all_pairs(drives, Encoder(known([torch.zeros(6, 2)] * 2)))
    expected = [(n, i, j) for n in range(2) for i in range(6) for j in range(i + 1, min(i + 4, 6))]
    assert list(zip(pairs.video, pairs.first, pairs.second, strict=True)) == expected
    yaw, forward = pairs.motion[(pairs.second - pairs.first == 1)].T
    steps = np.concatenate([record["steps"] for record in drives])
    assert np.allclose(yaw, np.array([-0.3, 0, 0.3])[steps]) and np.allclose(forward, np.array([1, 2, 1])[steps])


def test_a_trunk_that_reads_clips_is_shown_clips_that_begin_at_the_pair(random_drives, known):
    class Clips(known):
        length = 4

        def forward(self, clips):
            numbers = (clips[:, :, 1, 0, 0] * 255).round()
            assert torch.equal(numbers - numbers[:, :1], torch.arange(4.0).expand_as(numbers))
            return super().forward(clips)

    drives = random_drives(6, 20)
    trunk = Clips(planted(drives))
    pairs = STEPS.all_pairs(drives, Encoder(trunk))
    assert pairs.second.max() == 16  # the last clip is of frames 16 to 19
    assert STEPS.score(Encoder(trunk), drives[:4], drives[4:]).metrics["rho"] < 1e-4


def test_chains_underwent_the_one_and_then_the_other(random_drives, known):
    drives = random_drives(3, 40)
    everything = STEPS.all_pairs(drives, Encoder(known([torch.zeros(40, 2)] * 3)))
    patterns = Patterns.found(everything.motion, 3)
    pattern, _ = patterns.nearest(everything.motion)
    chains = chained(everything, pattern, np.arange(len(everything)), 3, np.random.default_rng(0))
    assert [(h, g) for h, g, _ in chains] == [(h, g) for h in range(3) for g in range(3)]
    for h, g, chain in chains:
        assert 0 < len(chain) <= 13
        for video, first, second in zip(chain.video, chain.first, chain.second, strict=True):
            assert second == first + 2 and drives[video]["steps"][first:second].tolist() == [h, g]


def test_as_many_pairs_of_each_pattern_are_drawn_alike_for_a_seed():
    pattern = np.repeat([0, 1, 2], [5, 100, 50])
    one, other = (drawn(pattern, 20, np.random.default_rng(seed)) for seed in (0, 1))
    assert np.bincount(pattern[one]).tolist() == [5, 20, 20] and (np.diff(one) > 0).all()
    assert np.array_equal(one, drawn(pattern, 20, np.random.default_rng(0))) and not np.array_equal(one, other)


def test_each_moment_is_read_once_and_a_drive_that_cannot_be_read_counts_in_no_number(random_drives, known):
    class Counted:
        def __init__(self, frames, broken=None):
            self.frames, self.broken, self.asked = frames, broken, []

        def __len__(self):
            return len(self.frames)

        def __getitem__(self, index):
            self.asked += np.ravel(index).tolist()
            if self.broken in np.ravel(index):
                raise ValueError(f"frame {self.broken} is damaged")
            return self.frames[index]

    drives = random_drives(10, 20)
    features = planted(drives)
    whole = STEPS.score(Encoder(known(features)), [*drives[:3], *drives[4:6]], drives[7:])
    for n, record in enumerate(drives):
        record["frames"] = Counted(record["frames"], 7 if n in (3, 6) else None)
    encoder = Encoder(known(features))
    scores = STEPS.score(encoder, drives[:6], drives[6:])
    assert scores.failed == {"drive 6": "frame 7 is damaged"} and scores.train_failed == {
        "drive 3": "frame 7 is damaged"
    }
    assert scores.tested == [1, 2, 3] and scores.trained == 5
    assert scores.metrics["rho"] == pytest.approx(whole.metrics["rho"], abs=1e-5)
    assert sorted(drives[0]["frames"].asked) == list(range(20))
    STEPS.score(encoder, drives[:6], drives[6:])
    assert len(drives[0]["frames"].asked) == 20  # remembered


def test_pairs_find_those_of_the_same_motion_in_other_drives():
    rng = torch.Generator().manual_seed(0)
    pattern = np.arange(40) % 4
    change = F.one_hot(torch.from_numpy(pattern), 4) + 0.1 * torch.randn(40, 4, generator=rng)
    group = np.repeat(["a", "b"], 20)
    nearest, same = same_pattern(change, pattern, group)
    assert same.all() and (group[nearest] != group).all()
    brute = [
        max((j for j in range(40) if group[j] != group[i]), key=lambda j: F.cosine_similarity(change[i], change[j], 0))
        for i in range(40)
    ]
    assert nearest.tolist() == brute
    with pytest.raises(ValueError, match="all pairs are of one drive, a"):
        same_pattern(change, pattern, np.repeat("a", 40))


def test_what_cannot_be_asked_is_said_in_words(random_drives, known):
    drives = random_drives(3, 10)
    encoder = Encoder(known(planted(drives)))
    with pytest.raises(ValueError, match='needs "pose" of each video, but drive 1 has none'):
        STEPS.score(encoder, [drives[0], {k: v for k, v in drives[1].items() if k != "pose"}], drives[2:])
    with pytest.raises(ValueError, match="drive 0 has 10 frames, but 9 poses: it needs one each"):
        STEPS.score(encoder, [{**drives[0], "pose": drives[0]["pose"][1:]}], drives[2:])
    short = {**drives[0], "frames": drives[0]["frames"][:1], "pose": drives[0]["pose"][:1]}
    with pytest.raises(ValueError, match="a pair needs 2 frames or more, but the longest of 1 drives has 1"):
        STEPS.score(encoder, [short], drives[2:])
    with pytest.raises(ValueError, match="3 different motions in the records, but 5 patterns"):
        EquivarianceError(patterns=5, gap=1).score(encoder, drives[:2], drives[2:])
    with pytest.raises(ValueError, match=r"gap of .* must be at least 1"):
        EquivarianceError(gap=0)
