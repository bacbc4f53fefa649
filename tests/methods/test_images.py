import numpy as np
import pytest
import torch
from torch import nn

from videossl.methods.images import Dense, Painter, frozen, judging_layers, map_shape, one_frame, some_frames
from videossl.models.base import Trunk


def test_any_frame_of_a_video_is_drawn_and_the_only_one_of_an_image(counting):
    seen = {one_frame(counting(5), np.random.default_rng(seed))[0, 0, 0, 0].item() for seed in range(100)}
    assert seen == set(range(5))
    image = {"frames": torch.full((1, 3, 4, 6), 7, dtype=torch.uint8)}
    assert torch.equal(one_frame(image, np.random.default_rng(0)), image["frames"])
    with pytest.raises(ValueError, match=r"three colours, but got \(1, 4, 6\): repeat grey three times"):
        one_frame({"frames": image["frames"][:, :1]}, np.random.default_rng(0))


def test_grey_records_are_refused_where_colours_are_needed(counting):
    with pytest.raises(ValueError, match="none of the 3 pictures looked at has colours"):
        some_frames([counting(30)] * 3, 8)
    coloured = counting(30)["frames"].clone()
    coloured[:, 2] = 200
    assert len(some_frames([counting(30), {"frames": coloured}], 8)) == 2
    with pytest.raises(ValueError, match="has colours"):
        some_frames([{"frames": torch.zeros(1, 1, 4, 4, dtype=torch.uint8)}], 8)


@pytest.mark.parametrize("size", [3, 4, 8, 16, 48, 64, 90, 227])
def test_a_painter_paints_any_size(size):
    assert Painter(5, size, 4)(torch.rand(2, 5)).shape == (2, 3, size, size)


@pytest.mark.parametrize("size", [2, 3, 6, 24, 56])
def test_maps_become_values_for_each_place_of_any_number(size):
    assert Dense((7, 6, 6), size, 4, 11)(torch.rand(2, 7, 6, 6)).shape == (2, 11, size, size)


@pytest.mark.parametrize("size", [2, 3, 8, 13, 64])
def test_a_judge_tells_how_many_numbers_it_gives(size):
    layers, numbers = judging_layers(size, 4)
    assert layers(torch.rand(2, 3, size, size)).shape == (2, numbers)


def test_a_frozen_net_passes_gradients_on_and_gets_none():
    net, inputs = (
        nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
        torch.rand(5, 3, requires_grad=True),
    )
    torch.testing.assert_close(frozen(net, inputs), net(inputs))
    frozen(net, inputs).square().sum().backward()
    assert inputs.grad.abs().sum() > 0 and all(weight.grad is None for weight in net.parameters())


def test_a_trunk_without_maps_cannot_be_painted_from():
    trunk = Trunk(4, 1, 16, (16, 16), colours=((0.5,) * 3, (0.25,) * 3))
    with pytest.raises(ValueError, match=r"Colourisation paints from feature maps, .* Trunk has none"):
        map_shape(trunk, "Colourisation")
