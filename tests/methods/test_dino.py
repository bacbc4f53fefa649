import math

import pytest
import torch
from torch.nn import functional as F

from videossl.methods.dino import DINO, IBOT, Head, entropy
from videossl.methods.masks import patchify, unpatchify
from videossl.models.vit import ViT

SMALL = {"prototypes": 16, "hidden": 24, "bottleneck": 8, "small": 2, "small_size": 0.5}


@pytest.fixture
def clips():
    return {"clips": torch.randint(256, (6, 2, 1, 3, 16, 16), dtype=torch.uint8)}


def test_each_view_of_the_student_is_matched_with_the_teachers_other_views(tiny):
    torch.manual_seed(0)
    net = DINO(**SMALL).build(tiny())
    teacher, student = list(torch.randn(2, 5, 16)), list(torch.randn(4, 5, 16))
    net.match.center = torch.randn(1, 1, 16)
    total, terms = 0.0, 0
    for t, target in enumerate(teacher):
        for s, answer in enumerate(student):
            if t != s:
                shares = ((target - net.match.center[0]) / 0.04).softmax(1)
                total -= (shares * (answer / 0.1).log_softmax(1)).sum(1).mean().item()
                terms += 1
    assert terms == 2 * (4 - 1) and net.matched(teacher, student).item() == pytest.approx(total / terms, rel=1e-4)


def test_alike_answers_cost_the_logarithm_of_the_prototypes(tiny):
    net = DINO(**SMALL).build(tiny())
    same = [torch.zeros(3, 16)] * 2
    assert net.matched(same, same).item() == pytest.approx(math.log(16), rel=1e-5)
    told = net.told(same)
    assert told["entropy"].item() == pytest.approx(1) and told["evenness"].item() == pytest.approx(1)
    one = F.one_hot(torch.zeros(3, dtype=torch.long), 16).float()
    told = net.told([one, one])
    assert told["entropy"] < 0.01 and told["evenness"] < 0.01


def test_the_centre_is_a_running_mean_in_training_and_stays_otherwise(tiny):
    net = DINO(**SMALL, centre=0.75).build(tiny())
    teacher = list(torch.randn(2, 5, 16))
    net.eval().matched(teacher, teacher)
    assert net.match.center.abs().max() == 0
    net.train().matched(teacher, teacher)
    assert torch.allclose(net.match.center[0, 0], 0.25 * torch.cat(teacher).mean(0), atol=1e-6)
    assert "match.center" in net.state_dict()


def test_crops_are_two_large_and_some_small_ones_and_the_teacher_sees_the_large(tiny, clips):
    torch.manual_seed(0)
    net = DINO(**SMALL).build(tiny()).eval()
    large, small = net.crops(clips)
    assert large.shape == (6, 2, 1, 3, 16, 16) and [view.shape for view in small] == [(6, 1, 3, 8, 8)] * 2
    assert torch.equal(net.crops(clips)[0], large)
    seen = []
    net.teacher.copies[0].register_forward_hook(lambda module, given, result: seen.append(len(given[0])))
    loss, metrics = net(clips)
    loss.backward()
    assert seen == [12] and all(p.grad is None for p in net.teacher.parameters())
    assert set(metrics) == {"entropy", "evenness"} and net.trunk.body[0].weight.grad.abs().sum() > 0


WEAK = {
    **SMALL,
    "small": 1,
    "small_area": (0.3, 0.6),
    "momentum": 0.99,
    "area": (0.6, 1.0),
    "colour": 0.2,
    "blurred": 0.0,
    "blurred_second": None,
    "solarised": 0.0,
}


@pytest.mark.parametrize("method", [DINO(**WEAK), IBOT(**WEAK)], ids=["DINO", "iBOT"])
def test_it_learns_and_does_not_collapse(method, tokens, learn, batch, pictures):
    records = pictures(64)
    net = learn(method, records, tokens(), 60)
    loss, metrics = net(batch(method, records))
    most = math.log(16) * (2 if isinstance(method, IBOT) else 1)
    assert loss < most and metrics["evenness"] > 0.5 and metrics["entropy"] < 0.95


def test_features_are_spread_by_the_logarithm_of_how_far_the_nearest_lies(tiny, clips):
    losses = []
    for weight in (0.0, 0.1):
        torch.manual_seed(0)
        net = DINO(**SMALL, spread=weight).build(tiny()).eval()
        losses.append(net(clips)[0].item())
    cost = 0.0
    for view in net.crops(clips)[0].unbind(1):
        features = F.normalize(net.trunk(view), dim=1)
        for n, own in enumerate(features):
            nearest = min((own - other).norm().item() for m, other in enumerate(features) if m != n)
            cost -= math.log(nearest) / (2 * len(features))
    assert losses[1] - losses[0] == pytest.approx(0.1 * cost, rel=1e-3)
    near, far = torch.tensor([[1.0, 0], [1, 0], [0, 1]]), torch.tensor([[1.0, 0], [-1, 0], [0, 1]])
    assert net.koleo(near) > 5 > 0 > net.koleo(far)
    with pytest.raises(ValueError, match="a batch of one example has no others to spread from"):
        net({"clips": clips["clips"][:1]})


def test_prototypes_are_held_at_first_and_learn_then(tiny, clips):
    torch.manual_seed(0)
    net = DINO(**SMALL, held=0.2).build(tiny())
    learned = []
    for progress in (0.1, 0.3):
        net.zero_grad()
        net(clips)[0].backward()
        learned.append(net.head.prototypes.grad.abs().sum().item() > 0)
        assert net.head.layers[0].weight.grad.abs().sum() > 0
        net.update(progress)
    net.zero_grad()
    net(clips)[0].backward()
    learned.append(net.head.prototypes.grad.abs().sum().item() > 0)
    assert learned == [False, False, True]
    assert "head.held" in net.state_dict() and not DINO(**SMALL, held=0.0).build(tiny()).head.held


def test_what_is_added_to_all_answers_is_gone_once_the_centre_knows_it(tiny):
    torch.manual_seed(0)
    teacher, student, added = torch.randn(2, 5, 16), torch.randn(2, 5, 16), 3 * torch.randn(16)
    losses = []
    for given in (teacher, teacher + added):
        net = DINO(**SMALL, centre=0.5).build(tiny())
        for _ in range(40):
            loss = net.matched(list(given), list(student))
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_small_crops_are_blurred_in_a_share_of_their_own_and_the_second_large_one_is_solarised(tiny):
    method = DINO(**SMALL, colour=0.0, small_blurred=0.0, solarised=1.0)
    net = method.build(tiny())
    large, small = net.crops({"clips": torch.full((4, 2, 1, 3, 16, 16), 0.8)})
    assert torch.allclose(large[:, 0], torch.tensor(0.8), atol=1e-3)
    assert torch.allclose(large[:, 1], torch.tensor(0.2), atol=1e-3)
    assert all(torch.allclose(view, torch.tensor(0.8), atol=1e-3) for view in small)
    assert DINO().blurring == (1.0, 0.1) and DINO().small_blurred == 0.5


def test_hidden_patches_of_half_the_views_are_told(tokens):
    torch.manual_seed(0)
    net = IBOT(**SMALL, hide=(0.4, 0.6)).build(tokens()).eval()
    hidden = net.hide(torch.rand(8, 1, 3, 16, 16))
    counts = hidden.sum(1)
    assert (counts == 0).sum() == 4 and counts.max() == counts[counts > 0].min() and 6 <= counts.max() <= 10
    teacher, student = torch.randn(8, 16, 16), torch.randn(8, 16, 16)
    expected = 0.0
    for n in range(8):
        if counts[n]:
            targets = (teacher[n, hidden[n]] / 0.04).softmax(1)
            expected -= (targets * (student[n, hidden[n]] / 0.1).log_softmax(1)).sum(1).mean().item() / 8
    assert net.of_patches(teacher, student, hidden).item() == pytest.approx(expected, rel=1e-4)
    assert net.of_patches(teacher, student, torch.zeros_like(hidden)) == 0
    assert net.patch.center.center.abs().max() == 0


def test_hidden_patches_are_not_seen_by_the_student_and_are_by_the_teacher(tokens, clips):
    torch.manual_seed(0)
    net = IBOT(**{**SMALL, "small": 0}, hide=(0.4, 0.6)).build(tokens()).eval()
    large, _ = net.crops(clips)
    hidden = net.hide(large.flatten(0, 1))
    pixels = patchify(large.flatten(0, 1), (1, 4, 4))
    pixels[hidden] = 1 - pixels[hidden]
    answers = []
    for views in (large, unpatchify(pixels, (1, 4, 4), (1, 4, 4)).unflatten(0, large.shape[:2])):
        net.crops = lambda _, views=views: (views, [])
        hooks = [
            head.register_forward_hook(lambda module, given, result: answers.append(result))
            for head in (net.head, net.teacher.copies[1])
        ]
        net(clips)
        for hook in hooks:
            hook.remove()
    student, teacher, other_student, other_teacher = answers
    assert torch.allclose(student, other_student, atol=1e-5)
    assert not torch.allclose(teacher[:, 1:][hidden], other_teacher[:, 1:][hidden], atol=1e-2)


def test_a_heads_answers_are_cosines_with_its_prototypes():
    head = Head(5, 8, 4, 6)
    answers = head(torch.randn(2, 3, 5))
    assert answers.shape == (2, 3, 6) and answers.abs().max() <= 1 + 1e-6
    with torch.no_grad():
        head.prototypes.mul_(3)
    features = torch.randn(2, 5)
    by_hand = F.cosine_similarity(head.layers(features)[:, None], head.prototypes[None], dim=2)
    assert torch.allclose(head(features), by_hand, atol=1e-6)


def test_entropy_of_one_and_of_even_shares():
    assert entropy(torch.tensor([1.0, 0.0])).item() == 0
    assert entropy(torch.full((4,), 0.25)).item() == pytest.approx(math.log(4))


def test_what_cannot_be_is_said(tiny):
    with pytest.raises(ValueError, match="iBOT hides tokens, so its trunk must have tokens"):
        IBOT().build(tiny())
    large_patches = ViT(width=12, depth=1, heads=2, patch=8, size=16).build()
    with pytest.raises(ValueError, match=r"small crops of 7 pixels hold no token of 8 .* raise small_size"):
        DINO(prototypes=4).build(large_patches)
    DINO(prototypes=4, small=0).build(large_patches)
    with pytest.raises(ValueError, match="small is a count"):
        DINO(small=-1)
    for wrong in ({"held": -0.1}, {"small_blurred": 2.0}):
        with pytest.raises(ValueError, match="small_blurred and held are shares"):
            DINO(**wrong)
    with pytest.raises(ValueError, match="hide is a range of shares"):
        IBOT(hide=(0.5, 0.1))


def test_panels_show_what_each_head_of_a_transformer_attends_to(tiny, clips):
    torch.manual_seed(0)
    trunk = ViT(width=12, depth=2, heads=2, patch=4, size=16).build()
    panels = DINO(**SMALL).build(trunk).eval().panels(clips)
    assert list(panels) == ["shown", "head 1", "head 2"]
    assert torch.equal(panels["shown"][:, 0], clips["clips"][:, 0, 0].float() / 255)
    maps = trunk.eval().attention(panels["shown"])  # (6, 2, 1, 4, 4)
    for n, head in enumerate((panels["head 1"], panels["head 2"])):
        assert head.shape == (6, 1, 1, 16, 16) and (head.amax((1, 2, 3, 4)) == 1).all()
        each = head[:, 0, 0].unfold(1, 4, 4).unfold(2, 4, 4).flatten(3)  # pixels of each of 4 x 4 places
        assert (each == each[..., :1]).all()
        ratio = each[..., 0] / maps[:, n, 0]
        assert torch.allclose(ratio, ratio[:, :1, :1].expand_as(ratio), rtol=1e-4)
    assert DINO(**SMALL).build(tiny()).panels(clips) == {}
