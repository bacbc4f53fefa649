import numpy as np
import pytest

pytest.importorskip("pybullet")

from videossl.datasets.interactions import interactions
from videossl.experiments.inspection import Inspect, facts, inspect, noise
from videossl.robot.collect import Collect, collect


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collected") / "set"
    collect(Collect("all", folder, episodes=300, size=24, workers=1))
    return folder


def test_the_page_shows_all_tasks_and_needs_nothing_but_itself(collected, tmp_path):
    page = inspect(Inspect(collected, tmp_path / "page.html", sample=5)).read_text()
    assert all(f"<h2>{task}</h2>" in page for task in ("grasp", "push", "poke", "identity"))
    assert page.count("data:image/png;base64") == 4 and page.count("data:image/svg") > 12
    assert page.count("noise floor of labels</th><td>none") == 1 and "same survives" not in page
    assert "success survives 0.1 mm" in page and "blocked" not in page.split("<h2>identity")[1].split("<h2>")[0]
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script" not in page


def test_facts_are_counts_of_the_records(collected):
    found = interactions(collected, task="grasp")
    told = dict(facts(found, found))
    assert told["episodes"] == str(len(found))
    assert told["success"] == f"{np.mean([record['success'] for record in found]):.1%}"


def test_what_a_net_chose_is_told_apart(collected):
    found = interactions(collected, task="grasp")
    assert "chosen by a net" not in dict(facts(found, found))
    records = [record | {"guided": np.uint8(n % 4 == 0), "success": n % 8 == 0} for n, record in enumerate(found[:40])]
    told = dict(facts(records, found))
    assert told["chosen by a net"] == "25.0%, 50.0% of these succeed" and told["at random"] == "0.0% of these succeed"
    assert list(told)[-1] == "success"


def test_noise_is_the_share_of_labels_that_a_small_move_leaves_as_they_were(collected, monkeypatch):
    records = interactions(collected, task="grasp")[:30]
    assert 0.8 <= noise(Inspect(collected), "grasp", records)["success"] <= 1
    monkeypatch.setattr("videossl.experiments.inspection.ELSEWHERE", 0.3)  # beside everything
    held = np.mean([record["success"] for record in records])
    assert noise(Inspect(collected), "grasp", records)["success"] == pytest.approx(1 - held)


def test_a_folder_without_interactions_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no interactions"):
        inspect(Inspect(tmp_path))
