import gc
import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from videossl.training.draws import Draws, loader
from videossl.training.slots import LARGE, SLOTS

SIDE = 64  # pixels: a batch of 4 clips of 4 frames is 3 times LARGE


def sample(record, rng):
    clip = torch.full((4, 3, SIDE, SIDE), int(rng.integers(256)), dtype=torch.uint8)
    clip[:, 0, 0, 0] = torch.arange(4)
    return {
        "clips": clip,
        "answer": int(rng.integers(9)),
        "task": {"depth": rng.random((SIDE, SIDE)), "pose": np.eye(4, dtype=np.float32), "name": record["name"]},
        "half": torch.full((SIDE, SIDE, 3), float(rng.random()), dtype=torch.bfloat16),
        "mask": rng.random((SIDE, SIDE, 5)) < 0.5,
    }


DRAWS = Draws([{"name": f"video{i}"} for i in range(5)], sample, seed=2)


def assert_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other)
    else:
        assert one == other


def test_a_batch_is_large_enough_for_these_tests():
    batch = next(iter(loader(DRAWS, 4)))
    assert all(batch[key].nbytes >= LARGE for key in ("clips", "half", "mask")) and batch["answer"].nbytes < LARGE


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_that_are_all_held_are_all_right(workers):
    steps = 3 * SLOTS * workers  # more than there are slots
    held = list(loader(DRAWS, 4, stop=steps, workers=workers))
    assert len(held) == steps
    for one, other in zip(held, loader(DRAWS, 4, stop=steps), strict=True):
        assert_same(one, other)


def slots(batches) -> int:
    """How many of the slots for "clips" the reader knows; once a worker has made all it may, they are SLOTS."""
    return sum(path == ("clips",) for _, (path, _) in batches.batches.dataset.slots.seen)


def test_a_few_slots_are_enough_while_nobody_holds_them():
    batches = loader(DRAWS, 4, workers=1)
    source = iter(batches)
    for _ in range(10 * SLOTS):
        batch = next(source)
    assert 0 < slots(batches) < SLOTS
    held = [batch] + [next(source) for _ in range(2 * SLOTS)]
    assert slots(batches) == SLOTS
    assert len({batch["clips"].data_ptr() for batch in held}) == len(held)


def test_whatever_is_left_of_a_batch_keeps_it():
    batches = iter(loader(DRAWS, 4, workers=1))
    batch = next(batches)
    part, array, flat = batch["clips"][1:2, 2], batch["clips"].numpy()[3], batch["task"]["depth"].flatten()
    before = part.clone(), array.copy(), flat.clone()
    del batch
    for _ in range(3 * SLOTS):
        next(batches)
    assert torch.equal(part, before[0]) and np.array_equal(array, before[1]) and torch.equal(flat, before[2])


def test_a_batch_outlives_its_loader_and_may_be_changed():
    batches = loader(DRAWS, 4, stop=6, workers=2)
    held = list(batches)
    held[2]["clips"] += 1
    held[2]["answer"] += 1
    del batches
    gc.collect()
    expected = list(loader(DRAWS, 4, stop=6))
    expected[2]["clips"] += 1
    expected[2]["answer"] += 1
    for one, other in zip(held, expected, strict=True):
        assert_same(one, other)


def test_two_loaders_at_once_and_one_read_twice_give_what_each_would_alone():
    expected = list(loader(DRAWS, 4, stop=12))
    one, two = loader(DRAWS, 4, stop=12, workers=1), loader(DRAWS, 2, stop=24, workers=1)
    twice = iter(two)
    for batch, whole in zip(one, expected, strict=True):
        assert_same(batch, whole)
        first, second = next(twice), next(twice)
        assert torch.equal(torch.cat([first["clips"], second["clips"]]), whole["clips"])
    for batch, _ in zip(one, range(3), strict=False):  # left in the middle, with batches under way
        del batch
    for batch, whole in zip(one, expected, strict=True):
        assert_same(batch, whole)


HELD = []


def drop():
    HELD.clear()
    gc.collect()


def test_a_process_forked_from_the_reader_frees_none_of_its_batches():
    batches = iter(loader(DRAWS, 4, workers=1))
    HELD.append(next(batches))
    next(batches)  # now the iterator does not hold it, too
    expected = HELD[0]["clips"].clone()
    child = multiprocessing.get_context("fork").Process(target=drop)
    child.start()
    child.join()
    assert child.exitcode == 0
    for _ in range(3 * SLOTS):
        next(batches)
    assert torch.equal(HELD[0]["clips"], expected)
    HELD.clear()


def test_batches_may_differ_in_size():
    def growing(record, rng):
        return {"clips": torch.full((int(rng.integers(1, 20)), 100, 100), 7, dtype=torch.uint8)}

    draws = Draws([{}], growing)
    held = list(loader(draws, 1, stop=40, workers=1))
    for one, other in zip(held, loader(draws, 1, stop=40), strict=True):
        assert_same(one, other)
    for one, other in zip(loader(draws, 1, stop=40, workers=1), held, strict=True):
        assert_same(one, other)


def test_examples_that_differ_in_size_are_refused_as_without_workers():
    def uneven(record, rng):
        return {"clips": np.zeros((record["side"], 300), np.uint8)}

    draws = Draws([{"side": 300}, {"side": 200}], uneven)
    for workers in (0, 1):
        with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
            next(iter(loader(draws, 2, workers=workers)))


def test_a_batch_with_an_error_in_it_takes_no_slot():
    def refuse(record, rng):
        if record["bad"]:
            raise ValueError("nothing to see")
        return {"clips": np.zeros((300, 300), np.uint8)}

    draws = Draws([{"bad": False}] * 3 + [{"bad": True}], refuse, seed=4)
    position = next(n for n in range(4) if draws.records[draws._record(n)]["bad"])
    assert position > 0  # others are drawn first
    batches = loader(draws, 2, stop=2, workers=1)
    for _ in range(3 * SLOTS):
        with pytest.raises(ValueError, match="nothing to see"):
            list(batches)
    assert slots(batches) < SLOTS


def test_a_worker_computes_in_one_thread():
    cv2 = pytest.importorskip("cv2")

    def threads(record, rng):
        return {"torch": torch.get_num_threads(), "cv2": cv2.getNumThreads()}

    batch = next(iter(loader(Draws([{}], threads), 1, workers=1)))
    assert batch["torch"].tolist() == [1] and batch["cv2"].tolist() == [1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only a GPU needs pinned memory")
def test_pinned_batches_are_copies_and_leave_the_slots_free():
    expected = list(loader(DRAWS, 4, stop=3 * SLOTS))
    held = list(loader(DRAWS, 4, stop=3 * SLOTS, workers=1, pin=True))
    assert all(batch["clips"].is_pinned() and batch["answer"].is_pinned() for batch in held)
    for one, other in zip(held, expected, strict=True):
        assert_same(one, other)


SIGNALS = {"interrupt": signal.SIGINT, "kill a worker": signal.SIGKILL, "kill": signal.SIGKILL}
SCRIPT = """
import multiprocessing, sys, time
import numpy as np
from videossl.training.draws import Draws, loader

def sample(record, rng):
    return {"clips": np.full((300, 300), rng.integers(256), np.uint8), "answer": int(rng.integers(9))}

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    draws = Draws([{}], sample)
    alone, batches = loader(draws, 3, stop=30), iter(loader(draws, 3, workers=2))
    for one, other in zip(alone, batches):
        assert (one["clips"] == other["clips"]).all() and (one["answer"] == other["answer"]).all()
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    for batch in batches:
        held = batch
        time.sleep(0.01)
"""


@pytest.mark.parametrize(("method", "end"), [("spawn", "interrupt"), ("fork", "kill a worker"), ("fork", "kill")])
def test_batches_are_right_however_workers_start_and_leave_nothing_however_they_end(tmp_path, method, end):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), method]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as reader:
        workers = [int(word) for word in reader.stdout.readline().split()]
        assert len(workers) >= 2  # spawning has a helper of its own
        os.kill(workers[0] if end == "kill a worker" else reader.pid, SIGNALS[end])
        assert reader.wait(60) != 0
    processes = {str(pid) for pid in (reader.pid, *workers)}
    if os.path.isdir("/dev/shm"):  # torch's files there are torch_PID_...
        assert not [name for name in os.listdir("/dev/shm") if processes & set(name.split("_"))]
