import dataclasses
from itertools import combinations, permutations
from math import log

import numpy as np
import pytest
import torch
from torch import nn

from videossl.methods.jigsaw import Jigsaw, assembled, normalised, orders
from videossl.models.base import Trunk
from videossl.models.caffenet import CaffeNet
from videossl.models.resnet import ResNet
from videossl.models.small import Small

TOY = Jigsaw(grid=2, count=24, hidden=64, dropout=0.0, shift=0)


def cells(seed: int) -> dict:
    """A picture whose four quarters have a stripe of their own kind: across, down, both ways, none."""
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 60, (3, 24, 24))
    frame[:, 1:12:3, :12] += 150
    frame[:, :12, 13::3] += 150
    frame[:, 13::3, :12] += 100
    frame[:, 12:, 1:12:3] += 100
    return {"frames": torch.from_numpy(frame.clip(0, 255).astype(np.uint8))[None]}


def distances(chosen: np.ndarray) -> np.ndarray:
    return np.array([(a != b).sum() for a, b in combinations(chosen, 2)])


def test_orders_have_the_stated_distances():
    nearest, summed = (orders(9, 100, apart) for apart in ("nearest", "sum"))
    for chosen in (nearest, summed):
        assert chosen.shape == (100, 9) and len({tuple(order) for order in chosen}) == 100
        assert (np.sort(chosen, 1) == np.arange(9)).all() and distances(chosen).mean() >= 8.0
    assert distances(nearest).min() == 6
    assert distances(summed).min() < 6 and distances(summed).mean() > distances(nearest).mean()


def test_each_order_is_the_farthest_there_was():
    every = [np.array(order) for order in permutations(range(4))]
    for apart, measure in (("nearest", min), ("sum", sum)):
        chosen = list(orders(4, 10, apart))
        for n in range(1, 10):
            before = {tuple(order) for order in chosen[:n]}
            scores = {tuple(o): measure((o != c).sum() for c in chosen[:n]) for o in every if tuple(o) not in before}
            assert scores[tuple(chosen[n])] == max(scores.values())


def test_all_orders_of_four_tiles_are_taken_if_more_are_asked_for():
    method = dataclasses.replace(TOY, count=100)
    assert len(method.orders) == 24 == len(method.answers) and method.chance == {"accuracy": 1 / 24}
    assert sorted(tuple(order) for order in method.orders) == list(permutations(range(4)))


def test_the_answer_undoes_the_shuffle():
    frame = torch.arange(9, dtype=torch.uint8).view(3, 3).repeat_interleave(10, 0).repeat_interleave(10, 1)
    record = {"frames": frame.expand(1, 3, 30, 30)}
    method = Jigsaw(count=20, shift=0)
    for seed in range(50):
        example = method.sample(record, np.random.default_rng(seed))
        shown = example["clips"][:, 0, 0]  # (9, t, t), each tile of one value: its cell
        assert shown.shape == (9, 8, 8) and (shown == shown[:, :1, :1]).all()
        assert shown[:, 0, 0].tolist() == method.orders[example["answer"]].tolist()
        assert method.answers[example["answer"]] == " ".join(str(n + 1) for n in shown[:, 0, 0].tolist())


def test_tiles_lie_anywhere_in_their_cells_and_colours_are_moved_apart():
    columns = torch.arange(30, dtype=torch.uint8).expand(1, 3, 30, 30)
    method, starts, apart = Jigsaw(count=20, shift=1), set(), set()
    for seed in range(200):
        example = method.sample({"frames": columns}, np.random.default_rng(seed))
        first = example["clips"][
            list(method.orders[example["answer"]]).index(1), 0, :, 0, 0
        ].int()  # the cell from 10 to 19
        starts |= set(first.tolist())
        apart.add((first.max() - first.min()).item())
    assert starts == {9, 10, 11, 12, 13} and apart == {0, 1, 2}


def test_tiles_are_normalised_colour_by_colour_as_the_trunk_sees_them():
    net = dataclasses.replace(TOY, grey=0.0).build(Small(1, 2, 12).build()).eval()
    seen = net.trunk.normalise(net.view(torch.rand(3, 4, 1, 3, 12, 12)).flatten(0, 1))
    torch.testing.assert_close(seen.mean((3, 4)), torch.zeros(12, 1, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.var((3, 4), correction=0), torch.ones(12, 1, 3), atol=1e-3, rtol=0)
    assert not normalised(torch.full((1, 3, 4, 4), 0.3)).abs().gt(1e-3).any()


def test_a_share_of_the_puzzles_is_grey_and_none_in_evaluation():
    net = dataclasses.replace(TOY, grey=0.5).build(Small(1, 2, 12).build())
    torch.manual_seed(0)
    clips = torch.rand(100, 4, 1, 3, 12, 12)
    grey = (net.trunk.normalise(net.view(clips).flatten(0, 1)).std(2) < 1e-3).flatten(1).all(1).view(100, 4)
    assert (grey.all(1) == grey.any(1)).all() and 30 < grey.all(1).sum() < 70
    assert (net.eval().view(clips).std(3).amax((1, 2, 3, 4)) > 0.1).all()


def test_towers_share_their_weights_and_the_order_matters(tiny):
    net = TOY.build(tiny()).eval()
    assert len([module for module in net.modules() if isinstance(module, Trunk)]) == 1
    tiles = torch.rand(2, 4, 1, 3, 9, 9)
    assert not torch.allclose(net.predict({"clips": tiles}), net.predict({"clips": tiles[:, [1, 0, 2, 3]]}))


def test_even_logits_cost_the_log_of_their_number(tiny):
    net = Jigsaw(count=30, hidden=16).build(tiny())
    nn.init.zeros_(net.order[-1].weight)
    nn.init.zeros_(net.order[-1].bias)
    loss, _ = net({"clips": torch.rand(4, 9, 1, 3, 6, 6), "answer": torch.tensor([0, 7, 12, 29])})
    assert loss.item() == pytest.approx(log(30), abs=1e-6)


def test_it_solves_puzzles_of_pictures_that_it_has_not_seen(learn, batch, tiny):
    net = learn(TOY, [cells(n) for n in range(60)], tiny(), 60)
    with torch.no_grad():
        accuracy = net(batch(TOY, [cells(100 + n) for n in range(100)]))[1]["accuracy"]
    assert accuracy > 0.5  # chance 0.042


def test_panels_show_the_puzzle_as_it_was_solved(batch, tiny):
    net = TOY.build(tiny()).eval()
    examples = batch(TOY, [cells(n) for n in range(3)])
    answer = torch.as_tensor(examples["answer"])
    net.predict = lambda _: nn.functional.one_hot(answer, 24)
    panels = net.panels(examples)
    assert panels["shown"].shape == (3, 1, 3, 18, 18)
    assert torch.equal(panels["solved"], panels["truth"])
    upright = examples["clips"][0][net.orders[answer[0]].argsort()].float() / 255
    torch.testing.assert_close(panels["truth"][0], assembled(upright[None], 2)[0])
    torch.testing.assert_close(panels["truth"][0, 0, :, :9, 9:], upright[1, 0])


@pytest.mark.parametrize("trunk", [Small(4, 4, 32), ResNet(18), CaffeNet(64, (16,))], ids=str)
def test_any_trunk_takes_a_step(trunk, batch):
    net = TOY.build(trunk.build())
    net(batch(TOY, [cells(0), cells(1)]))[0].backward()
    assert all(weight.grad is not None for weight in net.parameters())


def test_what_cannot_be_asked_is_refused_in_words():
    with pytest.raises(ValueError, match="5 x 9 pixels are too few for 3 x 3 tiles"):
        Jigsaw().sample({"frames": torch.zeros(1, 3, 5, 9, dtype=torch.uint8)}, np.random.default_rng(0))
    for wrong in ({"grid": 4}, {"count": 1}, {"shift": -1}, {"tile": 0.0}, {"grey": 2.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Jigsaw(**wrong)
