"""Batched augmentations of clips, on any device.

A clip is (..., T, C, H, W), floats in [0, 1] (`pixels` makes them of uint8). Every function draws one set of parameters
for each leading index, so the frames of a clip are treated alike. To treat frames apart, make each its own clip:

    shift_crop(clips.unsqueeze(-4), size).squeeze(-4)  # spatial jitter: each frame is moved apart from the others
    split_channel(clips.unsqueeze(-4)).squeeze(-4)  # and shows a channel of its own

Parameters are drawn by torch's generator of the CPU, which `fit` seeds before every step, whatever the clips' device: a
seed changes clips alike everywhere, and where parameters decide what is computed, nobody waits for the device.
torchvision's transforms draw once in a call, and its functions take one factor, not one for each clip; so what is here
computes the same for a batch, and tests hold each clip against torchvision.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as vision


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
    tops = torch.randint(height - size + 1, (len(flat),)).tolist()
    lefts = torch.randint(width - size + 1, (len(flat),)).tolist()
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


def turn(clips: Tensor, angle: Tensor) -> Tensor:
    """Turn each clip about its middle; what comes from outside repeats the border.

    Args:
        clips: (N, T, C, H, W), floats in [0, 1].
        angle: (N,), radians, counter-clockwise as seen.

    Returns: (N, T, C, H, W), bilinear.
    """
    height, width = clips.shape[-2:]
    c, s = angle.to(clips.dtype).cos(), angle.to(clips.dtype).sin()
    zero = torch.zeros_like(c)
    # Where each pixel comes from, in units of half the height and half the width; y points down.
    rows = [torch.stack([c, -s * height / width, zero], -1), torch.stack([s * width / height, c, zero], -1)]
    flat = clips.flatten(1, 2)
    grid = F.affine_grid(torch.stack(rows, 1), list(flat.shape), align_corners=False)
    return F.grid_sample(flat, grid, padding_mode="border", align_corners=False).unflatten(1, clips.shape[1:3])


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


def colour(
    clips: Tensor,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
    share: float = 0.8,
) -> Tensor:
    """Change brightness, contrast, saturation and hue of a `share` of the clips, each by factors and in an order of its own.

    Args:
        clips: (..., T, 3, H, W), floats in [0, 1].
        brightness: the largest relative change of all values; 1 reaches down to black.
        contrast: the largest relative change of the distance to each frame's mean grey; 1 reaches down to plain grey.
        saturation: the largest relative change of the distance to each pixel's grey; 1 reaches down to grey pictures.
        hue: the largest turn of the colour circle, in turns: at most 0.5.
        share: of the clips that are changed.

    Returns: (..., T, 3, H, W), floats in [0, 1].

    Raises:
        ValueError: if a strength is negative, `hue` over 0.5, or there are not three colours.

    Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, appendix A;
    defaults are of its strength 0.5, as in Chen et al., "Improved Baselines with Momentum Contrastive Learning", 2020.
    """
    strengths = (brightness, contrast, saturation, hue)
    if min(strengths) < 0 or hue > 0.5:
        raise ValueError(
            f"brightness, contrast, saturation and hue are from 0 on, hue to 0.5, but {strengths} were given"
        )
    if clips.shape[-3] != 3:
        raise ValueError(
            f"clips (..., T, 3, H, W) have three colours, but got {tuple(clips.shape)}: repeat grey three times"
        )
    flat = _flat(clips).clone()
    n = len(flat)
    factors = [_uniform(n, max(0, 1 - strength), 1 + strength, like=flat) for strength in strengths[:3]]
    factors.append(_uniform(n, -hue, hue, like=flat))
    order = torch.rand(n, 4).argsort(1)  # of the four changes
    order[torch.rand(n) >= share] = -1
    changes = (_brighten, _contrast, _saturate, _turn)
    for turn in range(4):
        for i, (change, strength, factor) in enumerate(zip(changes, strengths, factors, strict=True)):
            now = _numbers(order[:, turn] == i, flat)
            if strength and len(now):
                flat[now] = change(flat[now], factor[now].view(-1, 1, 1, 1, 1))
    return flat.view(clips.shape)


def grey(clips: Tensor, share: float = 0.2) -> Tensor:
    """Take the colour out of a `share` of the clips. Takes and returns (..., T, 3, H, W)."""
    chosen = _draw(clips, 0, 1) < share
    return torch.where(chosen, vision.rgb_to_grayscale(clips, num_output_channels=3), clips)


def blur(clips: Tensor, sigma: tuple[float, float] = (0.1, 2.0), share: float | Tensor = 0.5) -> Tensor:
    """Blur a `share` of the clips with a Gaussian, each with its own width; frames are mirrored at their borders.

    Args:
        clips: (..., T, C, H, W), floats in [0, 1].
        sigma: range of the Gaussian's standard deviation, in pixels: SimCLR's for frames of 224 pixels a side. It is
            cut off at 4 times the largest.
        share: of the clips that are changed; a tensor (...) says it for each, on the CPU.

    Returns: (..., T, C, H, W), floats in [0, 1].

    Raises:
        ValueError: if `sigma` is not a range over 0.

    Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, appendix A.
    """
    if not 0 < sigma[0] <= sigma[1]:
        raise ValueError(f"sigma is a range of pixels, over 0, but {sigma} was given")
    flat = _flat(clips).clone()
    widths = _uniform(len(flat), *sigma, like=flat)
    if isinstance(share, Tensor):
        share = share.expand(clips.shape[:-4]).flatten()
    chosen = _numbers(torch.rand(len(flat)) < share, flat)
    if len(chosen):
        radius = math.ceil(4 * sigma[1])
        down, across = (_smoothing(size, widths[chosen], radius) for size in flat.shape[-2:])  # (n, size, size) each
        stacked = flat[chosen].flatten(1, 2)  # (n, T * C, H, W)
        with torch.autocast(clips.device.type, enabled=False):  # 8 bits of a bfloat16 are fewer than a pixel's
            # As products of matrices: on a CPU four times as fast as torchvision clip by clip.
            rows = (stacked.flatten(1, 2) @ across.mT).view_as(stacked)
            flat[chosen] = (down.unsqueeze(1) @ rows).unflatten(1, flat.shape[1:3]).clamp_(0, 1)
    return flat.view(clips.shape)


def solarise(clips: Tensor, share: float = 0.2) -> Tensor:
    """Turn what is brighter than half, in each colour, into its opposite, in a `share` of the clips.

    Args:
        clips: (..., T, C, H, W), floats in [0, 1].
        share: of the clips that are changed.

    Source: Grill et al., "Bootstrap Your Own Latent", NeurIPS 2020, appendix B.
    """
    chosen = _draw(clips, 0, 1) < share
    return torch.where(chosen, vision.solarize(clips, 0.5), clips)


def split_channel(clips: Tensor) -> Tensor:
    """Keep one random colour channel of each clip, three times. Takes and returns (..., T, 3, H, W).

    Source: Lee et al., "Unsupervised Representation Learning by Sorting Sequences", ICCV 2017, section 3.3.
    """
    flat = _flat(clips)
    kept = torch.randint(3, (len(flat),)).to(clips.device, non_blocking=True)
    split = flat[torch.arange(len(flat), device=clips.device), :, kept]  # (n, T, H, W)
    return split.unsqueeze(-3).expand_as(flat).reshape(clips.shape)


def _flat(clips: Tensor) -> Tensor:
    return clips.reshape(-1, *clips.shape[-4:])


def _uniform(n: int, low: float, high: float, like: Tensor) -> Tensor:
    return (low + (high - low) * torch.rand(n, dtype=like.dtype)).to(like.device, non_blocking=True)


def _draw(clips: Tensor, low: float, high: float) -> Tensor:
    """One number for each clip, in the clips' number of dimensions."""
    return _uniform(math.prod(clips.shape[:-4]), low, high, like=clips).view(*clips.shape[:-4], 1, 1, 1, 1)


def _numbers(chosen: Tensor, clips: Tensor) -> Tensor:
    """Which clips are chosen, by number, on their device: from (n,) bool on the CPU."""
    return chosen.nonzero()[:, 0].to(clips.device, non_blocking=True)


def _brighten(clips: Tensor, factor: Tensor) -> Tensor:
    return (clips * factor).clamp_(0, 1)


def _contrast(clips: Tensor, factor: Tensor) -> Tensor:
    mean = vision.rgb_to_grayscale(clips).mean((-3, -2, -1), keepdim=True)  # of each frame
    return torch.lerp(mean, clips, factor).clamp_(0, 1)


def _saturate(clips: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(vision.rgb_to_grayscale(clips), clips, factor).clamp_(0, 1)


def _turn(clips: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue, as it is in the HSV space, by so many turns of the circle."""
    red, green, blue = clips.unbind(-3)
    top, low = clips.amax(-3), clips.amin(-3)
    chroma = top - low
    divisor = torch.where(chroma == 0, 1, chroma)  # grey has no hue, and none is seen in the result
    sixths = torch.where(top == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
    sixths = torch.where(top == red, (green - blue) / divisor, sixths) + 6 * turns.squeeze(-1)
    channels = []
    for offset in (5, 3, 1):  # red, green and blue run through the circle alike, a third of it apart
        k = (sixths + offset).remainder(6)
        channels.append(top - chroma * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.stack(channels, -3)


def _smoothing(size: int, sigma: Tensor, radius: int) -> Tensor:
    """Matrices that smooth `size` values in a row with Gaussians of standard deviation `sigma` (n,): (n, size, size)."""
    radius = min(radius, size - 1)  # so far a row can be mirrored
    offsets = torch.arange(-radius, radius + 1, device=sigma.device)
    weights = torch.exp(-0.5 * (offsets / sigma.unsqueeze(1)) ** 2)
    weights = weights / weights.sum(1, keepdim=True)  # (n, 2 * radius + 1)
    read = (torch.arange(size, device=sigma.device).unsqueeze(1) + offsets).abs()
    read = size - 1 - (size - 1 - read).abs()  # mirrored at the first and the last value
    matrices = torch.zeros(len(sigma), size, size, device=sigma.device, dtype=sigma.dtype)
    return matrices.scatter_add_(2, read.expand(len(sigma), -1, -1), weights.unsqueeze(1).expand(-1, size, -1))


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
    with torch.autocast(clips.device.type, enabled=False):  # in 16 bits, places would be off by pixels
        grid = F.affine_grid(boxes, [len(flat), 1, size, size], align_corners=False)
        cut = F.grid_sample(stacked, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return cut.reshape(*clips.shape[:-2], size, size)
