import json

import numpy as np
import pytest
from scipy.stats import spearmanr

pytest.importorskip("pybullet", reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone")

from videossl.experiments.bench.robot import (
    CENTRE,
    MEASURES,
    BenchRobot,
    as_finer,
    at_centre,
    bench_robot,
    correlation,
    share,
    tries,
    valid,
)
from videossl.robot.tasks.grasp import Grasp
from videossl.robot.tasks.poke import Poke
from videossl.robot.world import PHYSICS


def test_all_is_measured_on_both_sets_and_kept(tmp_path, capsys):
    out = tmp_path / "bench.json"
    found = bench_robot(BenchRobot(out, trials=24, workers=1))
    assert json.loads(out.read_text()) == json.loads(json.dumps(found))
    for objects in ("household", "random_urdfs"):
        assert list(found[objects]) == list(MEASURES)
        for name, row in found[objects].items():
            low, high = row["interval"]
            assert -1 <= low <= row["value"] <= high <= 1 and 3 < row["n"] <= 24, name
            assert row.get("met") == (row["asked"][0] <= row["value"] <= row["asked"][1] if "asked" in row else None)
    assert found["household"]["pokes that are valid"]["n"] == 24
    assert found["household"]["of those within 1 cm of the centre"]["value"] > 0.3
    assert "pushes that touch the object" in capsys.readouterr().out


def test_shares_and_correlations_are_those_of_what_was_tried():
    assert share([True] * 30 + [False] * 70)["value"] == 0.3
    rng = np.random.default_rng(0)
    truth = rng.uniform(300, 9000, 50)
    slopes = truth * rng.uniform(0.5, 1, 50)
    pokes = [(True, *pair) for pair in zip(slopes, truth, strict=True)] + [(False, 0.0, 5000.0)] * 10
    assert valid(pokes)["value"] == pytest.approx(50 / 60)
    told = correlation(pokes)
    assert told["value"] == pytest.approx(spearmanr(slopes, truth)[0]) and told["n"] == 50
    low, high = told["interval"]
    assert 0.7 < low < told["value"] < high < 1


def test_grasps_at_the_centre_are_there(put, monkeypatch):
    env = put(Grasp, (0.03, 0.10, 0.06))
    tried = []
    step = env.step
    monkeypatch.setattr(env, "step", lambda action: tried.append(action) or step(action))
    for k in range(30):
        at_centre(env, np.random.default_rng(k))
    away = np.hypot(*(np.array(tried)[:, :2] - [0.02, 0.01]).T)
    assert away.max() < CENTRE + 1e-3 and away.max() > 0.8 * CENTRE  # the box may lie a little beside where it was put
    assert np.mean(away < CENTRE / 2) == pytest.approx(0.25, abs=0.2)


def test_a_finer_simulation_is_asked_and_left_again(put):
    env = put(Grasp, (0.03, 0.10, 0.06))
    assert as_finer(env, np.random.default_rng(0)) in (True, False) and env.physics == PHYSICS


def test_trials_are_those_of_their_scenes_alone():
    trial = MEASURES["pokes that are valid"].trial
    together = tries(Poke, trial, "household", 3, 0, 4)
    assert tries(Poke, trial, "household", 3, 2, 2) == together[2:]
    assert len({slope for _, slope, _ in together}) > 2


def test_too_few_trials_are_refused():
    with pytest.raises(ValueError, match="at least 20 trials"):
        BenchRobot(trials=5)
