import math
from contextlib import nullcontext

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videossl.evaluation.features import Encoder
from videossl.evaluation.propagation import (
    Propagation,
    boundary,
    clips_around,
    maps_of,
    outline,
    painted,
    propagate,
    region,
    shares_of,
)
from videossl.evaluation.views import Views
from videossl.models.base import IMAGENET, Trunk
from videossl.models.small import Small
from videossl.models.vit import ViT


def blobs(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A mask of a few discs, some of which touch the border."""
    rows, columns = np.indices(size)
    mask = np.zeros(size, bool)
    for _ in range(rng.integers(1, 4)):
        y, x, r = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(2, 12)
        mask |= (rows - y) ** 2 + (columns - x) ** 2 < r**2
    return mask


def as_the_toolkit_does(mask: np.ndarray, truth: np.ndarray) -> float:
    """F by dilation with a disc, a pixel at a time."""
    height, width = mask.shape

    def edge(m):
        found = np.zeros_like(m, np.uint8)
        for y in range(height):
            for x in range(width):
                neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
                if y == height - 1:
                    neighbours = [(y, x + 1)]
                if x == width - 1:
                    neighbours = [(y + 1, x)]
                inside = [m[n] if n[0] < height and n[1] < width else False for n in neighbours]
                found[y, x] = (y, x) != (height - 1, width - 1) and any(value != m[y, x] for value in inside)
        return found

    reach = math.ceil(0.008 * np.linalg.norm(mask.shape))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (x**2 + y**2 <= reach**2).astype(np.uint8)
    mine, true = edge(mask), edge(truth)
    precision = (mine * cv2.dilate(true, disc)).sum() / mine.sum()
    recall = (true * cv2.dilate(mine, disc)).sum() / true.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(8))
def test_f_is_that_of_dilated_outlines_and_j_that_of_counting(seed):
    rng = np.random.default_rng(seed)
    size = (40, 56) if seed % 2 else (250, 200)  # a reach of 1 and of 3 pixels
    truth = blobs(rng, size)
    mask = np.roll(truth, (seed % 3, 1), (0, 1)) | blobs(rng, size) if seed % 4 else np.roll(truth, 2, 1)
    assert boundary(mask, truth) == pytest.approx(as_the_toolkit_does(mask, truth))
    pairs = list(zip(mask.ravel().tolist(), truth.ravel().tolist(), strict=True))
    assert region(mask, truth) == pytest.approx(sum(a and b for a, b in pairs) / sum(a or b for a, b in pairs))


def test_empty_masks_agree_with_empty_ones_alone():
    nothing, thing = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    thing[3:6, 3:6] = True
    assert region(nothing, nothing) == 1 and region(nothing, thing) == region(thing, nothing) == 0
    assert boundary(nothing, nothing) == 1 and boundary(nothing, thing) == boundary(thing, nothing) == 0
    assert region(thing, thing) == boundary(thing, thing) == 1
    assert outline(thing).sum() == 16 - 4  # offset by half a pixel to the top left: around 3 x 3 lie 12


def slowly(features, first, last, near, most, temperature):
    """As eval_video_segmentation.py, a cell at a time."""
    frames, _, h, w = features.shape
    known = [first]
    for now in range(1, frames):
        seen = [0, *range(max(1, now - last), now)]
        answer = torch.zeros_like(first)
        for y in range(h):
            for x in range(w):
                found = []
                for n in seen:
                    for p in range(max(0, y - near), min(h, y + near + 1)):
                        for q in range(max(0, x - near), min(w, x + near + 1)):
                            alike = F.cosine_similarity(features[now, :, y, x], features[n, :, p, q], 0)
                            found.append((math.exp(alike / temperature), known[n][:, p, q]))
                found = sorted(found, key=lambda item: -item[0])[:most]
                answer[:, y, x] = sum(a * labels for a, labels in found) / sum(a for a, _ in found)
        known.append(answer)
    return torch.stack(known)


@pytest.mark.parametrize(("last", "near", "most"), [(2, 1, 3), (1, 9, 5), (7, 0, 5)])
def test_labels_are_carried_as_by_a_loop_over_cells(last, near, most, monkeypatch):
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(5, 6, 3, 4, generator=rng)
    first = torch.rand(3, 3, 4, generator=rng)
    fast = propagate(features, first, last, near, most, 0.1)
    assert torch.allclose(fast, slowly(features, first, last, near, most, 0.1), atol=1e-5)
    monkeypatch.setattr("videossl.evaluation.propagation.AT_ONCE", 40)  # a few cells at once
    assert torch.allclose(propagate(features, first, last, near, most, 0.1), fast, atol=1e-6)


def test_cells_have_their_share_of_each_thing_and_are_painted_by_what_they_have_most_of():
    mask = torch.zeros(4, 6, dtype=torch.uint8)
    mask[:2, :3], mask[3, 5] = 1, 2
    shares = shares_of(mask, 3, (2, 2))
    assert torch.allclose(shares[1], torch.tensor([[1.0, 0.0], [0.0, 0.0]])) and torch.allclose(
        shares.sum(0), torch.ones(2, 2)
    )
    assert shares[2, 1, 1] == pytest.approx(1 / 6)
    pixels = painted(shares_of(mask, 3, (4, 6))[None], (4, 6))
    assert torch.equal(pixels[0], mask)
    assert painted(torch.zeros(1, 2, 2, 2), (4, 4)).eq(0).all()


class Colours(nn.Module):
    """A trunk whose maps are the frames themselves, of cells of 4 x 4 pixels."""

    length, size, dim = 1, 16, 3

    def stages(self, clips):
        return [F.avg_pool3d(clips.transpose(1, 2), (1, 4, 4))]


def moving(name: str, hues: tuple[tuple[int, int, int], ...], step: int = 4) -> dict:
    """Squares of these colours, 8 pixels a side, one below the other, which move to the right over grey."""
    frames = torch.full((6, 3, 16 * len(hues), 40), 100, dtype=torch.uint8)
    masks = torch.zeros(6, 1, 16 * len(hues), 40, dtype=torch.uint8)
    for n, hue in enumerate(hues):
        for t in range(6):
            area = (slice(16 * n + 4, 16 * n + 12), slice(step * t, step * t + 8))
            frames[t, :, *area] = torch.tensor(hue, dtype=torch.uint8)[:, None, None]
            masks[t, 0, *area] = n + 1
    return {"frames": frames, "masks": masks, "name": name, "group": name}


def test_things_are_followed_by_features_that_tell_them_and_not_by_holding_masks():
    records = [moving("one", ((250, 0, 0),)), moving("two", ((0, 250, 0), (0, 0, 250)))]
    scores = Propagation().score(Encoder(Colours(), progress=False), [], records)
    assert scores.metrics["J"] > 0.93  # 60 of 64 pixels: enlarging cells rounds corners
    assert scores.metrics["F"] > 0.99 and scores.metrics["J&F"] == pytest.approx(
        (scores.metrics["J"] + scores.metrics["F"]) / 2
    )
    assert scores.metrics["J recall"] == scores.metrics["F recall"] == 1
    assert scores.metrics["chance J&F"] < 0.4 and scores.tested == [0, 1] and not scores.failed
    # frames 1 to 4: the square has moved by 4, 8, 12, 16 pixels, so that 1/3, 0, 0, 0 of the union is shared
    still = records[0]["masks"][0, 0].numpy() == 1
    held = [region(still, records[0]["masks"][t, 0].numpy() == 1) for t in range(1, 5)]
    assert held == pytest.approx([1 / 3, 0, 0, 0]) and scores.metrics["chance J"] == pytest.approx(1 / 12)
    grey = [{**record, "frames": torch.full_like(record["frames"], 100)} for record in records]
    assert Propagation().score(Encoder(Colours(), progress=False), [], grey).metrics["J"] < 0.5


def test_each_thing_counts_once_and_videos_that_show_none_are_told():
    one, two = moving("one", ((250, 0, 0),), step=2), moving("two", ((0, 250, 0), (0, 0, 250)))
    judge, encoder = Propagation(near=0), Encoder(Colours(), progress=False)
    alone = [judge.score(encoder, [], [record]).metrics["J"] for record in (one, two)]
    empty = {**one, "name": "empty", "masks": torch.zeros_like(one["masks"])}
    short = {name: one[name][:2] for name in ("frames", "masks")} | {"name": "short"}
    both = judge.score(encoder, [], [empty, one, short, two])
    assert both.metrics["J"] == pytest.approx((alone[0] + 2 * alone[1]) / 3) and both.tested == [1, 3]
    assert "nothing to follow" in both.failed["empty"] and "three are needed" in both.failed["short"]
    with pytest.raises(ValueError, match="none of 1 videos can be propagated: its first mask is empty"):
        judge.score(encoder, [], [empty])


@pytest.mark.parametrize(
    ("config", "grid"),
    [
        (Small(length=1, width=2, size=32), (5, 6)),
        (Small(length=4, width=2, size=32), (5, 6)),
        (ViT(width=24, depth=1, heads=2, patch=8, size=32), (4, 5)),
        (ViT(width=24, depth=1, heads=2, patch=8, size=32, length=4, tubelet=2), (4, 5)),
    ],
)
def test_every_trunk_with_maps_gives_a_map_of_each_frame(config, grid):
    torch.manual_seed(0)
    encoder = Encoder(config.build().train(), batch=4, progress=False)
    frames = torch.randint(256, (5, 3, 35, 44), dtype=torch.uint8)
    views = Views(clips=1, crops=1).resolved(encoder.trunk)
    maps = maps_of(encoder, frames, views)
    assert maps.shape == (5, maps.shape[1], *grid) and encoder.trunk.training and not maps.requires_grad
    changed = frames.clone()
    changed[3] = 255 - changed[3]
    apart = (maps_of(encoder, changed, views) - maps).abs().amax((1, 2, 3)) > 1e-6
    reach = [3] if views.length == 1 else [1, 2, 3, 4]
    assert apart[3] and set(apart.nonzero().ravel().tolist()) <= set(reach)


def test_a_frame_is_the_middle_of_its_clip_and_ends_are_held():
    frames = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 3, 8, 8)
    trunk = Small(length=4, width=1, size=8).build()
    shown = clips_around(frames, Views(length=4, stride=2), trunk)[:, :, 0, 0, 0]
    assert shown.tolist() == [[0, 0, 0, 2], [0, 0, 1, 3], [0, 0, 2, 4], [0, 1, 3, 5], [0, 2, 4, 5], [1, 3, 5, 5]]


def test_a_stage_that_is_not_there_and_a_trunk_without_maps_are_refused():
    record, trunk = moving("one", ((250, 0, 0),)), Small(length=1, width=2, size=16).build()
    judge = Propagation(stage=0)
    fine = maps_of(Encoder(trunk, progress=False), record["frames"], judge.views.resolved(trunk), 0)
    assert fine.shape[2:] == (8, 20)
    with pytest.raises(ValueError, match="SmallTrunk has 3 stages, but stage 3 was asked for"):
        Propagation(stage=3).score(Encoder(trunk, progress=False), [], [record])
    mapless = Trunk(dim=2, length=1, size=8, resize=(8, 8), colours=IMAGENET)
    with pytest.raises(ValueError, match=r"Trunk has no maps\(\)"):
        Propagation().score(Encoder(mapless, progress=False), [], [record])
    with torch.no_grad():
        next(trunk.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="maps of the video's frames are not finite: the trunk has gone astray"):
        Propagation().score(Encoder(trunk, progress=False), [], [record])


class Rank:
    """A Fabric of one of two processes, to which the others' answers are told."""

    world_size, device, is_global_zero = 2, torch.device("cpu"), False
    autocast = staticmethod(nullcontext)

    def __init__(self, rank: int, told: dict[int, list]):
        self.global_rank, self.told = rank, told

    def broadcast(self, found, src):
        if src == self.global_rank:
            self.told[src] = found
        return self.told.get(src, [])


def test_two_processes_share_the_videos_and_find_what_one_does():
    records = [moving(str(n), ((250, 0, 0),), step=n) for n in range(1, 6)]
    records[1]["masks"] = torch.zeros_like(records[1]["masks"])
    judge, told = Propagation(near=0), {}
    alone = judge.score(Encoder(Colours(), progress=False), [], records)
    for rank in (1, 0, 1):  # the first does not know the other's answers yet
        shared = judge.score(Encoder(Colours(), Rank(rank, told), progress=False), [], records)
        assert [n for n, _ in told[rank]] == list(range(rank, 5, 2))
    assert shared == alone
