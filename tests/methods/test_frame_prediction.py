import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.functional.image import peak_signal_noise_ratio

from videossl.methods.frame_prediction import Decoder, FramePrediction
from videossl.models.base import Trunk
from videossl.models.lstm import LSTM, ConvLSTM
from videossl.models.small import Small
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

SHORT = FramePrediction(past=4, future=3, units=12)
READER = LSTM(size=16, units=12)
CELLS = ConvLSTM(size=16, widths=(6, 4), kernel=3, patch=4)
TRUNKS = [READER, LSTM(size=16, units=12, layers=2), CELLS, Small(1, 4, 16), Small(4, 4, 16)]


def video(method: FramePrediction, side: int = 16, batch: int = 3) -> dict:
    frames = torch.rand(batch, len(method.numbers()), 3, side, side, generator=torch.Generator().manual_seed(1))
    return {"video": frames}


def built(method: FramePrediction, trunk=READER, seed: int = 0):
    torch.manual_seed(seed)
    return method.build(trunk.build())


def test_the_past_and_what_follows_are_shown_in_order(counting):
    method = FramePrediction(past=3, future=2, stride=4, gap=5)
    assert method.numbers().tolist() == [0, 4, 8, 17, 21] and method.span == 22
    starts = set()
    for seed in range(300):
        shown = method.sample(counting(30), np.random.default_rng(seed))["video"][:, 0, 0, 0].tolist()
        assert (np.array(shown) - shown[0]).tolist() == method.numbers().tolist()
        starts.add(shown[0])
    assert starts == set(range(9))
    assert dataclasses.replace(method, predict=False).numbers().tolist() == [0, 4, 8]


def test_the_past_is_repainted_backwards_and_the_future_forwards():
    net = built(SHORT)
    clips = net.view(video(SHORT))
    targets, items = net.targets(clips), net.items(clips)
    assert torch.equal(targets["past"], items[:, :4].flip(1))
    assert torch.equal(targets["future"], items[:, 4:])


@pytest.mark.parametrize("trunk", TRUNKS, ids=str)
def test_with_zero_weights_a_frame_costs_log_2_a_pixel(trunk):
    net = built(SHORT, trunk)
    for weight in net.decoders.parameters():
        nn.init.zeros_(weight)
    loss, metrics = net(video(SHORT))
    assert metrics["past_error"].item() == pytest.approx(16 * 16 * math.log(2), rel=1e-5)
    assert metrics["future_error"].item() == pytest.approx(16 * 16 * math.log(2), rel=1e-5)
    assert loss.item() == pytest.approx(2 * 16 * 16 * math.log(2), rel=1e-5)


def test_with_zero_weights_the_squared_error_is_half_the_sum_of_squares():
    method = dataclasses.replace(SHORT, loss="squared", grey=False, reconstruct=False)
    net = built(method)
    for weight in net.decoders.parameters():
        nn.init.zeros_(weight)
    batch = video(method)
    expected = 0.5 * batch["video"][:, 4:].square().sum((2, 3, 4)).mean()
    torch.testing.assert_close(net(batch)[0], expected)


@pytest.mark.parametrize("conditional", ["neither", "past", "future", "both"])
@pytest.mark.parametrize("trunk", [READER, CELLS], ids=str)
def test_the_composite_loss_is_the_sum_of_the_two_single_ones(conditional, trunk):
    method = dataclasses.replace(SHORT, conditional=conditional)
    both = built(method, trunk)
    batch, losses = video(method), []
    for name, switched in (("past", {"predict": False}), ("future", {"reconstruct": False})):
        single = built(dataclasses.replace(method, **switched), trunk)
        assert list(single.decoders) == [name]
        single.load_state_dict({k: w for k, w in both.state_dict().items() if k in single.state_dict()})
        loss, metrics = single(batch)
        assert list(metrics) == [f"{name}_error"] and metrics[f"{name}_error"] == loss
        losses.append(loss)
    torch.testing.assert_close(both(batch)[0], sum(losses))


def painted(net, batch: dict) -> dict[str, torch.Tensor]:
    clips = net.view(batch)
    with torch.no_grad():
        return net.decode(clips, net.targets(clips))


@pytest.mark.parametrize("trunk", TRUNKS, ids=str)
@pytest.mark.parametrize("conditional", ["neither", "both"])
def test_only_a_conditional_decoder_in_training_sees_the_future(conditional, trunk):
    method = dataclasses.replace(SHORT, conditional=conditional)
    net = built(method, trunk)
    batch = video(method)
    other = {"video": batch["video"].clone()}
    other["video"][:, 4:] = torch.rand_like(other["video"][:, 4:])
    for training in (True, False):
        net.train(training)
        one, two = painted(net, batch), painted(net, other)
        assert torch.equal(one["past"], two["past"])
        assert torch.equal(one["future"][:, 0], two["future"][:, 0])  # the first step sees nothing but the state
        assert torch.equal(one["future"], two["future"]) == (not training or conditional == "neither")


@pytest.mark.parametrize("trunk", TRUNKS, ids=str)
def test_an_unconditional_decoder_is_never_shown_what_it_is_to_paint(trunk):
    net = built(dataclasses.replace(SHORT, conditional="neither"), trunk).eval()
    clips = net.view(video(SHORT))
    targets = net.targets(clips)
    with torch.no_grad():
        one, two = net.decode(clips, targets), net.decode(clips, {k: torch.rand_like(v) for k, v in targets.items()})
    assert all(torch.equal(one[name], two[name]) for name in ("past", "future"))


def test_a_conditional_decoder_is_shown_the_frame_before_and_none_later():
    decoder = Decoder((8,), None, 1, (1, 4, 4), conditional=True)
    state, shown = [(torch.rand(1, 8), torch.rand(1, 8))], torch.rand(1, 5, 1, 4, 4)
    first = decoder(state, 5, nn.Sigmoid(), shown)
    shown[:, 2] += 1
    changed = (decoder(state, 5, nn.Sigmoid(), shown) != first).flatten(2).any(2)[0]
    assert changed.tolist() == [False, False, False, True, True]


def test_left_alone_a_conditional_decoder_is_shown_its_own_frames():
    decoder = Decoder((8,), None, 1, (1, 4, 4), conditional=True)
    state, squash = [(torch.rand(2, 8), torch.rand(2, 8))], nn.Sigmoid()
    own = decoder(state, 5, squash, None)
    torch.testing.assert_close(decoder(state, 5, squash, squash(own)), own)
    assert not torch.allclose(decoder(state, 5, squash, torch.rand(2, 5, 1, 4, 4)), own)


def test_both_decoders_start_from_the_readers_state_and_have_weights_of_their_own():
    net = built(dataclasses.replace(SHORT, conditional="neither"))
    past, future = net.decoders["past"], net.decoders["future"]
    clips = net.view(video(SHORT))
    ((h, c),) = net.trunk.read(clips[:, :4])
    found = net.decode(clips, net.targets(clips))
    for name, decoder in (("past", past), ("future", future)):
        after = decoder.stack(None, [(h, c)])
        expected = decoder.out(after[0][0]).view(-1, 1, 16, 16)
        torch.testing.assert_close(found[name][:, 0], expected)
    owned = {id(w) for w in past.parameters()} | {id(w) for w in future.parameters()}
    assert len(owned) == 2 * len(list(past.parameters())) and not owned & {id(w) for w in net.trunk.parameters()}


@pytest.mark.parametrize("trunk", TRUNKS, ids=str)
def test_every_kind_of_trunk_is_trained_by_it(trunk):
    net = built(dataclasses.replace(SHORT, size=12 if trunk != CELLS else None), trunk)
    loss, _ = net(video(SHORT))
    loss.backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_one_batch_is_learned_by_heart():
    method = dataclasses.replace(SHORT, conditional="neither")
    net = built(method, LSTM(size=16, units=64))
    batch = {"video": (video(method)["video"][:, :, :1] > 0.8).float().expand(-1, -1, 3, -1, -1)}  # black and white
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    errors = []
    for _ in range(120):
        optimizer.zero_grad()
        loss, metrics = net(batch)
        loss.backward()
        optimizer.step()
        errors.append([metrics["past_error"].item(), metrics["future_error"].item()])
    assert errors[-1][0] < 0.3 * errors[0][0] and errors[-1][1] < 0.3 * errors[0][1]


def rolling(seed: int) -> dict:
    """A white bar on black that rolls up or down, a row a frame, and comes in again where it went out."""
    rng = np.random.default_rng(seed)
    top, step = rng.integers(16), rng.choice([-1, 1])
    frames = torch.zeros(20, 3, 16, 16, dtype=torch.uint8)
    for t in range(20):
        frames[t, :, (top + step * t + np.arange(3)) % 16] = 255
    return {"frames": frames, "name": f"rolling{seed}"}


BARS = FramePrediction(past=3, future=4, conditional="neither", units=64)


@pytest.mark.parametrize("loss", ["bernoulli", "squared"])
@pytest.mark.parametrize("trunk", TRUNKS, ids=str)
def test_what_is_painted_onto_the_last_frame_begins_as_a_copy_of_it(trunk, loss):
    method = dataclasses.replace(SHORT, onto=True, conditional="both", loss=loss)
    net = built(method, trunk).eval()
    with torch.no_grad():
        _, metrics = net(video(method))
    assert metrics["future_error"].item() == pytest.approx(metrics["copy_error"].item(), rel=1e-4)
    assert metrics["future_mse"].item() == pytest.approx(metrics["copy_mse"].item(), rel=1e-2)


def learn(method: FramePrediction, trunk: Trunk, steps: int = 150):
    net = method.build(trunk)
    batches = loader(Draws([rolling(i) for i in range(40)], method.sample, 0), 16)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in fit(net, batches, optimizer, steps, cosine(1e-2), clip=100):
        pass
    return net.eval()


def measured(net, method: FramePrediction) -> dict[str, float]:
    with torch.no_grad():
        batch = next(iter(loader(Draws([rolling(100 + i) for i in range(20)], method.sample, 1), 100)))
        return {name: value.item() for name, value in net(batch)[1].items()}


@pytest.mark.parametrize("trunk", ["features of frames", "an LSTM"])
def test_it_learns_where_a_bar_rolls_in_videos_that_it_has_not_seen(trunk, tiny):
    torch.manual_seed(0)
    found = measured(learn(BARS, tiny() if trunk == "features of frames" else LSTM(16, 64).build()), BARS)
    assert found["future_error"] < 0.7 * found["mean_error"] < found["copy_error"]
    assert found["future_mse"] < 0.5 * found["copy_mse"]
    assert found["future_psnr"] > found["copy_psnr"] + 4


class Blind(Trunk):
    """A trunk that says nothing of what it sees."""

    def __init__(self):
        super().__init__(dim=4, length=4, size=16, resize=(16, 16), colours=((0.5,) * 3, (0.25,) * 3))

    def forward(self, clips):
        return clips.new_zeros(len(clips), self.dim)


def test_a_conditional_decoder_can_do_without_the_code_and_an_unconditional_one_cannot():
    errors = {}
    for conditional in ("neither", "past"):
        method = dataclasses.replace(BARS, predict=False, conditional=conditional)
        torch.manual_seed(0)
        errors[conditional] = measured(learn(method, Blind()), method)["past_error"]
    assert errors["past"] < 0.8 * errors["neither"]


def test_psnr_and_the_trivial_answers_are_what_they_say():
    net = built(SHORT).eval()
    batch = video(SHORT)
    with torch.no_grad():
        _, metrics = net(batch)
        clips = net.view(batch)
        truth, last = net.items(clips)[:, 4:], net.items(clips)[:, 3:4].expand(-1, 3, -1, -1, -1)
        found = net.squash(net.decode(clips, net.targets(clips))["future"])
    for name, pictures in (("future", found), ("copy", last)):
        assert metrics[f"{name}_mse"].item() == pytest.approx((pictures - truth).square().mean().item(), rel=1e-5)
        expected = peak_signal_noise_ratio(pictures, truth, data_range=1.0, dim=(2, 3, 4), reduction="none").mean()
        assert metrics[f"{name}_psnr"].item() == pytest.approx(expected.item(), rel=1e-4)
    mean = truth.mean((0, 1)).clamp(1e-3, 1 - 1e-3)
    entropy = -(truth * mean.log() + (1 - truth) * (1 - mean).log()).sum((2, 3, 4)).mean()
    assert metrics["mean_error"].item() == pytest.approx(entropy.item(), rel=1e-3)


def test_a_still_video_is_copied_without_an_infinite_score():
    net = built(SHORT).eval()
    batch = {"video": torch.rand(2, 1, 3, 16, 16).expand(-1, 7, -1, -1, -1)}
    with torch.no_grad():
        _, metrics = net(batch)
    assert metrics["copy_mse"].item() == pytest.approx(0, abs=1e-12)
    assert metrics["copy_ssim"].item() == pytest.approx(1, abs=1e-4)
    assert metrics["copy_psnr"].item() == pytest.approx(58.9, abs=0.1)  # rounding to 256 grey levels
    assert all(value.isfinite() for value in metrics.values())


def test_steps_are_the_metrics_before_the_mean_over_time():
    net = built(SHORT).eval()
    batch = video(SHORT)
    steps = net.steps(batch)
    assert set(steps) == {f"{who}_{what}" for who in ("future", "copy") for what in ("mse", "psnr", "ssim")}
    with torch.no_grad():
        _, metrics = net(batch)
    for name, values in steps.items():
        assert values.shape == (3,)
        torch.testing.assert_close(values.mean(), metrics[name])


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize(("reconstruct", "predict"), [(True, True), (True, False), (False, True)])
def test_panels_are_strips_of_the_same_length(reconstruct, predict, grey):
    method = dataclasses.replace(SHORT, reconstruct=reconstruct, predict=predict, grey=grey, size=12)
    net = built(method).eval()
    panels = net.panels(video(method))
    frames = 7 if predict else 4
    assert all(strip.shape == (3, frames, 3, 12, 12) for strip in panels.values())
    assert all(strip.min() >= 0 and strip.max() <= 1 for strip in panels.values())
    assert torch.equal(panels["input"][:, :4], panels["truth"][:, :4]) and (panels["input"][:, 4:] == 0.5).all()
    assert torch.equal(panels["prediction"][:, :4], panels["truth"][:, :4]) == (not reconstruct)
    assert ("copy of the last frame" in panels) == predict
    if predict:
        copies = panels["copy of the last frame"]
        assert torch.equal(copies[:, 4:], panels["truth"][:, 3:4].expand(-1, 3, -1, -1, -1))


def test_smaller_frames_are_painted_than_the_trunk_sees():
    net = built(dataclasses.replace(SHORT, size=12))
    clips = net.view(video(SHORT))
    assert clips.shape[-1] == 16 and net.items(clips).shape == (3, 7, 1, 12, 12)
    constant = net.items(torch.full((1, 2, 3, 16, 16), 0.5))
    torch.testing.assert_close(constant, torch.full_like(constant, 0.5), rtol=1e-3, atol=0)


PERCEPTS = dataclasses.replace(SHORT, target="percepts", loss="squared")


def test_percepts_stay_what_they_were_while_the_trunk_learns(tiny):
    method = dataclasses.replace(BARS, target="percepts", loss="squared")
    torch.manual_seed(0)
    trunk = tiny()
    before = {name: weight.clone() for name, weight in trunk.state_dict().items()}
    clips = rolling(0)["frames"][None, :4] / 255
    start = method.build(trunk).items(clips)
    net = learn(method, trunk)
    assert torch.equal(net.items(clips), start)
    assert all(torch.equal(weight, before[name]) for name, weight in net.teacher.state_dict().items())
    assert any(not torch.equal(weight, before[name]) for name, weight in net.trunk.state_dict().items())
    found = measured(net, method)
    assert found["future_error"] < found["mean_error"] and found["future_mse"] < found["copy_mse"]


def test_percepts_cannot_become_easy_by_all_becoming_the_same(tiny):
    net = PERCEPTS.build(tiny())
    for weight in net.trunk.parameters():
        nn.init.zeros_(weight)  # what a collapsed trunk would say
    items = net.items(net.view(video(PERCEPTS)))
    assert items.std(0).mean() > 0.1
    torch.testing.assert_close(items.var(-1, correction=0), torch.ones(3, 7), rtol=1e-2, atol=0)


def test_what_cannot_be_asked_is_refused_in_words(counting):
    for wrong, reason in [
        ({"past": 0}, "counts from 1"),
        ({"gap": -1}, "gap from 0"),
        ({"reconstruct": False, "predict": False}, "nothing is asked for"),
        ({"target": "percepts"}, "set loss to squared"),
    ]:
        with pytest.raises(ValueError, match=reason):
            dataclasses.replace(SHORT, **wrong)
    with pytest.raises(ValueError, match="fewer than the 7 frames"):
        SHORT.check(counting(6))
    for method, trunk, reason in [
        (dataclasses.replace(SHORT, size=8), READER, "SSIM needs 11"),
        (dataclasses.replace(SHORT, size=18), CELLS, "4 cells a side, so frames of 4 pixels or a multiple"),
        (PERCEPTS, READER, "LSTMTrunk reads clips: take a frame trunk"),
    ]:
        with pytest.raises(ValueError, match=reason):
            method.build(trunk.build())


def test_the_paper_s_net_is_the_default():
    method, trunk = FramePrediction(), LSTM()
    assert (method.past, method.future, method.span, method.chance) == (10, 10, 20, {})
    assert (trunk.size**2, trunk.units, trunk.layers) == (4096, 2048, 1)
