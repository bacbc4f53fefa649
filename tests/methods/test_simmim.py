import pytest
import torch

from videossl.methods.masks import masked, patchify
from videossl.methods.simmim import SimMIM


def test_the_loss_is_the_mean_absolute_error_of_hidden_pixels(tokens):
    torch.manual_seed(0)
    method = SimMIM()
    net = method.build(tokens()).eval()
    batch = {"clips": torch.randint(256, (3, 1, 3, 16, 16), dtype=torch.uint8)}
    with torch.no_grad():
        net.paint.weight.zero_()
        net.paint.bias.zero_()
    clips, hidden = masked(batch, method, net.trunk, training=False)
    target = patchify(net.trunk.normalise(clips), (1, 4, 4))
    assert net(batch)[0].item() == pytest.approx(target[hidden].abs().mean().item(), rel=1e-5)
    assert hidden.sum(1).tolist() == [10, 10, 10]  # of 16: 6.4 are shown, rounded down
    assert sum(p.numel() for p in net.paint.parameters()) == (24 + 1) * 3 * 16
