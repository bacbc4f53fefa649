from itertools import combinations

import numpy as np
import pytest
import torch

from videossl.evaluation.attention import Attention, area, attention_of, correlation, jaccard, middle, overlap
from videossl.evaluation.features import Encoder
from videossl.evaluation.views import Views
from videossl.models.small import Small
from videossl.models.vit import ViT

TINY = {"width": 24, "depth": 2, "heads": 2, "patch": 8, "size": 32}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder(ViT(**TINY).build().train(), batch=4, progress=False)


def test_an_area_has_the_mass_and_no_smaller_set_does():
    rng = torch.Generator().manual_seed(0)
    maps = torch.rand(5, 2, 3, generator=rng)
    for mass in (0.1, 0.6, 0.9, 1.0):
        for one, chosen in zip(maps, area(maps, mass), strict=True):
            held, count = one[chosen].sum(), int(chosen.sum())
            assert held >= mass * one.sum() - 1e-6
            best = max(sum(some) for some in combinations(one.ravel().tolist(), count - 1))
            assert best < mass * one.sum()
    assert area(torch.ones(1, 4, 5), 0.6).sum() == 12  # uniform: just the mass
    assert area(torch.zeros(1, 2, 2), 0.6).sum() == 1


def test_overlap_and_correlation_are_those_of_a_count_and_of_numpy():
    rng = torch.Generator().manual_seed(0)
    one, other = torch.rand(3, 4, 5, generator=rng), torch.rand(3, 4, 5, generator=rng)
    for n in range(3):
        by_hand = np.corrcoef(one[n].ravel(), other[n].ravel())[0, 1]
        assert correlation(one, other)[n].item() == pytest.approx(by_hand, abs=1e-6)
        a, b = set(np.flatnonzero(one[n] > 0.5)), set(np.flatnonzero(other[n] > 0.5))
        assert overlap(one > 0.5, other > 0.5)[n].item() == pytest.approx(len(a & b) / len(a | b))
    assert correlation(torch.ones(2, 2), one[0, :2, :2]) == 0


def test_the_best_head_of_each_frame_is_held_against_the_things():
    areas = torch.zeros(3, 2, 2, 2, dtype=torch.bool)
    areas[:, 0, 0, 0], areas[:, 1, 1] = True, True
    things = torch.zeros(3, 4, 4, dtype=torch.bool)
    things[0, :2, :2], things[1, 2:] = True, True
    things[1, 3, 3] = False
    assert jaccard(areas, things) == pytest.approx((1 + 7 / 8) / 2)  # the third frame shows nothing
    assert jaccard(areas, torch.zeros_like(things)) == 0


def test_maps_are_the_trunks_and_of_every_frame(encoder):
    frames = torch.randint(256, (6, 3, 32, 40), dtype=torch.uint8)
    maps = attention_of(encoder, frames, Views(clips=1, crops=1).resolved(encoder.trunk))
    assert maps.shape == (6, 2, 4, 5) and encoder.trunk.training
    alone = encoder.trunk.eval().attention(frames[2:3, None].float() / 255)[0, :, 0]
    assert torch.allclose(maps[2], alone, atol=1e-6)
    clip = Encoder(ViT(**TINY, length=4, tubelet=2).build(), batch=4, progress=False)
    assert attention_of(clip, frames, Views(clips=1, crops=1).resolved(clip.trunk)).shape == (6, 2, 4, 5)


def records(still: bool) -> list[dict]:
    rng = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (3, 8, 3, 32, 32), dtype=torch.uint8, generator=rng)
    return [{"frames": f[:1].expand(8, -1, -1, -1) if still else f, "name": str(n)} for n, f in enumerate(frames)]


def test_a_still_video_has_steady_attention_and_noise_has_not(encoder):
    with torch.no_grad():
        encoder.trunk.blocks[-1].attn.qkv.weight.mul_(5)  # so that attention is of something
    still, noise = (Attention(frames=5).score(encoder, [], records(s)).metrics for s in (True, False))
    assert still["stability"] == 1 and still["correlation"] == pytest.approx(1)
    assert noise["stability"] < 0.9 and noise["correlation"] < 0.9 and "jaccard" not in noise
    assert abs(noise["stability"] - noise["chance stability"]) < 0.15 < 1 - still["chance stability"]


def test_with_masks_the_areas_are_held_against_the_things(encoder):
    made = [r | {"masks": torch.ones(8, 1, 32, 32, dtype=torch.uint8)} for r in records(True)[:1]]
    scores = Attention(mass=1.0).score(encoder, [], made)
    assert scores.metrics["jaccard"] == 1 and "chance stability" not in scores.metrics and scores.tested == [0]


def test_frames_are_taken_from_the_middle():
    assert middle(10, 4).tolist() == [3, 4, 5, 6] and middle(3, 8).tolist() == [0, 1, 2]


def test_what_has_no_attention_is_refused(encoder):
    small = Encoder(Small(length=1, size=32).build(), progress=False)
    with pytest.raises(ValueError, match="attention maps are of a transformer: SmallTrunk has none, ViT does"):
        Attention().score(small, [], records(True))
    with pytest.raises(ValueError, match="but image has one"):
        Attention().score(encoder, [], [{"frames": torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "name": "image"}])
    with pytest.raises(ValueError, match="mass lies between 0 and 1"):
        Attention(mass=0).score(encoder, [], records(True))
    with pytest.raises(ValueError, match="Attention needs videos, but a list is empty"):
        Attention().score(encoder, [], [])
    with torch.no_grad():
        encoder.trunk.blocks[0].mlp.fc1.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="attention to the video's frames is not finite: the trunk has gone astray"):
        Attention().score(encoder, [], records(True))
