import math

import pytest
import torch
from torch import nn

from videossl.models.lstm import LSTM, ConvLSTM, Layer, PeepholeLSTM


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_a_layer_is_the_release_s_formula_by_hand():
    layer = Layer(1, 1)
    with torch.no_grad():
        layer.of_x.weight.copy_(torch.tensor([[0.1], [0.2], [0.3], [0.4]]))  # to i, f, a, o
        layer.of_h.weight.copy_(torch.tensor([[0.5], [0.6], [0.7], [0.8]]))
        layer.of_h.bias.copy_(torch.tensor([0.01, 0.02, 0.03, 0.04]))
        layer.peepholes.copy_(torch.tensor([[0.9], [1.0], [1.1]]))  # to i, f, o
        x, h, c = 2.0, 0.5, -0.4
        found = layer(torch.tensor([[x]]), torch.tensor([[h]]), torch.tensor([[c]]))
    i = sigmoid(0.1 * x + 0.5 * h + 0.01 + 0.9 * c)
    f = sigmoid(0.2 * x + 0.6 * h + 0.02 + 1.0 * c)
    a = math.tanh(0.3 * x + 0.7 * h + 0.03)
    after = f * c + i * a
    o = sigmoid(0.4 * x + 0.8 * h + 0.04 + 1.1 * after)  # sees the new cell, i and f the old one
    assert found[1].item() == pytest.approx(after, abs=1e-6)
    assert found[0].item() == pytest.approx(o * math.tanh(after), abs=1e-6)


def test_without_peepholes_it_is_torchs_lstm():
    ours, theirs = PeepholeLSTM(7, (5, 5)), nn.LSTM(7, 5, 2, batch_first=True)
    order = torch.arange(20).view(4, 5)  # both give i, f, a, o
    with torch.no_grad():
        for n, layer in enumerate(ours.layers):
            nn.init.zeros_(layer.peepholes)
            layer.of_x.weight.copy_(getattr(theirs, f"weight_ih_l{n}")[order.flatten()])
            layer.of_h.weight.copy_(getattr(theirs, f"weight_hh_l{n}"))
            layer.of_h.bias.copy_(getattr(theirs, f"bias_ih_l{n}") + getattr(theirs, f"bias_hh_l{n}"))
        frames = torch.randn(3, 6, 7)
        tops, state = ours.read(frames)
        expected, (h, c) = theirs(frames)
    torch.testing.assert_close(tops, expected)
    torch.testing.assert_close(torch.stack([pair[0] for pair in state]), h)
    torch.testing.assert_close(torch.stack([pair[1] for pair in state]), c)


def test_over_maps_of_one_cell_it_is_the_lstm_over_vectors():
    vectors, maps = PeepholeLSTM(3, (4,)), PeepholeLSTM(3, (4,), kernel=1)
    with torch.no_grad():
        for one, other in zip(vectors.parameters(), maps.parameters(), strict=True):
            other.copy_(one.view_as(other))
        frames = torch.randn(2, 5, 3)
        torch.testing.assert_close(maps.read(frames[..., None, None])[0][..., 0, 0], vectors.read(frames)[0])


def test_reading_nothing_still_changes_the_state():
    stack = PeepholeLSTM(0, (4, 4))
    before = [(torch.rand(1, 4), torch.rand(1, 4)) for _ in range(2)]
    after = stack(None, before)
    assert all(
        not torch.equal(a, b) for old, new in zip(before, after, strict=True) for a, b in zip(old, new, strict=True)
    )
    assert stack.layers[0].of_x is None and stack.layers[1].of_x is not None


def test_weights_are_as_many_as_the_papers_layers_need():
    def weights(trunk):
        return sum(weight.numel() for weight in trunk.parameters())

    units, pixels = 32, 16 * 16
    one = 4 * units * (pixels + units + 1) + 3 * units
    assert weights(LSTM(size=16, units=units).build()) == one
    assert weights(LSTM(size=16, units=units, layers=2).build()) == one + 4 * units * (2 * units + 1) + 3 * units
    assert weights(LSTM(size=16, units=units, grey=False).build()) == one + 4 * units * 2 * pixels
    conv = ConvLSTM(size=16, widths=(8,), kernel=3, patch=4)
    assert weights(conv.build()) == 4 * 8 * (9 * 16 + 9 * 8 + 1) + 3 * 8


@pytest.mark.parametrize(
    "config", [LSTM(size=16, units=8, layers=2), ConvLSTM(size=16, widths=(6, 8), kernel=3)], ids=str
)
def test_features_are_the_mean_of_what_read_gives_after_each_frame(config):
    trunk = config.build().eval()
    clips = torch.rand(2, 4, 3, 16, 16)
    with torch.no_grad():
        states = [trunk.read(clips[:, : t + 1]) for t in range(4)]
        tops = torch.stack([state[-1][0] for state in states], 2)
        maps = trunk.maps(clips)
        torch.testing.assert_close(maps, tops.view_as(maps))
        if isinstance(config, LSTM):
            torch.testing.assert_close(trunk(clips), tops.mean(2))
    widths = trunk.stack.widths
    assert [h.shape[1] for h, _ in states[-1]] == [c.shape[1] for _, c in states[-1]] == list(widths)


def test_an_lstm_sees_frames_of_other_sizes_averaged_and_grey_alone():
    trunk = LSTM(size=16, units=8).build().eval()
    clips = torch.rand(2, 3, 3, 16, 16)
    large = clips.repeat_interleave(2, -1).repeat_interleave(2, -2)
    other = clips.clone()
    other[:, :, 0] += 0.1 * 0.587  # redder and less green: the same grey
    other[:, :, 1] -= 0.1 * 0.2989
    with torch.no_grad():
        torch.testing.assert_close(trunk(large), trunk(clips))
        torch.testing.assert_close(trunk(other), trunk(clips))
        coloured = LSTM(size=16, units=8, grey=False).build().eval()
        assert not torch.allclose(coloured(other), coloured(clips), atol=1e-6)


def test_a_conv_lstm_keeps_places():
    trunk = ConvLSTM(size=32, widths=(8,), kernel=3, patch=4).build().eval()
    assert trunk.cells == 8
    clips = torch.zeros(1, 3, 3, 32, 32)
    dot = clips.clone()
    dot[..., :4, :4] = 1
    with torch.no_grad():
        changed = (trunk.maps(dot) - trunk.maps(clips)).abs().amax((0, 1, 2)) > 0
    assert changed[:4, :4].all() and not changed[5:].any() and not changed[:, 5:].any()  # a cell a step, and its own


def test_what_cannot_be_built_is_refused():
    for config, reason in [
        (LSTM(units=0), "counts from 1"),
        (LSTM(length=1), "2 frames or more"),
        (ConvLSTM(kernel=4), "odd kernels"),
        (ConvLSTM(patch=0), "counts from 1"),
        (ConvLSTM(widths=()), "widths one or more"),
    ]:
        with pytest.raises(ValueError, match=reason):
            config.build()
