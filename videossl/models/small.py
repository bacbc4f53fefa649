"""A small net of our own, for CPUs: the demo, tests, first trials of a method."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videossl.models.base import KINETICS, Trunk


@dataclass(frozen=True)
class Small:
    """Four convolutions (3x3x3 for clips, 3x3 for frames), each with batch norm and ReLU; 8 * `width` features.

    From no paper. The first three halve height, width and, in a clip trunk, time. Keeping all moments in the first took
    twice the time, and told speeds, directions and the arrow of time no better after as many steps.
    """

    length: int = 16  # frames in a clip; 1 makes it a frame trunk, with convolutions in the plane
    width: int = 16  # channels of the first convolution; each other has twice as many as the one before
    size: int = 48  # pixels a side
    grid: int = 2  # cells a side; 1 averages over the whole frame

    def build(self) -> Trunk:
        return SmallTrunk(self)


class SmallTrunk(Trunk):
    """The network of a `Small`."""

    def __init__(self, config: Small):
        if min(config.length, config.width, config.size, config.grid) < 1:
            raise ValueError(f"length, width, size and grid are counts from 1, but were given as {config}")
        size = config.size
        resize = round(size * 8 / 7), round(size * 32 / 21)  # 4:3, with as much room around the crop as C3D's 128x171
        super().__init__(
            dim=8 * config.width * config.grid**2, length=config.length, size=size, resize=resize, colours=KINETICS
        )
        self.grid = config.grid
        convolution, norm = (nn.Conv3d, nn.BatchNorm3d) if config.length > 1 else (nn.Conv2d, nn.BatchNorm2d)
        layers = []
        channels = 3
        for times, stride in (1, 2), (2, 2), (4, 2), (8, 1):
            width = times * config.width
            layers += [convolution(channels, width, 3, stride, padding=1, bias=False), norm(width), nn.ReLU(True)]
            channels = width
        self.net = nn.Sequential(*layers)

    def maps(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) to (N, 8 * width, T / 8, H / 8, W / 8), rounded up; a frame trunk keeps T."""
        return self.stages(clips)[-1]

    def stages(self, clips: Tensor) -> list[Tensor]:
        """The first and the second convolution, and the last: height and width over 2, 4 and 8."""
        # Channels last in memory: on a CPU the frame net trains 1.1 times, the clip net 1.3 times as fast.
        maps, by_frame = self.normalise(clips), self.length == 1
        if by_frame:
            maps = maps.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        else:
            maps = maps.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)
        stages = []
        for part in (self.net[:3], self.net[3:6], self.net[6:]):
            maps = part(maps)
            stages.append(maps)
        return [m.unflatten(0, clips.shape[:2]).transpose(1, 2) for m in stages] if by_frame else stages

    def forward(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) to (N, dim)."""
        return F.adaptive_avg_pool3d(self.maps(clips), (1, self.grid, self.grid)).flatten(1)
