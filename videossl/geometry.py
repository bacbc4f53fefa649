"""How a camera moved between two frames, from its poses.

A pose is T_world_camera, (4, 4): a rotation and a position in metres that take points of the camera's frame (x right,
y down, z forward) to the world's. What the world's frame is does not matter here: only relative poses are looked at.
"""

import numpy as np


def inverse(pose: np.ndarray) -> np.ndarray:
    """The inverse of rigid motions, (..., 4, 4): exactly orthonormal where they are."""
    turned = np.swapaxes(pose[..., :3, :3], -1, -2)
    back = np.zeros_like(pose)
    back[..., :3, :3] = turned
    back[..., :3, 3:] = -turned @ pose[..., :3, 3:]
    back[..., 3, 3] = 1
    return back


def relative(pose: np.ndarray, later: np.ndarray) -> np.ndarray:
    """T_camera_later, (..., 4, 4): where a later camera is, and how it is turned, as seen from an earlier one.

    Args:
        pose: T_world_camera, (..., 4, 4).
        later: T_world_later, (..., 4, 4), in the same world; leading shapes broadcast.
    """
    return inverse(pose) @ later


def wrap(angle: np.ndarray) -> np.ndarray:
    """Angles in radians, brought into (-pi, pi] by whole turns."""
    return np.pi - np.mod(np.pi - angle, 2 * np.pi)


def motion(pose: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Yaw and forward distance from one frame to another, (..., 2), as ego-motion equivariance clusters them.

    The yaw is the turn about the first camera's y axis, in radians in (-pi, pi]. That axis points down, so it is positive
    to the right: that of the later camera's viewing direction, in the plane of the first one's x and z axes. The forward
    distance is how far the later camera lies along the first one's z axis, in metres: negative after backing up.

    Args:
        pose: T_world_camera of the first frame, (..., 4, 4), x right, y down, z forward.
        later: T_world_camera of the other frame, (..., 4, 4); leading shapes broadcast.

    Source: Jayaraman and Grauman, "Learning image representations tied to ego-motion", ICCV 2015, figure 1, where
    both come from KITTI's GPS and inertial log.
    """
    moved = relative(pose, later)
    yaw = wrap(np.arctan2(moved[..., 0, 2], moved[..., 2, 2]))
    return np.stack([yaw, moved[..., 2, 3]], -1)
