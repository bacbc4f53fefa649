"""Views: which frames of a test video are seen, and which parts of them."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from videossl import augment
from videossl.models.base import Trunk


@dataclass(frozen=True)
class Views:
    """Clips evenly spaced over a video, and crops of each: all that an evaluation sees of it.

    What is None is settled by the trunk. Frame trunks see 25 frames with 10 crops each, 250 views; clip trunks see 10
    clips, their centre alone.

    Sources: Simonyan and Zisserman, "Two-Stream Convolutional Networks", NIPS 2014, section 5 (25 frames, 10 crops);
    Xu et al., CVPR 2019, section 4.3 (10 clips).
    """

    clips: int | None = None  # moments in a video; None: 25 for frame trunks, 10 for clip trunks
    length: int | None = None  # frames in a clip; None: what the trunk is made for
    stride: int = 1  # frames from one frame of a clip to its next
    # 1: centre; 3: both ends of the longer side and the middle; 5: corners and centre; 10: those, mirrored too; None: 10 for
    # frame trunks, else 1
    crops: Literal[1, 3, 5, 10] | None = None
    size: int | None = None  # side of a crop in pixels; None: what the trunk is made for
    # frames from one clip's first to the next one's: a video then has as many clips as fit, and their mean counts as one
    every: int | None = None
    shortest: int = 1  # frames: shorter videos are not seen, and counted as such. Published code that drops them errs

    def __post_init__(self):
        for name in ("clips", "length", "stride", "size", "every", "shortest"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} of {self} must be at least 1")
        if self.crops not in (None, 1, 3, 5, 10):
            raise ValueError(f"crops of {self} must be 1, 3, 5 or 10")
        if self.every is not None and self.clips is not None:
            raise ValueError(f"{self} has clips evenly spaced and one every {self.every} frames: give one of the two")

    def resolved(self, trunk: Trunk) -> "Views":
        """The same views with nothing left to the trunk."""
        frame = trunk.length == 1
        return replace(
            self,
            clips=None if self.every else self.clips or (25 if frame else 10),
            length=self.length or trunk.length,
            crops=self.crops or (10 if frame else 1),
            size=self.size or trunk.size,
        )

    def indices(self, frames: int) -> np.ndarray:
        """Which of a video's frames are seen, (clips, length).

        The first clip starts with the video and the last one ends with it; the others start at equal distances between,
        rounded down. A single clip lies in the middle. With `every` they start from the first frame on, as far as they
        fit. A video shorter than a clip is looped: its first frame follows
        its last. A video with fewer moments than clips shows some of them twice.

        Raises:
            ValueError: there are no frames, or fewer than `shortest`.
        """
        if frames < 1:
            raise ValueError("no frames, so there is nothing to see")
        if frames < self.shortest:
            raise ValueError(f"has {frames} frames, and this protocol leaves out videos under {self.shortest}")
        room = max(frames - span(self.length, self.stride), 0)  # the last start
        if self.every:
            return clip_at(np.arange(0, room + 1, self.every), self.length, self.stride, frames)
        starts = np.arange(self.clips) * room // (self.clips - 1) if self.clips > 1 else np.array([room // 2])
        return clip_at(starts, self.length, self.stride, frames)

    def crop(self, clips: Tensor) -> Tensor:
        """The crops of clips, one clip's after the other's.

        Ten crops are top left, top right, bottom left, bottom right, centre, and these five mirrored. Three lie at the
        start, in the middle and at the end of the longer side, in the middle of the other. Frames whose
        shorter side is under `size` are enlarged to it and their middle taken, as everywhere (`augment.centre`): the
        five places are the same then.

        Args:
            clips: (V, T, C, H, W), floats in [0, 1].

        Returns: (V * crops, T, C, size, size).
        """
        size = self.size
        centre = augment.centre(clips, size)
        if self.crops == 1:
            return centre
        if min(clips.shape[-2:]) < size:
            clips = centre
        bottom, right = clips.shape[-2] - size, clips.shape[-1] - size
        if self.crops == 3:
            tall = bottom > right
            y, x = (
                (bottom * np.array([0, 1, 2]) // 2, [right // 2] * 3)
                if tall
                else ([bottom // 2] * 3, right * np.arange(3) // 2)
            )
            return torch.stack([clips[..., a : a + size, b : b + size] for a, b in zip(y, x, strict=True)], 1).flatten(
                0, 1
            )
        corners = [
            clips[..., y : y + size, x : x + size] for y, x in ((0, 0), (0, right), (bottom, 0), (bottom, right))
        ]
        five = torch.stack([*corners, centre], 1)  # (V, 5, T, C, size, size)
        return (five if self.crops == 5 else torch.cat([five, five.flip(-1)], 1)).flatten(0, 1)


def span(length: int, stride: int) -> int:
    """Frames from a clip's first to its last, both counted."""
    return (length - 1) * stride + 1


def clip_at(start: int | np.ndarray, length: int, stride: int, frames: int) -> np.ndarray:
    """Frames of the clip(s) from `start` (any shape), (*start.shape, length); past its end a video starts again."""
    return (np.asarray(start)[..., None] + stride * np.arange(length)) % frames
