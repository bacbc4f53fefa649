import time

import numpy as np
import pytest
import torch

from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.training.draws import Draws, askable, cut, draw_window, loader

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


def test_a_loader_that_raised_ends_at_once():
    draws = Draws([{"frames": Unreadable(), "name": "broken"}], sample)
    batches = loader(draws, 2, workers=1)
    with pytest.raises(OSError, match="cannot be read"):
        list(batches)
    begin = time.perf_counter()
    del batches
    assert time.perf_counter() - begin < 4  # torch waits 5 seconds for a worker that was not told to end


def test_the_order_does_not_use_the_global_generator():
    np.random.seed(0)
    first = Draws(RECORDS, sample, seed=1)[11]["number"]
    np.random.seed(1)
    assert Draws(RECORDS, sample, seed=1)[11]["number"] == first


class Counting:
    """Frames of a counting video, of which frame i has value i, that count how often they are decoded."""

    def __init__(self, frames):
        self.frames, self.asked = frames, []

    def __len__(self):
        return self.frames

    def __getitem__(self, index):
        self.asked.append(np.asarray(index))
        frames = torch.arange(self.frames, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
        return frames[torch.as_tensor(np.asarray(index))]


def counting(lengths=(40, 50, 6, 60)):
    return [
        {
            "frames": Counting(frames),
            "name": f"video{i}",
            "motion": np.arange(frames - 1, dtype=np.float32),
            "pose": torch.arange(frames)[:, None].expand(-1, 7),
            "classes": np.arange(3),
        }
        for i, frames in enumerate(lengths)
    ]


def look(record, rng):
    """All that is given to a method, with the place that it draws."""
    place = int(rng.integers(len(record["frames"])))
    shown = record["frames"][np.array([place])]
    known = {name: torch.as_tensor(record[name]) for name in ("motion", "pose", "classes")}
    return {"clips": shown, "all": record["frames"], "place": place, "name": record["name"], **known}


def test_examples_of_a_group_are_drawn_from_one_window_that_is_decoded_once():
    records = counting()
    draws = Draws(records, look, seed=5, repeats=4, window=10)
    examples = [draws[n] for n in range(4 * 4 * 3)]  # three epochs
    for first in range(0, len(examples), 4):
        group = examples[first : first + 4]
        assert len({example["name"] for example in group}) == 1
        assert all(torch.equal(example["all"], group[0]["all"]) for example in group)
    assert len({example["place"] for example in examples}) > 4
    for epoch in range(3):
        names = [example["name"] for example in examples[16 * epoch : 16 * (epoch + 1) : 4]]
        assert sorted(names) == ["video0", "video1", "video2", "video3"]
    assert all(len(record["frames"].asked) == 3 for record in records)  # once for each group
    starts = {int(index[0]) for record in records for index in record["frames"].asked}
    assert len(starts) > 5


def test_frames_of_a_window_are_in_a_row_and_what_is_known_of_them_is_cut_alike():
    for n in range(8):
        example = Draws(counting(), look, seed=5, window=10)[n]
        values = example["all"][:, 0, 0, 0]
        length = 6 if example["name"] == "video2" else 10  # a shorter record is decoded whole
        start = int(values[0])
        assert values.tolist() == list(range(start, start + length))
        assert int(example["clips"][0, 0, 0, 0]) == start + example["place"]
        assert example["motion"].tolist() == list(range(start, start + length - 1))
        assert example["pose"][:, 0].tolist() == list(range(start, start + length))
        assert example["classes"].tolist() == [0, 1, 2]


def test_repeated_examples_depend_on_their_number_and_the_seed_alone():
    def draws():
        return Draws(
            counting((40, 50, 60)),
            lambda r, rng: {"clips": look(r, rng)["clips"], "number": rng.random()},
            5,
            repeats=4,
            window=10,
        )

    again = draws()
    backwards = [again[n] for n in reversed(range(40))][::-1]
    for n in range(40):
        example = draws()[n]
        assert torch.equal(example["clips"], backwards[n]["clips"]) and example["number"] == backwards[n]["number"]
    for batch in (8, 6):  # 6 is no multiple of 4: some windows are decoded for two batches
        alone = numbers(loader(draws(), batch), 9)
        assert_same(alone, numbers(loader(draws(), batch, workers=2), 9))
        assert_same(alone[5:], numbers(loader(draws(), batch, start=5, workers=2), 4))


def test_without_repeats_and_window_the_record_is_sampled_as_it_is():
    records = counting()
    draws = Draws(records, lambda record, rng: (record, rng.random()), seed=6)
    for n in range(9):
        record, number = draws[n]
        epoch, position = divmod(n, 4)
        assert record is records[np.random.default_rng([6, epoch, 4]).permutation(4)[position]]
        assert number == np.random.default_rng([6, n]).random()
    assert not any(record["frames"].asked for record in records)


def test_repeats_without_a_window_decode_the_whole_record_once():
    records = counting((20, 30))
    draws = Draws(records, look, seed=5, repeats=3)
    assert [len(draws[n]["all"]) for n in range(6)] in ([20] * 3 + [30] * 3, [30] * 3 + [20] * 3)
    assert [len(record["frames"].asked) for record in records] == [1, 1]


def test_windows_are_drawn_evenly_among_those_that_can_be_asked():
    method = ShuffleAndLearn(far=4, near=2)  # spans 9 frames
    motion = np.zeros(49, np.float32)
    motion[20:31] = 1  # from frame 20 to frame 31
    record = {"frames": range(50), "motion": motion, "name": "still but for a while"}

    def can(start):
        try:
            method.check(cut(record, range(start, start + 12)))
        except ValueError:
            return False
        return True

    drawn = [draw_window(record, 12, np.random.default_rng(seed), method.check) for seed in range(2000)]
    assert all(len(window) == 12 for window in drawn)
    counts = np.bincount([window.start for window in drawn], minlength=39)
    possible = [start for start in range(39) if can(start)]
    assert 5 < len(possible) < 39
    assert set(np.flatnonzero(counts)) == set(possible)
    even = 2000 / len(possible)
    assert np.abs(counts[possible] - even).max() < 5 * even**0.5

    frames = torch.arange(50, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    draws = Draws([{**record, "frames": frames}], method.sample, repeats=2, window=12, check=method.check)
    for n in range(40):
        shown = draws[n]["clips"][:, 0, 0, 0, 0].tolist()
        assert max(shown) - min(shown) < 12 and min(shown) > 20 - 12 and max(shown) < 31 + 12


def test_records_that_can_be_asked_are_kept_in_order_and_the_others_named_by_reason():
    records = [{"frames": range(n), "name": f"{n} frames", "motion": np.ones(n - 1, np.float32)} for n in (12, 5, 9, 8)]
    records.append({**records[0], "warning": "ends after 12 of 90 declared frames"})
    kept, reasons = askable(records, ShuffleAndLearn(far=4, near=2).check)  # spans 9 frames
    assert [record["name"] for record in kept] == ["12 frames", "9 frames"]
    short, damaged = sorted(reasons, reverse=True)
    assert short.startswith("fewer than the 9 frames") and reasons[short] == ["5 frames", "8 frames"]
    assert damaged.startswith("cut short or damaged") and reasons[damaged] == ["12 frames"]
    assert list(askable([{"frames": range(5)}], ShuffleAndLearn(far=4, near=2).check)[1].values()) == [["0"]]
    assert askable([], ShuffleAndLearn().check) == ([], {})

    def wrong(record):
        raise TypeError("a bug of the method's")

    with pytest.raises(TypeError):
        askable(records, wrong)


def test_a_record_of_which_no_window_can_be_asked_is_refused_in_words():
    method = ShuffleAndLearn(far=4, near=2)
    record = {"frames": range(50), "motion": np.ones(49, np.float32), "name": "video"}
    with pytest.raises(ValueError, match=r"fewer than the 9 frames .*; or raise window, for none of 8 frames will do"):
        draw_window(record, 8, np.random.default_rng(0), method.check)
    short = {**record, "frames": range(5), "motion": np.ones(4, np.float32)}
    with pytest.raises(ValueError, match=r"fewer than the 9 frames that a tuple spans: lower far, near or length$"):
        draw_window(short, 12, np.random.default_rng(0), method.check)
    with pytest.raises(ValueError, match="raise window") as caught:
        Draws([record], method.sample, repeats=2, window=8, check=method.check)[1]
    assert caught.value.__notes__ == ["in example 1, from record video"]


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"window": 0}])
def test_repeats_and_window_begin_at_one(wrong):
    with pytest.raises(ValueError, match="are whole numbers from 1, but"):
        Draws(RECORDS, sample, **wrong)
