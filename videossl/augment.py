"""Batched augmentations of clips, on any device.

A clip is (..., T, C, H, W). Every function draws one set of parameters for each leading index, so the frames of a clip
are treated alike; to treat frames apart, make each its own clip: `flip(clips.unsqueeze(-4)).squeeze(-4)`. Randomness
comes from torch's generator of the clips' device, which `fit` seeds before every step.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def pixels(clips: Tensor) -> Tensor:
    """uint8 pixels as floats in [0, 1]; floats pass unchanged."""
    return clips if clips.is_floating_point() else clips.to(torch.get_default_dtype()).div_(255)


def standard(clips: Tensor, size: int, training: bool) -> Tensor:
    """What most methods do to a clip: a random resized crop and a mirror image in training, the centre otherwise.

    Args:
        clips: (..., T, C, H, W), floats in [0, 1].
        size: side of the result in pixels.

    Returns: (..., T, C, size, size).
    """
    return flip(crop(clips, size, scale=(0.5, 1.0))) if training else centre(clips, size)


def crop(
    clips: Tensor, size: int, scale: tuple[float, float] = (0.2, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> Tensor:
    """Random resized crop, one box for each clip.

    Args:
        clips: (..., T, C, H, W), floats in [0, 1].
        size: side of the result in pixels.
        scale: range of the box's area, as a share of the frame's.
        ratio: range of the box's width over its height, in pixels; a box that would not fit is cut to the frame.

    Returns: (..., T, C, size, size), bilinear.

    Raises:
        ValueError: if `scale` is not within (0, 1].

    Source: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6.
    """
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"scale is a range of shares of the frame, within (0, 1], but {scale} was given")
    flat = _flat(clips)
    n, height, width = len(flat), *clips.shape[-2:]
    area = _uniform(n, *scale, like=flat)
    aspect = torch.exp(_uniform(n, math.log(ratio[0]), math.log(ratio[1]), like=flat)) * height / width
    h, w = (area / aspect).sqrt().clamp(max=1), (area * aspect).sqrt().clamp(max=1)  # shares of the frame
    x, y = (1 - w) * _uniform(n, -1, 1, like=flat), (1 - h) * _uniform(n, -1, 1, like=flat)  # centres, in [-1, 1]
    return _boxes(clips, x, y, w, h, size)


def shift_crop(clips: Tensor, size: int) -> Tensor:
    """Random crop at the frame's own scale, one position for each clip; the frame's pixels stay as they are.

    Args:
        clips: (..., T, C, H, W); frames whose shorter side is under `size` are enlarged to it first.

    Returns: (..., T, C, size, size).
    """
    flat = _flat(_at_least(clips, size))
    height, width = flat.shape[-2:]
    tops = torch.randint(height - size + 1, (len(flat),), device=flat.device).tolist()
    lefts = torch.randint(width - size + 1, (len(flat),), device=flat.device).tolist()
    cut = [clip[..., top : top + size, left : left + size] for clip, top, left in zip(flat, tops, lefts, strict=True)]
    return torch.stack(cut).unflatten(0, clips.shape[:-4]) if clips.ndim > 4 else cut[0]


def centre(clips: Tensor, size: int) -> Tensor:
    """The middle `size` by `size` pixels; frames whose shorter side is under `size` are enlarged to it first.

    Args:
        clips: (..., T, C, H, W).

    Returns: (..., T, C, size, size).
    """
    clips = _at_least(clips, size)
    top, left = (clips.shape[-2] - size) // 2, (clips.shape[-1] - size) // 2
    return clips[..., top : top + size, left : left + size]


def flip(clips: Tensor, share: float = 0.5) -> Tensor:
    """Mirror a `share` of the clips left to right. Takes and returns (..., T, C, H, W)."""
    mirrored = _draw(clips, 0, 1) < share
    return torch.where(mirrored, clips.flip(-1), clips)


def light(clips: Tensor, brightness: float = 0.2, contrast: float = 0.2) -> Tensor:
    """Change brightness and contrast of each clip by random factors.

    Args:
        clips: (..., T, C, H, W), floats in [0, 1].
        brightness: the largest offset, in units of the full range.
        contrast: the largest relative change of the distance to the clip's mean.

    Returns: (..., T, C, H, W), floats in [0, 1].
    """
    mean = clips.mean((-4, -3, -2, -1), keepdim=True)
    gain, offset = _draw(clips, 1 - contrast, 1 + contrast), _draw(clips, -brightness, brightness)
    return ((clips - mean) * gain + mean + offset).clamp(0, 1)


def split_channel(clips: Tensor) -> Tensor:
    """Keep one random colour channel of each clip, three times. Takes and returns (..., T, 3, H, W).

    Source: Lee et al., "Unsupervised Representation Learning by Sorting Sequences", ICCV 2017, section 3.3.
    """
    flat = _flat(clips)
    kept = torch.randint(3, (len(flat),), device=clips.device)
    split = flat[torch.arange(len(flat), device=clips.device), :, kept]  # (n, T, H, W)
    return split.unsqueeze(-3).expand_as(flat).reshape(clips.shape)


def _flat(clips: Tensor) -> Tensor:
    return clips.reshape(-1, *clips.shape[-4:])


def _uniform(n: int, low: float, high: float, like: Tensor) -> Tensor:
    return low + (high - low) * torch.rand(n, device=like.device, dtype=like.dtype)


def _draw(clips: Tensor, low: float, high: float) -> Tensor:
    """One number for each clip, in the clips' number of dimensions."""
    return _uniform(math.prod(clips.shape[:-4]), low, high, like=clips).view(*clips.shape[:-4], 1, 1, 1, 1)


def _at_least(clips: Tensor, size: int) -> Tensor:
    height, width = clips.shape[-2:]
    if min(height, width) >= size:
        return clips
    larger = (max(size, round(height * size / min(height, width))), max(size, round(width * size / min(height, width))))
    flat = F.interpolate(clips.flatten(0, -4), larger, mode="bilinear", align_corners=False)
    return flat.unflatten(0, clips.shape[:-3])


def _boxes(clips: Tensor, x: Tensor, y: Tensor, w: Tensor, h: Tensor, size: int) -> Tensor:
    """Cut one box out of each clip: its centre (x, y) in [-1, 1], its width and height as shares of the frame."""
    flat = _flat(clips)
    zero = torch.zeros_like(x)
    boxes = torch.stack([torch.stack([w, zero, x], -1), torch.stack([zero, h, y], -1)], -2)  # (n, 2, 3)
    stacked = flat.flatten(1, 2)  # (n, T * C, H, W): one box for all frames of a clip
    grid = F.affine_grid(boxes, [len(flat), 1, size, size], align_corners=False)
    cut = F.grid_sample(stacked, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return cut.reshape(*clips.shape[:-2], size, size)
