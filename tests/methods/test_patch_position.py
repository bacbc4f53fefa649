import dataclasses
from math import log

import numpy as np
import pytest
import torch
from torch import nn

from videossl.methods.patch_position import AROUND, PatchPosition, coarse, drop, project
from videossl.models.caffenet import CaffeNet
from videossl.models.resnet import ResNet
from videossl.models.small import Small

TOY = PatchPosition(patch=0.25, gap=0.25, coarse=0.0, hidden=64)


def lit(seed: int) -> dict:
    """A picture that goes from red at the left to green at the right, brighter at the top, with a texture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:1:48j, 0:1:48j]
    frame = np.stack([200 * (1 - x), 200 * x, 200 * (1 - y)]) + rng.normal(0, 5, (3, 48, 48))
    return {"frames": torch.from_numpy(frame.clip(0, 255).astype(np.uint8))[None]}


def aberrant(seed: int) -> dict:
    """Noise without any shape, of which a lens has moved green outwards, more so far from the middle."""
    rng = np.random.default_rng(seed)
    noise = torch.from_numpy(rng.normal(0, 1, (1, 1, 48, 48))).float()
    noise = nn.functional.avg_pool2d(noise, 3, 1, 1)
    grid = nn.functional.affine_grid(torch.eye(2, 3)[None], [1, 1, 48, 48], align_corners=False)
    moved = nn.functional.grid_sample(noise, grid * 0.85, align_corners=False, padding_mode="reflection")
    frame = torch.cat([noise, moved, noise], 1)
    return {"frames": (128 + 100 * frame).clamp(0, 255).byte()}


def test_places_opposite_to_each_other_have_answers_that_sum_to_7():
    for answer, (down, right) in enumerate(AROUND):
        assert AROUND[7 - answer] == (-down, -right)
    assert len(PatchPosition.answers) == 8 and PatchPosition.answers[3] == "left"


@pytest.mark.parametrize(("height", "width"), [(480, 480), (400, 600)])
def test_patches_keep_their_gap_stay_inside_and_lie_as_answered(height, width):
    method, corners = PatchPosition(), []
    for seed in range(400):
        answer = seed % 8
        side, places = method.places(height, width, answer, np.random.default_rng(seed))
        assert side == method.patch * min(height, width)
        assert places.min() >= 0 and (places + side <= [height, width]).all()
        apart = (places[1] - places[0]) / side
        assert np.abs(apart - 1.5 * np.array(AROUND[answer])).max() <= 2 * 7 / 96 + 0.02
        far = np.abs(places[1] - places[0]).max() - side
        assert far >= (0.5 - 2 * 7 / 96) * side - 1  # 34 of the paper's 96 pixels
        corners.append(places[0])
    assert np.ptp(corners, 0).min() > 0.6 * (min(height, width) - side)


def test_the_papers_pixels():
    side, _ = PatchPosition(patch=96 / 400).places(400, 400, 4, np.random.default_rng(0))
    assert side == 96 and round(side * 0.5) == 48 and round(side * 7 / 96) == 7


def test_the_second_patch_is_shown_second():
    frame = torch.arange(48, dtype=torch.uint8).expand(1, 3, 48, 48)  # columns
    for seed in range(50):
        example = TOY.sample({"frames": frame}, np.random.default_rng(seed))
        first, second = example["clips"][:, 0, 0, 0, 0].tolist()
        right = AROUND[example["answer"]][1]
        assert np.sign(round((second - first) / 15)) == right
    assert example["clips"].shape == (2, 1, 3, 12, 12)


def test_a_coarse_patch_is_of_fewer_pixels():
    clip = torch.randint(256, (1, 3, 24, 24), dtype=torch.uint8)
    assert torch.equal(coarse(clip, 1.0), clip)
    rough = coarse(clip, 1 / 24)
    assert rough.shape == clip.shape and rough.flatten(2).float().std(-1).max() == 0


def test_dropped_colours_are_hardly_any_noise_and_the_kept_one_has_no_mean():
    patches = torch.rand(300, 3, 12, 12)
    shown = drop(patches, training=True)
    size = shown.flatten(2).std(-1)  # (300, 3)
    kept = size.argmax(1)
    assert np.bincount(kept).min() > 60
    assert (size.sort(1).values[:, :2] < 0.02 * size.amax(1, keepdim=True)).all()
    own = patches[torch.arange(300), kept]
    torch.testing.assert_close(shown[torch.arange(300), kept], own - own.mean((1, 2), keepdim=True))
    still = drop(patches, training=False)
    assert not still[:, [0, 2]].any() and torch.equal(still, drop(patches, training=False))


def test_projected_patches_have_nothing_between_green_and_magenta_and_keep_the_rest():
    patches = torch.rand(5, 3, 6, 6)
    shown = project(patches)
    torch.testing.assert_close(2 * shown[:, 1] - shown[:, 0] - shown[:, 2], torch.zeros(5, 6, 6), atol=1e-6, rtol=0)
    torch.testing.assert_close(shown.sum(1), patches.sum(1))
    torch.testing.assert_close(project(shown), shown)


@pytest.mark.parametrize("colours", ["drop", "project", "keep"])
def test_patches_have_the_same_contrast_and_flat_ones_none(colours, tiny):
    net = dataclasses.replace(TOY, colours=colours).build(tiny())
    clips = torch.rand(4, 2, 1, 3, 16, 16) * (0.2 + 0.8 * torch.rand(4, 2, 1, 1, 1, 1))
    seen = net.trunk.normalise(net.view(clips).flatten(0, 1))
    torch.testing.assert_close(seen.square().mean((1, 2, 3, 4)), torch.ones(8), atol=1e-3, rtol=0)
    flat = net.view(torch.full((1, 2, 1, 3, 16, 16), 0.7))
    assert net.trunk.normalise(flat.flatten(0, 1)).abs().max() < 0.1


def test_even_logits_cost_log_8(tiny):
    net = TOY.build(tiny())
    nn.init.zeros_(net.place[-1].weight)
    nn.init.zeros_(net.place[-1].bias)
    loss, _ = net({"clips": torch.rand(4, 2, 1, 3, 12, 12), "answer": torch.tensor([0, 3, 5, 7])})
    assert loss.item() == pytest.approx(log(8), abs=1e-6)


def test_it_learns_places_where_colours_tell_them(learn, batch, tiny):
    method = dataclasses.replace(TOY, colours="keep")
    net = learn(method, [lit(n) for n in range(60)], tiny(), 60)
    with torch.no_grad():
        accuracy = net(batch(method, [lit(n % 40) for n in range(200)]))[1]["accuracy"]
    assert accuracy > 0.3  # chance 0.125


@pytest.mark.parametrize("colours", ["keep", "drop"])
def test_a_lens_tells_places_in_shapeless_pictures_unless_colours_are_dropped(colours, learn, batch):
    method = dataclasses.replace(TOY, colours=colours, jitter=0.0)
    net = learn(method, [aberrant(n) for n in range(300)], Small(1, 8, 16).build(), 120)
    with torch.no_grad():
        accuracy = net(batch(method, [aberrant(1000 + n) for n in range(200)]))[1]["accuracy"]
    assert accuracy > 0.2 if colours == "keep" else accuracy < 0.2  # chance 0.125, give or take 0.023


@pytest.mark.parametrize("trunk", [Small(4, 4, 32), ResNet(18), CaffeNet(64, (16,))], ids=str)
def test_any_trunk_takes_a_step(trunk, batch):
    net = TOY.build(trunk.build())
    examples = batch(TOY, [lit(0), lit(1)])
    net(examples)[0].backward()
    assert all(weight.grad is not None for weight in net.parameters())


def test_pictures_that_are_too_small_are_refused_in_words():
    small = {"frames": torch.zeros(1, 3, 5, 9, dtype=torch.uint8)}
    with pytest.raises(ValueError, match="5 x 9 pixels are too few for two patches of 1"):
        PatchPosition().sample(small, np.random.default_rng(0))
    with pytest.raises(ValueError, match="change patch, gap or jitter"):
        PatchPosition(patch=0.4, gap=0.6).sample(lit(0), np.random.default_rng(0))
    for wrong in ({"patch": 0.6}, {"gap": -1.0}, {"coarse": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PatchPosition(**wrong)
