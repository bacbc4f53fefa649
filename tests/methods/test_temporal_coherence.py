import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from videossl.methods.temporal_coherence import DrLIM, TemporalCoherence, apart, nearer
from videossl.models.base import Trunk
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

KINDS = pytest.mark.parametrize("kind", [TemporalCoherence, DrLIM])


@KINDS
@pytest.mark.parametrize("length", [1, 4])
def test_neighbours_are_near_share_no_frame_and_come_first_to_last(kind, length, counting):
    method, gaps = kind(near=3, length=length), set()
    for seed in range(100):
        example = method.sample(counting(40), np.random.default_rng(seed))
        numbers = example["clips"][..., 0, 0, 0].int()  # (2, length)
        assert numbers[:, 0].tolist() == example["starts"].tolist()
        assert torch.equal(numbers.diff(dim=1), torch.ones(2, length - 1, dtype=torch.int))
        gaps.add((numbers[1, 0] - numbers[0, -1]).item())
    assert gaps == {1, 2, 3}


def test_others_are_of_another_video_or_far_in_time():
    batch = {"video": torch.tensor([7, 7, 8]), "starts": torch.tensor([[0, 1], [3, 4], [0, 1]])}
    assert apart(batch, near=2).tolist() == [
        [False, True, True],  # frame 0 of video 7: its neighbour 1, 4 of the same video, 1 of video 8
        [False, False, True],  # frame 3 is two from 1
        [True, True, False],
    ]


def test_distances_and_costs_are_the_papers():
    one, other = torch.tensor([[1.0, 2.0, -1.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, -1.0, 2.0]])
    mobahi, drlim = TemporalCoherence(margin=0.8), DrLIM(margin=1.5)
    assert mobahi.distances(one, other).tolist() == [[1.0, 0.5]]  # sums of 4 and 2 over 4 dimensions
    assert torch.allclose(drlim.distances(one, other), torch.tensor([[1.5**0.5, 1.0]]))
    distances = torch.tensor([0.0, 0.5, 2.0])
    pull, push = mobahi.costs(distances)
    assert torch.allclose(pull, distances) and torch.allclose(push, torch.tensor([0.8, 0.3, 0.0]))
    pull, push = drlim.costs(distances)
    assert torch.allclose(pull, distances**2) and torch.allclose(push, torch.tensor([2.25, 1.0, 0.0]))


@KINDS
@pytest.mark.parametrize("standardise", [True, False])
def test_a_collapsed_embedding_costs_the_margin_and_has_gradients(kind, standardise, counting, tiny):
    method = kind(margin=0.6, standardise=standardise)
    net = method.build(tiny())
    for parameter in net.embedding.parameters():
        nn.init.zeros_(parameter)
    records = [{**counting(40), "name": str(i)} for i in range(8)]
    loss, metrics = net(next(iter(loader(Draws(records, method.sample, 0), 8))))
    assert loss.item() == pytest.approx(0.6 if kind is TemporalCoherence else 0.36)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
    assert metrics["accuracy"] == 0.5  # ties are no answers


def test_nearer_is_counted_against_others_alone():
    distances = torch.tensor([[1.0, 2.0], [0.5, 1.0]])
    assert nearer(distances, torch.tensor([[False, True], [False, False]])) == 1
    assert nearer(distances, torch.tensor([[False, True], [True, False]])) == 0.5


def test_both_frames_are_shown_as_filmed_at_one_place(counting, tiny):
    record = counting(40)
    record["frames"] = torch.randint(0, 255, (1, 3, 24, 32), dtype=torch.uint8).expand(40, -1, -1, -1)
    net, shown = TemporalCoherence().build(tiny()), []
    net.trunk.register_forward_pre_hook(lambda _, clips: shown.append(clips[0]))
    net(next(iter(loader(Draws([record], TemporalCoherence().sample, 0), 16))))
    pairs = shown[0].unflatten(0, (16, 2))
    assert torch.equal(pairs[:, 0], pairs[:, 1]) and len(pairs[:, 0].unique(dim=0)) > 8


def flickering(seed: int) -> dict:
    """A slow wave under noise and light that change from frame to frame: by pixels, neighbours are hardly nearer."""
    rng = np.random.default_rng(seed)
    x = np.arange(16) * np.pi / 8
    wave = 30 * np.sin(x + np.linspace(0, 4, 40)[:, None] + rng.uniform(0, 2 * np.pi))[:, None, None, :]
    frames = 128 + wave + rng.normal(0, 25, (40, 1, 16, 16)) + rng.uniform(-50, 50, (40, 1, 1, 1))
    frames = np.repeat(frames.clip(0, 255).astype(np.uint8), 3, 1)
    return {"frames": torch.from_numpy(frames), "name": f"flickering{seed}"}


def scores(method: TemporalCoherence, trunk: Trunk, steps: int) -> dict[str, float]:
    net = method.build(trunk)
    train, test = [flickering(i) for i in range(30)], [flickering(100 + i) for i in range(20)]
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in fit(net, loader(Draws(train, method.sample, 0), 32), optimizer, steps, cosine(3e-3)):
        pass
    with torch.no_grad():
        _, metrics = net.eval()(next(iter(loader(Draws(test, method.sample, 1), 200))))
    return {name: value.item() for name, value in metrics.items()}


@KINDS
def test_it_learns_what_is_slow_in_seconds(kind, tiny):
    torch.manual_seed(0)
    found = scores(kind(embedding=8), tiny(), 120)
    assert found["accuracy"] > 0.85 and found["pixels_accuracy"] < 0.75
    assert found["ratio"] < 0.6 < 0.8 < found["pixels_ratio"]


@KINDS
def test_videos_that_cannot_be_asked_are_refused_in_words(kind, counting):
    with pytest.raises(ValueError, match="fewer than the 9 frames"):
        kind(near=2, length=4).check(counting(8))
    kind(near=2, length=4).check(counting(9))
    with pytest.raises(ValueError, match="counts from 1"):
        kind(near=0)


def test_pixels_and_features_are_compared_by_the_same_distances_whatever_the_width(tiny, counting):
    """Features repeated cost what they did: one margin does for any number of dimensions."""
    z = torch.randn(6, 8)
    for method in (TemporalCoherence(), DrLIM()):
        narrow, wide = method.distances(z, z), method.distances(z.repeat(1, 4), z.repeat(1, 4))
        assert torch.allclose(narrow, wide, atol=1e-6)
    own = dataclasses.replace(TemporalCoherence(), embedding=0).build(tiny())
    assert own.embed(torch.rand(3, 1, 3, 16, 16)).shape == (3, 16)  # the trunk's
