import math
from itertools import combinations

import pytest
import torch
from torch import nn

from videossl.evaluation.base import interval
from videossl.evaluation.features import Encoder
from videossl.evaluation.layers import pooled
from videossl.evaluation.retrieval import Retrieval, by_chance
from videossl.evaluation.views import Views
from videossl.models.small import Small

VIEWS = Views(clips=3, crops=1)


class Pixels(nn.Module):
    """A trunk that gives a frame's 12 numbers back, about zero."""

    dim, length, size = 12, 1, 2

    def forward(self, clips):
        return clips.mean(1).flatten(1) - 0.5


def made(n: int, classes: int = 5, seed: int = 0, prefix: str = "train ") -> list[dict]:
    """Videos of three frames, one for each clip."""
    rng = torch.Generator().manual_seed(seed)
    frames = torch.randint(256, (n, 3, 3, 2, 2), dtype=torch.uint8, generator=rng)
    return [{"frames": f, "label": i % classes, "name": f"{prefix}{i}"} for i, f in enumerate(frames)]


def feature(record: dict) -> list[float]:
    clips = [[p / 255 - 0.5 for p in frame.flatten().tolist()] for frame in record["frames"]]
    return [sum(column) / len(column) for column in zip(*clips, strict=True)]


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


TRAIN, TEST = made(60), made(40, seed=1, prefix="test ")


def test_recall_is_that_of_brute_force():
    scores = Retrieval(views=VIEWS).score(Encoder(Pixels()), TRAIN, TEST)
    ranked = [sorted(range(60), key=lambda m: -cosine(feature(r), feature(TRAIN[m]))) for r in TEST]
    assert scores.neighbours == [row[:50] for row in ranked]
    for k in (1, 5, 10, 20, 50):
        hits = [any(TRAIN[m]["label"] == r["label"] for m in row[:k]) for r, row in zip(TEST, ranked, strict=True)]
        assert scores.metrics[f"R@{k}"] == sum(hits) / 40
        assert scores.intervals[f"R@{k}"] == interval(sum(hits) / 40, 40)


def test_the_same_thing_is_one_of_its_class_and_number_by_brute_force():
    train = [{**record, "instance": n // 5 % 3} for n, record in enumerate(TRAIN)]  # 15 things, 4 times each
    test = [{**record, "instance": n // 5 % 3} for n, record in enumerate(TEST)]
    protocol = Retrieval(same=("label", "instance"), ks=(1, 5, 10, 20), views=VIEWS)
    scores = protocol.score(Encoder(Pixels()), train, test)
    ranked = [sorted(range(60), key=lambda m: -cosine(feature(r), feature(TRAIN[m]))) for r in TEST]
    for k in (1, 5, 10, 20):
        hits = [
            any((train[m]["label"], train[m]["instance"]) == (r["label"], r["instance"]) for m in row[:k])
            for r, row in zip(test, ranked, strict=True)
        ]
        assert scores.metrics[f"R@{k}"] == sum(hits) / 40
        assert scores.metrics[f"chance R@{k}"] == pytest.approx(by_chance(60, 4, k))
    with pytest.raises(ValueError, match='Retrieval needs "instance" of each video, but train 0 has none'):
        protocol.score(Encoder(Pixels()), TRAIN, TEST)


def test_a_query_with_nothing_to_be_found_is_a_miss():
    train = [record for record in TRAIN if record["label"] != 3]
    metrics = Retrieval(ks=(48,), views=VIEWS).score(Encoder(Pixels()), train, TEST).metrics
    assert metrics["R@48"] == 32 / 40 == metrics["chance R@48"]


def test_of_equally_near_ones_the_first_comes_first_and_more_than_there_are_is_lowered_on_request():
    flat = [{"frames": torch.full((3, 3, 2, 2), 200, dtype=torch.uint8), "label": n, "name": f"{n}"} for n in range(5)]
    scores = Retrieval(ks=(1, 5), views=VIEWS).score(Encoder(Pixels()), flat, [{**flat[2], "name": "query"}])
    assert scores.neighbours == [[0, 1, 2, 3, 4]] and scores.metrics["R@1"] == 0 < scores.metrics["R@5"]
    assert Retrieval().fitted(7).ks == (1, 5) and Retrieval(ks=(10,)).fitted(7).ks == (1,)


def test_recall_never_falls_with_k_and_is_one_at_the_whole_gallery():
    metrics = Retrieval(ks=tuple(range(1, 61)), views=VIEWS).score(Encoder(Pixels()), TRAIN, TEST).metrics
    recalls = [metrics[f"R@{k}"] for k in range(1, 61)]
    assert recalls == sorted(recalls) and recalls[-1] == 1


def test_random_features_score_chance():
    train, test = made(100, classes=10), made(600, classes=10, seed=1, prefix="test ")
    metrics = Retrieval(ks=(1, 5, 10), views=VIEWS).score(Encoder(Pixels()), train, test).metrics
    for k in (1, 5, 10):
        chance = metrics[f"chance R@{k}"]
        assert chance == pytest.approx(1 - math.comb(90, k) / math.comb(100, k))
        assert abs(metrics[f"R@{k}"] - chance) < 4 * math.sqrt(chance * (1 - chance) / 600)


def test_chance_is_that_of_every_choice():
    for k in range(1, 8):
        choices = list(combinations(range(7), k))
        assert by_chance(7, 3, k) == pytest.approx(sum(min(choice) < 3 for choice in choices) / len(choices))


def test_the_order_of_the_lists_does_not_matter():
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3)).tolist()
    encoder = Encoder(Pixels())
    one = Retrieval(views=VIEWS).score(encoder, TRAIN, TEST)
    two = Retrieval(views=VIEWS).score(encoder, [TRAIN[n] for n in order], TEST[::-1])
    assert one.metrics == pytest.approx(two.metrics)
    assert one.neighbours == [[order[n] for n in row] for row in two.neighbours[::-1]]


def test_a_video_of_the_gallery_under_another_name_finds_itself_first_and_of_copies_the_first():
    copies = [{**r, "name": f"copy of {r['name']}"} for r in TRAIN]
    scores = Retrieval(views=VIEWS).score(Encoder(Pixels()), TRAIN + copies, [{**TRAIN[7], "name": "query"}])
    assert scores.neighbours[0][:2] == [7, 67]


def test_a_test_video_in_the_gallery_is_an_error():
    with pytest.raises(ValueError, match=r"2 test videos are also training videos.*train 3"):
        Retrieval(views=VIEWS).score(Encoder(Pixels()), TRAIN, [*TEST, *TRAIN[3:5]])


def test_neighbours_are_positions_in_the_list_even_where_a_video_cannot_be_read():
    class Broken:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            raise ValueError("no key frame")

    train = [{**TRAIN[0], "frames": Broken()}, *TRAIN[1:]]
    scores = Retrieval(ks=(59,), views=VIEWS).score(Encoder(Pixels()), train, TEST)
    assert scores.trained == 59 and scores.train_failed == {"train 0": "no key frame"} and scores.failed == {}
    assert all(sorted(row) == list(range(1, 60)) for row in scores.neighbours)


def test_looking_at_more_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="there are 30 training videos to find: ask for 1 to 30"):
        Retrieval(views=VIEWS).score(Encoder(Pixels()), TRAIN[:30], TEST)


def test_a_missing_label_is_an_error():
    train = [*TRAIN[:5], {k: v for k, v in TRAIN[5].items() if k != "label"}]
    with pytest.raises(ValueError, match='Retrieval needs "label" of each video, but train 5 has none'):
        Retrieval(views=VIEWS).score(Encoder(Pixels()), train, TEST)


def test_centring_takes_from_each_list_its_own_mean():
    def ranked(queries, gallery):
        away = [
            [x - m for x, m in zip(f, mean, strict=True)]
            for fs in (queries, gallery)
            for mean in [mean_of(fs)]
            for f in fs
        ]
        queries, gallery = away[: len(queries)], away[len(queries) :]
        return [sorted(range(len(gallery)), key=lambda m: -cosine(q, gallery[m])) for q in queries]

    def mean_of(vectors):
        return [sum(column) / len(column) for column in zip(*vectors, strict=True)]

    scores = Retrieval(ks=(5,), centre=True, views=VIEWS).score(Encoder(Pixels()), TRAIN, TEST)
    expected = ranked([feature(r) for r in TEST], [feature(r) for r in TRAIN])
    assert scores.neighbours == [row[:5] for row in expected]


def test_maps_are_compared_where_asked_for():
    torch.manual_seed(0)
    trunk = Small(length=1, width=4, size=32).build().eval()
    rng = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (14, 1, 3, 32, 32), dtype=torch.uint8, generator=rng)
    records = [{"frames": f, "label": n % 2, "name": str(n)} for n, f in enumerate(frames)]
    scores = Retrieval(ks=(3,), maps=16, views=Views(crops=1)).score(Encoder(trunk), records[:9], records[9:])
    with torch.inference_mode():
        found = pooled(trunk.maps(frames.float() / 255), 16)
    units = torch.nn.functional.normalize(found, dim=1)
    assert scores.neighbours == (units[9:] @ units[:9].T).sort(descending=True, stable=True).indices[:, :3].tolist()
