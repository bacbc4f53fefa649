import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch import nn

from videossl.evaluation.clustering import Clustering, agreement
from videossl.evaluation.features import Encoder
from videossl.evaluation.views import Views

VIEWS = Views(clips=1, crops=1)


class Pixels(nn.Module):
    """A trunk that gives a frame's 12 numbers back, about zero."""

    dim, length, size = 12, 1, 2

    def forward(self, clips):
        return clips.mean(1).flatten(1) - 0.5


def entropy(labels):
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return -(shares * np.log(shares)).sum()


def test_agreement_is_one_whatever_the_clusters_are_called():
    labels = np.array([0, 0, 1, 1, 2, 2, 2])
    assert agreement(labels, np.array([5, 5, 0, 0, 1, 1, 1])) == pytest.approx(
        dict.fromkeys(agreement(labels, labels), 1)
    )


def test_one_cluster_tells_nothing_and_one_for_each_point_has_purity_one():
    labels = np.array([0, 0, 0, 1, 1, 2])
    one = agreement(labels, np.zeros(6, int))
    assert one["nmi"] == 0 and one["ari"] == 0 and one["purity"] == 0.5 == one["accuracy"]
    each = agreement(labels, np.arange(6))
    assert each["purity"] == 1 and each["nmi"] < 1 and each["accuracy"] == 0.5


def test_agreement_is_what_the_definitions_say():
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(4, size=60), rng.integers(3, size=60)
    found = agreement(labels, clusters)
    assert found["nmi"] == pytest.approx(
        2 * mutual_info_score(labels, clusters) / (entropy(labels) + entropy(clusters))
    )
    most = sum(np.bincount(labels[clusters == c]).max() for c in range(3))
    assert found["purity"] == most / 60
    pairs = [(labels[i] == labels[j], clusters[i] == clusters[j]) for i in range(60) for j in range(i)]
    a, b = (sum(pair[n] for pair in pairs) for n in (0, 1))
    both, expected = sum(x and y for x, y in pairs), a * b / len(pairs)
    assert found["ari"] == pytest.approx((both - expected) / ((a + b) / 2 - expected))


def made(n: int, prefix: str, classes: int = 3) -> list[dict]:
    """Images of three colours, with a little noise."""
    rng = torch.Generator().manual_seed(len(prefix))
    records = []
    for i in range(n):
        frame = torch.full((1, 3, 2, 2), 40)
        frame[:, i % classes] = 200
        noise = torch.randint(20, (1, 3, 2, 2), generator=rng)
        records.append({"frames": (frame + noise).to(torch.uint8), "label": i % classes, "name": f"{prefix}{i}"})
    return records


def test_videos_that_lie_apart_by_class_are_clustered_as_their_classes():
    train, test = made(30, "train "), made(12, "test ")
    scores = Clustering(views=VIEWS).score(Encoder(Pixels()), train, test)
    assert scores.metrics["nmi"] == scores.metrics["accuracy"] == scores.metrics["ari"] == 1
    assert scores.metrics["chance nmi"] < 0.9 and scores.trained == 30 and scores.evaluated == 12
    assert scores.metrics == Clustering(views=VIEWS).score(Encoder(Pixels()), train, test).metrics
    with pytest.raises(ValueError, match="31 clusters were asked for, but there are 30 training videos"):
        Clustering(clusters=31, views=VIEWS).score(Encoder(Pixels()), train, test)
    assert Clustering(clusters=31, views=VIEWS).fitted(30) == Clustering(clusters=30, views=VIEWS)
    assert Clustering(views=VIEWS).fitted(2) == Clustering(views=VIEWS)


def test_fewer_videos_than_classes_is_said_before_any_is_read():
    train = [{**record, "frames": None} for record in made(2, "train ")]
    with pytest.raises(ValueError, match="3 clusters are wanted, one for each class, but there are 2 training videos"):
        Clustering(views=VIEWS).score(Encoder(Pixels()), train, made(6, "test "))
    with pytest.raises(ValueError, match="clusters are 0, restarts 10: both start at 1"):
        Clustering(clusters=0)
