import pytest
import torch
from torch.nn import functional as F

from videossl.methods.ijepa import IJEPA, drawn, pick
from videossl.models.vit import ViT

SMALL = {"width": 24, "depth": 1, "heads": 2}


def test_contexts_hold_nothing_of_what_is_to_be_predicted_and_all_are_as_large():
    torch.manual_seed(0)
    for _ in range(10):
        context, targets = drawn(IJEPA(), 6, (2, 14, 14))
        assert targets.shape[:2] == (6, 4) and context.shape[0] == 6
        for seen, blocks in zip(context, targets, strict=True):
            assert not torch.isin(seen, blocks).any() and len(seen.unique()) == len(seen)
        first, later = targets.unflatten(2, (2, -1)).unbind(2)
        assert torch.equal(later, first + 196)  # the same places at all times
        share = targets.shape[2] / 2 / 196
        assert 0.1 < share < 0.25


def test_blocks_that_leave_nothing_to_see_are_refused():
    with pytest.raises(ValueError, match="blocks cover all of 2 x 2 places"):
        drawn(IJEPA(scale=(1.0, 1.0), aspect=(1.0, 1.0)), 2, (1, 2, 2))


def test_the_loss_is_how_far_each_blocks_places_are_from_the_teachers_normalised_tokens():
    torch.manual_seed(0)
    trunk = ViT(width=24, depth=1, heads=2, patch=4, size=24).build()
    net = IJEPA(**SMALL).build(trunk).eval()
    with torch.no_grad():  # a teacher apart from its student
        net.teacher.copies[0].trunk.embed.weight.mul_(2)
    clips = torch.rand(3, 1, 3, 24, 24)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # eval mode's
        context, targets = drawn(net.method, 3, (1, 6, 6))
    whole = net.teacher.copies[0].trunk.tokens(clips)[:, 1:]
    errors = []
    for n in range(3):
        seen = trunk.tokens(clips[n : n + 1], context[n : n + 1])[:, 1:]
        for block in targets[n]:
            told = net.predict(seen, context[n : n + 1], block[None, None], (1, 6, 6))[0, 0]  # of this block alone
            for place, answer in zip(block, told, strict=True):
                off = (answer - F.layer_norm(whole[n, place], (24,))).abs()
                errors.append(torch.where(off < 1, off.square() / 2, off - 0.5).mean().item())
    assert net({"clips": clips})[0].item() == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_the_teacher_gets_no_gradient_and_follows():
    torch.manual_seed(0)
    trunk = ViT(width=24, depth=1, heads=2, patch=4, size=24).build()
    net = IJEPA(**SMALL, momentum=0.5).build(trunk)
    batch = {"clips": torch.randint(256, (3, 1, 3, 24, 24), dtype=torch.uint8)}
    loss, metrics = net(batch)
    loss.backward()
    assert trunk.embed.weight.grad.abs().sum() > 0 and all(p.grad is None for p in net.teacher.parameters())
    assert metrics["spread"] > 0
    before = net.teacher.copies[0].trunk.embed.weight.clone()
    with torch.no_grad():
        trunk.embed.weight.add_(1)
    net.update(0.0)
    assert torch.allclose(net.teacher.copies[0].trunk.embed.weight, 0.5 * before + 0.5 * trunk.embed.weight)
    assert "teacher.copies.0.trunk.embed.weight" in net.state_dict()


def test_blocks_of_a_batch_are_of_one_size_and_lie_in_places_of_their_own():
    torch.manual_seed(0)
    sizes = set()
    for _ in range(10):
        _, targets = drawn(IJEPA(), 4, (1, 14, 14))
        rows, columns = targets // 14, targets % 14
        heights, widths = (1 + (x.amax(2) - x.amin(2)) for x in (rows, columns))
        assert (heights == heights[0, 0]).all() and (widths == widths[0, 0]).all()
        assert (heights * widths == targets.shape[2]).all()  # rectangles without holes
        assert len(targets[..., 0].unique()) > 4
        sizes.add((heights[0, 0].item(), widths[0, 0].item()))
    assert len(sizes) > 3


def test_a_teacher_that_makes_the_same_of_all_costs_nothing_and_shows_no_spread():
    torch.manual_seed(0)
    net = IJEPA(**SMALL).build(ViT(width=24, depth=1, heads=2, patch=4, size=24).build())
    with torch.no_grad():
        for parameter in (*net.teacher.copies[0].trunk.norm.parameters(), *net.leave[1].parameters()):
            parameter.zero_()
    loss, metrics = net({"clips": torch.randint(256, (3, 1, 3, 24, 24), dtype=torch.uint8)})
    assert loss == 0 and metrics["spread"] == 0


def test_pick_takes_tokens_by_their_places():
    tokens = torch.arange(10.0).view(1, 5, 2)
    assert pick(tokens, torch.tensor([[4, 0]])).tolist() == [[[8, 9], [0, 1]]]
