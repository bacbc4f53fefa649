import pytest
import torch

from videossl.methods.mae import MAE
from videossl.methods.masks import patchify, standardised, unpatchify

SMALL = {"width": 24, "depth": 1, "heads": 2}


@pytest.fixture
def clips():
    return {"clips": torch.randint(256, (3, 1, 3, 16, 16), dtype=torch.uint8)}


@pytest.mark.parametrize("normalised", [True, False])
def test_the_loss_is_the_mean_squared_error_of_hidden_patches_alone(tokens, clips, normalised):
    torch.manual_seed(0)
    net = MAE(**SMALL, normalised=normalised).build(tokens()).eval()
    loss, metrics = net(clips)
    shown, hidden, painted = net.painted(clips)
    pixels = patchify(shown, (1, 4, 4))
    target = standardised(pixels) if normalised else pixels
    errors = [(painted[n, i] - target[n, i]).square().mean() for n in range(3) for i in range(16) if hidden[n, i]]
    assert len(errors) == 3 * 12 and loss.item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-5)
    if normalised:
        assert metrics["flat_error"].item() == pytest.approx(47 / 48, rel=1e-3)


def test_hidden_pixels_change_nothing_of_what_is_painted(tokens, clips):
    torch.manual_seed(0)
    net = MAE(**SMALL).build(tokens()).eval()
    _, hidden, painted = net.painted(clips)
    pixels = patchify(clips["clips"], (1, 4, 4))
    pixels[hidden] = 0

    other = {"clips": unpatchify(pixels, (1, 4, 4), (1, 4, 4))}
    assert torch.allclose(net.painted(other)[2], painted, atol=1e-6)


def test_panels_show_the_truth_where_it_was_shown(tokens, clips):
    torch.manual_seed(0)
    net = MAE(**SMALL).build(tokens()).eval()
    panels = net.panels(clips)
    assert set(panels) == {"shown", "painted", "truth"} and all(p.shape == (3, 1, 3, 16, 16) for p in panels.values())
    seen = panels["shown"] != 0.5
    assert torch.allclose(panels["painted"][seen], panels["truth"][seen], atol=1e-6)
    assert torch.allclose(panels["truth"], clips["clips"].float() / 255, atol=1e-6)


def test_a_convolutional_trunk_is_refused_and_so_is_a_width_that_heads_do_not_divide(tiny):
    with pytest.raises(ValueError, match="MAE hides tokens, so its trunk must have tokens"):
        MAE().build(tiny())
    with pytest.raises(ValueError, match="multiple of its 5 heads"):
        MAE(heads=5)
    with pytest.raises(ValueError, match="width, 4, should be 6 or more"):
        MAE(width=4, heads=4)
