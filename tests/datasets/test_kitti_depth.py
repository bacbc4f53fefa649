from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from videossl.datasets.image_folder import digest
from videossl.datasets.kitti_depth import kitti_depth
from videossl.evaluation.depth import Depth
from videossl.evaluation.features import Encoder
from videossl.experiments.data import Videos
from videossl.models.small import Small

DRIVES = {
    "train": ("2011_09_26_drive_0001_sync", "2011_09_28_drive_0002_sync"),
    "val": ("2011_09_26_drive_0013_sync",),
}
HEIGHT, WIDTH = 24, 40


def numbers(metres: float) -> np.ndarray:
    """A depth map as KITTI's: known in every second column of the lower half alone."""
    values = np.zeros((HEIGHT, WIDTH), np.uint16)
    values[HEIGHT // 2 :, ::2] = round(256 * metres)
    return values


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def depth_map(root: Path, part: str, drive: str, n: int) -> Path:
    return root / part / drive / "proj_depth" / "groundtruth" / "image_02" / f"{n:010}.png"


def picture(root: Path, drive: str, n: int) -> Path:
    return root / drive[:10] / drive / "image_02" / "data" / f"{n:010}.png"


@pytest.fixture
def root(tmp_path):
    """Two drives to train and one to validate, 8 pictures each, of which 3 have a depth map, of 2 n metres."""
    root = tmp_path / "KITTI"
    for part, drives in DRIVES.items():
        for d, drive in enumerate(drives):
            for n in range(8):
                image = np.full((HEIGHT, WIDTH, 3), 20 * n + 5 * d + (part == "val"), np.uint8)
                write(picture(root, drive, n), image)
            for n in (3, 4, 5):
                write(depth_map(root, part, drive, n), numbers(2 * n))
                write(depth_map(root, part, drive, n).parents[1] / "image_03" / f"{n:010}.png", numbers(99))
    return root


def test_each_picture_with_a_depth_map_is_a_record(root):
    train, val = kitti_depth(root), kitti_depth(root, train=False)
    assert [len(train), len(val)] == [6, 3] and train.complete and train.name == "KITTI train" and val.part == "val"
    assert train[0]["name"] == "2011_09_26_drive_0001_sync/0000000003"
    assert [r["group"] for r in train] == 3 * ["2011_09_26_drive_0001"] + 3 * ["2011_09_28_drive_0002"]
    record = train[4]  # the second drive's picture 4
    assert len(record["frames"]) == len(record["depth"]) == 1
    assert (record["frames"][np.array(0)] == 85).all() and record["frames"][np.array(0)].shape == (3, HEIGHT, WIDTH)
    assert record["digest"] == digest(picture(root, DRIVES["train"][1], 4)) and len({r["digest"] for r in train}) == 6


def test_depth_is_in_metres_and_0_where_the_scanner_did_not_measure(root):
    path = depth_map(root, "train", DRIVES["train"][0], 3)
    values = numbers(6)
    values[-1, :3] = 1, 0, 65535  # the least and the most that such a file holds
    write(path, values)
    depth = kitti_depth(root)[0]["depth"][np.array(0)]
    assert depth.dtype == torch.float32 and torch.equal(depth, torch.from_numpy(values.astype(np.float32) / 256))
    assert depth[HEIGHT // 2, :4].tolist() == [6, 0, 6, 0] and not depth[: HEIGHT // 2].any()
    assert depth[-1, :3].tolist() == [1 / 256, 0, 65535 / 256]


@pytest.mark.parametrize("size", [(12, 20), (9, 17), (48, 80)])
def test_depth_that_is_scaled_is_never_a_mean_with_the_unknown(root, size):
    for record in kitti_depth(root, size=size):
        depth, metres = record["depth"][np.array(0)], 2 * int(record["name"][-1])
        assert record["frames"][np.array(0)].shape == (3, *size) and depth.shape == size
        assert set(depth.unique().tolist()) <= {0, metres} and not depth[: size[0] // 2].any()
    twice = kitti_depth(root, size=(2 * HEIGHT, 2 * WIDTH))[0]["depth"][np.array(0)]
    assert np.array_equal(twice, numbers(6).astype(np.float32).repeat(2, 0).repeat(2, 1) / 256)


def test_pictures_and_drives_that_are_not_there_and_broken_files_are_told(root):
    first, second = DRIVES["train"]
    picture(root, first, 3).unlink()
    path = depth_map(root, "train", first, 4)
    path.write_bytes(path.read_bytes()[:-30])
    (root / "2011_09_28" / second).rename(root / "2011_09_28" / "elsewhere")
    write(depth_map(root, "train", first, 5).with_name("._0000000005.png"), numbers(1))  # as macOS leaves some
    records = kitti_depth(root)
    assert [r["name"] for r in records] == [f"{first}/0000000005"] and records.listed == 6 and not records.complete
    absent = {name for name, why in records.missing.items() if why == "not there"}
    assert absent == {f"{first}/0000000003", *(f"{second}/{n:010}" for n in (3, 4, 5))}
    assert records.missing[f"{first}/0000000004"].startswith("unreadable: its depth map image file is truncated")
    picture(root, first, 5).write_bytes(b"")
    with pytest.raises(ValueError, match="holds none of the 5 images wanted"):
        kitti_depth(root)


def test_what_is_to_be_unpacked_is_told(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        kitti_depth(tmp_path / "nowhere")
    with pytest.raises(
        ValueError,
        match=r"has no depth maps, such as val/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000005"
        r".png: unpack KITTI's data_depth_annotated.zip there",
    ):
        kitti_depth(tmp_path, train=False)
    for n in (3, 4, 5):
        depth_map(root, "val", DRIVES["val"][0], n).write_bytes(b"")
    with pytest.raises(ValueError, match=r"none of the 3 depth maps .* can be read \(0000000003.png is empty"):
        kitti_depth(root, train=False)
    for date in ("2011_09_26", "2011_09_28"):
        (root / date).rename(tmp_path / date)
    with pytest.raises(
        ValueError,
        match=r"depth maps of 2 drives, but pictures of none, such as 2011_09_26/2011_09_26_drive_0001_sync/image_02/"
        r"data: unpack KITTI's raw recordings, synchronised and rectified \(2011_09_26_drive_0001_sync.zip, ...\), there",
    ):
        kitti_depth(root)


@pytest.mark.parametrize(("word", "value"), [("split", 2), ("lists", "lists"), ("index", "index.json")])
def test_what_means_nothing_here_is_refused(root, word, value):
    with pytest.raises(ValueError, match=f"kitti_depth has no {word}, but {value} was given: leave it out"):
        kitti_depth(root, **{word: value})


def judged(root: Path) -> dict[str, float]:
    """What few steps of depth learn of a folder, by a small trunk, at another size than the files'."""
    data = Videos(root, "kitti_depth", size=(32, 48))
    train, val = (data.records(train, 1, (32, 32)) for train in (True, False))
    torch.manual_seed(0)
    encoder = Encoder(Small(length=1, width=4, size=32).build(), progress=False)
    scores = Depth(steps=8, batch=4, width=8).score(encoder, train, val)
    assert scores.tested == [0, 1, 2] and not scores.failed
    assert all(np.isfinite(value) for value in scores.metrics.values())
    return scores.metrics


def test_depth_is_judged_on_known_pixels(root):
    found = judged(root)
    # Depths are 6, 8 and 10 metres in training and in testing, so always answering their geometric mean is this wrong:
    usual = (6 * 8 * 10) ** (1 / 3)
    wrong = np.abs(np.array([6, 8, 10]) - usual)
    assert found["chance RMSE"] == pytest.approx(wrong.mean(), rel=1e-4)
    assert found["chance abs rel"] == pytest.approx((wrong / [6, 8, 10]).mean(), rel=1e-4)
    assert found["chance delta 1.25"] == pytest.approx(1 / 3)  # 8 m; 10 m is 1.28 of it, 6 m 1 / 1.30


def test_where_depth_is_the_same_everywhere_nothing_beats_always_answering_it(root):
    for path in root.glob("*/*/proj_depth/groundtruth/image_02/*.png"):
        write(path, numbers(12.5))
    found = judged(root)
    assert found["chance abs rel"] == pytest.approx(0, abs=1e-6) and found["chance delta 1.25"] == 1
    assert found["chance abs rel"] <= found["abs rel"] < 0.5 and 0 <= found["delta 1.25"] <= 1
    assert found["RMSE"] >= 12.5 * found["abs rel"] - 1e-6  # a root of mean squares is not below the mean
