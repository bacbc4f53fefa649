import math
from collections import Counter

import pytest
import torch
from torch import nn

from videossl.evaluation.features import Encoder
from videossl.evaluation.knn import KNN, vote
from videossl.evaluation.views import Views

VIEWS = Views(clips=3, crops=1)


class Pixels(nn.Module):
    """A trunk that gives a frame's 12 numbers back, about zero."""

    dim, length, size = 12, 1, 2

    def forward(self, clips):
        return clips.mean(1).flatten(1) - 0.5


def made(n: int, classes: int = 3, seed: int = 0, prefix: str = "") -> list[dict]:
    """Videos of three frames, one for each clip."""
    rng = torch.Generator().manual_seed(seed)
    frames = torch.randint(256, (n, 3, 3, 2, 2), dtype=torch.uint8, generator=rng)
    return [{"frames": f, "label": i % classes, "name": f"{prefix}{i}"} for i, f in enumerate(frames)]


def clips_of(record: dict) -> list[list[float]]:
    return [[p / 255 - 0.5 for p in frame.flatten().tolist()] for frame in record["frames"]]


def mean_of(vectors: list[list[float]]) -> list[float]:
    return [sum(column) / len(column) for column in zip(*vectors, strict=True)]


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def answer(query, train, k, temperature):
    """The card, word for word: sum of exp(similarity / temperature) over the k nearest, for each class."""
    similar = sorted(((cosine(query, mean_of(clips_of(r))), r["label"]) for r in train), reverse=True)[:k]
    votes = Counter()
    for s, label in similar:
        votes[label] += math.exp(s / temperature)
    return max(sorted(votes), key=votes.__getitem__)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 0.07), (20, 1.0), (40, 0.5)])
def test_accuracies_are_those_of_brute_force(k, temperature):
    train, test = made(40), made(25, seed=1)
    scores = KNN(k, temperature, VIEWS).score(Encoder(Pixels()), train, test)
    videos = [answer(mean_of(clips_of(r)), train, k, temperature) for r in test]
    clips = [[answer(c, train, k, temperature) for c in clips_of(r)] for r in test]
    assert scores.predictions == videos
    right = sum(v == r["label"] for v, r in zip(videos, test, strict=True))
    assert scores.metrics["video_accuracy"] == right / 25
    right = sum(c == r["label"] for row, r in zip(clips, test, strict=True) for c in row)
    assert scores.metrics["clip_accuracy"] == right / 75
    confusion = [
        [sum(r["label"] == t and v == p for v, r in zip(videos, test, strict=True)) for p in range(3)] for t in range(3)
    ]
    assert scores.confusion == confusion
    assert scores.evaluated == 25 and scores.trained == 40


def test_where_all_clips_of_a_video_count_as_one_there_is_no_accuracy_of_clips():
    train, test = made(40), made(25, seed=1)
    apart, together = (
        KNN(5, views=views).score(Encoder(Pixels()), train, test)
        for views in (VIEWS, Views(length=1, every=1, crops=1))
    )
    assert together.predictions == apart.predictions and "clip_accuracy" in apart.metrics
    assert together.metrics.keys() == apart.metrics.keys() - {"clip_accuracy"}


def test_one_neighbour_on_the_training_videos_themselves_is_always_right():
    train = made(30)
    assert KNN(k=1, views=VIEWS).score(Encoder(Pixels()), train, train).metrics["video_accuracy"] == 1


def test_the_scale_of_features_does_not_matter():
    class Scaled(Pixels):
        def forward(self, clips):
            return 1000 * super().forward(clips)

    train, test = made(40), made(25, seed=1)
    found = [KNN(views=VIEWS).score(Encoder(trunk), train, test) for trunk in (Pixels(), Scaled())]
    assert found[0] == found[1]


def test_an_infinite_temperature_counts_heads():
    torch.manual_seed(0)
    queries, gallery = (torch.nn.functional.normalize(torch.randn(n, 5), dim=1) for n in (20, 30))
    labels = torch.arange(30) % 4
    shares = vote(queries, gallery, labels, 4, k=7, temperature=math.inf)
    for query, share in zip(queries, shares, strict=True):
        heads = Counter(labels[(gallery @ query).topk(7).indices].tolist())
        assert share.tolist() == pytest.approx([heads[c] / 7 for c in range(4)])


def test_a_copy_of_the_query_wins_as_the_temperature_falls():
    query = torch.tensor([[1.0, 0.0]])
    gallery = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.2], [1.0, -0.2], [1.0, 0.3]]), dim=1)
    labels = torch.tensor([1, 0, 0, 0])
    assert vote(query, gallery, labels, 2, k=4, temperature=10.0).argmax() == 0
    assert vote(query, gallery, labels, 2, k=4, temperature=1e-6).tolist() == [[0.0, 1.0]]


def test_more_neighbours_than_training_videos_is_an_error():
    with pytest.raises(ValueError, match="k is 20, but there are 7 training videos"):
        KNN(k=20, views=VIEWS).score(Encoder(Pixels()), made(7), made(3, seed=1))


def test_a_missing_label_is_an_error():
    test = made(3, seed=1)
    del test[1]["label"]
    with pytest.raises(ValueError, match='k-NN needs "label" of each video, but 1 has none'):
        KNN(k=2, views=VIEWS).score(Encoder(Pixels()), made(7), test)


def test_chance_is_of_the_classes_there_are_to_guess_and_the_majority_that_of_training():
    train, test = made(7), made(25, classes=5, seed=1)  # classes 3 and 4 are in no training video
    scores = KNN(k=2, views=VIEWS).score(Encoder(Pixels()), train, test)
    assert scores.metrics["chance"] == pytest.approx(
        15 / 25 / 3
    )  # a guess is among three, and right for 15 of 25 at best
    assert scores.metrics["majority"] == 5 / 25  # class 0, with 3 of 7
    assert len(scores.confusion) == 5


def test_an_unreadable_test_video_is_in_no_number():
    class Broken:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            raise OSError("cut off")

    train, test = made(40), made(25, seed=1)
    encoder = Encoder(Pixels())
    with_it = KNN(views=VIEWS).score(encoder, train, [*test[:4], {**test[4], "frames": Broken()}, *test[5:]])
    without = KNN(views=VIEWS).score(encoder, train, test[:4] + test[5:])
    assert with_it.metrics == without.metrics and with_it.predictions == without.predictions
    assert with_it.failed == {"4": "cut off"} and with_it.evaluated == 24 and 4 not in with_it.tested
