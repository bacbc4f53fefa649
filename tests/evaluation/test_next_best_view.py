import math

import numpy as np
import pytest
import torch

from videossl.evaluation.equivariance import EquivarianceError, Pairs, Patterns
from videossl.evaluation.features import Encoder
from videossl.evaluation.next_best_view import NextBestView, most_certain, spread
from videossl.evaluation.probe import Linear


def test_the_candidates_are_the_nearest_frames_of_each_pattern_within_the_tolerance():
    patterns = Patterns(np.array([[-0.3, 1.0], [0.0, 2.0], [0.3, 1.0]]), np.array([0.3, 1.0]))
    made = [  # drive, first, second, motion; what becomes of it
        (0, 0, 1, (-0.3, 1.1), True),
        (0, 0, 2, (-0.3, 1.2), False),  # another is nearer to a left turn
        (0, 0, 3, (0.0, 2.4), True),
        (0, 1, 2, (0.0, 2.0), False),  # no choice: the other one is no pattern's
        (0, 1, 3, (0.0, 4.0), False),
        (1, 5, 6, (0.3, 1.0), True),
        (1, 5, 7, (-0.3, 1.0), True),
        (1, 5, 8, (0.0, 2.0), True),
    ]
    video, first, second = np.array([line[:3] for line in made]).T
    pairs = Pairs(video, first, second, np.array([line[3] for line in made]))
    found, pattern = NextBestView(EquivarianceError(), tolerance=0.5).candidates(patterns, pairs)
    kept = sorted(zip(found.video, found.first, found.second, pattern, strict=True))
    kinds = patterns.nearest(pairs.motion)[0]
    assert kept == sorted((*line[:3], kind) for line, kind in zip(made, kinds, strict=True) if line[4])
    with pytest.raises(ValueError, match=r"no frame of the test drives has a choice .* raise `tolerance`"):
        NextBestView(EquivarianceError(), tolerance=0.01).candidates(patterns, pairs[:3])


def test_the_most_certain_is_the_one_of_lowest_entropy():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(4), 12)
    query = np.repeat([0, 1, 2], [3, 5, 4])
    entropy = [-sum(p * math.log(p) for p in row) for row in shares]
    expected = [min(np.flatnonzero(query == q), key=lambda n: entropy[n]) for q in range(3)]
    scaled = torch.from_numpy(shares).log() + torch.randn(12, 1, dtype=torch.double)
    assert most_certain(scaled, query).tolist() == expected


def test_views_are_spread_evenly_and_none_is_taken_twice():
    assert (
        spread(10, 4).tolist() == [0, 3, 6, 9] and spread(3, 50).tolist() == [0, 1, 2] and spread(0, 5).tolist() == []
    )


def crossing(number: int, label: int, driven) -> dict:
    """A camera on the spot that looks ahead, to the left and to the right, in turn."""
    record = driven(number, ["forward"] * 59, label)
    turn = {1: -0.3, 2: 0.3}
    pose = np.tile(np.eye(4), (60, 1, 1))
    for n in range(60):
        yaw = turn.get(n % 3, 0.0)
        pose[n, 0, 0] = pose[n, 2, 2] = math.cos(yaw)
        pose[n, 0, 2], pose[n, 2, 0] = math.sin(yaw), -math.sin(yaw)
    return {**record, "pose": pose}


def features(label: int, seed: int) -> torch.Tensor:
    """Ahead (c, 1): c is faint, and often wrong. To the left the scene is clearly seen, to the right it is not at all."""
    rng = np.random.default_rng(seed)
    ahead = np.where(rng.random(20) < 0.65, 1, -1) * (2 * label - 1) * 0.2 + rng.normal(0, 0.3, 20)
    z = np.ones((60, 2))
    z[0::3, 0], z[1::3, 0], z[2::3, 0] = ahead, 10 * ahead, 0
    z[1::3, 0] += (2 * label - 1) * 3  # what only looking tells
    return torch.from_numpy(z).float()


@pytest.fixture
def scenes(driven, known):
    """Twelve drives of two scenes, and a trunk."""
    drives = [crossing(n, n % 2, driven) for n in range(12)]
    return drives, known([features(n % 2, n) for n in range(12)])


def test_the_view_that_tells_is_chosen_and_pays(scenes):
    drives, trunk = scenes
    protocol = NextBestView(EquivarianceError(patterns=3, gap=2), penalty=0.01, tolerance=0.3)
    scores = protocol.score(Encoder(trunk), drives[:8], drives[8:])
    metrics = scores.metrics
    assert metrics["one_view"] < metrics["random_view"] < metrics["chosen_view"] <= metrics["best_view"]
    assert metrics["gain"] == pytest.approx(metrics["chosen_view"] - metrics["random_view"])
    assert metrics["chance"] == 0.5 and metrics["choices"] >= 2
    assert scores.tested == [0, 1, 2, 3] and scores.trained == 8


def test_the_numbers_are_those_of_a_loop(scenes):
    drives, trunk = scenes
    protocol = NextBestView(EquivarianceError(patterns=3, gap=2, ridge=1e-6), penalty=0.01, train_views=60)
    encoder = Encoder(trunk)
    metrics = protocol.score(encoder, drives[:8], drives[8:]).metrics
    labels = torch.tensor([n % 2 for n in range(8)]).repeat_interleave(60)
    classifier = Linear(torch.cat(trunk.features[:8])[:, None], labels, 2, 0.01, 200)
    learned = protocol.maps.learned(encoder, drives[:8], 0)
    pairs, pattern = protocol.candidates(learned.patterns, protocol.maps.all_pairs(drives[8:], encoder))
    views: dict[tuple, list] = {}
    for video, first, second, g in zip(pairs.video, pairs.first, pairs.second, pattern, strict=True):
        views.setdefault((video, first), []).append((second, g))
    one, chosen, by_chance, best = [], [], [], []
    for (video, first), others in views.items():
        z, truth = trunk.features[8 + video], drives[8 + video]["label"]
        p = classifier(z[first])
        one.append(p.argmax().item() == truth)
        entropies, right = [], []
        for second, g in others:
            guess = p * classifier(learned.maps.moved(z[first][None], g)[0].float())
            guess = guess / guess.sum()
            entropies.append(-(guess * guess.log()).nansum().item())
            right.append((p * classifier(z[second])).argmax().item() == truth)
        chosen.append(right[int(np.argmin(entropies))])
        by_chance.append(np.mean(right))
        best.append(any(right))
    for name, values in (("one", one), ("chosen", chosen), ("random", by_chance), ("best", best)):
        assert metrics[f"{name}_view"] == pytest.approx(np.mean(values)), name
    assert metrics["choices"] == pytest.approx(len(pairs) / len(views))


def test_the_penalty_is_chosen_on_held_out_drives(scenes):
    drives, trunk = scenes
    protocol = NextBestView(EquivarianceError(patterns=3, gap=2))
    assert protocol.score(Encoder(trunk), drives[:8], drives[8:]).metrics["penalty"] > 0


def test_labels_and_poses_are_needed(scenes):
    drives, trunk = scenes
    assert NextBestView.needs == ("pose", "label")
    for lacking in ("pose", "label"):
        with pytest.raises(ValueError, match=f'needs "{lacking}" of each video, but drive 8 has none'):
            without = {key: value for key, value in drives[8].items() if key != lacking}
            NextBestView(EquivarianceError(patterns=3, gap=2)).score(Encoder(trunk), drives[:8], [without, *drives[9:]])


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"tolerance": 0.0}, {"penalty": -1.0}, {"test_views": 0}])
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="views and steps start at 1, tolerance lies above 0, a penalty starts at 0"):
        NextBestView(**wrong)
