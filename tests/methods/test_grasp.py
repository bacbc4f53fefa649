from math import log, pi

import numpy as np
import pytest
import torch

from videossl.methods.grasp import Grasp


def bar(angle: float, size: int = 16) -> torch.Tensor:
    """A bright bar through the middle of a picture (3, size, size) uint8, at an angle counter-clockwise from its x."""
    middle = (size - 1) / 2
    y, x = np.mgrid[:size, :size] - middle
    away = abs(x * np.sin(angle) + y * np.cos(angle))  # y points down
    shown = (255 * np.exp(-((away / 1.5) ** 2))).astype(np.uint8)
    return torch.from_numpy(shown).expand(3, size, size)


def attempt(angle: int, tried: int, angles: int = 18, name: str = "grasp") -> dict:
    """A grasp of a bar, which succeeds where the fingers are across it."""
    from_across = abs((tried - angle) % angles - angles // 2)
    success = from_across <= angles // 6
    return {"frames": bar(angle * pi / angles)[None], "angle": tried, "success": success, "name": name}


def attempts(count: int, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [attempt(*rng.integers(18, size=2), name=f"grasp{n}") for n in range(count)]


def test_only_the_bin_that_was_tried_is_learned_from_and_knowing_nothing_costs_log_2(tiny):
    net = Grasp(widths=(8,), successes=0.2, turn=False).build(tiny())
    last = net.head.dense[-1]
    torch.nn.init.zeros_(last.weight), torch.nn.init.zeros_(last.bias)
    batch = {"clips": bar(0)[None, None, None].repeat(2, 1, 1, 1, 1, 1), "angle": torch.tensor([3, 3])}
    loss, _ = net({**batch, "answer": torch.tensor([1, 0])})
    # Failures, of 0.8, weigh 0.5 / 0.8, successes 0.5 / 0.2.
    assert loss.item() == pytest.approx(log(2) * (0.5 / 0.8 + 0.5 / 0.2) / 2, rel=1e-5)
    loss.backward()
    told = last.bias.grad.view(18, 2).abs().sum(1) > 0
    assert told.nonzero().flatten().tolist() == [3]


def test_a_turned_patch_is_asked_for_the_angle_that_turned_with_it(tiny):
    net = Grasp(widths=(8,)).build(tiny())
    torch.manual_seed(0)
    tried = torch.arange(18).repeat(4)
    patches = torch.stack([bar(k * pi / 18, 33) for k in tried.tolist()]) / 255
    shown, angle = net.turned(patches, tried)
    for patch, k in zip(shown, angle.tolist(), strict=True):
        inside = np.hypot(*(np.mgrid[:33, :33] - 16)) < 15
        wanted = (bar(k * pi / 18, 33) / 255)[0][inside]
        assert (patch[0][inside] - wanted).abs().mean() < 0.02
    assert angle.unique().numel() > 12 and not angle.equal(tried)


def test_no_turn_leaves_a_patch_and_its_bin_as_they_are(tiny):
    net = Grasp(widths=(8,), turn=False).build(tiny())
    batch = {"clips": bar(1.0)[None, None, None], "angle": torch.tensor([7]), "answer": torch.tensor([0])}
    patches, angle = net.train().asked(batch)
    assert angle.tolist() == [7] and patches.mul(255).round().byte().equal(bar(1.0)[None])


def test_it_learns_across_which_way_a_bar_can_be_held(tiny, learn, batch):
    records = attempts(300)
    method = Grasp(widths=(64,), channels=16).prepare(records)
    net = learn(method, records, tiny(), 150)
    assert net(batch(method, attempts(100, seed=1)))[1]["accuracy"] > 0.8


def test_aligned_patches_show_the_angle_along_x_and_the_answers_are_those_asked_one_by_one(tiny):
    net = Grasp(widths=(8,), align=True).build(tiny()).eval()
    tried = torch.arange(18)
    patches = torch.stack([bar(k * pi / 18, 33) for k in tried.tolist()]) / 255
    inside = np.hypot(*(np.mgrid[:33, :33] - 16)) < 15
    for training in (False, True):
        for patch in net.train(training).aligned(patches, tried):
            assert (patch[0][inside] - (bar(0, 33) / 255)[0][inside]).abs().mean() < 0.02
    net.eval()
    logits = net.logits(patches)
    batch = {"clips": patches[:, None, None], "angle": tried}
    assert logits.shape == (18, 18, 2) and torch.allclose(net.predict(batch), logits[tried, tried], atol=1e-6)


@pytest.mark.parametrize("kind", [{}, {"align": True}])
def test_knowing_nothing_costs_log_2_whichever_the_head(tiny, kind):
    net = Grasp(widths=(8,), successes=0.5, **kind).build(tiny())
    torch.nn.init.zeros_(net.head.dense[-1].weight), torch.nn.init.zeros_(net.head.dense[-1].bias)
    batch = {"clips": bar(0)[None, None, None], "angle": torch.tensor([3]), "answer": torch.tensor([1])}
    assert net(batch)[0].item() == pytest.approx(log(2), rel=1e-6)


def test_aligned_it_learns_in_half_the_steps(tiny, learn, batch):
    records = attempts(300)
    method = Grasp(widths=(64,), channels=16, align=True).prepare(records)
    net = learn(method, records, tiny(), 75)
    assert net(batch(method, attempts(100, seed=1)))[1]["accuracy"] > 0.8


def test_successes_are_counted_and_what_cannot_be_asked_is_said():
    records = attempts(50)
    share = Grasp().prepare(records).successes
    assert share == np.mean([record["success"] for record in records])
    assert Grasp(successes=0.3).prepare(records).successes == 0.3
    with pytest.raises(ValueError, match="0% of 2 grasps succeed"):
        Grasp().prepare([{**record, "success": False} for record in records[:2]])
    with pytest.raises(ValueError, match='no "angle"'):
        Grasp().check({"frames": bar(0)[None]})
    with pytest.raises(ValueError, match="bin 17, but there are 9 bins"):
        Grasp(angles=9).check(attempt(0, 17))


def test_a_head_branches_where_the_paper_says_or_from_the_last_maps(tiny):
    assert Grasp(widths=(8,)).build(tiny()).branch == "maps"
    assert Grasp(branch="features", widths=(8,)).build(tiny()).head.maps is False
    with pytest.raises(
        ValueError, match="TinyTrunk has no layer 'conv9' for a head to branch from; it has: maps, feat"
    ):
        Grasp(branch="conv9").build(tiny())
