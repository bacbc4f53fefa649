import json

import pytest

from videossl.experiments.bench.fit import BenchFit, bench_fit
from videossl.models.small import Small
from videossl.training import checkpoints


def test_the_bench_of_fit_writes_speeds_their_ratio_and_the_wait_for_data(tmp_path, capsys):
    out = tmp_path / "runs" / "fit.json"
    config = BenchFit(out, steps=2, rounds=5, batch=2, trunk=Small(1, width=2, size=32), accelerator="cpu")
    found = bench_fit(config)
    assert json.loads(out.read_text()) == found
    assert checkpoints.restore(found["config"]).trunk == config.trunk
    assert found["command"] and found["versions"]["torch"] and found["device"] == "cpu"
    assert found["steps_per_second"].keys() == {"bare", "fit", "loader", "fed"}
    spreads = [*found["steps_per_second"].values(), found["fit_over_bare"], found["waiting"], found["waiting_ms"]]
    assert all(0 <= s["min"] <= s["median"] <= s["max"] for s in spreads)
    assert found["waiting"]["max"] < 1
    assert "fit / bare" in capsys.readouterr().out


def test_too_few_rounds_for_a_spread_are_refused():
    with pytest.raises(ValueError, match="rounds is a whole number from 5, but 4 was given"):
        BenchFit(rounds=4)
