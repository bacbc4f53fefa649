import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as vision

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
        augment.colour,
        augment.grey,
        augment.blur,
        augment.solarise,
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


def test_frames_are_jittered_and_split_apart_as_the_module_says():
    clips = ramp(4, 2, 5, 3, 10, 14)  # (B, K, T, C, H, W)
    clips[..., 1, :, :] += 100
    clips[..., 2, :, :] += 200
    moved = augment.shift_crop(clips.unsqueeze(-4), 10).squeeze(-4)
    assert moved.shape == (4, 2, 5, 3, 10, 10)
    lefts = moved[..., 0, 0, 0]  # of each frame
    assert lefts.unique().tolist() == [0, 1, 2, 3, 4] and (lefts != lefts[..., :1]).any(-1).all()
    split = augment.split_channel(clips.unsqueeze(-4)).squeeze(-4)
    assert torch.equal(split[..., 0, :, :], split[..., 2, :, :])
    kept = split[..., 0, 0, 0]
    assert kept.unique().tolist() == [0, 100, 200] and (kept != kept[..., :1]).any(-1).sum() > 4


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


def test_a_quarter_turn_is_numpys_and_each_clip_turns_by_its_own_angle():
    clips = torch.rand(3, 2, 3, 9, 9)
    turned = augment.turn(clips, torch.tensor([0.0, np.pi / 2, np.pi]))
    for clip, result, quarters in zip(clips, turned, (0, 1, 2), strict=True):
        assert torch.allclose(result, clip.rot90(quarters, (-2, -1)), atol=1e-5)
    wide = torch.zeros(1, 1, 1, 21, 41)
    wide[..., 10, 30] = 1  # 10 pixels to the right of the middle, and then 10 above it
    assert augment.turn(wide, torch.tensor([np.pi / 2]))[0, 0, 0, 0, 20] > 0.99


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


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn evenly from a range is kept here, in order."""
    draws, original = [], augment._uniform

    def kept(*args, **names):
        draws.append(original(*args, **names))
        return draws[-1]

    monkeypatch.setattr(augment, "_uniform", kept)
    return draws


def assert_alike(clips, expected):
    torch.testing.assert_close(clips, torch.stack(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("strength", "theirs"),
    [
        ("brightness", vision.adjust_brightness),
        ("contrast", vision.adjust_contrast),
        ("saturation", vision.adjust_saturation),
        ("hue", vision.adjust_hue),
    ],
)
def test_each_change_of_colour_is_torchvisions_with_a_factor_for_each_clip(drawn, strength, theirs):
    clips = torch.rand(20, 3, 3, 9, 11)
    clips[0] = clips[0, :, :1]  # without colour
    clips[1, :, 1] = clips[1, :, 0]  # two largest or smallest channels
    none = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    changed = augment.colour(clips, **{**none, strength: 0.5}, share=1)
    factors = drawn[list(none).index(strength)].tolist()
    assert len(set(factors)) == 20
    assert_alike(changed, [theirs(clip, factor) for clip, factor in zip(clips, factors, strict=True)])


def test_each_clip_has_an_order_of_its_own_for_the_four_changes(drawn, monkeypatch):
    orders, original = [], torch.Tensor.argsort
    monkeypatch.setattr(torch.Tensor, "argsort", lambda *args: orders.append(original(*args)) or orders[-1].clone())
    clips = torch.rand(2, 15, 2, 3, 7, 6)
    changed = augment.colour(clips, 0.8, 0.8, 0.8, 0.2, share=1)
    theirs = (vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation, vision.adjust_hue)
    (order,) = orders
    assert len({tuple(row) for row in order.tolist()}) > 10
    expected = list(clips.flatten(0, 1))
    for i, row in enumerate(order.tolist()):
        for k in row:
            expected[i] = theirs[k](expected[i], drawn[k][i].item())
    assert_alike(changed.flatten(0, 1), expected)


def test_a_blur_is_torchvisions_with_a_width_for_each_clip(drawn):
    clips = torch.rand(10, 2, 3, 20, 23)
    changed = augment.blur(clips, (0.1, 2.0), share=1)
    widths = drawn[0].tolist()
    assert_alike(changed, [vision.gaussian_blur(c, [17, 17], [w, w]) for c, w in zip(clips, widths, strict=True)])
    assert augment.blur(torch.rand(2, 1, 3, 3, 1), share=1).shape == (2, 1, 3, 3, 1)  # smaller than the Gaussian


def test_grey_is_torchvisions():
    clips = torch.rand(3, 2, 3, 5, 6)
    assert_alike(augment.grey(clips, share=1), [vision.rgb_to_grayscale(clip, 3) for clip in clips])


def test_solarising_turns_what_is_bright_into_its_opposite():
    clips = torch.tensor([0.0, 0.2, 0.49, 0.5, 0.8, 1.0]).expand(2, 1, 3, 1, 6)
    changed = augment.solarise(clips, share=1)
    assert_alike(changed, [vision.solarize(clip, 0.5) for clip in clips])
    assert torch.allclose(changed[0, 0, 0, 0], torch.tensor([0.0, 0.2, 0.49, 0.5, 0.2, 0.0]))


def test_a_share_may_be_said_for_each_clip():
    clips = torch.rand(200, 2, 1, 3, 6, 6)
    changed = (augment.blur(clips, (0.5, 2.0), torch.tensor([1.0, 0.1])) != clips).flatten(2).any(2).float().mean(0)
    assert changed[0] == 1 and 0.02 < changed[1] < 0.2


def soft(clips, share):
    return augment.blur(clips, (0.5, 2.0), share)


SHARED_OUT = [augment.colour, augment.grey, augment.solarise, soft]  # each to a share of the clips


@pytest.mark.parametrize("change", SHARED_OUT)
def test_the_share_of_clips_is_changed_and_the_others_are_as_they_were(change):
    clips = torch.rand(400, 1, 3, 4, 5)
    before = clips.clone()
    for share in (0, 0.3, 1):
        changed = (change(clips, share=share) != clips).flatten(1).any(1)
        assert abs(changed.float().mean().item() - share) <= (0.1 if share == 0.3 else 0)
    assert torch.equal(clips, before)


@pytest.mark.parametrize("change", SHARED_OUT)
@pytest.mark.parametrize("leading", [(), (4,), (2, 3), (2, 1, 3)])
def test_any_number_of_leading_indices_and_the_range_of_pixels(change, leading):
    clips = torch.rand(*leading, 2, 3, 9, 8)
    changed = change(clips, share=1)
    assert changed.shape == clips.shape and changed.dtype == clips.dtype
    assert changed.min() >= 0 and changed.max() <= 1


def test_strong_changes_of_colour_keep_the_range_of_pixels():
    changed = augment.colour(torch.rand(200, 1, 3, 5, 5), 1, 1, 1, 0.5, share=1)
    assert changed.min() >= 0 and changed.max() <= 1


def test_no_strength_is_no_change_and_a_wrong_one_is_refused():
    clips = torch.rand(8, 2, 3, 6, 6)
    assert torch.equal(augment.colour(clips, 0, 0, 0, 0, share=1), clips)
    assert torch.allclose(augment.blur(clips, (1e-3, 1e-3), share=1), clips, atol=1e-6)
    with pytest.raises(ValueError, match="hue to"):
        augment.colour(clips, hue=0.6)
    with pytest.raises(ValueError, match="from 0 on"):
        augment.colour(clips, contrast=-0.1)
    with pytest.raises(ValueError, match=r"three colours, but got \(8, 2, 1, 6, 6\)"):
        augment.colour(clips[:, :, :1])
    with pytest.raises(ValueError, match="sigma is a range"):
        augment.blur(clips, (2.0, 1.0))


def everything(clips):
    clips = augment.blur(augment.grey(augment.colour(augment.light(clips))))
    return augment.split_channel(augment.shift_crop(augment.standard(clips, 12, True), 10))


def test_a_seed_fixes_all_that_is_drawn():
    clips = torch.rand(6, 2, 3, 14, 15)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(everything(clips))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_mixed_precision_does_not_reach_the_pixels():
    clips = torch.rand(6, 2, 3, 14, 15)
    torch.manual_seed(1)
    whole = everything(clips)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(everything(clips), whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_seed_changes_clips_alike_on_a_gpu():
    clips = torch.rand(6, 2, 3, 14, 15)
    torch.manual_seed(1)
    here = everything(clips)
    torch.manual_seed(1)
    torch.testing.assert_close(everything(clips.cuda()).cpu(), here, atol=1e-4, rtol=0)
