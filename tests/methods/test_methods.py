"""What holds for every method that the command line offers."""

from typing import get_args

import pytest
import torch

from videossl.experiments.pretrain import Question
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine

METHODS = [(get_args(choice) or (choice,))[0] for choice in get_args(Question) or (Question,)]  # one, or a union


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_runs_two_steps_and_workers_change_nothing(kind, counting, tiny):
    method = kind()
    records = [{**counting(frames), "name": f"counting{frames}"} for frames in (120, 150, 200)]
    losses = {}
    for workers in (0, 2):
        torch.manual_seed(0)
        net = method.build(tiny())
        batches = loader(Draws(records, method.sample, 0), 4, workers=workers)
        learning = fit(net, batches, torch.optim.SGD(net.parameters(), lr=0.01), 2, cosine(0.01))
        losses[workers] = [metrics["loss"].item() for _, metrics in learning]
    assert len(losses[0]) == 2 and losses[0] == losses[2]
