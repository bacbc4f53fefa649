"""Drives whose features are known: a frame holds numbers, by which a trunk looks up what it makes of it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

MOTIONS = {"left": (-0.3, 1.0), "forward": (0.0, 2.0), "right": (0.3, 1.0)}  # yaw in radians, forward metres


class Known(nn.Module):
    """A trunk that gives each frame the feature it was given; a frame's first two pixels are its drive and number."""

    length, size = 1, 2

    def __init__(self, features: list[Tensor]):
        super().__init__()
        self.features, self.dim = features, features[0].shape[1]

    def forward(self, clips):
        numbers = (clips[:, 0, :, 0, 0] * 255).round().long()  # (N, C)
        return torch.stack([self.features[drive][frame] for drive, frame, _ in numbers.tolist()]).float()


def drive(number: int, steps: list[str], label: int | None = None) -> dict:
    """A camera that makes these steps, one a frame."""
    pose, poses = np.eye(4), [np.eye(4)]
    for step in steps:
        yaw, forward = MOTIONS[step]
        turn = np.eye(4)
        turn[0, 0] = turn[2, 2] = np.cos(yaw)
        turn[0, 2], turn[2, 0], turn[2, 3] = np.sin(yaw), -np.sin(yaw), forward
        pose = pose @ turn
        poses.append(pose)
    frames = torch.zeros(len(poses), 3, 2, 2, dtype=torch.uint8)
    frames[:, 0], frames[:, 1] = number, torch.arange(len(poses))[:, None, None]
    record = {"frames": frames, "pose": np.stack(poses), "name": f"drive {number}", "group": f"drive {number}"}
    return record | ({} if label is None else {"label": label})


@pytest.fixture
def driven() -> Callable[..., dict]:
    """`driven(number, steps, label=None)`: see `drive`."""
    return drive


@pytest.fixture
def known() -> Callable[[list[Tensor]], nn.Module]:
    """`known(features)`: see `Known`."""
    return Known


@pytest.fixture
def random_drives() -> Callable[..., list[dict]]:
    """`random_drives(count, frames, seed=0)`: drives of random steps; "steps" holds their numbers in `MOTIONS`."""

    def make(count: int, frames: int, seed: int = 0) -> list[dict]:
        rng = np.random.default_rng(seed)
        drives = []
        for number in range(count):
            steps = rng.integers(3, size=frames - 1)
            drives.append(drive(number, [list(MOTIONS)[s] for s in steps]) | {"steps": steps})
        return drives

    return make
