import torch

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
