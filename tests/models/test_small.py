import pytest
import torch
from torch.nn import functional as F

from videossl.models.small import Small


def test_one_frame_makes_it_a_frame_trunk():
    clip, frame = Small().build().eval(), Small(length=1).build().eval()
    clips = torch.rand(1, 16, 3, 48, 48)
    with torch.no_grad():
        assert clip.maps(clips).shape == (1, 128, 2, 6, 6)
        assert frame.maps(clips).shape == (1, 128, 16, 6, 6)


@pytest.mark.parametrize("width", [8, 16])
def test_weights_are_as_many_as_the_layers_need(width):
    channels = [3, width, 2 * width, 4 * width, 8 * width]
    for length, kernel in ((16, 27), (1, 9)):
        trunk = Small(length, width).build()
        counted = sum(kernel * channels[i] * channels[i + 1] + 2 * channels[i + 1] for i in range(4))
        assert sum(weight.numel() for weight in trunk.parameters()) == counted
        assert trunk.dim == 8 * width * 2**2 and Small(length, width, grid=1).build().dim == 8 * width


def test_frames_are_scaled_to_leave_room_around_the_crop():
    assert Small(size=48).build().resize == (55, 73)
    assert Small(size=112).build().resize == (128, 171)  # C3D's


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match="counts from 1"):
        Small(length=0).build()


def test_it_learns_which_way_a_square_moves():
    torch.manual_seed(0)
    trunk = Small(length=8, width=8, size=24).build()
    head = torch.nn.Linear(trunk.dim, 2)
    optimiser = torch.optim.AdamW([*trunk.parameters(), *head.parameters()], lr=3e-3)

    def batch(n):
        rightwards, top, start = torch.randint(2, (n,)), torch.randint(18, (n,)), torch.randint(11, (n,))
        clips = 0.1 * torch.rand(n, 8, 3, 24, 24)
        for i in range(n):
            for t in range(8):
                left = start[i] + (t if rightwards[i] else 7 - t)
                clips[i, t, :, top[i] : top[i] + 6, left : left + 6] += 0.8
        return clips, rightwards

    for _ in range(60):
        clips, answer = batch(16)
        optimiser.zero_grad()
        F.cross_entropy(head(trunk(clips)), answer).backward()
        optimiser.step()
    trunk.eval()
    clips, answer = batch(64)
    assert (head(trunk(clips)).argmax(1) == answer).float().mean() > 0.9
