"""Data-dependent initialisation on the command line: `pretrain --init rescaled`, and `rescaled` beside `random`."""

import dataclasses

import pytest
import torch

from videossl.evaluation.knn import KNN
from videossl.evaluation.views import Views
from videossl.experiments.data import Videos
from videossl.experiments.devices import Devices
from videossl.experiments.evaluate import Evaluate, score
from videossl.experiments.pretrain import Pretrain, Resume, pretrain, resume
from videossl.experiments.report import Report, report
from videossl.experiments.results import rows
from videossl.methods.rotation import Rotation
from videossl.models.data_dependent import looked_at, rescale
from videossl.models.small import Small
from videossl.training import checkpoints

ENGINE = Devices(accelerator="cpu")
TRUNK = Small(length=1, width=4, size=28)


@pytest.fixture
def plan(tiny, tmp_path) -> Pretrain:
    numbers = {"steps": 2, "batch": 4, "log": 1, "save": 2, "rate": 0.0, "decay": 0.0, "workers": 0, "watch": 0}
    videos = Videos(tiny, size=(32, 32))
    return Pretrain(videos, tmp_path / "run", method=Rotation(), trunk=TRUNK, init="rescaled", engine=ENGINE, **numbers)


def test_a_run_begins_with_a_rescaled_trunk_and_resumes(plan, tmp_path):
    pretrain(dataclasses.replace(plan, held_out=0.0))  # at a rate of 0: weights stay as they began
    torch.manual_seed(0)
    trunk = TRUNK.build()
    random = [value.clone() for value in trunk.parameters()]
    rescale(trunk, looked_at(plan.data.records(True, 1, trunk.resize), trunk))
    learned = checkpoints.load_trunk(plan.out)
    for found, asked, before in zip(learned.parameters(), trunk.parameters(), random, strict=True):
        assert torch.equal(found, asked) and (found.ndim < 4 or not torch.equal(found, before))
    assert resume(Resume(plan.out)) == plan.out
    pretrain(dataclasses.replace(plan, out=tmp_path / "plain", held_out=0.0, init=None))
    plain = checkpoints.load_trunk(tmp_path / "plain").parameters()
    assert all(torch.equal(found, before) for found, before in zip(plain, random, strict=True))


def test_a_rescaled_trunk_is_scored_and_named_beside_a_random_one(plan, tmp_path):
    pretrain(plan)
    knn = KNN(k=3, views=Views(clips=2, crops=1))
    trunks, options = (
        (str(plan.out), "random", "rescaled"),
        {"out": tmp_path / "scores", "workers": 0, "engine": ENGINE},
    )
    asked = Evaluate(trunks, plan.data, ("knn",), seeds=(0, 1), knn=knn, **options)
    results = score(asked)
    weights = {(r["subject"], r["asked"]["seed"]): r["asked"]["checkpoint"]["weights"] for r in results}
    assert weights.keys() == {(name, seed) for name in ("run", "random", "rescaled") for seed in (0, 1)}
    assert len({weights[name, seed] for name in ("random", "rescaled") for seed in (0, 1)}) == 4
    found = {row.subject: row.count for row in rows(results)}
    assert found["random initialisation"] == found["rescaled initialisation"] == 2 and len(found) == 3
    page = report(Report((plan.out, tmp_path / "scores"), tmp_path / "report.html")).read_text()
    assert "rescaled initialisation" in page and "<title>Rotation" in page
    with pytest.raises(ValueError, match="name at least one run"):
        score(dataclasses.replace(asked, trunks=("rescaled",)))
