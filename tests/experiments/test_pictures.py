import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

from videossl.evaluation.equivariance import EquivarianceError
from videossl.evaluation.features import Encoder
from videossl.experiments.pictures import same_motion, side_by_side


class Pixels(nn.Module):
    """A trunk that gives a frame's means along columns back."""

    dim, length, size = 3 * 24, 1, 24

    def forward(self, clips):
        return clips.mean((1, 3)).flatten(1)


def drives(count: int) -> list[dict]:
    """Cameras that turn: a bright pole moves by 4 pixels for each 0.1 radians, over a brightness of the drive's own."""
    made = []
    for n in range(count):
        rng = np.random.default_rng(n)
        steps = rng.choice([-1, 1], 30)
        yaw = 0.1 * np.cumsum(steps)
        pose = np.tile(np.eye(4), (30, 1, 1))
        pose[:, 0, 0] = pose[:, 2, 2] = np.cos(yaw)
        pose[:, 0, 2], pose[:, 2, 0] = np.sin(yaw), -np.sin(yaw)
        frames = torch.full((30, 3, 24, 24), 10 * n, dtype=torch.uint8)
        for t, at in enumerate((12 - 4 * np.cumsum(steps)) % 24):
            frames[t, :, :, at : at + 4] = 200
        made.append({"frames": frames, "pose": pose, "name": f"drive {n}", "group": f"drive {n}"})
    return made


def test_pairs_of_the_same_motion_are_found_and_drawn(tmp_path):
    protocol = EquivarianceError(patterns=2, gap=1, pairs=40)
    out = tmp_path / "same.png"
    shares = same_motion({"columns": Encoder(Pixels())}, drives(6), out, protocol, queries=1)
    assert 0.4 < shares["chance"] < 0.6 and shares["columns"] > 0.9  # the pole went the same way from the same place
    picture = np.asarray(PIL.Image.open(out).convert("RGB"))
    green = (picture == (0x2F, 0x7D, 0x4F)).all(2)
    assert green.sum() > 500 and picture.shape[1] > picture.shape[0]
    taller = tmp_path / "taller.png"
    same_motion({"columns": Encoder(Pixels())}, drives(6), taller, protocol, queries=2)
    assert PIL.Image.open(taller).height > picture.shape[0]


def test_one_drive_has_no_other_to_look_in(tmp_path):
    protocol = EquivarianceError(patterns=2, gap=1)
    with pytest.raises(ValueError, match="all pairs are of one drive"):
        same_motion({"columns": Encoder(Pixels())}, drives(1), tmp_path / "same.png", protocol)


def test_panels_are_drawn_as_rows_of_examples_and_columns_of_titles(tmp_path):
    shown = np.zeros((3, 5, 3, 8, 8), np.uint8)
    shown[:, 2, 0] = 255  # the middle frame is red
    grey = np.full((2, 1, 1, 8, 8), 128, np.uint8)
    out = tmp_path / "panels.png"
    side_by_side({"shown": shown, "head 1": grey}, out, height=1.0)
    picture = np.asarray(PIL.Image.open(out).convert("RGB")).astype(int)
    assert abs(picture.shape[0] / picture.shape[1] - 2.25 / 2) < 0.02  # two rows: there are two examples of one title
    reds = (picture[..., 0] == 255) & (picture[..., 1] == 0)
    assert reds[:, : picture.shape[1] // 2].mean() > 0.8 and not reds[:, picture.shape[1] // 2 + 4 :].any()
    assert ((picture == 128).all(2)).mean() > 0.4
