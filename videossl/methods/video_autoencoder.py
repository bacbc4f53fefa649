"""Rebuild a clip from the last feature maps of it: a convolutional autoencoder.

Source: the encoder and decoder of Hasan et al., "Learning Temporal Regularity in Video Sequences", CVPR 2016, section
3.2, with any trunk as encoder, and the transposed convolutions of Tran et al., "Deep End2End Voxel2Voxel Prediction",
CVPR Workshops 2016, figure 2, without their skip connections, past which nothing would need the trunk's last maps.
"""

from dataclasses import dataclass
from math import log2

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl import augment
from videossl.methods.base import Net
from videossl.methods.parts import tried
from videossl.models.base import Trunk


@dataclass(frozen=True)
class VideoAutoencoder:
    """The trunk's maps are the code; transposed convolutions double its sides until it is a clip again.

    Nothing but the code's size keeps the answer from being a copy, so features need not tell what is in a picture: this
    is the baseline that other methods are to beat. Its own trivial answer is the clip's mean frame, shown at every moment.

    Where we leave the papers: the trunk, batch norm in the decoder, and clips in colour of values in [0, 1].
    """

    length: int = 16  # frames in a clip; what the trunk is made for is best, and frame trunks take any
    stride: int = 1  # frames of the video from one frame of a clip to its next
    size: int | None = None  # pixels a side of the rebuilt frames; None rebuilds what the trunk sees
    width: int = 64  # channels of each transposed convolution

    @property
    def span(self) -> int:
        """Frames a video must have."""
        return (self.length - 1) * self.stride + 1

    @property
    def chance(self) -> dict[str, float]:
        """None is known before: the clip's mean frame is measured beside it."""
        return {}

    def __post_init__(self):
        if min(self.length, self.stride, self.width) < 1 or (self.size is not None and self.size < 1):
            raise ValueError(f"length, stride, size and width are counts from 1: {self}")

    def check(self, record):
        """Raise a ValueError if the record is too short."""
        if len(record["frames"]) < self.span:
            raise ValueError(f"fewer than the {self.span} frames of a clip: lower length or stride")

    def sample(self, record, rng):
        self.check(record)
        frames = record["frames"]
        start = rng.integers(len(frames) - self.span + 1)
        return {"clips": frames[start + self.stride * np.arange(self.length)]}

    def build(self, trunk):
        """The trunk and a decoder of its maps.

        Raises:
            ValueError: the trunk has no maps, or finer ones than the frames that are to be rebuilt.
        """
        return VideoAutoencoderNet(trunk, self)


class VideoAutoencoderNet(Net):
    """The network of a `VideoAutoencoder`."""

    def __init__(self, trunk: Trunk, method: VideoAutoencoder):
        super().__init__()
        self.trunk = trunk
        self.shape = (method.length, method.size or trunk.size, method.size or trunk.size)
        channels, *code = code_shape(trunk, method.length)
        doublings = [
            int(log2(out / there)) if out >= there else -1 for out, there in zip(self.shape, code, strict=True)
        ]
        if min(doublings) < 0:
            raise ValueError(
                f"{type(trunk).__name__} has maps of {' x '.join(map(str, code))}, finer than the "
                f"{' x '.join(map(str, self.shape))} to be rebuilt: raise size"
            )
        layers = []
        for n in range(max(doublings)):
            axes = [n < count for count in doublings]  # time, height and width double until each is there
            kernel, stride, padding = zip(*((4, 2, 1) if axis else (3, 1, 1) for axis in axes), strict=True)
            layers += [
                nn.ConvTranspose3d(channels, method.width, kernel, stride, padding, bias=False),
                nn.BatchNorm3d(method.width),
                nn.ReLU(inplace=True),
            ]
            channels = method.width
        self.decoder = nn.Sequential(*layers)
        self.out = nn.Conv3d(channels, 3, 3, padding=1)

    def view(self, batch: dict) -> tuple[Tensor, Tensor]:
        """The clips as the trunk sees them, and as they are to be rebuilt: (B, T, 3, H, W) both."""
        clips = augment.standard(augment.pixels(batch["clips"]), self.trunk.size, self.training)
        if clips.shape[-1] == self.shape[-1]:
            return clips, clips
        return clips, F.interpolate(clips.flatten(0, 1), self.shape[1:], mode="area").unflatten(0, clips.shape[:2])

    def rebuild(self, clips: Tensor) -> Tensor:
        """(B, T, 3, H, W) as the trunk sees them to (B, length, 3, size, size); not cut to [0, 1]."""
        maps = self.decoder(self.trunk.maps(clips))
        if maps.shape[2:] != self.shape:  # sides that are no power of two apart
            maps = F.interpolate(maps, self.shape, mode="trilinear", align_corners=False)
        return self.out(maps).transpose(1, 2)

    def forward(self, batch):
        """The loss is the mean squared error over pixels; "mean_mse" is that of each clip's mean frame."""
        clips, truth = self.view(batch)
        loss = F.mse_loss(self.rebuild(clips), truth)
        return loss, {"mse": loss.detach(), "mean_mse": truth.var(1, correction=0).mean()}

    @torch.no_grad()
    def panels(self, batch: dict) -> dict[str, Tensor]:
        """The clip, as it was rebuilt, and its mean frame."""
        clips, truth = self.view(batch)
        mean = truth.mean(1, keepdim=True).expand_as(truth)
        return {"input": truth, "rebuilt": self.rebuild(clips).clamp(0, 1), "mean frame": mean}


def code_shape(trunk: Trunk, length: int) -> tuple[int, int, int, int]:
    """Channels, moments, height and width of the trunk's maps for a clip of its size.

    Raises:
        ValueError: it has none.
    """
    if "maps" not in trunk.layers:
        raise ValueError(
            f"{type(trunk).__name__} has no maps(), but a video autoencoder rebuilds clips from them: convolutional trunks do"
        )
    return tuple(tried(trunk, trunk.maps, length).shape[1:])
