import numpy as np
import pytest
import torch
from torch.nn import functional as F

from videossl.methods.identity import Identity


def pair(rng: np.random.Generator, name: str) -> dict:
    """Two squares, somewhere: of one colour, or of two."""
    same = rng.random() < 0.5
    colour = rng.uniform(0, 255, 3)
    frames = np.full((2, 3, 16, 16), 60, np.uint8)
    for frame, c in zip(frames, (colour, colour if same else rng.uniform(0, 255, 3)), strict=True):
        top, left = rng.integers(2, 7, 2)
        frame[:, top : top + 8, left : left + 8] = c[:, None, None]
    return {"frames": torch.from_numpy(frames), "same": same, "name": name}


def test_the_loss_is_the_cosine_embedding_loss(tiny):
    torch.manual_seed(0)
    net = Identity(margin=0.2, standardise=False).build(tiny()).eval()
    batch = {"clips": torch.rand(6, 2, 1, 3, 16, 16), "same": torch.tensor([1, 0, 1, 0, 0, 1])}
    first, second = (net.trunk(batch["clips"][:, k]) for k in (0, 1))
    wanted = F.cosine_embedding_loss(first, second, 2.0 * batch["same"] - 1, margin=0.2)
    assert net(batch)[0].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_equal_pictures_cost_nothing_and_auc_is_a_count_of_pairs(tiny):
    net = Identity(standardise=False).build(tiny()).eval()
    clips = torch.rand(4, 1, 1, 3, 16, 16).repeat(1, 2, 1, 1, 1, 1)
    loss, metrics = net({"clips": clips, "same": torch.ones(4, dtype=int)})
    assert loss.item() == pytest.approx(0, abs=1e-5) and metrics["accuracy"] == 1 and metrics["auc"] == 0.5
    clips[2:, 1] = torch.rand(2, 1, 3, 16, 16)
    assert net({"clips": clips, "same": torch.tensor([1, 1, 0, 0])})[1]["auc"] == 1


def test_it_learns_to_tell_colours_apart(tiny, learn, batch):
    rng = np.random.default_rng(0)
    records = [pair(rng, f"pair{n}") for n in range(400)]
    method = Identity()
    net = learn(method, records[:300], tiny(), 150)
    assert net(batch(method, records[300:]))[1]["auc"] > 0.9


def test_what_is_no_pair_is_refused():
    with pytest.raises(ValueError, match="no pair"):
        Identity().check({"frames": torch.zeros(1, 3, 8, 8), "same": True})
    with pytest.raises(ValueError, match="margin is a cosine"):
        Identity(margin=1)
