"""comma2k19: a commute on a motorway, minute by minute, with poses from GNSS, inertial sensors and vision.

Source: Schafer, Santana, Haden, Biasini, "A Commute in Data: The comma2k19 Dataset", arXiv:1812.05752, 2018.
"""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from videossl.datasets.decoders import packets
from videossl.datasets.drives import Drive, choose_drives, gather_drives, plain, read_scenes
from videossl.datasets.frames import VideoFile, stamp
from videossl.datasets.index import command, read_index, same
from videossl.datasets.index import folder as existing
from videossl.datasets.poses import ROUNDED, camera_poses, increasing, rigid
from videossl.datasets.records import Records

# T_device_camera: the device's x is forward, y right, z down; the camera's x right, y down, z forward.
DEVICE_CAMERA = np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def comma2k19(
    root: str | Path,
    split: int = 1,
    train: bool = True,
    size: tuple[int, int] | None = None,
    lists: str | Path | None = None,
    index: str | Path | None = None,
) -> Records:
    """comma2k19: 2019 segments of a minute on California's 280 motorway, 1164x874 at 20 frames a second.

    Files lie as they are distributed: ROOT/Chunk_1/ROUTE/SEGMENT/video.hevc and global_pose/frame_positions, ..., where
    ROUTE is a car and a start, "b0c9d2329ad1606b|2018-08-02--08-34-47", also with "_" for "|". A segment that lacks its
    video, or has files that cannot be read, or whose video has fewer frames than there are poses, is left out and told in
    `missing`. The file is decoded from its start, since raw HEVC cannot be jumped in.

    Args:
        root: the folder with the chunks.
        split: 1 to 5: without lists, every fifth route is for testing, in five ways (see `choose_drives`).
        train: the segments to train on, otherwise to test on.
        size: height and width in pixels that frames are scaled to; None leaves them as filmed.
        lists: folder with train.txt and test.txt, ROUTE/SEGMENT a line; by default `root`, if they are there.
        index: by `videossl index`; None takes `root`/index.json, if it is there. None is needed: without, packets are
            counted, and with it every frame was decoded once, and "motion" is known.

    Records hold "frames", "pose" (float64 (frames, 4, 4): T_world_camera in metres, camera x right, y down, z forward,
    world as the segment's first camera), "time" (float64 (frames,), seconds since the first frame), "name"
    (ROUTE/SEGMENT, with "_"), "group" (the route), and "label" where `root`/scenes.txt has the scene of the segment or of
    its route (see `read_scenes`).

    Raises:
        FileNotFoundError: the folder or the lists are not there.
        ValueError: the folder is of another layout, the lists are bad, or no segment can be read.
    """
    root = existing(root)
    known = read_index(root, index) if index is not None or (root / "index.json").is_file() else {}
    paths = [place.parent for place in root.glob("**/global_pose")]
    paths.sort(key=lambda path: (plain(path.parent.name), len(path.name), path.name))  # segments count from 0
    drives = [Drive(plain(f"{path.parent.name}/{path.name}"), plain(path.parent.name), path) for path in paths]
    if not drives:
        raise ValueError(f"{root} holds no segment, such as Chunk_1/ROUTE/0/global_pose: give the folder of the chunks")

    def read(drive: Drive) -> tuple[dict, str]:
        pose, time = read_poses(drive.path)
        video = drive.path / "video.hevc"
        if not video.is_file():
            raise FileNotFoundError(f"{video} is not there: bring it back from the chunk's archive")
        if len(pose) < 2:
            raise ValueError(f"{drive.path} has one frame only, but motion needs 2 at least: leave it out")
        entry = known.get(video.relative_to(root).as_posix())
        found = {"frames": packets(video), "warning": None, "error": None} if entry is None else entry
        if entry is not None and not same(video, entry):
            raise ValueError(f"{video} changed since it was indexed: run `{command(root, index)}` again")
        if found["error"] or found["frames"] < len(pose):
            why = found["error"] or f"has {found['frames']} frames, but there are {len(pose)} poses"
            raise ValueError(f"{video} {why}: bring it back from the chunk's archive")
        frames = VideoFile(str(video), len(pose), size, stamp=stamp(video))
        moved = {} if entry is None else {"motion": np.array(entry["motion"][: len(pose) - 1], np.float32)}
        return {"frames": frames, "pose": pose, "time": time, **moved}, found["warning"] or ""

    scenes = read_scenes(root)
    wanted, series = choose_drives(root, drives, scenes, split, train, lists)
    return gather_drives(root, wanted, read, scenes, series, split, train)


def read_poses(segment: Path) -> tuple[np.ndarray, np.ndarray]:
    """Poses of a segment's camera and their times.

    Positions are those of the camera in ECEF, the frame fixed to the earth. Orientations are Hamilton quaternions, the
    real part first: as comma's code reads them (utils/camera.py), their rotation takes the device's axes (forward, right,
    down) to ECEF. That the README calls it the rotation from ECEF is the other convention; the velocity, which lies
    along the forward axis, tells them apart.

    Args:
        segment: its folder, which need not have a video.

    Returns: (T_world_camera, (frames, 4, 4) in metres, world as the first camera; seconds since the first, (frames,)).

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: one is no array of its shape, has NaN, or another length than the others; it and the row are named.
    """
    folder = segment / "global_pose"
    times, positions = read_array(folder / "frame_times", ()), read_array(folder / "frame_positions", (3,))
    quaternions = read_array(folder / "frame_orientations", (4,))
    for name, rows in (("frame_positions", positions), ("frame_orientations", quaternions)):
        if len(rows) != len(times):
            raise ValueError(
                f"{folder / name} has {len(rows)} rows, but frame_times {len(times)}: bring them back, or leave it out"
            )
    bad = np.flatnonzero(np.abs(np.linalg.norm(quaternions, axis=1) - 1) > ROUNDED)
    if len(bad):
        raise ValueError(f"{folder / 'frame_orientations'}, row {bad[0] + 1} is no rotation: its length is not 1")
    turned = Rotation.from_quat(np.roll(quaternions, -1, axis=1)).as_matrix()  # scipy has the real part last
    seconds = increasing(folder / "frame_times", times, "row")
    return camera_poses(rigid(turned, positions), DEVICE_CAMERA), seconds - seconds[0]


def read_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An array file of comma's, one row a frame, (rows, *shape) float64; rows are named from 1 in messages.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: it is no array file, of another shape, empty, or has what is no finite number.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: bring it back from the chunk's archive")
    try:
        rows = np.load(path).astype(np.float64)
    except (ValueError, EOFError, TypeError) as e:
        raise ValueError(f"{path} is no NumPy array of numbers ({e}): bring it back from the chunk's archive") from e
    if rows.shape[1:] != shape or rows.ndim == 0 or not len(rows):
        raise ValueError(f"{path} has shape {rows.shape}, but should have (frames{''.join(f', {n}' for n in shape)})")
    bad = np.flatnonzero(~np.isfinite(rows.reshape(len(rows), -1)).all(1))
    if len(bad):
        raise ValueError(f"{path}, row {bad[0] + 1} has NaN or infinity: bring it back, or leave the segment out")
    return rows
