"""SimCLR with some of its ways of changing a view: what the study of pairs of augmentations trains.

Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, section 3.1 and
figure 5. We leave it in three things: both views are changed (theirs: one of the two); pictures are not cropped first, for
they are all of one size; and noise, cut-out and Sobel's filters are left out.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from videossl import augment
from videossl.methods.simclr import SimCLR, SimCLRNet

Way = Literal["crop", "turn", "colour", "grey", "blur"]
WAYS: tuple[Way, ...] = get_args(Way)
BLUR = (0.1, 1.0)  # deviations in pixels: the paper's, as shares of the side, would not show in pictures of 48 pixels


@dataclass(frozen=True)
class ChangedViews(SimCLR):
    """Both views of a picture are changed in these ways alone, each by draws of its own, in the order of `WAYS`."""

    ways: tuple[Way, ...] = ("crop", "colour")

    def __post_init__(self):
        super().__post_init__()
        if not self.ways or set(self.ways) - set(WAYS):
            raise ValueError(f"ways are one or more of {', '.join(WAYS)}, but {self.ways} were given")

    def build(self, trunk):
        return ChangedViewsNet(trunk, self)


class ChangedViewsNet(SimCLRNet):
    """In eval mode the draws are always the same."""

    def views(self, batch):
        clips = augment.pixels(batch["clips"])
        with torch.random.fork_rng(devices=[], enabled=not self.training):
            if not self.training:
                torch.manual_seed(0)
            return changed(clips, self.method, self.trunk.size)


def changed(clips: Tensor, method: ChangedViews, size: int) -> Tensor:
    """Views (..., T, C, H, W) to (..., T, C, size, size): what is not cropped shows the centre.

    Crops are mirrored half of the time, as in the paper; turns are by 0, 90, 180 or 270 degrees; half of the views are
    made grey, and half blurred.
    """
    ways = method.ways
    clips = augment.flip(augment.crop(clips, size, method.area)) if "crop" in ways else augment.centre(clips, size)
    if "turn" in ways:
        flat = clips.flatten(0, -5)
        quarters = torch.randint(4, (len(flat),)).to(clips.device)
        clips = augment.turn(flat, quarters * math.pi / 2).view(clips.shape)
    if "colour" in ways:
        strength = 0.8 * method.colour
        clips = augment.colour(clips, strength, strength, strength, min(0.2 * method.colour, 0.5))
    if "grey" in ways:
        clips = augment.grey(clips, 0.5)
    if "blur" in ways:
        clips = augment.blur(clips, BLUR, 0.5)
    return clips
