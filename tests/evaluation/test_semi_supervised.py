import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videossl.evaluation.base import few
from videossl.evaluation.features import Encoder
from videossl.evaluation.finetune import Action, FineTune
from videossl.evaluation.semi_supervised import GuessNet, SemiSupervised
from videossl.evaluation.views import Views
from videossl.models.small import Small

VIEWS = Views(clips=2)


def made(n: int, seed: int = 0) -> list[dict]:
    """Noisy videos, dark (0), middling (1) or bright (2)."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randint(100, (n, 6, 3, 10, 12), dtype=torch.uint8, generator=rng)
    return [{"frames": f + 70 * (i % 3), "label": i % 3, "name": f"{seed} {i}"} for i, f in enumerate(noise)]


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(Small(length=4, width=2, size=8).build(), batch=32, progress=False)


class Mean(nn.Module):
    """A trunk whose one feature is a clip's mean, from which a linear layer can be sure or not."""

    dim, length, size = 1, 4, 8

    def forward(self, clips):
        return clips.flatten(1).mean(1, keepdim=True)


def guessing(**changes) -> GuessNet:
    """Sure that what is brighter than 0.6 is of class 1, not sure of the rest."""
    net = GuessNet(Mean(), Action(2, 4, 1, 8), SemiSupervised(**{"method": "pseudo-label", **changes}))
    with torch.no_grad():
        net.linear.weight[:, 0], net.linear.bias[:] = torch.tensor([0.0, 50.0]), torch.tensor([0.0, -27.0])
    return net.train()


def batch(levels: list[float], truth: list[int]) -> dict:
    def clips(values):
        return torch.tensor(values)[:, None, None, None, None].expand(-1, 4, 3, 8, 8).clone()

    return {
        "clips": clips([0.2, 0.9]),
        "label": torch.tensor([0, 0]),
        "unlabelled": clips(levels),
        "truth": torch.tensor(truth),
    }


def test_only_guesses_that_are_sure_count_and_each_of_all_weighs_alike():
    levels, truth = [0.6, 0.62, 0.52, 0.56, 0.9], [1, 0, 1, 1, 1]
    given = batch(levels, truth)
    net = guessing(weight=0.5)
    loss, metrics = net(given)
    logits = torch.tensor([[0.0, 50 * level - 27] for level in levels])
    certainty, guess = logits.softmax(1).max(1)
    assert (certainty >= 0.95).tolist() == [True, True, False, False, True]
    on_guesses = sum(F.cross_entropy(logits[n], guess[n]) for n in (0, 1, 4)) / 5
    labelled = F.cross_entropy(torch.tensor([[0.0, -17.0], [0.0, 18.0]]), torch.tensor([0, 0]))
    assert loss.item() == pytest.approx((labelled + 0.5 * on_guesses).item(), rel=1e-4)
    assert metrics["sure"] == pytest.approx(0.6) and metrics["right"] == pytest.approx(0.4)
    assert guessing(threshold=1.0)(given)[0].item() == pytest.approx(labelled.item(), rel=1e-4)


def test_fixmatch_learns_the_weak_views_guess_on_the_strong_view():
    seen = {}
    net = guessing(method="fixmatch")
    net.weak = lambda clips: seen.setdefault(("weak", len(clips)), clips)
    net.strong = lambda clips: seen.setdefault(("strong", len(clips)), 1 - clips)  # 0.9 becomes 0.1
    loss, _ = net(batch([0.9], [1]))
    labelled = F.cross_entropy(torch.tensor([[0.0, -17.0], [0.0, 18.0]]), torch.tensor([0, 0]))
    strong = F.cross_entropy(torch.tensor([0.0, 50 * 0.1 - 27]), torch.tensor(1))
    assert loss.item() == pytest.approx((labelled + strong).item(), rel=1e-4)
    net.linear.weight.grad = None
    loss.backward()
    assert net.linear.weight.grad.isfinite().all() and set(seen) == {("weak", 2), ("weak", 1), ("strong", 1)}


def test_a_strong_view_is_further_from_the_clip_than_a_weak_one():
    net = GuessNet(Small(length=4, width=2, size=8).build(), Action(3, 4, 1, 8), SemiSupervised())
    clips = torch.stack([r["frames"][:4] for r in made(12)]).float() / 255
    torch.manual_seed(0)
    weak, strong = net.weak(clips), net.strong(clips)
    assert weak.shape == strong.shape == (12, 4, 3, 8, 8)
    means = [view.mean((1, 2, 3, 4)) - clips.mean((1, 2, 3, 4)) for view in (weak, strong)]
    assert means[1].abs().mean() > 2 * means[0].abs().mean()


@pytest.mark.parametrize("method", ["fixmatch", "pseudo-label"])
def test_it_learns_from_few_labels_and_leaves_the_trunk_alone(method):
    known = encoder()
    before = {name: item.clone() for name, item in known.trunk.state_dict().items()}
    judge = SemiSupervised(method, labels=1, steps=60, batch=3, ratio=3, threshold=0.8, rate=0.05, views=VIEWS)
    scores = judge.score(known, made(24), made(30, seed=1))
    assert scores.metrics["video_accuracy"] > 0.85 and scores.trained == 3 and scores.evaluated == 30
    assert 0 < scores.metrics["sure and right"] <= scores.metrics["sure"] <= 1
    assert all(torch.equal(item, before[name]) for name, item in known.trunk.state_dict().items())


def test_labels_of_the_rest_change_nothing_but_how_many_guesses_are_right():
    train = made(12)
    judge = SemiSupervised(labels=1, steps=3, batch=3, ratio=2, threshold=0.3, views=VIEWS)
    labelled = few(train, 1, seed=0)
    rest = [record for record in train if not any(record is other for other in labelled)]
    wrong = [{**record, "label": (record["label"] + 1) % 3} for record in rest]
    nets = [judge.tuned(encoder(), labelled, unlabelled, 3, seed=0) for unlabelled in (rest, wrong)]
    states = [net.state_dict() for net, _ in nets]
    assert all(torch.equal(item, states[1][name]) for name, item in states[0].items())
    assert nets[0][1]["sure"] == nets[1][1]["sure"] and nets[0][1] != nets[1][1]


def test_the_seed_decides_everything_and_workers_nothing():
    judge = SemiSupervised(labels=1, steps=2, batch=3, ratio=1, views=VIEWS)
    train = made(12)
    states = []
    for seed, workers in ((5, 0), (5, 1), (6, 0)):
        known = replace_workers(encoder(), workers)
        torch.manual_seed(workers)
        state = torch.get_rng_state()
        states.append(judge.tuned(known, train[:3], train[3:], 3, seed)[0].state_dict())
        assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(item, states[1][name]) for name, item in states[0].items())
    assert not torch.equal(states[0]["linear.weight"], states[2]["linear.weight"])


def replace_workers(known: Encoder, workers: int) -> Encoder:
    known.workers = workers
    return known


def test_without_steps_it_is_a_random_layer_and_the_same_videos_are_labelled_as_in_fine_tuning():
    judge = SemiSupervised(labels=2, steps=0, views=VIEWS)
    scores = judge.score(encoder(), made(24), made(30, seed=1))
    tuned = FineTune(epochs=0, labels=2, views=VIEWS).score(encoder(), made(24), made(30, seed=1))
    assert "sure" not in scores.metrics and scores.predictions == tuned.predictions and scores.trained == 6
    assert math.isclose(scores.metrics["chance"], 1 / 3) and np.isclose(sum(map(sum, scores.confusion)), 30)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": 4}, "all 12 training videos are labelled: ask for fewer"),
        ({"labels": 9}, "9 labelled videos a class were asked for, but class 0 has 4"),
        ({"threshold": 0.0}, r"the threshold lies in \(0, 1\]"),
        ({"ratio": 0}, "batch and ratio start at 1"),
    ],
)
def test_what_cannot_be_learned_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        replace(SemiSupervised(views=VIEWS), **changes).score(encoder(), made(12), made(3))
    nameless = [{**record, "label": 0} for record in made(3)]
    del nameless[0]["label"]
    with pytest.raises(ValueError, match='Semi-supervised needs "label" of each video'):
        SemiSupervised().score(encoder(), nameless, made(3))
