"""KITTI's odometry benchmark: long drives in sequences, with the poses of the left grey camera.

Source: Geiger, Lenz, Urtasun, "Are we ready for Autonomous Driving? The KITTI Vision Benchmark Suite", CVPR 2012.
"""

from pathlib import Path

import numpy as np

from videossl.datasets.drives import Drive, choose_drives, gather_drives, motions, numbered, pair, read_scenes
from videossl.datasets.index import folder as existing
from videossl.datasets.poses import camera_poses, increasing, offset, read_calibration, read_rows, rigid
from videossl.datasets.records import Records

CAMERAS = ("2", "0")  # left colour; left grey where there is no colour
# Which sequences Agrawal, Carreira and Malik, "Learning to See by Moving", ICCV 2015, train and test on; of the
# benchmark's others, 11 to 21, no poses are public.
TRAIN = ("00", "01", "02", "03", "04", "05", "07", "08", "10")
TEST = ("06", "09")


def kitti_odometry(
    root: str | Path,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
) -> Records:
    """KITTI odometry: 11 sequences with public poses, 23201 frames at 10 a second; split as Agrawal et al. 2015 did.

    Files lie as they are distributed: ROOT/poses/00.txt, and in ROOT/sequences/00: image_2/000000.png, ..., calib.txt,
    times.txt. The left colour camera is read, or the left grey one (image_0) where it is not there. Images and poses
    are paired by number: where either lacks some, the frames that have both are kept and the sequence is told in
    `damaged`. One that is absent, or has files that cannot be read, is told in `missing`.

    Args:
        root: the folder with "sequences" and "poses".
        split: 1, the only one.
        train: sequences 00 to 05, 07, 08, 10, otherwise 06 and 09.
        size: height and width in pixels that frames are scaled to; None leaves them as filmed.
        lists: folder with another train.txt and test.txt, with the name of a sequence a line; by default `root`, if
            they are there.
        index: the index, where it is not `root`/index.json. None is needed, but for "motion".

    Records hold "frames", "pose" (float64 (frames, 4, 4): T_world_camera in metres, camera x right, y down, z forward,
    world as the sequence's first camera), "time" (float64 (frames,), seconds since the first frame, where there is a
    times.txt), "name" and "group" (the sequence, "00"), "label" where `root`/scenes.txt has the sequence's scene (see
    `read_scenes`), and "motion" where the index has it.

    Raises:
        FileNotFoundError: the folder or the lists are not there.
        ValueError: the folder is of another layout, the lists are bad, or no sequence can be read.
    """
    root = existing(root)
    drives = [Drive(path.name, path.name, path) for path in sorted((root / "sequences").glob("*")) if path.is_dir()]
    if not drives:
        raise ValueError(f"{root} holds no sequence, such as sequences/00: give the folder of sequences and poses")
    motion = motions(root, index)

    def read(drive: Drive) -> tuple[dict, str]:
        camera, numbers = camera_of(drive.path)
        images = drive.path / f"image_{camera}"
        pose = read_poses(root / "poses" / f"{drive.name}.txt", drive.path / "calib.txt", camera)
        frames, kept, odd = pair(images, numbers, range(len(pose)), size)
        record = {"frames": frames, "pose": np.linalg.inv(pose[kept[0]]) @ pose[kept]}
        times = drive.path / "times.txt"
        if times.is_file():
            record["time"] = times_of(times, kept)
        return record | (motion(images) if len(frames) == len(numbers) else {}), odd

    scenes = read_scenes(root)
    if lists is None and not (root / "train.txt").is_file():
        if split != 1:
            raise ValueError(f"KITTI odometry has one split here, but {split} was asked for: leave it 1, or give lists")
        known = {drive.name: drive for drive in drives}
        wanted, series = [known.get(name, name) for name in (TRAIN if train else TEST)], "KITTI odometry"
    else:
        wanted, series = choose_drives(root, drives, scenes, split, train, lists)
    return gather_drives(root, wanted, read, scenes, series, split, train)


def camera_of(sequence: Path) -> tuple[str, list[int]]:
    """The camera of a sequence that is read, "2" or "0", and the numbers of its images.

    Raises:
        FileNotFoundError: neither has any image.
    """
    for camera in CAMERAS:
        if numbers := numbered(sequence / f"image_{camera}"):
            return camera, numbers
    raise FileNotFoundError(f"{sequence} has no images in image_2 or image_0: unpack them there")


def read_poses(path: Path, calibration: Path, camera: str = "0") -> np.ndarray:
    """Poses of a camera, T_world_camera, (frames, 4, 4), in metres; the world's frame is that of the first one.

    Args:
        path: poses/00.txt, those of camera 0: the first three rows of a matrix a line.
        calibration: calib.txt, which says where another camera is beside camera 0; not read for camera 0.
        camera: "0" to "3".

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a line is not of this format, or no pose; it is named.
    """
    rows = read_rows(path, 12, "12, the first three rows of a pose").reshape(-1, 3, 4)
    pose = rigid(rows[..., :3], rows[..., 3], path)
    beside = np.eye(4)
    if camera != "0":
        beside = offset(read_calibration(calibration, {f"P{camera}": 12})[f"P{camera}"], calibration)
    return camera_poses(pose, np.linalg.inv(beside))


def times_of(path: Path, numbers: list[int]) -> np.ndarray:
    """Seconds since the first of these frames, (frames,), from a times.txt, whose line n + 1 is of frame n.

    Raises:
        ValueError: a line is no number of seconds, or not later than the one before; or there are fewer than frames.
    """
    seconds = increasing(path, read_rows(path, 1, "one, the time in seconds")[:, 0])
    if len(seconds) <= numbers[-1]:
        raise ValueError(
            f"{path} has {len(seconds)} lines, but there is a frame number {numbers[-1]} (from 0): bring it back, or "
            "leave it out to do without times"
        )
    return seconds[numbers] - seconds[numbers[0]]
