"""CIE Lab, in which lightness and colour lie apart, and the colours (a, b) that a screen can show as classes.

Source: of the classes, Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016, section 2; Lab is CIE 1976 of
sRGB's primaries under D65 (IEC 61966-2-1).
"""

from functools import lru_cache

import numpy as np
import torch
from scipy.spatial import Delaunay
from torch import Tensor

XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))  # of linear RGB
WHITE = (0.950456, 1.0, 1.088754)  # D65, in XYZ
KNEE = 6 / 29  # of Lab's cube root, under which it goes on in a line
COLOURED = 5.0  # how far from grey, in a or b, a colour lies that counts as one (the authors' release)


def rgb_to_lab(pictures: Tensor) -> Tensor:
    """sRGB (..., 3, H, W), in [0, 1], to lightness in [0, 100] and a and b in about [-110, 110], in the same shape."""
    linear = torch.where(pictures > 0.04045, ((pictures.clamp(min=0) + 0.055) / 1.055) ** 2.4, pictures / 12.92)
    xyz = _mixed(linear, torch.tensor(XYZ) / torch.tensor(WHITE)[:, None])
    root = torch.where(xyz > KNEE**3, xyz.clamp(min=KNEE**3) ** (1 / 3), xyz / (3 * KNEE**2) + 4 / 29)
    x, y, z = root.unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -3)


def lab_to_rgb(pictures: Tensor) -> Tensor:
    """What `rgb_to_lab` was given, from what it gave; colours that no screen shows are cut to [0, 1]."""
    lightness, a, b = pictures.unbind(-3)
    y = (lightness + 16) / 116
    root = torch.stack([y + a / 500, y, y - b / 200], -3)
    xyz = torch.where(root > KNEE, root**3, 3 * KNEE**2 * (root - 4 / 29))
    linear = _mixed(xyz, torch.linalg.inv(torch.tensor(XYZ, dtype=torch.double)).float() * torch.tensor(WHITE))
    return torch.where(
        linear > 0.0031308, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055, 12.92 * linear
    ).clamp(0, 1)


def _mixed(pictures: Tensor, matrix: Tensor) -> Tensor:
    """Each pixel's three values times a matrix (3, 3); sums, since products of matrices are rounded to 16 bits in autocast."""
    rows = matrix.to(pictures)[..., None, None]  # (3, 3, 1, 1)
    return (rows * pictures.unsqueeze(-4)).sum(-3)


def coloured(pictures: Tensor) -> Tensor:
    """Whether there is any colour in pictures in Lab: (..., 3, H, W) to (...), bool."""
    return (pictures[..., 1:, :, :].abs() > COLOURED).flatten(-3).any(-1)


@lru_cache(maxsize=8)
def colour_bins(step: int = 10) -> Tensor:
    """Colours (a, b) on a grid, that lie in what sRGB can show or beside it: (Q, 2), in ascending order of a, then b.

    Those inside the convex hull of the cube's colours, and their 8 neighbours: with steps of 10, these are the paper's 313.
    """
    values = torch.linspace(0, 1, 33)
    cube = torch.stack(torch.meshgrid(values, values, values, indexing="ij")).view(3, 1, -1)
    shown = rgb_to_lab(cube)[1:, 0].T.double().numpy()
    side = np.arange(-130 // step, 130 // step + 1)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), -1)
    inside = np.pad(Delaunay(shown).find_simplex(grid * float(step)) >= 0, 1)
    size = len(side)
    near = np.any([inside[i : i + size, j : j + size] for i in range(3) for j in range(3)], 0)
    return torch.from_numpy(grid[near] * step).float()


def soft_code(colours: Tensor, bins: Tensor, neighbours: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Colours as shares of their nearest classes, which fall with the distance as a Gaussian does.

    Args:
        colours: (..., 2), a and b.
        bins: (Q, 2).
        neighbours: classes that have a share.
        sigma: of the Gaussian, in units of a and b.

    Returns: numbers of the classes, the nearest first, and their shares: (..., neighbours) both.
    """
    squared = (colours.unsqueeze(-2) - bins).square().sum(-1)  # (..., Q)
    nearest, numbers = squared.topk(neighbours, -1, largest=False)
    return numbers, torch.softmax(-nearest / (2 * sigma**2), -1)


def annealed_mean(logits: Tensor, bins: Tensor, temperature: float) -> Tensor:
    """The colour that a distribution stands for: its mean, once it was sharpened.

    Args:
        logits: (N, Q, H, W) of the classes.
        bins: (Q, 2).
        temperature: 1 is the mean, near 0 the most likely class; the paper's 0.38 lies between.

    Returns: (N, 2, H, W), a and b.
    """
    with torch.autocast(logits.device.type, enabled=False):  # 8 bits would round colours to whole units
        shares = torch.softmax(logits.float() / temperature, 1)
        return torch.einsum("nqhw,qc->nchw", shares, bins.float())
