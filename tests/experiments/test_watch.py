"""What is told of features while a trunk learns."""

import pytest
import torch
from lightning.fabric import Fabric

from videossl.evaluation.features import Encoder
from videossl.evaluation.geometry import rank, spread
from videossl.evaluation.views import Views
from videossl.experiments.watch import Watch, spaced
from videossl.models.small import Small

FABRIC = Fabric(accelerator="cpu", devices=1)


def made(n: int, seed: int = 0) -> list[dict]:
    """Images that are red, green or blue, and noise."""
    rng = torch.Generator().manual_seed(seed)
    frames = torch.randint(60, (n, 1, 3, 32, 32), dtype=torch.uint8, generator=rng)
    for i, frame in enumerate(frames):
        frame[:, i % 3] += 150
    return [{"frames": f, "label": i % 3, "name": f"{seed} {i}"} for i, f in enumerate(frames)]


@pytest.fixture
def trunk():
    torch.manual_seed(0)
    return Small(length=1, width=4, size=32).build()


def test_spread_rank_and_neighbours_are_those_of_the_features(trunk):
    train, held_out = made(12), made(9, seed=1)
    found = Watch(trunk, train, held_out, 100, FABRIC)(trunk, 1)
    encoder = Encoder(trunk, progress=False)
    known, asked = (encoder.features(records, Views(clips=1, crops=1)) for records in (train, held_out))
    features = torch.cat([known.values[:, 0], asked.values[:, 0]])
    assert found["spread"] == pytest.approx(spread(features)) and found["rank"] == pytest.approx(rank(features))
    nearest = (asked.videos @ known.videos.T).topk(5).indices
    agree = [known.labels[row].mode().values == label for row, label in zip(nearest, asked.labels, strict=True)]
    assert found["knn"] == pytest.approx(sum(agree) / len(agree)) and found["knn"] == 1


def test_a_collapse_is_said_aloud(trunk, capsys):
    watch = Watch(trunk, made(12), [], 12, FABRIC)
    assert "knn" not in watch(trunk, 1) and not capsys.readouterr().out
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.mul_(0).add_(0.1)
    found = watch(trunk, 7)
    said = " ".join(capsys.readouterr().out.split())
    assert found["spread"] < 0.1 * watch.start and "step 7: features collapse: their spread is 0.00" in said


def test_labels_are_not_needed_and_nothing_is_looked_at_where_that_is_asked_for(trunk):
    bare = [{key: record[key] for key in ("frames", "name")} for record in made(6)]
    assert set(Watch(trunk, bare, bare, 4, FABRIC)(trunk, 1)) == {"spread", "rank"}
    assert Watch(trunk, bare, bare, 0, FABRIC)(trunk, 1) == {}


def test_those_that_are_looked_at_are_spread_over_the_list():
    assert spaced(list(range(10)), 4) == [0, 3, 6, 9] and spaced([1, 2], 5) == [1, 2] and spaced([], 3) == []
