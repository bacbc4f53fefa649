import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videossl.methods.moco import MoCo


class Same(nn.Module):
    """The same vector for all."""

    def __init__(self, vector):
        super().__init__()
        self.vector = vector

    def forward(self, features):
        return self.vector.expand(len(features), -1)


@pytest.fixture
def clips():
    return {"clips": torch.randint(256, (4, 2, 1, 3, 16, 16), dtype=torch.uint8)}


def test_keys_are_put_into_the_queue_in_turn_and_around_its_end(tiny):
    net = MoCo(queue=6, hidden=8, out=3).build(tiny())
    assert torch.allclose(net.queue.norm(dim=1), torch.ones(6))
    for first in (0, 4, 8):
        net.enqueue(torch.full((4, 3), float(first)) + torch.arange(4.0)[:, None])
    assert net.queue[:, 0].tolist() == [6, 7, 8, 9, 10, 11] and net.oldest == 0
    net.enqueue(torch.arange(9.0)[:, None].expand(9, 3))
    assert sorted(net.queue[:, 0].tolist()) == [3, 4, 5, 6, 7, 8]


def test_the_loss_is_that_of_a_loop_over_own_key_and_queue(tiny, clips):
    torch.manual_seed(0)
    net = MoCo(queue=7, hidden=8, out=5, temperature=0.3).build(tiny()).eval()
    queue, taken = net.queue.clone(), []
    net.projector.register_forward_hook(lambda module, given, result: taken.append(F.normalize(result, dim=1)))
    net.teacher.copies[1].register_forward_hook(lambda module, given, result: taken.append(F.normalize(result, dim=1)))
    loss, _ = net(clips)
    queries, keys = taken
    total = 0.0
    for q, k in zip(queries, keys, strict=True):
        scores = [math.exp(q @ k / 0.3), *(math.exp(q @ other / 0.3) for other in queue)]
        total -= math.log(scores[0] / sum(scores))
    assert loss.item() == pytest.approx(total / 4, rel=1e-5) and torch.equal(net.queue, queue)  # eval mode adds none


def test_a_gradient_reaches_the_queries_alone_and_the_teacher_follows(tiny, clips):
    torch.manual_seed(0)
    net = MoCo(queue=8, hidden=8, out=5, momentum=0.5).build(tiny())
    net(clips)[0].backward()
    assert net.trunk.body[0].weight.grad is not None
    assert all(p.grad is None and not p.requires_grad for p in net.teacher.parameters())
    before = net.teacher.copies[0].body[0].weight.clone()
    with torch.no_grad():
        net.trunk.body[0].weight.add_(1.0)
    net.update(0.5)
    assert torch.allclose(net.teacher.copies[0].body[0].weight, 0.5 * before + 0.5 * net.trunk.body[0].weight)


def test_equal_scores_cost_the_logarithm_of_all_keys(tiny, clips):
    net = MoCo(queue=31, hidden=8, out=5).build(tiny()).eval()
    with torch.no_grad():
        net.queue.zero_()
        for projector in (net.projector, net.teacher.copies[1]):
            for parameter in projector.parameters():
                parameter.zero_()
    assert net(clips)[0].item() == pytest.approx(math.log(32), rel=1e-5)


def test_version_3_has_both_directions(tiny, clips):
    torch.manual_seed(0)
    net, taken = MoCo(version=3, hidden=8, out=5, temperature=0.3).build(tiny()).eval(), []
    for head in (net.predictor, net.teacher.copies[1]):
        head.register_forward_hook(lambda module, given, result: taken.append(F.normalize(result, dim=1)))
    loss = net(clips)[0].item()
    queries, keys = (found.unflatten(0, (4, 2)) for found in taken)
    total = 0.0
    for view in (0, 1):
        for n in range(4):
            scores = [math.exp(queries[n, view] @ key / 0.3) for key in keys[:, 1 - view]]
            total -= 2 * 0.3 * math.log(scores[n] / sum(scores)) / 4
    assert loss == pytest.approx(total, rel=1e-4)


def test_version_3_costs_twice_the_temperature(tiny):
    net = MoCo(version=3, hidden=8, out=5, temperature=0.2).build(tiny())
    same = F.normalize(torch.ones(6, 5), dim=1)
    assert net.contrast(same, same).item() == pytest.approx(2 * 0.2 * math.log(6), rel=1e-5)
    queries, keys = F.normalize(torch.randn(2, 6, 5), dim=2)
    rows = [[math.exp(q @ k / 0.2) for k in keys] for q in queries]
    by_hand = -sum(math.log(row[n] / sum(row)) for n, row in enumerate(rows)) / 6
    assert net.contrast(queries, keys).item() == pytest.approx(0.4 * by_hand, rel=1e-4)


def test_version_3_leaves_a_transformers_patches_embedded_as_they_were_drawn(tokens, tiny, clips):
    torch.manual_seed(0)
    net = MoCo(version=3, hidden=8, out=5).build(tokens())
    net(clips)[0].backward()
    assert net.trunk.embed.weight.grad is None and net.trunk.embed.bias.grad is None
    learning = [*net.trunk.blocks.parameters(), net.trunk.class_token]
    assert all(parameter.grad is not None for parameter in learning)
    for built, layers in ((net, 3), (MoCo(version=3, hidden=8, out=5).build(tiny()), 2)):
        assert sum(isinstance(layer, nn.Linear) for layer in built.projector.layers) == layers
        assert not list(built.projector.layers[-1].parameters())  # a norm without scale and shift
        assert isinstance(built.predictor.layers[-1], nn.BatchNorm1d if built is net else nn.Linear)


@pytest.mark.parametrize("others", [1, 8, 64])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_the_loss_reaches_from_all_keys_opposite_to_the_own_one_opposite(tiny, clips, others, temperature):
    net = MoCo(queue=others, hidden=8, out=5, temperature=temperature).build(tiny()).eval()
    towards = F.normalize(torch.ones(1, 5), dim=1)
    net.projector = Same(towards)
    for sign in (1, -1):  # of the own key; all others are its opposite
        net.teacher.copies[1] = Same(sign * towards)
        net.queue.copy_((-sign * towards).expand(others, 5))
        expected = math.log1p(others * math.exp(-2 * sign / temperature))
        assert net(clips)[0].item() == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="queue is a count"):
        MoCo(queue=0)
