import pytest
import torch
from torch.nn import functional as F

from videossl.methods.simsiam import SimSiam


def test_no_gradient_flows_through_what_is_predicted(tiny):
    torch.manual_seed(0)
    net = SimSiam(hidden=8, bottleneck=4).build(tiny()).eval()
    clips = {"clips": torch.randint(256, (3, 2, 1, 3, 16, 16), dtype=torch.uint8)}
    for parameter in net.predictor.parameters():
        parameter.data.zero_()
    net.predictor.layers[-1].bias.data.fill_(1.0)  # the same prediction for all: z matters as a target alone
    loss, metrics = net(clips)
    loss.backward()
    assert net.trunk.body[0].weight.grad.abs().max() == 0 and -1 <= loss <= 1 and metrics["guessing"] > 0.3


def test_the_loss_is_minus_the_cosine_of_each_prediction_with_the_other_views_projection(tiny):
    torch.manual_seed(0)
    net = SimSiam(hidden=8, bottleneck=4).build(tiny()).eval()
    taken = []
    for head in (net.projector, net.predictor):
        head.register_forward_hook(lambda module, given, result: taken.append(result.unflatten(0, (3, 2))))
    loss = net({"clips": torch.randint(256, (3, 2, 1, 3, 16, 16), dtype=torch.uint8)})[0].item()
    z, p = taken
    cosines = [F.cosine_similarity(p[n, i], z[n, 1 - i], dim=0).item() for n in range(3) for i in range(2)]
    assert loss == pytest.approx(-sum(cosines) / 6, rel=1e-4)
