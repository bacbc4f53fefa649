import numpy as np
import pytest
import torch

from videossl.methods.poke import Poke, line_of


def poke(rng: np.random.Generator, name: str) -> dict:
    """The redder, the stiffer."""
    stiffness = 10 ** rng.uniform(2.5, 4)
    red = 80 * (np.log10(stiffness) - 2)
    frames = np.clip(rng.normal(100, 20, (1, 3, 16, 16)), 0, 255).astype(np.uint8)
    frames[:, 0] = np.clip(red + rng.normal(0, 10, (16, 16)), 0, 255)
    found = {"slope": stiffness, "intercept": float(rng.normal(0, 0.1)), "valid": True}
    return {"frames": torch.from_numpy(frames), **found, "name": name}


def pokes(count: int, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [poke(rng, f"poke{n}") for n in range(count)]


def test_always_answering_the_mean_costs_1(tiny, batch):
    records = pokes(300)
    method = Poke(widths=(8,)).prepare(records)
    net = method.build(tiny())
    torch.nn.init.zeros_(net.head[-1].weight), torch.nn.init.zeros_(net.head[-1].bias)
    metrics = net(batch(method, records))[1]
    assert metrics["error"].item() == pytest.approx(1, rel=1e-3) == metrics["slope_error"].item()


def test_it_learns_to_see_stiffness(tiny, learn):
    records = pokes(300)
    method = Poke(widths=(32,)).prepare(records)
    net = learn(method, records, tiny(), 100)
    test = pokes(60, seed=1)
    clips = torch.stack([record["frames"] for record in test])[:, None]
    told = net.answer(clips)[:, 0].detach().numpy()
    assert np.corrcoef(told, [line_of(record)[0] for record in test])[0, 1] > 0.9


def test_pokes_that_gave_no_line_are_refused():
    good = pokes(1)[0]
    Poke().check(good)
    for bad in ({"valid": False}, {"slope": float("nan")}, {"slope": -1.0}, {"intercept": float("inf")}):
        with pytest.raises(ValueError, match="follows no line"):
            Poke().check({**good, **bad})
    with pytest.raises(ValueError, match='no "slope"'):
        Poke().check({"frames": good["frames"]})
