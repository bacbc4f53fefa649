import cv2
import numpy as np
import pytest
import torch

from videossl.lab import annealed_mean, colour_bins, coloured, lab_to_rgb, rgb_to_lab, soft_code

# The 313 colours of the release (resources/pts_in_hull.npy): for each a the lowest and the highest b, in steps of 10.
PUBLISHED = {
    -90: (50, 90), -80: (20, 90), -70: (0, 90), -60: (-20, 90), -50: (-30, 100), -40: (-40, 100), -30: (-50, 100),
    -20: (-50, 100), -10: (-60, 100), 0: (-70, 100), 10: (-80, 90), 20: (-80, 90), 30: (-90, 90), 40: (-100, 90),
    50: (-100, 80), 60: (-110, 80), 70: (-110, 80), 80: (-110, 70), 90: (-110, 70), 100: (-90, 0),
}  # fmt: skip


def test_lab_is_opencvs_and_comes_back():
    pictures = torch.rand(2, 3, 16, 16)
    for picture, lab in zip(pictures, rgb_to_lab(pictures), strict=True):
        theirs = cv2.cvtColor(picture.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2LAB)  # which looks roots up in a table
        np.testing.assert_allclose(lab.permute(1, 2, 0).numpy(), theirs, atol=0.5)
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(pictures)), pictures, atol=1e-4, rtol=0)


def test_lab_of_known_colours():
    colours = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]]).view(4, 3, 1, 1)
    known = torch.tensor([[100.0, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]])
    torch.testing.assert_close(rgb_to_lab(colours).flatten(1), known, atol=0.05, rtol=0)


def test_the_classes_are_the_published_313():
    expected = [[a, b] for a, (low, high) in PUBLISHED.items() for b in range(low, high + 1, 10)]
    assert colour_bins().tolist() == expected and len(expected) == 313


def test_every_colour_lies_near_a_class():
    cube = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, 16)] * 3, indexing="ij")).view(3, 1, -1)
    colours = rgb_to_lab(cube)[1:, 0].T
    for step in (10, 20):
        nearest = torch.cdist(colours, colour_bins(step)).amin(1)
        assert nearest.max() <= step * 2**0.5 / 2 + 1e-3


def test_a_soft_code_is_shared_by_the_nearest_as_a_gaussian_says():
    bins, colours = colour_bins(), torch.rand(7, 2) * 80 - 40
    numbers, shares = soft_code(colours, bins, 5, 5.0)
    torch.testing.assert_close(shares.sum(-1), torch.ones(7))
    for colour, near, share in zip(colours, numbers, shares, strict=True):
        squared = (bins - colour).square().sum(1)
        chosen = squared.argsort()[:5]
        weights = torch.exp(-squared[chosen] / 50)
        torch.testing.assert_close(share, weights / weights.sum(), atol=1e-4, rtol=1e-3)
        assert near[0] == chosen[0] and share.argmax() == 0


@pytest.mark.parametrize("bins", [colour_bins()])
def test_the_annealed_mean_lies_between_the_mean_and_the_mode(bins):
    logits = torch.rand(2, len(bins), 3, 3).argsort(1) / 100  # no two of them are all but alike
    mean = torch.einsum("nqhw,qc->nchw", logits.softmax(1), bins)
    mode = bins[logits.argmax(1)].movedim(-1, 1)
    torch.testing.assert_close(annealed_mean(logits, bins, 1.0), mean)
    torch.testing.assert_close(annealed_mean(logits, bins, 1e-4), mode, atol=1e-2, rtol=0)
    between = annealed_mean(logits, bins, 0.38)
    assert not torch.allclose(between, mean) and not torch.allclose(between, mode)


def test_grey_pictures_have_no_colour():
    grey = torch.rand(2, 1, 4, 4).expand(-1, 3, -1, -1)
    spot = grey.clone()
    spot[1, 0, 2, 2] = 1 - spot[1, 0, 2, 2].round()
    assert coloured(rgb_to_lab(grey)).tolist() == [False, False]
    assert coloured(rgb_to_lab(spot)).tolist() == [False, True]
