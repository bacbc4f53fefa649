import dataclasses
import json
import subprocess
import sys

import pytest
import torch
import torchvision

from videossl.evaluation.finetune import FineTune
from videossl.evaluation.knn import KNN
from videossl.evaluation.probe import LinearProbe
from videossl.evaluation.retrieval import Retrieval
from videossl.evaluation.views import Views
from videossl.experiments.data import Videos
from videossl.experiments.devices import Devices
from videossl.experiments.evaluate import Evaluate, Subject, evaluate, score
from videossl.experiments.pretrain import Pretrain, pretrain
from videossl.experiments.results import read_results, rows
from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.models.resnet import ResNet
from videossl.models.small import Small

VIEWS = Views(clips=4, crops=1)


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    plan = Pretrain(
        Videos(tiny, size=(32, 32)),
        tmp_path_factory.mktemp("runs") / "learned",
        method=ShuffleAndLearn(far=4, near=2, different=0.0, jitter=1),
        trunk=Small(length=1, width=4, size=28),
        steps=10,
        batch=8,
        log=5,
        save=10,
        held_out=0.2,
        probes=8,
        workers=0,
        engine=Devices(accelerator="cpu"),
    )
    return pretrain(plan)


def config(tiny, run, out, **changes) -> Evaluate:
    plan = Evaluate(
        (str(run), "random"),
        Videos(tiny, size=(32, 32)),
        out=out,
        workers=0,
        knn=KNN(k=3, views=VIEWS),
        retrieval=Retrieval(ks=(1, 5), views=VIEWS),
        linear=LinearProbe(labels=2, penalty=0.1, views=VIEWS),
        finetune=FineTune(epochs=2, batch=4, views=VIEWS),
        engine=Devices(accelerator="cpu"),
    )
    return dataclasses.replace(plan, **changes)


def test_every_protocol_leaves_a_result_that_says_what_it_is_of(tiny, run, tmp_path):
    results = score(config(tiny, run, tmp_path))
    assert len(results) == len(read_results(tmp_path)) == 8
    for result in results:
        asked, test = result["asked"], result["dataset"]["test"]
        assert asked["name"] in ("knn", "retrieval", "linear", "finetune")
        assert asked["protocol"]["is"].startswith("videossl.evaluation.")
        assert (test["listed"], test["used"], test["missing"]) == (6, 6, 0)
        assert result["dataset"]["complete"] and result["versions"]["torch"]
        if asked["name"] != "retrieval":
            assert {"video_accuracy", "clip_accuracy", "chance"} <= result["metrics"].keys()
            assert sum(map(sum, result["confusion"])) == 6
    kinds = {r["asked"]["checkpoint"]["kind"]: r["asked"]["checkpoint"]["weights"] for r in results}
    assert kinds["pretrained"] != kinds["random"]


def test_what_is_there_is_not_computed_again_and_not_overwritten(tiny, run, tmp_path):
    plan = config(tiny, run, tmp_path, protocols=("knn",))
    score(plan)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    score(plan)
    with pytest.raises(FileExistsError, match="of another protocol"):
        score(dataclasses.replace(plan, knn=KNN(k=4, views=VIEWS)))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_subset_does_not_bear_the_name_of_the_whole(tiny, run, tmp_path, capsys):
    lists = tmp_path / "longer"
    lists.mkdir()
    for name in ("classInd.txt", "trainlist01.txt", "testlist01.txt"):
        text = (tiny / name).read_text()
        (lists / name).write_text(text + ("Down/v_Down_g99_c01.avi\n" if name.startswith("test") else ""))
    (result,) = score(
        config(
            tiny,
            run,
            tmp_path / "out",
            trunks=(str(run),),
            protocols=("knn",),
            data=Videos(tiny, lists=lists, size=(32, 32)),
        )
    )
    assert result["dataset"]["title"].startswith("a subset of longer split 1 (12 of 12 train, 6 of 7 test")
    assert not result["dataset"]["complete"]
    assert result["dataset"]["test"]["reasons"] == {"Down/v_Down_g99_c01": "not there"}
    assert "6 of 7 videos (1 not there, 0 unreadable)" in capsys.readouterr().out


def test_options_that_ask_for_more_than_there_is_are_lowered_aloud(tiny, run, tmp_path, capsys):
    few, ranks = KNN(views=VIEWS), Retrieval(views=VIEWS)
    plan = config(tiny, run, tmp_path, trunks=(str(run),), protocols=("knn", "retrieval"), knn=few, retrieval=ranks)
    nearest, found = score(plan)
    assert nearest["asked"]["protocol"]["k"] == 12 and "R@10" in found["metrics"] and "R@20" not in found["metrics"]
    assert capsys.readouterr().out.count("there are 12 training videos") == 2


def test_frames_of_another_size_are_another_result(tiny, run, tmp_path):
    plan = config(tiny, run, tmp_path, protocols=("knn",))
    score(plan)
    with pytest.raises(FileExistsError, match="of another size"):
        score(dataclasses.replace(plan, data=Videos(tiny, size=(40, 40))))


def test_videos_that_were_pretrained_on_do_not_test(tiny, run, tmp_path):
    lists = tmp_path / "leaking"
    lists.mkdir()
    for name, source in (("classInd.txt",) * 2, ("trainlist01.txt",) * 2, ("testlist01.txt", "trainlist01.txt")):
        (lists / name).write_text((tiny / source).read_text())
    with pytest.raises(ValueError, match="12 of the 12 videos of leaking split 1 test were pretrained on by learned"):
        score(config(tiny, run, tmp_path / "out", data=Videos(tiny, lists=lists, size=(32, 32))))


def test_a_random_trunk_is_random_though_the_run_began_with_weights(tiny, run, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.save(torchvision.models.resnet18().state_dict(), weights)
    subject = Subject("random", "random", ResNet(18, weights=weights), None, {}, frozenset())
    one, other = (subject.trunk(seed).state_dict() for seed in (0, 1))
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_seeds_of_random_trunks_give_a_mean_and_a_spread(tiny, run, tmp_path):
    results = score(config(tiny, run, tmp_path, protocols=("knn",), seeds=(0, 1, 2)))
    found = {row.subject: row for row in rows(results) if row.metric == "video_accuracy"}
    assert found["random initialisation"].count == 3 and found["random initialisation"].spread is not None
    assert found["ShuffleAndLearn"].count == 1  # k-NN draws nothing: one trunk, one number


def test_the_table_is_printed(tiny, run, tmp_path, capsys):
    evaluate(config(tiny, run, tmp_path, protocols=("knn", "retrieval")))
    printed = capsys.readouterr().out
    assert "random initialisation" in printed and "chance" in printed


def test_what_cannot_be_evaluated_is_said_in_words(tiny, run, tmp_path):
    with pytest.raises(ValueError, match="name at least one run"):
        score(config(tiny, run, tmp_path, trunks=("random",)))
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        score(config(tiny, tmp_path / "nowhere", tmp_path))
    with pytest.raises(ValueError, match="there is no protocol 'k-NN'; there are: knn, retrieval, linear, finetune"):
        config(tiny, run, tmp_path, protocols=("k-NN",))
    with pytest.raises(ValueError, match="has no test list"):
        score(config(tiny, run, tmp_path / "b", data=Videos(tiny, "video_folder")))


def test_two_processes_pretrain_and_evaluate(tiny, run, tmp_path):
    """On the CPU, as with several GPUs: the same command with --devices 2."""
    command = [sys.executable, "-m", "videossl.experiments.cli"]
    common = ["--root", str(tiny), "--size", "32", "32", "--workers", "0", "--accelerator", "cpu", "--devices", "2"]
    short = ["--steps", "4", "--batch", "8", "--log", "2", "--save", "4", "--probes", "8", "--held-out", "0.2"]
    trunk = ["--trunk.length", "1", "--trunk.width", "4", "--trunk.size", "28"]
    method = ["--method.far", "4", "--method.near", "2", "--method.jitter", "1"]
    out = str(tmp_path / "two")
    done = subprocess.run(
        [*command, "pretrain", *common, *short, *method, "--out", out, "trunk:small", *trunk],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "two" / "result.json").read_text())["held_out_loss"] > 0
    views = ["--knn.k", "3", "--knn.views.clips", "4", "--knn.views.crops", "1"]
    arguments = ["evaluate", str(run), *common, *views, "--protocols", "knn", "--out", str(tmp_path / "scores")]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (two,) = read_results(tmp_path / "scores")
    (one,) = score(config(tiny, run, tmp_path / "one", trunks=(str(run),), protocols=("knn",)))
    assert two["metrics"] == one["metrics"] and two["confusion"] == one["confusion"]
