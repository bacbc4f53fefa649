from math import log

import numpy as np
import pytest
import torch
from torch import nn

from videossl.methods.rotation import Rotation, turned
from videossl.models.caffenet import CaffeNet
from videossl.models.resnet import ResNet
from videossl.models.small import Small


def lit(seed: int, upright: bool = True) -> dict:
    """Noise under a light from above, or from any side."""
    rng = np.random.default_rng(seed)
    frame = np.linspace(200, 40, 20)[None, :, None] + rng.normal(0, 20, (3, 20, 20))
    frame = frame if upright else np.rot90(frame, rng.integers(4), (1, 2))
    return {"frames": torch.from_numpy(frame.clip(0, 255).astype(np.uint8))[None]}


def test_four_quarters_are_a_whole_turn_and_no_pixel_is_lost():
    clip = torch.arange(12).view(1, 1, 3, 4)
    around = clip
    for _ in range(4):
        around = turned(around, 90)
    assert torch.equal(around, clip)
    assert torch.equal(turned(clip, 90), torch.rot90(clip, 1, (-2, -1)))
    assert turned(clip, 90)[0, 0, :, 0].tolist() == [3, 2, 1, 0]  # the top row is the left column, from below
    assert torch.equal(turned(clip, 180), clip.flip(-1, -2))


def test_the_answer_undoes_the_turn_of_a_square_that_is_mirrored_or_not():
    frame = torch.arange(6 * 9, dtype=torch.uint8).view(1, 1, 6, 9).expand(1, 3, -1, -1)
    lefts, mirrored = set(), set()
    for seed in range(100):
        example = Rotation().sample({"frames": frame}, np.random.default_rng(seed))
        assert example["clips"].shape == (1, 1, 3, 6, 6)
        square = turned(example["clips"][0], -Rotation().turns[example["answer"]])[0, 0]
        steps = square.int().diff(dim=1).unique().tolist()
        assert steps in ([1], [-1]) and square.int().diff(dim=0).unique().tolist() == [9]
        lefts.add(square.min().item())
        mirrored.add(steps[0])
    assert lefts == {0, 1, 2, 3} and mirrored == {1, -1}


def test_all_turns_are_as_frequent():
    found = np.bincount([Rotation().sample(lit(0), np.random.default_rng([1, n]))["answer"] for n in range(800)])
    assert ((found - 200) ** 2 / 200).sum() < 16.3  # chi squared, 3 degrees of freedom, p = 0.001


@pytest.mark.parametrize("turns", [(0, 90, 180, 270), (0, 180), (90, 270)])
def test_the_batch_holds_all_turns_of_each_picture_once(turns, tiny):
    method, seen = Rotation(turns), []
    net = method.build(tiny()).eval()
    net.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    upright = torch.rand(5, 1, 3, 16, 16)
    answer = torch.tensor([0, 1, 0, 1, 1]) if len(turns) == 2 else torch.tensor([3, 0, 2, 1, 1])
    clips = torch.stack([turned(clip, turns[a]) for clip, a in zip(upright, answer, strict=True)])
    net({"clips": clips[:, None], "answer": answer})
    expected = torch.cat([turned(upright, turn) for turn in turns])
    assert torch.equal(seen[0], expected)


def test_even_logits_cost_log_4(tiny):
    net = Rotation().build(tiny())
    nn.init.zeros_(net.turn.weight)
    nn.init.zeros_(net.turn.bias)
    loss, _ = net({"clips": torch.rand(3, 1, 1, 3, 16, 16), "answer": torch.tensor([0, 1, 2])})
    assert loss.item() == pytest.approx(log(4), abs=1e-6)
    assert Rotation().chance == {"accuracy": 0.25} and Rotation((0, 180)).chance == {"accuracy": 0.5}


@pytest.mark.parametrize("upright", [True, False])
def test_it_learns_turns_where_pictures_are_upright_and_cannot_where_they_are_not(upright, learn, batch, tiny):
    net = learn(Rotation(), [lit(n, upright) for n in range(60)], tiny(), 60)
    with torch.no_grad():
        accuracy = net(batch(Rotation(), [lit(n, upright) for n in range(100, 160)]))[1]["accuracy"]
    assert accuracy > 0.9 if upright else accuracy < 0.4


@pytest.mark.parametrize("trunk", [Small(4, 4, 32), ResNet(18), CaffeNet(64, (16,))], ids=str)
def test_any_trunk_takes_a_step(trunk, batch):
    net = Rotation().build(trunk.build())
    loss, _ = net(batch(Rotation(), [lit(0), lit(1)]))
    loss.backward()
    assert all(weight.grad is not None for weight in net.parameters())
    assert net.predict(batch(Rotation(), [lit(0), lit(1)])).shape == (2, 4)


@pytest.mark.parametrize("turns", [(0,), (0, 0), (0, 45)])
def test_turns_that_move_no_pixels_are_refused(turns):
    with pytest.raises(ValueError, match="two or more of 0, 90, 180 and 270"):
        Rotation(turns)
