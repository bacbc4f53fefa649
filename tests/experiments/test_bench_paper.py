import json

import pytest

pytest.importorskip("pybullet", reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone")

from videossl.datasets.interactions import interactions
from videossl.experiments.bench.paper import BenchPaper, bench_paper
from videossl.robot.collect import PAPER


def test_time_size_and_memory_are_measured_and_the_data_set_is_kept(tmp_path):
    config = BenchPaper(tmp_path / "bench.json", 150, 1, 120, tmp_path / "set", size=16)
    found = bench_paper(config)
    assert json.loads(config.out.read_text()) == found
    assert sum(found["episodes"].values()) == 150 and list(found["episodes"]) == list(PAPER)
    size = sum(path.stat().st_size for path in config.folder.rglob("*") if path.is_file())
    assert found["megabytes"] == pytest.approx(size / 1e6, abs=0.06)
    assert found["episodes an hour"] == pytest.approx(3600 * 150 / found["seconds"], rel=0.1)
    alone = found["one process"]
    assert alone["episodes"] == 120 and 12 <= alone["early"] < 120
    assert 50 < alone["peak MB, early"] <= alone["peak MB"] < 2000
    assert found["times as fast as one process"] > 0
    assert len(interactions(config.folder, task="grasp", train=True)) > 20
    with pytest.raises(FileExistsError, match="is not empty, so its time could not be told"):
        bench_paper(config)


def test_the_papers_counts_are_the_default():
    assert BenchPaper().episodes == 131561
    with pytest.raises(ValueError, match="too few"):
        BenchPaper(alone=10)
