"""What is hidden, what its pixels are, and that the methods of this family learn to tell it."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from videossl.methods.dino import IBOT
from videossl.methods.ijepa import IJEPA
from videossl.methods.mae import MAE
from videossl.methods.mask_feat import MaskFeat
from videossl.methods.masks import Masked, blocks, gradients, masks, patchify, shown, standardised, unpatchify
from videossl.methods.simmim import SimMIM

DECODER = {"width": 24, "depth": 1, "heads": 2}


def ramps(count: int) -> list[dict]:
    """Images that run from one colour to another, which what is shown tells of what is hidden."""
    rng = torch.Generator().manual_seed(0)
    corners = torch.randint(256, (count, 3, 2, 2), generator=rng).float()
    images = F.interpolate(corners, (16, 16), mode="bilinear", align_corners=True).round().byte()
    return [{"frames": image[None], "name": str(n)} for n, image in enumerate(images)]


def slopes(count: int) -> list[dict]:
    """The same, of grey that rises in some direction throughout, and downwards: histograms do not tell up from down."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    images = []
    for _ in range(count):
        angle = rng.uniform(0, np.pi)
        rise = (x - 7.5) * np.cos(angle) + (y - 7.5) * np.sin(angle)
        images.append(np.broadcast_to(127.5 + 11 * rise, (1, 3, 16, 16)).astype(np.uint8))
    return [{"frames": torch.from_numpy(image), "name": str(n)} for n, image in enumerate(images)]


LEARNERS = [
    (MAE(**DECODER), ramps, 100),
    (MAE(**DECODER, masking="grid"), ramps, 100),
    (SimMIM(ratio=0.4), ramps, 200),
    (MaskFeat(bins=3), slopes, 80),
    (IJEPA(**DECODER, momentum=0.9), slopes, 60),
]


@pytest.mark.parametrize(
    ("method", "pictures", "steps"),
    LEARNERS,
    ids=[type(method).__name__ + getattr(method, "masking", "") for method, *_ in LEARNERS],
)
def test_each_learns_to_tell_what_is_hidden(method, pictures, steps, learn, batch, tokens):
    records = pictures(128)
    asked = batch(method, records[:48])
    torch.manual_seed(0)
    before, _ = method.build(tokens()).eval()(asked)
    after, metrics = learn(method, records, tokens(), steps)(asked)
    trivial = metrics.get("flat_error", metrics.get("mean_error"))
    assert after < 0.8 * before and after < trivial


@pytest.mark.parametrize(("kind", "ratio"), [("random", 0.75), ("block", 0.5), ("tube", 0.9), ("grid", 0.75)])
def test_masks_hide_as_much_as_is_asked_for_and_as_their_kind_does(kind, ratio):
    torch.manual_seed(0)
    hidden = masks(kind, ratio, 50, (2, 8, 8))
    assert hidden.shape == (50, 128) and hidden.dtype == torch.bool
    count = hidden.sum(1)
    assert (count == count[0]).all() and abs(count[0] / 128 - ratio) < 1 / 64
    by_time = hidden.view(50, 2, 64)
    assert (kind == "random") == (not torch.equal(by_time[:, 0], by_time[:, 1]))
    assert (kind == "grid") == bool((hidden == hidden[0]).all())
    seen = shown(hidden)
    assert seen.shape == (50, 128 - count[0]) and (seen.diff() > 0).all()
    assert not hidden.gather(1, seen).any()


@pytest.mark.parametrize("kind", [MAE, SimMIM, MaskFeat, IJEPA, IBOT])
def test_a_convolutional_trunk_is_refused_in_words(kind, tiny):
    with pytest.raises(
        ValueError, match=r"hides tokens, so its trunk must have tokens\(\): TinyTrunk has none, ViT does"
    ):
        kind().build(tiny())


def test_what_a_masking_does_not_use_is_refused():
    with pytest.raises(ValueError, match="a grid hides 3 of each 4 places"):
        MAE(masking="grid", ratio=0.5)
    for unused in ({"ratio": 0.5}, {"masking": "block"}):
        with pytest.raises(ValueError, match="I-JEPA hides blocks"):
            IJEPA(**unused)
    for wrong in ({"blocks": 0}, {"scale": (0.5, 0.1)}, {"context": (0.5, 1.5)}, {"aspect": (0.0, 1.0)}):
        with pytest.raises(ValueError, match="blocks are a count from 1, scale and context ranges of shares"):
            IJEPA(**wrong)


def test_random_masks_keep_exactly_what_the_paper_keeps():
    assert (~masks("random", 0.75, 3, (1, 14, 14))).sum(1).tolist() == [49, 49, 49]
    with pytest.raises(ValueError, match="nothing to hide"):
        masks("random", 0.75, 3, (1, 1, 1))


def test_blocks_hide_exactly_so_many_places_that_lie_together():
    torch.manual_seed(0)
    for _ in range(20):
        hidden = blocks(78, 14, 14)
        assert hidden.sum() == 78
        beside = (hidden[1:] & hidden[:-1]).sum() + (hidden[:, 1:] & hidden[:, :-1]).sum()
        assert beside > 78  # of random places about 62 pairs would touch


def test_patches_are_put_together_as_they_were_taken_apart():
    clips = torch.rand(2, 4, 3, 8, 12)
    pixels = patchify(clips, (2, 4, 4))
    assert pixels.shape == (2, 2 * 2 * 3, 2 * 4 * 4 * 3)
    assert torch.equal(unpatchify(pixels, (2, 4, 4), (2, 2, 3)), clips)
    second_row = clips[0, :2, :, 4:8, :4].permute(0, 2, 3, 1).flatten()
    assert torch.equal(pixels[0, 3], second_row)
    assert patchify(clips[:, :1], (2, 4, 4)).shape == (2, 6, 96)


def test_standardised_places_have_mean_0_and_variance_1():
    found = standardised(torch.rand(2, 5, 48))
    assert torch.allclose(found.mean(2), torch.zeros(2, 5), atol=1e-5)
    assert found.square().mean().item() == pytest.approx(47 / 48, rel=1e-3)
    assert torch.equal(standardised(torch.full((1, 1, 8), 0.3)), torch.zeros(1, 1, 8))


def test_a_vertical_edge_is_one_direction_and_turning_the_image_turns_it():
    image = torch.zeros(1, 1, 16, 16)
    image[..., 8:] = 1
    edge = gradients(image, 8, 4)
    assert edge.shape == (1, 4, 4, 8) and (edge[0, :, 1:3].sum(-1) == 1).all() and edge[0, :, [0, 3]].sum() == 0
    turned = gradients(image.rot90(1, (2, 3)), 8, 4)
    assert (turned[0, 1, 1].argmax() - edge[0, 1, 1].argmax()) % 8 == 4  # 8 bins are half a turn
    assert torch.allclose(gradients(0.3 * image + 0.2, 8, 4), edge, atol=0.01)
    assert gradients(torch.full((1, 3, 16, 16), 0.7), 9, 8).abs().max() < 0.1
    assert gradients(torch.rand(1, 3, 16, 16), 9, 8).flatten(1).shape == (1, 108)


def test_a_clip_is_of_frames_in_a_row_and_short_videos_are_refused(counting):
    shown_ = Masked(length=4, stride=3).sample(counting(30), np.random.default_rng(0))["clips"][:, 0, 0, 0].int()
    assert (shown_.diff() == 3).all()
    with pytest.raises(ValueError, match="fewer than the 10 frames of a clip"):
        Masked(length=4, stride=3).check(counting(9))
    with pytest.raises(ValueError, match="ratio is a share"):
        Masked(ratio=1.0)


def test_a_histograms_bin_is_that_of_the_angle_and_of_its_opposite():
    y, x = np.mgrid[:24, :24]
    for degrees in range(7, 360, 15):  # at no border of a bin, of 20 degrees each
        angle = np.radians(degrees)
        ramp = torch.from_numpy((x * np.sin(angle) + y * np.cos(angle)).astype(np.float32))[None, None]
        middle = gradients(ramp, 9, 8)[0, 1, 1]
        assert middle.argmax() == (degrees + 180) % 180 // 20 and middle.max() > 0.999
