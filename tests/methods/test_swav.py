import pytest
import torch
from torch.nn import functional as F

from videossl.methods.swav import SwAV


def shared_out(scores, epsilon=0.05, rounds=3):
    """Sinkhorn's algorithm, as the paper's appendix A has it."""
    q = (scores / epsilon).exp().T
    q = q / q.sum()
    for _ in range(rounds):
        q = q / q.sum(1, keepdim=True) / q.shape[0]
        q = q / q.sum(0, keepdim=True) / q.shape[1]
    return (q * q.shape[1]).T


def test_each_view_predicts_the_codes_of_the_other(tiny):
    torch.manual_seed(0)
    net = SwAV(prototypes=9, hidden=8, out=5).build(tiny()).eval()
    taken = []
    net.prototypes.register_forward_hook(lambda module, given, result: taken.append(result.detach()))
    clips = {"clips": torch.randint(256, (6, 2, 1, 3, 16, 16), dtype=torch.uint8)}
    loss, metrics = net(clips)
    one, other = taken[0].unflatten(0, (6, 2)).unbind(1)
    expected = 0.0
    for code, asked in ((shared_out(one), other), (shared_out(other), one)):
        expected -= (code * F.log_softmax(asked / 0.1, dim=1)).sum(1).mean().item() / 2
    assert loss.item() == pytest.approx(expected, rel=1e-4) and 1 / 9 <= metrics["used"] <= 1


def test_prototypes_are_unit_vectors_whenever_they_are_used(tiny):
    net = SwAV(prototypes=9, hidden=8, out=5).build(tiny())
    with torch.no_grad():
        net.prototypes.heads[0].weight.mul_(3)
    net({"clips": torch.randint(256, (4, 2, 1, 3, 16, 16), dtype=torch.uint8)})
    assert torch.allclose(net.prototypes.heads[0].weight.norm(dim=1), torch.ones(9))
