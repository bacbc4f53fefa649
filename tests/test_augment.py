import pytest
import torch

from videossl import augment


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def ramp(*shape):
    """Clips whose pixel at column x is x, in every row, frame and channel."""
    return torch.arange(shape[-1], dtype=torch.float).expand(shape).clone()


def test_pixels_are_bytes_over_255():
    assert torch.equal(augment.pixels(torch.tensor([0, 51, 255], dtype=torch.uint8)), torch.tensor([0, 0.2, 1.0]))
    floats = torch.rand(3)
    assert augment.pixels(floats) is floats


@pytest.mark.parametrize(
    "change",
    [
        lambda clips: augment.crop(clips, 8),
        lambda clips: augment.shift_crop(clips, 8),
        augment.flip,
        augment.light,
        augment.split_channel,
        lambda clips: augment.standard(clips, 8, True),
    ],
)
def test_frames_of_a_clip_are_treated_alike_and_clips_apart(change):
    frame = torch.rand(3, 12, 14)
    clips = frame.expand(4, 5, 6, 3, 12, 14)  # (B, K, T, C, H, W), all the same picture
    changed = change(clips)
    assert changed.shape[:4] == (4, 5, 6, 3)
    assert torch.allclose(changed, changed[:, :, :1].expand_as(changed), atol=1e-6)
    apart = changed[:, :, 0].flatten(0, 1)
    assert len({tuple(clip.flatten()[:40].tolist()) for clip in apart}) > 1


def test_frames_are_treated_apart_where_each_is_its_own_clip():
    frame = torch.rand(3, 12, 14)
    frames = augment.shift_crop(frame.expand(9, 1, 3, 12, 14), 8).squeeze(1)
    assert len({tuple(f.flatten()[:40].tolist()) for f in frames}) > 1


def test_a_shifted_crop_is_pixels_of_the_frame():
    cut = augment.shift_crop(ramp(200, 2, 3, 10, 14), 6)
    assert torch.equal(cut[..., 1:] - cut[..., :-1], torch.ones_like(cut[..., 1:]))
    assert cut[..., 0].unique().tolist() == [float(x) for x in range(9)]  # every position comes up


def test_a_crop_at_full_scale_of_a_square_is_the_frame_resized():
    clips = torch.rand(2, 3, 3, 16, 16)
    assert torch.allclose(augment.crop(clips, 16, scale=(1, 1), ratio=(1, 1)), clips, atol=1e-5)


def test_crop_areas_fill_the_range_asked_for():
    cut = augment.crop(ramp(500, 1, 1, 64, 64), 32, scale=(0.25, 0.25), ratio=(1, 1))
    widths = cut[..., -1] - cut[..., 0]  # a box of half the width spans 32 columns, less one of its 32 pixels
    assert torch.allclose(widths, torch.full_like(widths, 31.0), atol=1e-3)
    with pytest.raises(ValueError, match="shares of the frame"):
        augment.crop(ramp(1, 1, 1, 8, 8), 4, scale=(0.5, 2))


def test_the_centre_is_the_centre_and_small_frames_are_enlarged():
    assert augment.centre(ramp(1, 1, 1, 10, 14), 6)[0, 0, 0, 0].tolist() == [4, 5, 6, 7, 8, 9]
    assert augment.centre(torch.rand(2, 4, 3, 5, 9), 8).shape == (2, 4, 3, 8, 8)
    clips = torch.rand(2, 3, 3, 12, 12)
    assert torch.equal(augment.standard(clips, 8, training=False), augment.centre(clips, 8))


def test_half_of_the_clips_are_mirrored():
    clips = ramp(1000, 1, 1, 4, 4)
    mirrored = augment.flip(clips)[:, 0, 0, 0, 0] == 3
    assert 420 < mirrored.sum() < 580
    assert torch.equal(augment.flip(clips, 0.0), clips)


def test_light_keeps_the_range_and_no_change_is_no_change():
    clips = torch.rand(8, 2, 3, 6, 6)
    changed = augment.light(clips, 0.5, 0.5)
    assert changed.min() >= 0 and changed.max() <= 1
    assert torch.allclose(augment.light(clips, 0, 0), clips, atol=1e-6)


def test_a_split_channel_is_one_of_the_three():
    clips = torch.rand(60, 2, 3, 4, 4)
    split = augment.split_channel(clips)
    assert torch.equal(split[:, :, 0], split[:, :, 2])
    kept = [next(c for c in range(3) if torch.equal(split[i, :, 0], clips[i, :, c])) for i in range(60)]
    assert set(kept) == {0, 1, 2}
