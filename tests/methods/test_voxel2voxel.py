import itertools

import numpy as np
import pytest
import torch

from videossl import augment
from videossl.methods.voxel2voxel import ASK, Decoder, Voxel2Voxel, enlarging, errors, measured
from videossl.models.base import Trunk
from videossl.models.c3d import C3D
from videossl.models.caffenet import CaffeNet
from videossl.models.r3d import R3D
from videossl.models.resnet import ResNet
from videossl.models.s3d import S3D
from videossl.models.small import Small
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

TOY = Voxel2Voxel(length=4, channels=8)


def batch_of(method: Voxel2Voxel, records: list[dict], count: int, seed: int = 0) -> dict:
    return next(iter(loader(Draws(records, method.sample, seed), count)))


def random_batch(method: Voxel2Voxel, examples: int = 2, size: int = 16) -> dict:
    pixels = torch.randint(256, (60, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return batch_of(method, [{"frames": pixels, "name": "noise"}], examples)


C3D_STAGES = [(256, (8, 28, 28)), (512, (4, 14, 14)), (512, (2, 7, 7))]  # conv3b, conv4b, conv5b of 16 x 112 x 112


@pytest.fixture(scope="module")
def c3d() -> Trunk:
    return C3D().build().eval()


@pytest.mark.parametrize(("scale", "kernel"), [(1, 3), (2, 4), (3, 7), (4, 8), (8, 16)])
def test_a_deconvolution_enlarges_exactly(scale, kernel):
    layer = enlarging(2, 3, (scale, 1, scale))
    assert layer.kernel_size == (kernel, 3, kernel)
    for n in (1, 2, 7):
        assert (n - 1) * scale - 2 * layer.padding[0] + kernel == n * scale
        assert layer(torch.rand(1, 2, n, 5, n)).shape == (1, 3, n * scale, 5, n * scale)


def test_with_c3d_the_decoder_is_the_papers(c3d):
    net = Voxel2Voxel().build(c3d)
    up, skip = net.decoder.up, net.decoder.skip
    assert [(u.in_channels, u.out_channels, u.kernel_size, u.stride) for u in up] == [
        (128, 64, (4, 8, 8), (2, 4, 4)),
        (128, 64, (4, 4, 4), (2, 2, 2)),
        (512, 64, (4, 4, 4), (2, 2, 2)),
    ]
    assert [(s.in_channels, s.out_channels, s.kernel_size) for s in skip] == [(256, 64, (3,) * 3), (512, 64, (3,) * 3)]
    assert (net.decoder.paint.out_channels, net.decoder.paint.kernel_size) == (3, (3, 3, 3))


@torch.no_grad()
def test_after_pool1_of_c3d_no_moment_is_lost(c3d):
    shapes = [tuple(maps.shape[2:]) for maps in c3d.stages(torch.rand(1, 16, 3, 48, 48))]
    assert shapes == [(16, 48, 48), (16, 24, 24), (8, 12, 12), (4, 6, 6), (2, 3, 3)]


@torch.no_grad()
@pytest.mark.parametrize(("frames", "size"), [(8, 24), (16, 24), (8, 112), (16, 112), (5, 45), (1, 33)])
def test_the_output_has_the_inputs_size(frames, size, c3d):
    decoder = Decoder([torch.Size((1, c, *s)) for c, s in C3D_STAGES], (16, 112, 112), channels=2)
    stages = c3d.stages(torch.rand(1, frames, 3, size, size))[-3:]
    if (frames, size) == (16, 112):
        assert [(maps.shape[1], tuple(maps.shape[2:])) for maps in stages] == C3D_STAGES
    assert decoder(stages, (frames, size, size)).shape == (1, 3, frames, size, size)


@pytest.mark.parametrize(
    "config",
    [Small(length=4, width=4, size=33), Small(length=1, width=4, size=32), CaffeNet(size=67, widths=(8,))],
    ids=str,
)
@pytest.mark.parametrize("task", sorted(ASK))
@pytest.mark.parametrize("skips", [0, 2, 9])
def test_every_task_runs_with_trunks_of_frames_and_of_clips(config, task, skips):
    method = Voxel2Voxel(task=task, length=3, channels=4, skips=skips, cells=(1, 4))
    net = method.build(config.build())
    loss, metrics = net(random_batch(method, size=40))
    loss.backward()
    assert loss.isfinite() and metrics["mse"] > 0
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in net.decoder.parameters())


@torch.no_grad()
@pytest.mark.parametrize("config", [R3D(depth=10), S3D(), ResNet(18)], ids=str)
def test_strides_and_skips_are_taken_from_the_trunk(config):
    trunk = config.build()
    trunk.size = 64  # a smaller crop, for time's sake
    decoder = Voxel2Voxel(length=8, channels=4).build(trunk).decoder
    fine = trunk.eval().stages(torch.rand(1, 8, 3, 64, 64))[-3:]
    ratios = [
        [round(a / b) for a, b in zip(x.shape[2:], y.shape[2:], strict=True)] for x, y in itertools.pairwise(fine)
    ]
    assert [list(u.stride) for u in decoder.up[1:]] == ratios
    assert decoder(fine, (8, 64, 64)).shape == (1, 3, 8, 64, 64)


def test_building_leaves_the_trunk_as_it_was(tiny):
    trunk = Small(length=4, width=4).build()
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    measured(trunk, 4)
    assert trunk.training and all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


def test_a_trunk_without_maps_is_refused_in_words(tiny):
    class Blind(type(tiny())):
        maps = Trunk.maps

    with pytest.raises(ValueError, match=r"must have maps\(\): Blind has none"):
        TOY.build(Blind())


def test_shown_and_asked_for_are_the_frames_they_should_be(counting):
    method = Voxel2Voxel(task="future", length=4, stride=3)
    assert method.span == 22
    starts = set()
    for seed in range(40):
        example = method.sample(counting(30), np.random.default_rng(seed))
        shown, future = (example[name][:, 0, 0, 0].int().tolist() for name in ("clips", "future"))
        assert shown + future == list(range(shown[0], shown[0] + 24, 3))
        starts.add(shown[0])
    assert starts == set(range(30 - 22 + 1))
    assert len(Voxel2Voxel(length=4).sample(counting(30), np.random.default_rng(0))["future"]) == 0


def test_videos_and_fields_that_cannot_be_are_refused_in_words(counting):
    with pytest.raises(ValueError, match="fewer than the 32 frames"):
        Voxel2Voxel(task="future").check(counting(31))
    Voxel2Voxel(task="future").check(counting(32))
    with pytest.raises(ValueError, match="counts from 1"):
        Voxel2Voxel(stride=0)
    with pytest.raises(ValueError, match=r"share of 98 cells.*0\.001 of them are 0"):
        Voxel2Voxel(task="masked", hidden=0.001)
    with pytest.raises(ValueError, match="cannot be cut into 2 cells"):
        Voxel2Voxel(length=1)


def test_grey_is_what_is_shown_and_the_grey_clip_has_no_error_but_in_chroma(tiny):
    net = TOY.build(tiny()).eval()
    batch = random_batch(TOY)
    asked = net.asked(batch)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # Rec. 601
    grey = (batch["clips"].float() / 255 * weights).sum(-3, keepdim=True)
    torch.testing.assert_close(asked.shown, grey.expand(-1, -1, 3, -1, -1), rtol=0, atol=2e-3)
    found = errors(asked.trivial["grey"], asked)
    assert found["chroma_mse"].item() == pytest.approx(found["mse"].item(), rel=1e-3)
    brighter = errors(asked.truth + 0.1, asked)
    assert brighter["mse"].item() == pytest.approx(0.01, rel=1e-4) and brighter["chroma_mse"].item() < 1e-6
    assert brighter["distance"].item() == pytest.approx(0.1 * 3**0.5, rel=1e-4)


def test_the_mean_colour_costs_the_colours_variance(tiny):
    net = TOY.build(tiny()).eval()
    batch = random_batch(TOY, examples=3)
    _, metrics = net(batch)
    variance = (batch["clips"].double() / 255).transpose(1, 2).flatten(2).var(2, correction=0).mean()
    assert metrics["mean_mse"].item() == pytest.approx(variance.item(), rel=1e-5)


def test_the_loss_is_the_squared_error_in_units_of_the_trunks_colours(tiny):
    net = TOY.build(tiny()).eval()  # its colours have one standard deviation, 0.25
    loss, metrics = net(random_batch(TOY))
    assert loss.item() == pytest.approx(metrics["mse"].item() / 0.25**2, rel=1e-5)


def test_the_last_frame_standing_still_is_right_where_nothing_moves(tiny, counting):
    method = Voxel2Voxel(task="future", length=4, channels=8)
    net = method.build(tiny()).eval()
    still = {"frames": torch.full((20, 3, 16, 16), 9, dtype=torch.uint8), "name": "still"}
    assert net(batch_of(method, [still], 2))[1]["copy_mse"] == 0
    _, metrics = net(batch_of(method, [counting(30)], 2))
    ahead = np.mean([n**2 for n in (1, 2, 3, 4)]) / 255**2  # the counting video grows by a grey level a frame
    assert metrics["copy_mse"].item() == pytest.approx(ahead, rel=1e-4)


@pytest.mark.parametrize(("cells", "tubes"), [((1, 4), True), ((2, 4), False)])
def test_hidden_cells_are_as_many_as_asked_and_their_voxels_are_not_shown(cells, tubes, tiny):
    method = Voxel2Voxel(task="masked", length=4, channels=8, hidden=0.25, cells=cells)
    net = method.build(tiny()).eval()
    batch = random_batch(method, examples=4)
    assert batch["hidden"].flatten(1).sum(1).tolist() == [method.covered] * 4
    asked = net.asked(batch)
    assert asked.judged.float().mean().item() == 0.25
    assert torch.equal(asked.judged, asked.judged[:, :1].expand_as(asked.judged)) == tubes
    seen = ~asked.judged.expand_as(asked.truth)
    assert torch.equal(asked.shown[seen], asked.truth[seen])
    for shown, truth, visible in zip(
        asked.shown, asked.truth, seen, strict=True
    ):  # of each colour, one value: the mean
        for colour in range(3):
            hidden = shown[:, colour][~visible[:, colour]]
            torch.testing.assert_close(hidden, truth[:, colour][visible[:, colour]].mean().expand_as(hidden))


def test_what_is_seen_of_a_masked_clip_does_not_count(tiny):
    method = Voxel2Voxel(task="masked", length=4, channels=8, cells=(1, 4))
    asked = method.build(tiny()).eval().asked(random_batch(method))
    answer = torch.where(asked.judged, asked.truth, asked.truth + 9)
    assert errors(answer, asked)["mse"] == 0 and errors(asked.truth + 9 * asked.judged, asked)["mse"].item() > 80


def test_painting_onto_the_trivial_answer_begins_there(tiny):
    for task in sorted(ASK):
        method = Voxel2Voxel(task=task, length=4, channels=8, cells=(1, 4), onto=True)
        net = method.build(tiny()).eval()
        torch.nn.init.zeros_(net.decoder.paint.weight)
        torch.nn.init.zeros_(net.decoder.paint.bias)
        asked = net.asked(random_batch(method))
        assert torch.equal(net.paint(asked), next(iter(asked.trivial.values())))


def test_without_skips_all_goes_through_the_maps_that_are_kept():
    trunk = Small(length=4, width=4, size=32).build().eval()
    maps = [torch.rand_like(m) for m in trunk.stages(torch.rand(1, 4, 3, 32, 32))]
    other = [torch.rand_like(m) for m in maps[:-1]] + maps[-1:]
    for skips, same in [(0, True), (2, False)]:
        decoder = Voxel2Voxel(length=4, channels=4, skips=skips).build(trunk).decoder
        first, second = (decoder(stages[-decoder.stages :], (4, 32, 32)) for stages in (maps, other))
        assert torch.equal(first, second) == same


def test_panels_show_what_was_asked_in_pixels(tiny):
    for task in sorted(ASK):
        method = Voxel2Voxel(task=task, length=4, channels=8, cells=(1, 4))
        net = method.build(tiny()).eval()
        panels = net.panels(random_batch(method))
        assert list(panels)[:3] == ["shown", "truth", "painted"] and len(panels) >= 4
        for clips in panels.values():
            assert clips.shape == (2, 4, 3, 16, 16) and clips.min() >= 0 and clips.max() <= 1


def coloured(seed: int) -> dict:
    """A square that moves to the right: in light grey its colour is red, in dark grey blue. Where is all that is random."""
    rng = np.random.default_rng(seed)
    red = rng.random() < 0.5
    frames = np.full((12, 3, 16, 16), 40, np.uint8)
    top, left = rng.integers(0, 10), rng.integers(-2, 4)
    for t in range(12):
        square = frames[t, :, top : top + 6, max(0, left + t) : max(0, left + t) + 6]
        square[:] = np.array([250, 90, 90] if red else [60, 60, 250], np.uint8)[:, None, None]
    return {"frames": torch.from_numpy(frames), "name": f"square{seed}"}


def learned(method: Voxel2Voxel) -> dict[str, float]:
    """Metrics on new videos, after two seconds of training."""
    torch.manual_seed(0)
    net = method.build(Small(length=4, width=8, size=16).build())
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    batches = loader(Draws([coloured(i) for i in range(40)], method.sample, 0), 8)
    for _ in fit(net, batches, optimizer, 120, cosine(5e-3)):
        pass
    with torch.no_grad():
        metrics = net.eval()(batch_of(method, [coloured(100 + i) for i in range(20)], 40, seed=1))[1]
    return {name: value.item() for name, value in metrics.items()}


def test_it_learns_colours_that_follow_from_grey():
    found = learned(Voxel2Voxel(length=4, channels=8))
    assert found["mse"] < 0.7 * min(found["grey_mse"], found["mean_mse"])
    assert found["chroma_mse"] < 0.7 * min(found["grey_chroma_mse"], found["mean_chroma_mse"])


def test_it_learns_where_a_square_goes_better_than_standing_still():
    found = learned(Voxel2Voxel(task="future", length=4, channels=8))
    assert found["mse"] < 0.75 * found["copy_mse"]


def test_it_learns_to_fill_in_better_than_the_mean():
    found = learned(Voxel2Voxel(task="masked", length=4, channels=8, cells=(2, 4)))
    assert found["mse"] < 0.75 * found["mean_mse"]


def test_in_training_one_crop_and_mirror_image_is_for_past_and_future(tiny):
    method = Voxel2Voxel(task="future", length=4, channels=8)
    net = method.build(tiny())
    frames = torch.randint(256, (1, 3, 24, 24), dtype=torch.uint8).expand(20, -1, -1, -1)
    asked = net.asked(batch_of(method, [{"frames": frames, "name": "still"}], 8))
    assert torch.equal(asked.shown, asked.truth)
    assert not torch.equal(asked.shown, augment.centre(augment.pixels(frames[:4]).expand(8, -1, -1, -1, -1), 16))
