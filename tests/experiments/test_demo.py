import json

import pytest

from videossl.datasets.shards import read_manifest
from videossl.experiments.demo import Demo, demo
from videossl.robot.collect import TASKS

pytest.importorskip("pybullet", reason="the demo films in PyBullet, which has wheels for CPython 3.9 to 3.11 only")


def test_the_quick_demo_ends_in_a_table_a_page_and_a_picture_and_goes_on_where_it_was(tmp_path, capsys):
    demo(Demo(tmp_path, quick=True, workers=2))
    found = json.loads((tmp_path / "demo.json").read_text())
    assert {row["subject"] for row in found["rows"]} == {"ShuffleAndLearn", "random initialisation"}
    assert {row["protocol"].split(",")[0] for row in found["rows"]} == {
        "k-NN",
        "Retrieval",
        "Linear probe",
        "Fine-tuning",
    }
    assert found["pretext"]["chance"] == [{"accuracy": 0.5}]
    assert (tmp_path / "report.html").stat().st_size > 50_000 and (tmp_path / "nearest.png").stat().st_size > 10_000
    shards = read_manifest(tmp_path / "interactions")
    assert sum(shard["episodes"] for shard in shards) == 600 and {shard["task"] for shard in shards} == set(TASKS)
    assert (tmp_path / "interactions" / "inspection.html").read_text().count("data:image/png") == 4
    assert "random initialisation" in capsys.readouterr().out

    made = (".avi", ".pt", ".npz", ".h5")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.suffix in made}
    (tmp_path / "report.html").unlink()
    demo(Demo(tmp_path, quick=True, workers=2))
    assert (tmp_path / "report.html").exists()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
