import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("pybullet")

from videossl.experiments.bench.collect import ASKED, BenchCollect, bench_collect, theirs


def test_rates_and_shares_of_all_tasks_are_measured_and_kept(tmp_path):
    out = tmp_path / "bench.json"
    bench_collect(BenchCollect(out, seconds=0.05, rounds=1))
    found = json.loads(out.read_text())
    names = [f"{task}, {size} pixels" for task, size in ASKED]
    assert list(found["interactions an hour, one process"]) == names
    for name in names:
        assert 0 < found["share in PyBullet and the renderer"][name]["median"] < 1
        assert found["interactions an hour, one process"][name]["median"] > 1000


def test_a_python_without_the_old_gym_is_refused():
    with pytest.raises(ValueError, match=r"cannot run .*kuka\.py"):
        theirs(Path(sys.executable), 1.0)
