"""Poses of a camera, and the files of numbers that they are computed from.

Every data set here gives T_world_camera as SE(3), float64 (frames, 4, 4), in metres: the camera's frame has x to the
right, y down and z forward, and the world's frame is that of the drive's first camera, so that the first pose is the
identity.
"""

from pathlib import Path

import numpy as np

ROUNDED = 1e-3  # how far the numbers of a file may be from a rotation: KITTI's have 7 digits


def rigid(rotations: np.ndarray, positions: np.ndarray, path: Path | None = None, row: str = "line") -> np.ndarray:
    """Rigid motions (..., 4, 4) from rotations (..., 3, 3), made orthonormal where digits are lacking, and positions.

    Args:
        rotations: (..., 3, 3), rounded at most.
        positions: (..., 3), in metres.
        path: where the rotations, one a `row`, were read, for messages.

    Raises:
        ValueError: a matrix is no rotation.
    """
    u, stretch, v = np.linalg.svd(rotations)
    turned = u @ v
    bad = (np.abs(stretch - 1).max(-1) > ROUNDED) | (np.linalg.det(turned) < 0)
    if bad.any():
        where = f", {row} {int(np.flatnonzero(bad)[0]) + 1}" if bad.ndim else ""
        raise ValueError(
            f"{path}{where} has a matrix that is no rotation, whose rows are of length 1 and at right angles: bring the "
            "file back, or leave the drive out"
        )
    pose = np.zeros((*rotations.shape[:-2], 4, 4))
    pose[..., :3, :3] = turned
    pose[..., :3, 3] = positions
    pose[..., 3, 3] = 1
    return pose


def camera_poses(pose: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Poses of a camera in the frame of the first one, from those of what it is mounted on.

    Args:
        pose: T_any_body, (frames, 4, 4), in whatever frame.
        camera: T_body_camera, (4, 4).

    Returns: T_first_camera, (frames, 4, 4); the first is the identity.
    """
    seen = pose @ camera
    return np.linalg.inv(seen[0]) @ seen


def read_rows(path: Path, columns: int, needed: str) -> np.ndarray:
    """The numbers of a text file, (lines, columns) float64.

    Args:
        path: the file; empty lines at its end do not count.
        columns: numbers that a line must have.
        needed: what they are, for messages: "12 numbers, the first three rows of a pose".

    Raises:
        ValueError: a line has another number of them, or what is no finite number; the file and the line are named.
        FileNotFoundError: the file is not there.
    """
    return np.array([row_of(path, n, line, columns, needed) for n, line in read_lines(path)])


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file with their numbers, from 1; those at its end that are empty are left out.

    Raises:
        ValueError: no line is left.
        FileNotFoundError: the file is not there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: bring it back from the data set's archive")
    lines = path.read_text(errors="replace").rstrip().split("\n")
    if lines == [""]:
        raise ValueError(f"{path} is empty: bring it back from the data set's archive")
    return list(enumerate(lines, 1))


def row_of(path: Path, n: int, line: str, columns: int, needed: str) -> list[float]:
    """The numbers of one line, checked; see `read_rows`."""
    words = line.split()
    if len(words) != columns:
        raise ValueError(
            f"{path}, line {n} has {len(words)} numbers, but should have {needed}: bring the file back, or leave the "
            "drive out"
        )
    row = [number(word) for word in words]
    if not np.isfinite(row).all():
        bad = words[int(np.argmin(np.isfinite(row)))]
        raise ValueError(
            f"{path}, line {n} has {bad!r}, which is no finite number: bring the file back, or leave the drive out"
        )
    return row


def number(word: str) -> float:
    """A word as a number; NaN where it is none."""
    try:
        return float(word)
    except ValueError:
        return float("nan")


def increasing(path: Path, seconds: np.ndarray, row: str = "line") -> np.ndarray:
    """The same times, if each is later than the one before.

    Args:
        path: where they were read, for messages.
        seconds: (frames,).
        row: what one of them is called there: "line".

    Raises:
        ValueError: the first that is not is named.
    """
    early = np.flatnonzero(np.diff(seconds) <= 0)
    if len(early):
        n = int(early[0]) + 2
        raise ValueError(
            f"{path}, {row} {n} is not later than {row} {n - 1}: frames and times would not belong together, so put "
            "it in order, or leave the drive out"
        )
    return seconds


def read_calibration(path: Path, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """The fields asked for of a KITTI calibration file, whose lines are "R: 1.0 0.0 ...".

    Args:
        path: the file.
        sizes: name of a field -> how many numbers it has.

    Raises:
        ValueError: a field is not there, or has another number of numbers.
        FileNotFoundError: the file is not there.
    """
    fields = {}
    for n, line in read_lines(path):
        name, _, rest = line.partition(":")
        if name.strip() in sizes:
            size = sizes[name.strip()]
            fields[name.strip()] = np.array(row_of(path, n, rest, size, f"{size} after `{name.strip()}:`"))
    if absent := sizes.keys() - fields.keys():
        raise ValueError(f"{path} has no line `{min(absent)}: ...`: bring the file back from the data set's archive")
    return fields


def offset(projection: np.ndarray, path: Path) -> np.ndarray:
    """T_camera_reference, (4, 4): how a rectified camera stands to that whose frame its projection matrix is for.

    Args:
        projection: P_rect of KITTI's calibration, 12 numbers, K [I | t].
        path: where it was read, for messages.

    Raises:
        ValueError: it is of no camera.
    """
    matrix = projection.reshape(3, 4)
    if abs(np.linalg.det(matrix[:, :3])) < 1e-9:
        raise ValueError(f"{path} has a projection matrix of no camera, without focal lengths: bring the file back")
    return rigid(np.eye(3), np.linalg.solve(matrix[:, :3], matrix[:, 3]))
