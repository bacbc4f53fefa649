import numpy as np
import pytest
import torch

from videossl.methods.push import Push


def push(rng: np.random.Generator, name: str) -> dict:
    """A dot, before and after it was moved along a push, seen from above: 16 pixels are 0.32 m."""
    start, end = rng.uniform(-0.1, 0.1, (2, 2))
    frames = np.zeros((2, 3, 16, 16), np.uint8)
    for frame, (x, y) in zip(frames, (start, end), strict=True):
        row, column = round(8 - y / 0.02), round(8 + x / 0.02)
        frame[:, row - 1 : row + 2, column - 1 : column + 2] = 255
    action = np.array([*start, *end, 0.01], np.float32)
    return {"frames": torch.from_numpy(frames), "action": action, "name": name}


def pushes(count: int, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [push(rng, f"push{n}") for n in range(count)]


def test_always_answering_the_mean_costs_1_and_what_never_changes_costs_nothing(tiny, batch):
    records = pushes(400)
    method = Push(widths=(8,)).prepare(records)
    assert method.deviation[4] == 1 and method.mean[4] == pytest.approx(0.01)
    net = method.build(tiny())
    torch.nn.init.zeros_(net.head[-1].weight), torch.nn.init.zeros_(net.head[-1].bias)
    assert net(batch(method, records))[1]["error"].item() == pytest.approx(4 / 5, rel=1e-3)  # the height is known


def test_the_first_and_the_last_picture_are_shown(counting):
    record = counting(120)
    clips = Push().sample(record, np.random.default_rng(0))["clips"]
    assert clips.shape == (2, 1, 3, 8, 8) and clips[:, 0, 0, 0, 0].tolist() == [0, 119]


def test_it_learns_where_a_dot_was_pushed(tiny, learn, batch):
    records = pushes(400)
    method = Push(widths=(64,), channels=8).prepare(records)
    net = learn(method, records, tiny(), 250)
    assert net(batch(method, pushes(100, seed=1)))[1]["error"] < 0.25


def test_the_answer_depends_on_both_pictures_and_their_order(tiny):
    torch.manual_seed(0)
    net = Push(widths=(8,)).prepare(pushes(9)).build(tiny()).eval()
    clips = torch.rand(1, 2, 1, 3, 16, 16)
    assert not net.answer(clips).allclose(net.answer(clips.flip(1)))


def test_what_is_no_push_is_refused(counting):
    with pytest.raises(ValueError, match="no push"):
        Push().check({"frames": torch.zeros(2, 3, 8, 8)})
    with pytest.raises(ValueError, match="no push"):
        Push().check({"frames": torch.zeros(1, 3, 8, 8), "action": np.zeros(5)})
