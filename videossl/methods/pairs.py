"""Two moments of a video, and how they are shown: what the methods that learn from a camera's own motion share."""

from collections.abc import Callable
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from videossl import augment


def poses(record: dict, span: int) -> np.ndarray:
    """The camera's poses T_world_camera, in metres: (frames, 4, 4).

    Args:
        record: its "pose" holds one for each frame.
        span: frames that it must have.

    Raises:
        ValueError: it has no poses, not one for each frame, or fewer frames.
    """
    if "pose" not in record:
        raise ValueError(
            "no camera poses: kitti_raw (and what `videossl simulate driving` writes), kitti_odometry and comma2k19 have"
            ' them; or put "pose" (frames, 4, 4), T_world_camera in metres, into the records'
        )
    frames, pose = len(record["frames"]), np.asarray(record["pose"])
    if pose.shape != (frames, 4, 4):
        raise ValueError(f"poses of shape {pose.shape} for {frames} frames, but needed are ({frames}, 4, 4)")
    if frames < span:
        raise ValueError(f"fewer than the {span} frames that a pair spans: lower gap or length")
    return pose


def check_moving(pose: np.ndarray, gap: int, move: Callable, still: tuple[float, ...]) -> None:
    """Raise a ValueError if poses are no numbers, or nothing is over `still` between any frame and that `gap` later.

    Args:
        pose: (frames, 4, 4), more than `gap`.
        move: of poses and later poses, (n, 4, 4) both, the components of the motion between them, (n, K).
        still: for each component, what is no more than a standing camera's noise: (K,).
    """
    if not np.isfinite(pose).all():
        raise ValueError("poses that are not finite: leave the drive out, or cut away the frames without a pose")
    if not (np.abs(move(pose[:-gap], pose[gap:])) > still).any():
        raise ValueError("the camera stands still all the time: no motion to learn from")


def draw_pairs(frames: int, near: int, far: int, length: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """First frames of two clips of `length` frames, the earlier one first, `near` to `far` frames apart: (count, 2)."""
    apart = rng.integers(near, far + 1, count)
    first = rng.integers(frames - length - apart + 1)
    return np.stack([first, first + apart], -1)


def some_motions(records: list[dict], gap: int, move: Callable, count: int) -> np.ndarray:
    """Motions over 1 to `gap` frames, about `count` in all, from each record by its length: (n, K).

    They are in ascending order, so what is found in them depends on neither the order of the records nor a seed.
    """
    total = sum(len(record["pose"]) for record in records)
    found = []
    for record in records:
        share = -(-count * len(record["pose"]) // total)
        pairs = draw_pairs(len(record["pose"]), 1, gap, 1, share, np.random.default_rng(0))
        found.append(move(record["pose"][pairs[:, 0]], record["pose"][pairs[:, 1]]))
    motions = np.concatenate(found)
    return motions[np.lexsort(motions.T[::-1])]


def video_number(record: dict) -> int:
    """A number that tells a record's video from others, by its name."""
    return crc32(str(record.get("name", "")).encode())


def show(batch: dict, size: int, training: bool) -> Tensor:
    """The pairs of a batch, cut to `size` by `size` pixels: one place for both clips, at the frames' own scale.

    A place of its own for each, or a box of random size, would add to what the camera's motion changed. Pairs with
    batch["mirror"] set are mirrored, both clips; the method has mirrored their motion.

    Returns: (B, 2, T, C, size, size), floats in [0, 1].
    """
    clips = augment.pixels(batch["clips"])  # (B, 2, T, C, H, W)
    tape = clips.flatten(1, 2)
    tape = augment.shift_crop(tape, size) if training else augment.centre(tape, size)
    if "mirror" in batch:
        mirror = torch.as_tensor(batch["mirror"], device=tape.device).view(-1, 1, 1, 1, 1)
        tape = torch.where(mirror, tape.flip(-1), tape)
    return tape.unflatten(1, clips.shape[1:3])


def frequent(answer: Tensor) -> Tensor:
    """Share of the most frequent answer (B,) in a batch: no constant answer is right more often there."""
    return (answer.unsqueeze(0) == answer.unsqueeze(1)).float().mean(0).max()
