import pytest
import torch

from videossl.methods.mask_feat import MaskFeat
from videossl.methods.masks import gradients
from videossl.models.vit import ViT


def test_each_places_histograms_are_those_of_its_four_cells(tokens):
    net = MaskFeat().build(tokens())
    clips = torch.rand(2, 1, 3, 16, 16)
    found = net.histograms(clips)
    assert found.shape == (2, 16, 108)
    cells = gradients(clips[:, 0], 9, 2)  # (2, 8, 8, 27)
    assert torch.equal(found[1, 6], cells[1, 2:4, 4:6].flatten())  # row 1, column 2


def test_a_tubelets_are_those_of_its_middle_frame():
    net = MaskFeat(length=4).build(ViT(width=24, depth=1, heads=2, patch=4, size=16, length=4, tubelet=2).build())
    clips = torch.rand(1, 4, 3, 16, 16)
    found = net.histograms(clips)
    assert found.shape == (1, 32, 108)
    assert torch.equal(found[0, 16], gradients(clips[:, 3], 9, 2)[0, :2, :2].flatten())
    assert net({"clips": clips})[0] > 0
    with pytest.raises(ValueError, match="a patch of 2 pixels has no 2 x 2 cells"):
        MaskFeat().build(ViT(width=24, depth=1, heads=2, patch=2, size=16).build())
