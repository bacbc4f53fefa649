from types import SimpleNamespace

import numpy as np
import pytest
import torch

from videossl.evaluation.views import Views

FRAME, CLIP = SimpleNamespace(length=1, size=224), SimpleNamespace(length=16, size=112)  # what views ask of a trunk


def counting(frames: int, height: int = 8, width: int = 8) -> torch.Tensor:
    return torch.arange(frames, dtype=torch.uint8)[:, None, None, None].expand(frames, 3, height, width)


def test_a_frame_trunk_sees_25_frames_with_10_crops_and_a_clip_trunk_10_clips():
    assert Views().resolved(FRAME) == Views(clips=25, length=1, crops=10, size=224)
    assert Views().resolved(CLIP) == Views(clips=10, length=16, crops=1, size=112)


def test_what_is_given_is_not_left_to_the_trunk():
    given = Views(clips=3, length=8, stride=2, crops=10, size=32)
    assert given.resolved(CLIP) == given


def test_resolving_twice_changes_nothing():
    assert Views().resolved(FRAME).resolved(CLIP) == Views().resolved(FRAME)


def test_250_views_of_a_frame_trunks_video():
    views = Views(size=4).resolved(FRAME)
    clips = counting(100)[views.indices(100)]
    assert clips.shape == (25, 1, 3, 8, 8)
    assert views.crop(clips.float()).shape == (250, 1, 3, 4, 4)


@pytest.mark.parametrize("frames", [16, 17, 25, 61, 100, 254])
def test_clips_are_those_of_the_formula_from_the_first_frame_to_the_last(frames):
    clips = counting(frames)[Views().resolved(CLIP).indices(frames)][:, :, 0, 0, 0].int()
    for i, clip in enumerate(clips.tolist()):
        start = i * (frames - 16) // 9
        assert clip == list(range(start, start + 16))
    assert clips[0, 0] == 0 and clips[-1, -1] == frames - 1


def test_clips_are_those_of_the_published_code():
    """retrieve_clips.py of xudejing/video-clip-order-prediction: int(centre - 8), centres evenly spaced."""
    theirs = [int(centre - 8) for centre in np.linspace(8, 161 - 8, 10)]
    assert Views().resolved(CLIP).indices(161)[:, 0].tolist() == theirs


def test_frames_of_a_frame_trunk_run_from_first_to_last_and_repeat_where_there_are_fewer():
    views = Views().resolved(FRAME)
    assert views.indices(25)[:, 0].tolist() == list(range(25))
    assert views.indices(49)[:, 0].tolist() == list(range(0, 49, 2))
    few = views.indices(10)[:, 0].tolist()
    assert len(few) == 25 and set(few) == set(range(10)) and few == sorted(few)


def test_one_clip_is_the_middle_one():
    assert Views(clips=1).resolved(CLIP).indices(36).tolist() == [list(range(10, 26))]


def test_stride_is_from_one_frame_to_the_next():
    clips = Views(clips=2, length=4, stride=3).resolved(CLIP).indices(20)
    assert clips.tolist() == [[0, 3, 6, 9], [10, 13, 16, 19]]


@pytest.mark.parametrize("frames", range(1, 17))
def test_a_video_shorter_than_a_clip_is_looped(frames):
    clips = Views().resolved(CLIP).indices(frames)
    assert clips.shape == (10, 16)
    assert (clips == np.arange(16) % frames).all()


def test_a_video_without_frames_is_an_error():
    with pytest.raises(ValueError, match="no frames"):
        Views().resolved(CLIP).indices(0)


def test_the_ten_crops_are_four_corners_and_the_centre_and_their_mirror_images():
    clips = torch.rand(2, 3, 3, 7, 9)
    crops = Views(clips=2, length=3, crops=10, size=4).crop(clips).view(2, 10, 3, 3, 4, 4)
    places = [(0, 0), (0, 5), (3, 0), (3, 5), (1, 2)]
    for v in range(2):
        for i, (y, x) in enumerate(places):
            cut = clips[v, :, :, y : y + 4, x : x + 4]
            assert torch.equal(crops[v, i], cut)
            assert torch.equal(crops[v, 5 + i], torch.flip(cut, [-1]))


def test_five_crops_are_the_ten_without_their_mirror_images():
    clips = torch.rand(2, 3, 3, 7, 9)
    five, ten = (Views(clips=2, length=3, crops=crops, size=4).crop(clips) for crops in (5, 10))
    assert torch.equal(five.view(2, 5, 3, 3, 4, 4), ten.view(2, 10, 3, 3, 4, 4)[:, :5])


@pytest.mark.parametrize(
    ("height", "width", "places"), [(5, 10, [(0, 0), (0, 3), (0, 6)]), (10, 6, [(0, 0), (3, 0), (6, 0)])]
)
def test_three_crops_lie_along_the_longer_side(height, width, places):
    clips = torch.rand(2, 1, 3, height, width)
    crops = Views(crops=3, size=4).crop(clips).view(2, 3, 1, 3, 4, 4)
    across = (min(height, width) - 4) // 2
    for n, (y, x) in enumerate(places):
        y, x = (across, x) if width > height else (y, across)
        assert torch.equal(crops[:, n], clips[..., y : y + 4, x : x + 4])


def test_clips_every_few_frames_are_as_many_as_fit():
    views = Views(length=4, every=3).resolved(CLIP)
    assert views.clips is None
    assert views.indices(11)[:, 0].tolist() == [0, 3, 6] and views.indices(4)[:, 0].tolist() == [0]
    assert views.indices(2).tolist() == [[0, 1, 0, 1]]
    with pytest.raises(ValueError, match="give one of the two"):
        Views(clips=3, every=3)


def test_videos_that_a_protocol_leaves_out_say_so():
    with pytest.raises(ValueError, match="has 63 frames, and this protocol leaves out videos under 64"):
        Views(shortest=64).resolved(CLIP).indices(63)
    assert len(Views(shortest=64).resolved(CLIP).indices(64)) == 10


def test_one_crop_is_the_centre():
    clips = torch.rand(2, 3, 3, 8, 10)
    assert torch.equal(Views(crops=1, size=4).crop(clips), clips[..., 2:6, 3:7])


def test_frames_smaller_than_the_crop_are_enlarged():
    crops = Views(crops=10, size=16).crop(torch.full((2, 1, 3, 8, 12), 0.25))
    assert crops.shape == (20, 1, 3, 16, 16) and torch.allclose(crops, torch.tensor(0.25))


@pytest.mark.parametrize("wrong", [{"clips": 0}, {"length": 0}, {"stride": 0}, {"size": 0}, {"crops": 4}, {"every": 0}])
def test_views_that_cannot_be_are_an_error(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} of Views"):
        Views(**wrong)
