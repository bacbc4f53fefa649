import numpy as np
import pytest
import torch

from videossl.training.draws import Draws, loader

RECORDS = [{"frames": torch.full((9, 3, 4, 4), i, dtype=torch.uint8), "name": f"video{i}"} for i in range(7)]


def sample(record, rng):
    return {"clips": record["frames"][rng.integers(9, size=2)], "number": rng.integers(1000)}


def numbers(batches, count):
    taken = []
    for batch, _ in zip(batches, range(count), strict=False):
        taken.append((batch["clips"].clone(), batch["number"].clone()))
    return taken


def assert_same(one, other):
    assert len(one) == len(other)
    for (clips, number), (clips_, number_) in zip(one, other, strict=True):
        assert torch.equal(clips, clips_) and torch.equal(number, number_)


def test_an_example_depends_on_its_number_and_the_seed_alone():
    draws, again = Draws(RECORDS, sample, seed=3), Draws(RECORDS, sample, seed=3)
    backwards = [again[n]["number"] for n in reversed(range(30))][::-1]
    assert [draws[n]["number"] for n in range(30)] == backwards
    assert [Draws(RECORDS, sample, seed=4)[n]["number"] for n in range(30)] != backwards


def test_every_epoch_asks_each_record_once_in_an_order_of_its_own():
    draws = Draws(RECORDS, lambda record, rng: record["name"], seed=0)
    epochs = [[draws[epoch * 7 + i] for i in range(7)] for epoch in range(5)]
    assert all(sorted(epoch) == [f"video{i}" for i in range(7)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_batches_are_equal_with_0_and_2_workers_and_after_a_restart():
    draws = Draws(RECORDS, sample, seed=1)
    alone = numbers(loader(draws, 4), 9)
    assert_same(alone, numbers(loader(draws, 4, workers=2), 9))
    assert_same(alone[5:], numbers(loader(draws, 4, start=5, workers=2), 4))


def test_devices_share_a_batch_without_overlap():
    draws = Draws(RECORDS, sample, seed=1)
    whole = numbers(loader(draws, 6), 3)
    parts = [numbers(loader(draws, 6, rank=rank, world=2), 3) for rank in range(2)]
    for step, (clips, number) in enumerate(whole):
        assert torch.equal(clips, torch.cat([part[step][0] for part in parts]))
        assert torch.equal(number, torch.cat([part[step][1] for part in parts]))
    with pytest.raises(ValueError, match="5 examples cannot be shared evenly among 2"):
        loader(draws, 5, world=2)


def test_an_error_names_the_record_it_came_from():
    def refuse(record, rng):
        raise ValueError("too short")

    with pytest.raises(ValueError) as caught:
        Draws(RECORDS, refuse, seed=0)[0]
    assert any("from record video" in note for note in caught.value.__notes__)
    with pytest.raises(ValueError, match="no records"):
        Draws([], sample)


class Unreadable:
    """Frames of a broken file."""

    def __len__(self):
        return 9

    def __getitem__(self, index):
        raise OSError(5, "cannot be read", "broken.avi")


def test_an_error_is_the_same_from_a_worker_as_from_this_process():
    draws = Draws([{"frames": Unreadable(), "name": "broken"}], sample)
    found = []
    for workers in (0, 2):
        with pytest.raises(OSError, match="cannot be read") as caught:
            next(iter(loader(draws, 2, workers=workers)))
        assert caught.value.__cause__ is None
        found.append((type(caught.value), str(caught.value), caught.value.__notes__))
    assert found[0] == found[1]
    assert found[0][1:] == ("[Errno 5] cannot be read: 'broken.avi'", ["in example 0, from record broken"])


def test_the_order_does_not_use_the_global_generator():
    np.random.seed(0)
    first = Draws(RECORDS, sample, seed=1)[11]["number"]
    np.random.seed(1)
    assert Draws(RECORDS, sample, seed=1)[11]["number"] == first
