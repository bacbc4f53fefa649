"""Toys that the tests of every method share: made videos, and a trunk that learns them within a second."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import default_collate

from videossl.methods.base import Method, Net
from videossl.models.base import Trunk, by_frame
from videossl.models.vit import ViT
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine


def counting_video(frames: int, motion: np.ndarray | None = None) -> dict:
    """A video in which frame i has value i, evenly moving where nothing else is said, from a car that slowly turns.

    It also is a grasp, a push, a poke and a pair, whose answers depend on the number of frames.
    """
    values = torch.arange(frames, dtype=torch.uint8)[:, None, None, None].expand(frames, 3, 8, 8)
    motion = np.ones(frames - 1, np.float32) if motion is None else motion
    yes = frames // 10 % 2 == 0
    grasp, poke = {"angle": frames % 18, "success": yes}, {"slope": 10.0 * frames, "intercept": 0.1, "valid": True}
    touch = {**grasp, **poke, "action": np.full(5, frames / 1000, np.float32), "same": yes}
    known = {"pose": circling(frames), "name": "counting", "label": 0, "caption": f"counts to {frames}"}
    return {"frames": values, "motion": motion, **known, **touch}


def circling(frames: int) -> np.ndarray:
    """Poses (frames, 4, 4) of a camera (x right, y down, z forward) that drives a metre a frame, to the right and left."""
    yaw = 0.5 * np.sin(np.arange(frames) / 8)
    pose = np.tile(np.eye(4), (frames, 1, 1))
    pose[:, 0, 0] = pose[:, 2, 2] = np.cos(yaw)
    pose[:, 0, 2], pose[:, 2, 0] = np.sin(yaw), -np.sin(yaw)
    pose[:, 0, 3], pose[:, 2, 3] = np.cumsum(np.sin(yaw)), np.cumsum(np.cos(yaw))
    return pose


def falling_bar(seed: int) -> dict:
    """A bright bar that crosses the picture once, over a texture of its own."""
    rng = np.random.default_rng(seed)
    frames = np.repeat(rng.integers(0, 60, (1, 3, 16, 16), dtype=np.uint8), 30, 0)
    for t in range(30):
        top = t // 2
        frames[t, :, top : top + 2] = 250
    return {"frames": torch.from_numpy(frames), "motion": np.ones(29, np.float32), "name": f"falling{seed}"}


def random_pictures(count: int) -> list[dict]:
    """Images of coarse random colours, each its own."""
    coarse = torch.randint(256, (count, 3, 3, 3), generator=torch.Generator().manual_seed(0)).float()
    images = nn.functional.interpolate(coarse, (16, 16), mode="bilinear").round().byte()
    return [{"frames": image[None], "name": f"{n:02}"} for n, image in enumerate(images)]


class TinyTrunk(Trunk):
    """Two convolutions: enough for a toy, a second to train."""

    def __init__(self):
        super().__init__(dim=16, length=1, size=16, resize=(16, 16), colours=((0.5,) * 3, (0.25,) * 3))
        pooled = nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 16)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), *pooled)

    def maps(self, clips):
        return by_frame(self.body[:4], self.normalise(clips)).transpose(1, 2)

    def forward(self, clips):
        return by_frame(self.body, self.normalise(clips)).mean(1)


@pytest.fixture
def tokens() -> Callable[[], Trunk]:
    """`tokens()`: a transformer of 4 x 4 tokens, for methods that hide some."""
    return ViT(width=24, depth=2, heads=2, patch=4, size=16).build


@pytest.fixture
def counting() -> Callable[..., dict]:
    """`counting(frames, motion=None)`: see `counting_video`. Fixtures, since test files cannot import each other."""
    return counting_video


@pytest.fixture
def falling() -> Callable[[int], dict]:
    """`falling(seed)`: see `falling_bar`."""
    return falling_bar


@pytest.fixture
def pictures() -> Callable[[int], list[dict]]:
    """`pictures(count)`: see `random_pictures`."""
    return random_pictures


@pytest.fixture
def tiny() -> Callable[[], Trunk]:
    """`tiny()`: see `TinyTrunk`."""
    return TinyTrunk


def learn_toy(method: Method, records: list[dict], trunk: Trunk, steps: int) -> Net:
    """A method's net after so many steps of 32 examples, in eval mode."""
    torch.manual_seed(0)
    net = method.build(trunk)
    adam = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for _ in fit(net, loader(Draws(records, method.sample, 0), 32), adam, steps, cosine(5e-3)):
        pass
    return net.eval()


def all_at_once(method: Method, records: list[dict]) -> dict:
    """A batch of as many examples as there are records."""
    draws = Draws(records, method.sample, 0)
    return default_collate([draws[n] for n in range(len(records))])


@pytest.fixture
def learn() -> Callable[..., Net]:
    """`learn(method, records, trunk, steps)`: see `learn_toy`."""
    return learn_toy


@pytest.fixture
def batch() -> Callable[..., dict]:
    """`batch(method, records)`: see `all_at_once`."""
    return all_at_once
