import math

import numpy as np
import pytest
import torch

from videossl.evaluation.average_precision import Boxes, average_precision, rank, right


def overlap(a, b) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def as_the_kit_does(found, truth, label, threshold) -> tuple[float, float]:
    """VOCevaldet.m, a detection at a time: the area, and the mean over eleven points."""
    detections = [
        (float(score), n, box.tolist())
        for n, guess in enumerate(found)
        for box, c, score in zip(*guess, strict=True)
        if c == label
    ]
    detections.sort(key=lambda d: -d[0])
    things = {
        (n, k): (box.tolist(), bool(hard))
        for n, true in enumerate(truth)
        for k, (box, c, hard) in enumerate(zip(*true, strict=True))
        if c == label
    }
    positives, used, hits, misses, curve = sum(not hard for _, hard in things.values()), set(), 0, 0, []
    for _, n, box in detections:
        best, most = None, -math.inf
        for key, (other, _) in things.items():
            if key[0] == n and overlap(box, other) > most:
                best, most = key, overlap(box, other)
        if best is not None and most >= threshold:
            if not things[best][1]:
                if best in used:
                    misses += 1
                else:
                    hits += 1
                    used.add(best)
        else:
            misses += 1
        if hits + misses:
            curve.append((hits / positives, hits / (hits + misses)))
    eleven = [max((p for r, p in curve if r >= t / 10), default=0.0) for t in range(11)]
    area, before = 0.0, 0.0
    for n, (recall, _) in enumerate(curve):
        area += (recall - before) * max(p for _, p in curve[n:])
        before = recall
    return area, sum(eleven) / 11


def some_boxes(rng: np.random.Generator, count: int) -> torch.Tensor:
    corner, side = rng.uniform(0, 0.6, (count, 2)), rng.uniform(0.1, 0.4, (count, 2))
    return torch.tensor(np.concatenate([corner, corner + side], 1), dtype=torch.float32).view(-1, 4)


@pytest.mark.parametrize("seed", range(6))
def test_it_is_that_of_vocs_kit_for_random_boxes(seed):
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(7):
        count = int(rng.integers(0, 5))
        true = some_boxes(rng, count)
        truth.append(Boxes(true, torch.tensor(rng.integers(0, 2, count)), torch.tensor(rng.random(count) < 0.25)))
        near = (true + torch.tensor(rng.normal(0, 0.03, true.shape), dtype=torch.float32)).repeat(2, 1)
        boxes = torch.cat([near, some_boxes(rng, int(rng.integers(0, 4)))])
        classes, scores = rng.integers(0, 2, len(boxes)), rng.permutation(len(boxes)) + rng.random(len(boxes))
        found.append(Boxes(boxes, torch.tensor(classes), torch.tensor(scores)))
    for label in (0, 1):
        ranked = rank(found, truth, label)
        for threshold in (0.3, 0.5, 0.75):
            area, eleven = as_the_kit_does(found, truth, label, threshold)
            answers = right(ranked, threshold)
            assert average_precision(answers, ranked.positives) == pytest.approx(area)
            assert average_precision(answers, ranked.positives, 11) == pytest.approx(eleven)


def test_a_published_example():
    """24 detections of 15 things, from github.com/rafaelpadilla/Object-Detection-Metrics: 24.56 % and 26.84 %."""
    answers = np.zeros(24, bool)
    answers[[0, 2, 9, 11, 12, 13, 22]] = True
    assert average_precision(answers, 15) == pytest.approx(0.2456, abs=1e-4)
    assert average_precision(answers, 15, 11) == pytest.approx(0.2684, abs=1e-4)


def test_closed_forms():
    assert average_precision(np.ones(4, bool), 4) == average_precision(np.ones(4, bool), 4, 11) == 1
    assert average_precision(np.zeros(4, bool), 4) == average_precision(np.zeros(0, bool), 3, 11) == 0
    assert average_precision(np.array([True, False]), 2) == 0.5
    assert average_precision(np.array([True, False]), 2, 11) == pytest.approx(6 / 11)  # recalls 0, 0.1, ... 0.5
    assert average_precision(np.array([False, True]), 1) == 0.5
    assert math.isnan(average_precision(np.ones(1, bool), 0))
    assert average_precision(np.array([True, True, True] + 7 * [False]), 10, 11) == pytest.approx(
        4 / 11
    )  # 0.3 is reached


def test_a_thing_is_found_once_and_difficult_ones_count_neither_way():
    thing = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    twice = [Boxes(thing.repeat(2, 1), torch.tensor([0, 0]), torch.tensor([0.9, 0.8]))]
    easy, hard = ([Boxes(thing, torch.tensor([0]), torch.tensor([flag]))] for flag in (False, True))
    assert right(rank(twice, easy, 0), 0.5).tolist() == [True, False]
    assert right(rank(twice, hard, 0), 0.5).tolist() == [] and rank(twice, hard, 0).positives == 0
    assert right(rank(twice, easy, 1), 0.5).tolist() == []
    half = [Boxes(torch.tensor([[0.0, 0.0, 1.0, 0.5]]), torch.tensor([0]), torch.tensor([0.9]))]
    assert right(rank(half, easy, 0), 0.5).tolist() == [True] and right(rank(half, easy, 0), 0.51).tolist() == [False]
    nothing = [Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))]
    assert right(rank(half, nothing, 0), 0.5).tolist() == [False] and rank(nothing, easy, 0).positives == 1
