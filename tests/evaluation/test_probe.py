from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from videossl.evaluation.base import few, interval
from videossl.evaluation.features import Encoder
from videossl.evaluation.probe import PENALTIES, Linear, LinearProbe, held_out
from videossl.evaluation.views import Views
from videossl.models.small import Small

VIEWS = Views(clips=3, crops=1)


class Pixels(nn.Module):
    """A trunk that gives a frame's 12 numbers back, about zero."""

    dim, length, size = 12, 1, 2

    def forward(self, clips):
        return clips.mean(1).flatten(1) - 0.5


def made(n: int, classes: int = 4, seed: int = 0, planted: bool = True, size: int = 2) -> list[dict]:
    """Videos of three noisy frames; where planted, the class's own pixel is brighter."""
    rng = torch.Generator().manual_seed(seed)
    frames = torch.randint(50, (n, 3, 3, size, size), dtype=torch.uint8, generator=rng)
    labels = torch.arange(n) % classes
    if planted:
        frames.flatten(2)[torch.arange(n), :, labels] += 120
    return [
        {"frames": f, "label": int(y), "name": f"{seed} {i}", "group": f"g{i // (2 * classes):03}"}
        for i, (f, y) in enumerate(zip(frames, labels, strict=True))
    ]


def test_separable_features_are_separated():
    scores = LinearProbe(views=VIEWS).score(Encoder(Pixels()), made(64), made(40, seed=1))
    assert scores.metrics["video_accuracy"] == scores.metrics["clip_accuracy"] == 1
    assert scores.metrics["chance"] == 0.25 and scores.metrics["penalty"] in PENALTIES
    assert scores.confusion == (10 * np.eye(4, dtype=int)).tolist()


def test_shuffled_labels_leave_chance():
    train, test = made(200, planted=False), made(400, seed=1, planted=False)
    accuracy = LinearProbe(views=VIEWS).score(Encoder(Pixels()), train, test).metrics["video_accuracy"]
    assert abs(accuracy - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 400)


def test_the_trunk_is_bit_for_bit_what_it_was():
    torch.manual_seed(0)
    trunk = Small(length=1, width=2, size=8).build().train()
    before = {name: item.clone() for name, item in trunk.state_dict().items()}
    LinearProbe(views=VIEWS).score(Encoder(trunk), made(24, size=8), made(8, seed=1, size=8))
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(item, before[name]) for name, item in trunk.state_dict().items())
    assert trunk.training and all(p.grad is None for p in trunk.parameters())


@pytest.mark.parametrize("penalty", [1.0, 0.1, 0.01])
def test_the_optimum_is_scikit_learns(penalty):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    values = rng.normal(size=(60, 2, 5)) + labels[:, None, None] * rng.normal(size=5)
    values = values * rng.uniform(0.1, 10, 5) + rng.normal(size=5)
    model = Linear(torch.tensor(values, dtype=torch.float32), torch.tensor(labels), 3, penalty, steps=500)
    x = values.reshape(120, 5)
    x = (x - x.mean(0)) / x.std(0)
    theirs = LogisticRegression(C=1 / (120 * penalty), tol=1e-10, max_iter=10_000).fit(x, labels.repeat(2))
    ours = model(torch.tensor(values.reshape(120, 5), dtype=torch.float32)).numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(x), atol=2e-4)


def test_a_feature_that_never_varies_is_no_trouble():
    values = torch.randn(20, 1, 3, generator=torch.Generator().manual_seed(0))
    values[..., 1] = 0.1
    model = Linear(values, torch.arange(20) % 2, 2, penalty=0.1, steps=50)
    assert model(values).isfinite().all() and model.deviation[1] == 1


def test_a_videos_answer_is_the_mean_of_its_clips_probabilities():
    train, test = made(64, planted=False), made(40, seed=1, planted=False)
    encoder = Encoder(Pixels())
    scores = LinearProbe(penalty=0.01, views=VIEWS).score(encoder, train, test)
    learned, asked = encoder.features(train, VIEWS), encoder.features(test, VIEWS)
    shares = Linear(learned.values, learned.labels, 4, 0.01, 200)(asked.values)
    assert scores.predictions == shares.mean(1).argmax(1).tolist()
    right = (shares.argmax(2) == asked.labels[:, None]).double().mean().item()
    assert scores.metrics["clip_accuracy"] == pytest.approx(right)


@pytest.mark.parametrize("each", [1, 5, 16])
def test_exactly_as_many_labels_of_each_class_as_asked_for(each):
    records = made(64)
    drawn = few(records, each, seed=3)
    assert Counter(r["label"] for r in drawn) == dict.fromkeys(range(4), each)
    assert len({r["name"] for r in drawn}) == 4 * each
    assert [r["name"] for r in drawn] == [r["name"] for r in few(made(64), each, seed=3)]
    assert all(any(r is s for s in few(records, 16, seed=3)) for r in drawn)


def test_other_seeds_draw_other_labels():
    draws = [{r["name"] for r in few(made(64), 5, seed)} for seed in range(5)]
    assert all(draws[0] != draw for draw in draws[1:])


def test_every_trunk_is_given_the_same_labels():
    class Watched(Encoder):
        def features(self, records, views):
            self.seen = [*getattr(self, "seen", []), [r["name"] for r in records]]
            return super().features(records, views)

    class Other(Pixels):
        def forward(self, clips):
            return super().forward(clips)[:, :7]

    one, two = Watched(Pixels()), Watched(Other())
    train, test = made(64), made(8, seed=1)
    for encoder in (one, two):
        scores = LinearProbe(labels=5, views=VIEWS).score(encoder, train, test, seed=4)
        assert scores.trained == 20
    assert one.seen == two.seen and len(one.seen[0]) == 20


def test_a_class_with_fewer_videos_than_labels_asked_for_is_an_error():
    with pytest.raises(ValueError, match="17 labelled videos a class were asked for, but class 0 has 16"):
        LinearProbe(labels=17, views=VIEWS).score(Encoder(Pixels()), made(64), made(8, seed=1))


class Named(list):
    classes = ("ApplyEyeMakeup", "BaseballPitch", "Punch", "YoYo", "ZumbaDancing")


def test_classes_are_those_the_data_set_names():
    scores = LinearProbe(views=VIEWS).score(Encoder(Pixels()), Named(made(64)), made(8, seed=1))
    assert np.shape(scores.confusion) == (5, 5) and scores.metrics["chance"] == 0.25
    with pytest.raises(ValueError, match="but class ApplyEyeMakeup has 16"):
        few(Named(made(64)), 17, seed=0)


def test_whole_groups_are_held_out_and_every_class_stays():
    records = made(64)
    for seed in range(20):
        out = held_out(records, 0.2, seed)
        groups = [
            {r["group"] for r, o in zip(records, out, strict=True) if o is np.bool_(side)} for side in (True, False)
        ]
        assert not groups[0] & groups[1]
        assert out.sum() == 16  # two groups of 8: one is too few for a fifth
        assert {r["label"] for r, o in zip(records, out, strict=True) if not o} == {0, 1, 2, 3}


def test_a_group_with_all_of_a_class_is_never_held_out():
    records = [{"name": str(n), "label": n // 4, "group": f"{n // 4} {n % 4 // 2 if n // 4 else 0}"} for n in range(12)]
    for seed in range(20):
        out = held_out(records, 0.3, seed)
        assert out.any() and not out[:4].any()


def test_no_group_to_hold_out_is_an_error_unless_the_penalty_is_given():
    train, test = made(8), made(8, seed=1)  # one group
    with pytest.raises(ValueError, match="no group of the 8 labelled training videos can be held out"):
        LinearProbe(views=VIEWS).score(Encoder(Pixels()), train, test)
    assert LinearProbe(penalty=0.01, views=VIEWS).score(Encoder(Pixels()), train, test).metrics["penalty"] == 0.01


@pytest.mark.parametrize("wrong", [{"penalty": -1.0}, {"steps": 0}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="steps start at 1, a penalty at 0"):
        LinearProbe(**wrong)


def test_test_videos_choose_nothing():
    train = made(64, planted=False)
    encoder = Encoder(Pixels())
    penalties = [
        LinearProbe(views=VIEWS).score(encoder, train, test).metrics["penalty"]
        for test in (made(8, seed=1), made(8, seed=2, planted=False))
    ]
    assert penalties[0] == penalties[1]


def test_a_missing_label_or_group_is_an_error():
    for key, message in (
        ("label", 'Linear probe needs "label" of each video, but 0 0 has none'),
        ("group", "0 0 has no group"),
    ):
        train = made(64)
        del train[0][key]
        with pytest.raises(ValueError, match=message):
            LinearProbe(views=VIEWS).score(Encoder(Pixels()), train, made(8, seed=1))


def test_a_share_of_the_labels_is_that_of_each_class_and_one_at_least():
    counts = Counter(r["label"] for r in few(made(64), 0.25, seed=3))
    assert counts == Counter(r["label"] for r in few(made(64), 4, seed=3)) and set(counts.values()) == {4}
    assert set(Counter(r["label"] for r in few(made(64), 0.01, seed=3)).values()) == {1}
    with pytest.raises(
        ValueError, match=r"1\.5 labelled videos a class were asked for: ask for a whole number, or a share"
    ):
        few(made(64), 1.5, seed=0)


def test_the_interval_is_that_of_drawing_the_videos_again_and_again():
    right = np.array([True] * 30 + [False] * 10)
    drawn = np.random.default_rng(0).choice(right, (20000, 40)).mean(1)
    assert interval(0.75, 40) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1e-9)
    assert interval(1.0, 7) == (1, 1)
