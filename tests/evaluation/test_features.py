import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch import nn
from torch.nn import functional as F

from videossl.evaluation.features import Encoder, nearest
from videossl.evaluation.views import Views
from videossl.models.small import Small


class Mean(nn.Module):
    """A trunk whose features are the mean colour, and the mean colour of the left column."""

    dim, length, size = 6, 4, 4

    def forward(self, clips):
        return torch.cat([clips.mean((1, 3, 4)), clips[..., 0].mean((1, 3))], 1)


class Counted:
    """Frames that remember how often they were asked for, and may be broken."""

    def __init__(self, frames, error=None):
        self.frames, self.error, self.asked = frames, error, []

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        self.asked.append(index)
        if self.error:
            raise self.error
        return self.frames[index]


def made(n: int, seed: int = 0, error: dict | None = None) -> list[dict]:
    rng = torch.Generator().manual_seed(seed)
    return [
        {
            "frames": Counted(
                torch.randint(256, (5 + i, 3, 6, 8), dtype=torch.uint8, generator=rng), (error or {}).get(i)
            ),
            "name": f"video {i}",
            "label": i % 2,
        }
        for i in range(n)
    ]


def test_a_video_is_decoded_once_for_all_its_views():
    records = made(3)
    encoder = Encoder(Mean(), batch=7)
    encoder.features(records, Views(clips=25, crops=10))
    for record in records:
        (index,) = record["frames"].asked
        assert index.shape == (25, 4)


def test_features_are_remembered_for_each_record_and_views():
    records = made(4)
    encoder = Encoder(Mean())
    whole = encoder.features(records, Views(clips=2))
    part = encoder.features(records[2:], Views(clips=2, length=4, crops=1, size=4))  # the same views, spelled out
    assert all(len(record["frames"].asked) == 1 for record in records)
    assert torch.equal(whole.values[2:], part.values) and part.kept == [0, 1]
    encoder.features(records[:1], Views(clips=3))
    assert [len(record["frames"].asked) for record in records] == [2, 1, 1, 1]


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_a_clips_feature_is_the_mean_over_its_crops(batch):
    records, trunk = made(5), Mean()
    views = Views(clips=3, crops=10).resolved(trunk)
    values = Encoder(trunk, batch=batch).features(records, views).values
    assert values.shape == (5, 3, 6) and values.dtype == torch.float32
    for n, record in enumerate(records):
        for v, index in enumerate(views.indices(len(record["frames"]))):
            clip = record["frames"].frames[index].float() / 255
            each = torch.cat([trunk(crop[None]) for crop in views.crop(clip[None])])
            assert torch.allclose(values[n, v], each.mean(0), atol=1e-6)


def test_a_videos_feature_is_the_unit_vector_along_the_mean_of_its_clips():
    features = Encoder(Mean()).features(made(3), Views(clips=4))
    expected = features.values.mean(1)
    assert torch.allclose(features.videos, expected / expected.norm(dim=1, keepdim=True))


def test_workers_change_nothing():
    records = made(6, error={2: OSError("cut off")})
    alone, helped = (Encoder(Mean(), workers=w, batch=4).features(records, Views(clips=2)) for w in (0, 2))
    assert torch.equal(alone.values, helped.values)
    assert alone.failed == helped.failed and alone.kept == helped.kept


@pytest.mark.parametrize("error", [ValueError("frame 3 is broken"), OSError("frame 3 is broken")])
def test_a_video_that_cannot_be_read_is_counted_and_never_replaced(error):
    records = made(5, error={1: error})
    features = Encoder(Mean(), batch=8).features(records, Views(clips=2))
    assert features.failed == {"video 1": "frame 3 is broken"}
    assert features.kept == [0, 2, 3, 4] and features.labels.tolist() == [0, 0, 1, 0]
    assert torch.equal(
        features.values, Encoder(Mean(), batch=8).features([records[n] for n in features.kept], Views(clips=2)).values
    )


def test_a_mistake_in_the_program_is_no_unreadable_video():
    with pytest.raises(TypeError, match="ours"):
        Encoder(Mean()).features(made(2, error={0: TypeError("ours")}), Views(clips=2))


def test_no_video_that_can_be_read_is_an_error():
    with pytest.raises(ValueError, match="none of 1 videos can be read; video 0: gone"):
        Encoder(Mean()).features(made(1, error={0: OSError("gone")}), Views())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_an_error_that_names_a_video(value):
    class Astray(Mean):
        def forward(self, clips):
            light = clips.mean((1, 2, 3, 4)) > 0.9
            return super().forward(clips).masked_fill(light[:, None], value)

    records = made(4)
    records[2]["frames"].frames[:] = 255
    with pytest.raises(ValueError, match=r"features of video 2 are not finite \(1 of 4 videos\)"):
        Encoder(Astray()).features(records, Views(clips=2))


def test_videos_may_differ_in_height_and_width():
    records = made(2)
    records[1]["frames"].frames = records[1]["frames"].frames[..., :5, :3]  # smaller than the crop, too
    both = Encoder(Mean(), batch=64).features(records, Views(clips=2)).values
    alone = Encoder(Mean()).features(records[1:], Views(clips=2)).values
    assert torch.allclose(both[1:], alone)


def test_the_trunk_is_used_in_eval_mode_and_left_as_it_was():
    trunk = Small(length=4, width=2, size=8).build().train()
    trunk.net[1].eval()  # one part differs
    modes = [module.training for module in trunk.modules()]
    before = {name: item.clone() for name, item in trunk.state_dict().items()}
    records = made(3)
    values = Encoder(trunk).features(records, Views(clips=2)).values
    assert [module.training for module in trunk.modules()] == modes
    assert all(torch.equal(item, before[name]) for name, item in trunk.state_dict().items())
    assert torch.equal(values, Encoder(trunk.eval()).features(records, Views(clips=2)).values)
    assert not values.is_inference() and not values.requires_grad


def test_fabric_on_one_device_changes_nothing():
    records = made(3)
    fabric = Fabric(accelerator="cpu", devices=1)
    assert torch.equal(
        Encoder(Mean(), fabric).features(records, Views(clips=2)).values,
        Encoder(Mean()).features(records, Views(clips=2)).values,
    )


TWO = """
    import sys, torch
    from lightning.fabric import Fabric
    from videossl.evaluation.features import Encoder
    from videossl.evaluation.finetune import FineTune
    from videossl.evaluation.views import Views
    from videossl.models.small import Small

    class Broken:
        def __len__(self): return 9
        def __getitem__(self, index): raise OSError("cut off")

    def found(fabric):
        rng = torch.Generator().manual_seed(0)
        frames = lambda n: torch.randint(256, (n, 3, 8, 10), dtype=torch.uint8, generator=rng)
        records = [{"frames": frames(6 + i), "name": str(i), "label": i % 2} for i in range(7)]
        torch.manual_seed(0)
        trunk = Small(length=4, width=2, size=8).build()
        torch.manual_seed(fabric.global_rank)  # nothing below may lean on torch's own generator
        encoder = Encoder(trunk, fabric, batch=4)
        features = encoder.features([*records[:3], {**records[3], "frames": Broken()}, *records[4:]], Views(clips=2))
        protocol = FineTune(epochs=2, batch=4, rate=0.01, views=Views(clips=2))
        weights = protocol.tuned(encoder, records[:4], 2, seed=0)[0].state_dict()
        scores = protocol.score(encoder, records[:4], records[4:])
        out = [features.values, features.kept, features.failed, scores, weights]
        torch.save(out, f"{fabric.world_size}.{fabric.global_rank}")

    torch.set_num_threads(1)
    found(Fabric(accelerator="cpu", devices=1))
    Fabric(accelerator="cpu", devices=2, strategy="ddp_fork").launch(found)
"""


def test_two_processes_find_what_one_does(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(textwrap.dedent(TWO))
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    values, kept, failed, *_ = torch.load(tmp_path / "1.0", weights_only=False)
    assert kept == [0, 1, 2, 4, 5, 6] and failed == {"3": "cut off"}
    both = [torch.load(tmp_path / f"2.{rank}", weights_only=False) for rank in range(2)]
    for others, *said, _, _ in both:
        assert torch.equal(others, values) and said == [kept, failed]
    assert both[0][3] == both[1][3]  # fine-tuned; one process differs, as its batch norm sees whole batches
    assert all(torch.equal(item, both[1][4][name]) for name, item in both[0][4].items())


def test_nearest_is_brute_force_by_cosine_and_of_equals_the_first():
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(30, 4)).astype(np.float32)
    gallery[20:] = gallery[:10]  # everyone of these twice
    queries = rng.normal(size=(9, 4)).astype(np.float32)
    gallery, queries = (F.normalize(torch.from_numpy(x), dim=1) for x in (gallery, queries))
    similarity, index = nearest(queries, gallery, 30)
    for n, query in enumerate(queries.tolist()):
        cosines = [sum(a * b for a, b in zip(query, item, strict=True)) for item in gallery.tolist()]
        expected = sorted(range(30), key=lambda m: (-round(cosines[m], 6), m))
        assert index[n].tolist() == expected
        assert similarity[n].tolist() == pytest.approx([cosines[m] for m in expected], abs=1e-6)


def test_nearest_in_parts_is_nearest_at_once():
    torch.manual_seed(0)
    queries, gallery = F.normalize(torch.randn(50, 8), dim=1), F.normalize(torch.randn(40, 8), dim=1)
    whole = nearest(queries, gallery, 5)
    parts = [nearest(query[None], gallery, 5) for query in queries]
    assert torch.equal(whole[1], torch.cat([index for _, index in parts]))


def test_clips_every_few_frames_count_as_one_and_short_videos_are_named():
    frames = torch.randint(256, (9, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    records = [{"frames": frames[:n], "name": str(n)} for n in (9, 4, 6)]
    views = Views(length=1, every=2, crops=1, shortest=5)
    found = Encoder(Colours()).features(records, views)
    assert found.kept == [0, 2] and found.values.shape == (2, 1, 3) and found.whole
    assert not Encoder(Colours()).features(records, Views(clips=1)).whole
    assert found.failed == {"4": "has 4 frames, and this protocol leaves out videos under 5"}
    by_hand = [frames[:n:2].float().mean((0, 2, 3)) / 255 for n in (9, 6)]
    assert torch.allclose(found.values[:, 0], torch.stack(by_hand))


class Colours(nn.Module):
    """A trunk whose features are the mean colour."""

    dim, length, size = 3, 1, 2

    def forward(self, clips):
        return clips.mean((1, 3, 4))
