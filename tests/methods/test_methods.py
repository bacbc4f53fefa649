"""What holds for every method that the command line offers."""

import copy
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from videossl.experiments.methods import questions
from videossl.methods.dino import IBOT
from videossl.methods.masks import Masked
from videossl.training.draws import Draws, loader
from videossl.training.fit import fit
from videossl.training.schedules import cosine


def coloured(video: dict) -> dict:
    """The video with its blue upside down: methods that ask for colours refuse what is all grey."""
    frames = video["frames"].clone()
    frames[:, 2] = 255 - frames[:, 2]
    return {**video, "frames": frames}


@pytest.fixture
def trunk_for(tiny, tokens):
    """`trunk_for(kind)`: one that a method can be asked of."""
    return lambda kind: (tokens if issubclass(kind, Masked | IBOT) else tiny)()


@pytest.fixture
def asked(counting):
    """`asked(kind)`: a method with its defaults, and videos that it can be asked of."""
    records = [{**coloured(counting(frames)), "name": f"counting{frames}"} for frames in (120, 150, 200)]
    return lambda kind: (kind().prepare(records) if hasattr(kind, "prepare") else kind(), records)


@pytest.mark.parametrize("kind", questions())
def test_every_method_raises_reasons_names_its_metrics_and_shows_its_answers(kind, asked, trunk_for):
    method, records = asked(kind)
    assert [method.check(record) for record in records] == [None] * 3  # a reason is raised, and never returned
    assert all(isinstance(name, str) and 0 < value <= 1 for name, value in method.chance.items())
    if hasattr(method, "answers"):  # then a report shows them
        example = method.sample(records[0], np.random.default_rng(0))
        assert example["clips"].ndim == 5 and example["clips"].dtype == torch.uint8  # (K, T, C, H, W)
        assert 0 <= example["answer"] < len(method.answers)
        logits = method.build(trunk_for(kind)).eval().predict(default_collate([example]))
        assert logits.shape == (1, len(method.answers))


@pytest.mark.parametrize("kind", questions())
def test_every_method_runs_two_steps_and_workers_change_nothing(kind, asked, trunk_for):
    method, records = asked(kind)
    losses = {}
    for workers in (0, 2):
        torch.manual_seed(0)
        net = method.build(trunk_for(kind))
        batches = loader(Draws(records, method.sample, 0), 4, workers=workers)
        learning = fit(net, batches, torch.optim.SGD(net.parameters(), lr=0.01), 2, cosine(0.01))
        losses[workers] = [metrics["loss"].item() for _, metrics in learning]
    assert len(losses[0]) == 2 and losses[0] == losses[2]


@pytest.mark.parametrize("kind", questions())
def test_every_method_goes_on_where_it_was_stopped_to_the_same_losses(kind, asked, trunk_for):
    method, records = asked(kind)

    def run(seed: int, start: int, stop: int, states: tuple[dict, dict] | None = None) -> tuple[list[float], tuple]:
        torch.manual_seed(seed)
        net = method.build(trunk_for(kind))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        if states is not None:
            net.load_state_dict(states[0])
            optimizer.load_state_dict(states[1])
        batches = loader(Draws(records, method.sample, 0), 4, start=start)
        steps = islice(fit(net, batches, optimizer, 3, cosine(0.01), start=start), stop - start)
        losses = [metrics["loss"].item() for _, metrics in steps]
        return losses, copy.deepcopy((net.state_dict(), optimizer.state_dict()))

    whole, _ = run(0, 0, 3)
    begun, states = run(0, 0, 2)
    assert begun + run(1, 2, 3, states)[0] == whole
