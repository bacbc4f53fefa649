import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from videossl.methods.cpc import CPC, asked

SMALL = {"grid": 3, "width": 16, "depth": 2, "out": 8, "colour": 0.0, "area": (0.9, 1.0)}


def stripes(count: int) -> list[dict]:
    """Images whose columns have colours of their own, each image's its own, and darken downwards."""
    generator = torch.Generator().manual_seed(0)
    columns = torch.randint(256, (count, 3, 1, 4), generator=generator).repeat_interleave(4, 3)
    images = (columns * torch.linspace(1, 0.2, 16)[:, None]).byte()
    return [{"frames": image[None], "name": str(n)} for n, image in enumerate(images)]


def test_it_learns_which_patch_lies_below(learn, batch, tiny):
    method, records = CPC(**SMALL), stripes(64)
    net = learn(method, records, tiny(), 40)
    given = batch(method, records[:16])
    loss, metrics = net(given)
    assert metrics["guessing"] == pytest.approx(1 / (16 * 9)) and metrics["accuracy"] > 10 / (16 * 9)
    below = given["clips"].clone()
    below[..., 8:, :] = below[torch.randperm(16)][..., 8:, :]  # of other images
    assert net({"clips": below})[0] > loss + 0.3


def test_logits_are_those_of_a_loop_and_equal_ones_cost_the_logarithm_of_all_patches():
    predicted, targets = torch.randn(2, 2, 3, 3, 4)
    logits, own = asked(predicted, targets, 2)
    assert logits.shape == (6, 18)
    row = 0
    for b in range(2):
        for column in range(3):
            for n, patch in enumerate(targets.flatten(0, 2)):
                assert logits[row, n].item() == pytest.approx((predicted[b, 0, column] @ patch).item() / 2, abs=1e-5)
            assert own[row] == b * 9 + 2 * 3 + column
            row += 1
    logits, own = asked(torch.zeros_like(predicted), targets, 1)
    assert F.cross_entropy(logits, own).item() == pytest.approx(math.log(18), rel=1e-5)


def test_what_is_told_of_a_patch_bounds_what_is_to_be_known_and_comes_nearer_with_more_others():
    """Numbers (x, y), correlated by 0.8 in 4 dimensions: log of the others less the loss is under their information."""
    torch.manual_seed(0)
    dims, rho = 4, 0.8
    information = -0.5 * dims * math.log(1 - rho**2)
    bounds = {}
    for count, rounds in ((2, 500), (32, 40), (512, 4)):
        total = 0.0
        for _ in range(rounds):
            x, y = torch.randn(2, count, dims)
            y, other = rho * x + (1 - rho**2) ** 0.5 * y, torch.randn(count, dims)
            # The best score is the logarithm of p(y | x) / p(y): a product of these, but for what depends on x alone.
            query = torch.cat([rho * x / (1 - rho**2), torch.full_like(x, 0.5 - 0.5 / (1 - rho**2))], 1)
            rows = torch.stack([torch.cat([z, z.square()], 1) for z in (other, y)], 1).unsqueeze(2)  # (B, 2, 1, 8)
            logits, own = asked((2 * dims) ** 0.5 * query[:, None, None].expand(-1, 2, -1, -1), rows, 1)
            total += math.log(2 * count) - F.cross_entropy(logits, own).item()
        bounds[count] = total / rounds
    assert bounds[2] < math.log(4) and bounds[2] + 0.1 < bounds[32] < bounds[512] - 0.05
    assert information - 0.2 < bounds[512] < information + 0.1


def test_a_context_sees_no_row_below_it(tiny):
    torch.manual_seed(0)
    net = CPC(grid=5, depth=3, width=8).build(tiny())
    maps = torch.randn(1, 16, 5, 5, requires_grad=True)
    net.contexts[0](maps)[0, :, 2, 1].sum().backward()
    reach = maps.grad[0].abs().sum(0)
    assert reach[3:].max() == 0 and reach[2, 1] > 0 and (reach[:3].sum(1) > 0).all()


def test_patches_overlap_by_half_and_lie_where_they_were(tiny):
    net = CPC(grid=3).build(tiny()).eval()
    clips = torch.arange(64.0 * 64).view(1, 1, 1, 1, 64, 64).expand(2, 1, 1, 3, -1, -1)
    patches = net.patches(clips)
    assert patches.shape == (2, 3, 3, 1, 1, 3, 32, 32)
    for row in range(3):
        for column in range(3):
            assert patches[0, row, column, 0, 0, 0, 0, 0] == 64 * 16 * row + 16 * column


def test_what_is_told_of_a_video_may_be_of_another_moment(tiny, counting):
    method, starts = CPC(**SMALL, length=2, stride=3, apart=5), []
    for seed in range(200):
        shown = method.sample(counting(30), np.random.default_rng(seed))["clips"][:, :, 0, 0, 0].int()
        assert (shown.diff(dim=1) == 3).all()
        starts.append(shown[:, 0].tolist())
    apart = np.diff(starts)[:, 0]
    assert apart.min() == -5 and apart.max() == 5 and np.max(starts) == 30 - 4 and np.min(starts) == 0
    assert CPC(length=2).sample(counting(30), np.random.default_rng(0))["clips"].shape == (1, 2, 3, 8, 8)

    net, given = method.build(tiny()).eval(), {}
    for name, module in (("seen", net.contexts[0]), ("told", net.target)):
        module.register_forward_pre_hook(lambda module, inputs, name=name: given.setdefault(name, inputs[0]))
    clips = torch.rand(2, 2, 2, 3, 16, 16)
    net({"clips": clips})
    assert torch.allclose(given["seen"].permute(0, 2, 3, 1), features(net, clips[:, :1]), atol=1e-5)
    assert torch.allclose(given["told"], features(net, clips[:, 1:]), atol=1e-5)


def features(net, clips):
    """Of the patches of one moment: (B, G, G, dim)."""
    made = [[net.trunk(column[:, 0]) for column in row.unbind(1)] for row in net.patches(clips).unbind(1)]
    return F.layer_norm(torch.stack([torch.stack(row, 1) for row in made], 1), (net.trunk.dim,))


def test_every_distance_and_direction_has_a_layer_of_its_own_and_learns(tiny, batch):
    method = CPC(grid=4, directions=4, width=8, depth=1, out=4)
    assert list(method.rows) == [2, 3] and list(CPC().rows) == [2, 3, 4, 5]
    net = method.build(tiny())
    net(batch(method, stripes(3)))[0].backward()
    layers = [layer for layers in net.predict for layer in layers.values()]
    assert len(layers) == 8 and len(net.contexts) == 4
    assert all(layer.weight.grad.abs().sum() > 0 for layer in layers)


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="of 2 rows some after the 1 skipped should be asked for"):
        CPC(grid=2)
    with pytest.raises(ValueError, match="directions are 1 to 4"):
        CPC(directions=5)
    with pytest.raises(ValueError, match="apart and colour are from 0"):
        CPC(apart=-1)
