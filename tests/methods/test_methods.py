"""What holds for every method that the command line offers."""

import pytest
import torch

from videossl.experiments.methods import questions
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine


@pytest.mark.parametrize("kind", questions())
def test_every_method_runs_two_steps_and_workers_change_nothing(kind, counting, tiny):
    records = [{**counting(frames), "name": f"counting{frames}"} for frames in (120, 150, 200)]
    method = kind().prepare(records) if hasattr(kind, "prepare") else kind()
    losses = {}
    for workers in (0, 2):
        torch.manual_seed(0)
        net = method.build(tiny())
        batches = loader(Draws(records, method.sample, 0), 4, workers=workers)
        learning = fit(net, batches, torch.optim.SGD(net.parameters(), lr=0.01), 2, cosine(0.01))
        losses[workers] = [metrics["loss"].item() for _, metrics in learning]
    assert len(losses[0]) == 2 and losses[0] == losses[2]
