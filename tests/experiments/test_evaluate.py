import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import PIL.Image
import pytest
import torch
import torchvision

from videossl.datasets.records import Records
from videossl.evaluation.clustering import Clustering
from videossl.evaluation.equivariance import EquivarianceError
from videossl.evaluation.features import Encoder
from videossl.evaluation.finetune import FineTune
from videossl.evaluation.knn import KNN
from videossl.evaluation.layers import LayerProbe
from videossl.evaluation.next_best_view import NextBestView
from videossl.evaluation.probe import LinearProbe
from videossl.evaluation.protocols import PUBLISHED
from videossl.evaluation.retrieval import Retrieval
from videossl.evaluation.robustness import Robustness
from videossl.evaluation.semi_supervised import SemiSupervised
from videossl.evaluation.views import Views
from videossl.experiments.data import Videos
from videossl.experiments.devices import Devices
from videossl.experiments.evaluate import Evaluate, Subject, evaluate, score, suited, weights
from videossl.experiments.pretrain import Pretrain, pretrain
from videossl.experiments.report import Report, report
from videossl.experiments.results import by_chance, print_table, read_results, rows
from videossl.methods.shuffle_and_learn import ShuffleAndLearn
from videossl.models.caffenet import CaffeNet
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
    labels = (
        "knn",
        "retrieval",
        "linear",
        "finetune",
        "clustering",
        "geometry",
        "layers",
        "robustness",
        "cost",
        "semi_supervised",
    )
    probes = {"layers": LayerProbe(penalty=0.1, views=VIEWS), "robustness": Robustness(penalty=0.1, views=VIEWS)}
    probes["semi_supervised"] = SemiSupervised(labels=2, steps=2, batch=2, ratio=1, views=VIEWS)
    plan = config(tiny, run, tmp_path, protocols=labels, clustering=Clustering(views=VIEWS), **probes)
    results = score(plan)
    assert len(results) == len(read_results(tmp_path)) == 2 * len(labels)
    shown = [row for row in rows(results) if row.headline]
    assert {row.protocol.split(",")[0] for row in shown} == {plan.judges[name].title for name in labels}
    for result in results:
        asked, test = result["asked"], result["dataset"]["test"]
        assert asked["name"] in labels
        assert asked["protocol"]["is"].startswith("videossl.evaluation.")
        assert (test["listed"], test["used"], test["missing"]) == (6, 6, 0)
        assert result["dataset"]["complete"] and result["versions"]["torch"]
        if asked["name"] in ("knn", "linear", "finetune"):
            low, high = result["intervals"]["video_accuracy"]
            assert 0 <= low <= result["metrics"]["video_accuracy"] <= high <= 1
            assert {"video_accuracy", "clip_accuracy", "chance"} <= result["metrics"].keys()
            assert sum(map(sum, result["confusion"])) == 6
    kinds = {r["asked"]["checkpoint"]["kind"]: r["asked"]["checkpoint"]["weights"] for r in results}
    assert kinds["pretrained"] != kinds["random"]
    linear = next(r for r in results if r["asked"]["name"] == "linear")
    assert "penalty" in linear["metrics"] and not {"penalty", "majority"} & {row.metric for row in rows(results)}


def test_protocols_that_cannot_be_asked_are_left_out_aloud_but_refused_where_they_are_named(
    tiny, run, tmp_path, capsys
):
    plan = config(tiny, run, tmp_path, trunks=(str(run),), knn=KNN(k=3, views=VIEWS))
    assert [r["asked"]["name"] for r in score(plan)] == ["knn", "retrieval", "linear", "finetune"]
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("left out:") == 1
    assert "equivariance (needs pose), next_best_view (needs pose)" in printed
    with pytest.raises(
        ValueError, match='Equivariance error needs "pose" of each video, but Down/v_Down_g03_c01 has none'
    ):
        score(dataclasses.replace(plan, protocols=("equivariance",)))
    assert dataclasses.replace(plan, protocols=("next-best-view",)).named == ["next_best_view"]
    score(dataclasses.replace(plan, protocols=("knn",)))
    assert "left out" not in capsys.readouterr().out


def test_all_published_protocols_are_asked_by_one_word(tiny, run, tmp_path):
    plan = config(tiny, run, tmp_path, trunks=(str(run),), protocols=("published", "zero-shot", "vcop-retrieval"))
    video = {"frames": None, "label": 0}
    names, (told,) = suited(plan, [video])
    assert {"shuffle-and-learn-finetune", "vcop-retrieval", "dino-knn", "zero_shot"} <= set(names)
    assert len(set(names)) == len(names) and "moco-detection" not in names
    suit = {name for name, protocol in PUBLISHED.items() if protocol.judge.needs in ((), ("label",))}
    assert suit ^ set(names) == {"opn-finetune", "zero_shot"}  # whose numbers are Shuffle and Learn's
    assert "moco-detection (needs boxes)" in told and "dino-propagation (needs masks)" in told


@dataclass(frozen=True)
class Drives:
    """Drives through noise that is brighter to the right, in two scenes."""

    def size_for(self, usual: tuple[int, int]) -> tuple[int, int]:
        return usual

    def records(self, train: bool, split: int, size: tuple[int, int]) -> Records:
        made = []
        for n in range(6):
            rng = np.random.default_rng([n, train])
            yaw = np.cumsum(rng.choice([-0.2, 0.0, 0.2], 40))
            pose = np.tile(np.eye(4), (40, 1, 1))
            pose[:, 0, 0] = pose[:, 2, 2] = np.cos(yaw)
            pose[:, 0, 2], pose[:, 2, 0] = np.sin(yaw), -np.sin(yaw)
            pose[:, 0, 3], pose[:, 2, 3] = np.cumsum(np.sin(yaw)), np.cumsum(np.cos(yaw))
            frames = rng.integers(0, 60, (40, 3, 32, 32)) + 60 * (n % 2) + (30 * np.sin(yaw))[:, None, None, None] + 30
            frames = torch.from_numpy(frames.astype(np.uint8))
            made.append({"frames": frames, "pose": pose, "name": f"{train}{n}", "group": f"{train}{n}", "label": n % 2})
        return Records(made, "made drives", split, "train" if train else "test", ["dark", "light"])


def test_drives_are_scored_by_how_features_move_and_errors_are_shown_as_such(run, tmp_path, capsys):
    plan = Evaluate(
        (str(run), "random"),
        Drives(),
        ("equivariance", "next_best_view"),
        seeds=(0, 1),
        out=tmp_path,
        workers=0,
        equivariance=EquivarianceError(patterns=3, gap=2, pairs=40),
        next_best_view=NextBestView(EquivarianceError(patterns=3, gap=2, pairs=40), penalty=0.1),
        engine=Devices(accelerator="cpu"),
    )
    results = score(plan)
    assert len(results) == 8 and score(plan) == results
    found = {(row.subject, row.protocol, row.metric): row for row in rows(results)}
    rho = found["random initialisation", "Equivariance error", "rho"]
    assert rho.unit == "error" and rho.headline and rho.chance == 1 and rho.chance_words == "1.000"
    assert rho.words == f"{rho.mean:.3f} ± {rho.spread:.3f}"
    assert not {"ridge", "unmoved", "penalty", "choices"} & {metric for _, _, metric in found}
    chosen = found["random initialisation", "Next best view", "chosen_view"]
    assert chosen.unit == "share" and chosen.words.startswith(f"{100 * chosen.mean:.1f} ± ") and chosen.chance == 0.5
    capsys.readouterr()
    evaluate(plan)
    assert "rho (an error: 0 is" in " ".join(capsys.readouterr().out.split())
    page = report(Report((tmp_path,), tmp_path / "report.html")).read_text()
    assert "ρ, 0 is best, not %" in page and f"{rho.mean:.3f}" in page


def test_a_motion_that_some_splits_lack_is_in_no_mean(run, tmp_path):
    plan = Evaluate(
        (str(run),),
        Drives(),
        ("equivariance",),
        seeds=(0, 1),
        out=tmp_path,
        workers=0,
        equivariance=EquivarianceError(patterns=2, gap=2, pairs=40),
        engine=Devices(accelerator="cpu"),
    )
    one, other = score(plan)
    odd = next(name for name in one["metrics"] if name.startswith("rho "))
    del other["metrics"][odd]
    assert {"rho", "composed_rho"} <= (found := {row.metric for row in rows([one, other])}) and odd not in found


@pytest.fixture
def scenes(tmp_path):
    """Images in SUN397's layout: three classes of a colour each, of several sizes, 8 to train and 4 to test."""
    root = tmp_path / "scenes"
    lists = {"Training_01": [], "Testing_01": []}
    rng = np.random.default_rng(0)
    for label, kind in enumerate(("a/abbey", "a/apse/indoor", "o/orchard")):
        (root / kind).mkdir(parents=True)
        for n in range(12):
            image = rng.integers(0, 200, (40 + n, 50, 3), dtype=np.uint8)
            image[..., label] = 220
            PIL.Image.fromarray(image).save(root / kind / f"sun_{n}.jpg")
            lists["Training_01" if n < 8 else "Testing_01"].append(f"/{kind}/sun_{n}.jpg\n")
    (root / "ClassName.txt").write_text("/a/abbey\n/a/apse/indoor\n/o/orchard\n")
    for name, lines in lists.items():
        (root / f"{name}.txt").write_text("".join(lines))
    return root


@pytest.mark.parametrize("length", [1, 4])
def test_images_are_evaluated_by_frame_and_by_clip_trunks_from_few_labels(scenes, tiny, run, tmp_path, length):
    if length > 1:
        question = ShuffleAndLearn(far=8, near=4, different=0.0, jitter=1, length=length)
        plan = Pretrain(
            Videos(tiny, size=(32, 32)),
            tmp_path / "clips",
            method=question,
            trunk=Small(length=length, width=4, size=28),
            steps=2,
            batch=4,
            log=1,
            save=2,
            held_out=0.2,
            workers=0,
            engine=Devices(accelerator="cpu"),
        )
        run = pretrain(plan)
    (scenes / "a/abbey/sun_11.jpg").write_bytes(b"")
    data = Videos(scenes, "sun397", size=(32, 32))
    plan = config(tiny, run, tmp_path / "out", data=data, linear=LinearProbe(labels=6), knn=KNN(k=3))
    results = score(dataclasses.replace(plan, protocols=("knn", "linear", "finetune")))
    for result in results:
        name, metrics = result["asked"]["name"], result["metrics"]
        assert result["dataset"]["title"].startswith("a subset of scenes split 1 (")
        assert result["dataset"]["train"]["used"] == {"knn": 24, "linear": 18, "finetune": 6 * 4}[name]
        assert result["dataset"]["test"]["used"] == 11
        assert result["dataset"]["test"]["reasons"] == {"a/abbey/sun_11.jpg": "unreadable: is empty (0 bytes)"}
        if name == "linear":
            assert metrics["video_accuracy"] == metrics["clip_accuracy"] == 1  # a colour is all there is to tell


def test_what_is_there_is_not_computed_again_and_not_overwritten(tiny, run, tmp_path):
    plan = config(tiny, run, tmp_path, protocols=("knn",))
    score(plan)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    score(plan)
    with pytest.raises(FileExistsError, match="of another protocol"):
        score(dataclasses.replace(plan, knn=KNN(k=4, views=VIEWS)))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_features_are_computed_once_for_all_commands(tiny, run, tmp_path, monkeypatch):
    plan = config(tiny, run, tmp_path / "a", protocols=("knn",), features=tmp_path / "features")
    first = score(plan)
    assert len(list((tmp_path / "features").glob("*-32-true/*.pt"))) == 2  # of the run, and of random weights
    monkeypatch.setattr(Encoder, "_encode", lambda self, records, views: {} if not records else 1 / 0)
    again = score(dataclasses.replace(plan, protocols=("knn", "linear"), out=tmp_path / "b"))
    assert [r["metrics"] for r in again if r["asked"]["name"] == "knn"] == [r["metrics"] for r in first]
    with pytest.raises(ZeroDivisionError):
        other = Videos(tiny, size=(40, 40))
        score(dataclasses.replace(plan, out=tmp_path / "c", data=other))


def test_results_from_few_labels_and_from_more_lie_side_by_side(tiny, run, tmp_path):
    plan = config(tiny, run, tmp_path, trunks=(str(run),), protocols=("linear",))
    for labels in (1, 2, None):
        score(dataclasses.replace(plan, linear=LinearProbe(labels=labels, penalty=0.1, views=VIEWS)))
    found = {row.protocol: row for row in rows(read_results(tmp_path)) if row.metric == "video_accuracy"}
    assert set(found) == {"Linear probe", "Linear probe, 1 label a class", "Linear probe, 2 labels a class"}
    names = {path.name for path in tmp_path.glob("*.json")}
    assert names == {f"learned-linear{few}-split1-seed0.json" for few in ("", "-1labels", "-2labels")}


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


def test_weights_from_a_file_are_scored_beside_what_was_made_of_them(tiny, run, tmp_path):
    torch.manual_seed(5)
    began = CaffeNet(size=67, widths=(4,)).build()
    torch.save(began.state_dict(), tmp_path / "weights.pth")
    plan = Pretrain(
        Videos(tiny, size=(72, 72)),
        tmp_path / "run",
        method=ShuffleAndLearn(far=4, near=2, different=0.0, jitter=1),
        trunk=CaffeNet(size=67, widths=(4,), weights=tmp_path / "weights.pth"),
        steps=1,
        batch=4,
        held_out=0.0,
        watch=0,
        workers=0,
        engine=Devices(accelerator="cpu"),
    )
    pretrain(plan)
    plan = config(tiny, run, tmp_path / "out", trunks=(str(tmp_path / "run"), "loaded", "random"), protocols=("knn",))
    results = score(plan)
    found = {r["subject"]: r["asked"]["checkpoint"]["weights"] for r in results}
    assert found["loaded"] == weights(began) and len(set(found.values())) == 3
    assert {row.subject for row in rows(results)} == {"ShuffleAndLearn", "weights from a file", "random initialisation"}
    with pytest.raises(ValueError, match="began with random weights: leave `loaded` out"):
        score(dataclasses.replace(plan, trunks=(str(run), "loaded")))


def test_seeds_of_random_trunks_give_a_mean_and_a_spread(tiny, run, tmp_path):
    results = score(config(tiny, run, tmp_path, protocols=("knn",), seeds=(0, 1, 2)))
    found = {row.subject: row for row in rows(results) if row.metric == "video_accuracy"}
    assert found["random initialisation"].count == 3 and found["random initialisation"].spread is not None
    assert found["ShuffleAndLearn"].count == 1  # k-NN draws nothing: one trunk, one number


def test_five_guesses_are_right_five_times_as_often_by_chance():
    metrics = {"video_accuracy": 0.2, "top5_accuracy": 0.4, "chance": 0.1}
    assert (by_chance("video_accuracy", metrics), by_chance("top5_accuracy", metrics)) == (0.1, 0.5)
    assert by_chance("top5_accuracy", {"chance": 1 / 3}) == 1
    assert (by_chance("R@5", {"chance R@5": 0.3}), by_chance("R@1", {"chance R@5": 0.3})) == (0.3, None)


def test_the_table_is_printed(tiny, run, tmp_path, capsys):
    evaluate(config(tiny, run, tmp_path, protocols=("knn", "retrieval")))
    printed = capsys.readouterr().out
    assert "random initialisation" in printed and "chance" in printed


def test_what_cannot_be_evaluated_is_said_in_words(tiny, run, tmp_path):
    with pytest.raises(ValueError, match="name at least one run"):
        score(config(tiny, run, tmp_path, trunks=("random",)))
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        score(config(tiny, tmp_path / "nowhere", tmp_path))
    with pytest.raises(
        ValueError, match="there is no protocol 'k-NN'; there are: knn, retrieval, linear, finetune, equivariance"
    ):
        config(tiny, run, tmp_path, protocols=("k-NN",))
    for nothing in ({"seeds": ()}, {"splits": ()}, {"batch": 0}):
        with pytest.raises(ValueError, match="at least one split, one seed, and a batch of one clip are needed"):
            config(tiny, run, tmp_path, **nothing)
    with pytest.raises(ValueError, match="has no test list"):
        score(config(tiny, run, tmp_path / "b", data=Videos(tiny, "video_folder")))


def test_two_processes_pretrain_and_evaluate(tiny, run, tmp_path):
    """On the CPU, as with several GPUs: the same command with --devices 2."""
    command = [sys.executable, "-m", "videossl.experiments.cli"]
    common = ["--root", str(tiny), "--size", "32", "32", "--workers", "0", "--accelerator", "cpu", "--devices", "2"]
    short = ["--steps", "4", "--batch", "8", "--log", "2", "--save", "4", "--probes", "8", "--held-out", "0.2"]
    trunk = ["--trunk.length", "1", "--trunk.width", "4", "--trunk.size", "28"]
    method = ["method:shuffle-and-learn", "--method.far", "4", "--method.near", "2", "--method.jitter", "1"]
    out = str(tmp_path / "two")
    done = subprocess.run(
        [*command, "pretrain", *common, *short, "--out", out, *method, "trunk:small", *trunk],
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


def test_published_protocols_are_scored_by_name_and_what_lies_between_two_is_told(tiny, run, tmp_path, capsys):
    plan = config(tiny, run, tmp_path, trunks=(str(run),), protocols=("rspnet-retrieval", "linear"))
    results = score(plan)
    assert [r["asked"]["name"] for r in results] == ["rspnet-retrieval", "linear"]
    assert results[0]["asked"]["protocol"]["ks"] == [1, 5, 10] and results[0]["asked"]["views"]["clips"] == 10
    with pytest.raises(ValueError, match=r"there is no protocol 'vcop'; there are: knn, .*, vcop-finetune"):
        dataclasses.replace(plan, protocols=("vcop",))
    capsys.readouterr()
    pair = ("coclr-retrieval", "coclr-retrieval-centred")
    results = score(dataclasses.replace(plan, protocols=(), compare=pair, out=tmp_path / "compare"))
    between = [f"coclr-retrieval with {field}" for field in ("centre", "views.shortest")]
    assert [r["asked"]["name"] for r in results] == [pair[0], *between, pair[1]]
    assert [bool(r["mistake"]) for r in results] == [False, True, True, True]
    assert "not to be trusted: a test video's answer" in " ".join(capsys.readouterr().out.split())
    told = {row.protocol for row in rows(results)}
    assert "Retrieval, centre False, shortest 1" in told
    assert "Retrieval, centre False, shortest 16 (not to be trusted: videos under 16 frames are dropped)" in told
    print_table(results)
    assert "centre True" in capsys.readouterr().out


def test_labels_are_propagated_over_a_folder_in_davis_layout(tiny, run, tmp_path, capsys):
    root = tmp_path / "davis"
    for kind in ("JPEGImages", "Annotations"):
        for name in ("bear", "dog"):
            (root / kind / "480p" / name).mkdir(parents=True)
            for n in range(5):
                mask = np.zeros((32, 32), np.uint8)
                mask[8:20, 2 + 4 * n : 14 + 4 * n] = 1
                grey = 60 if name == "bear" else 80
                picture = PIL.Image.fromarray(mask if kind == "Annotations" else grey + 150 * mask)
                suffix = "png" if kind == "Annotations" else "jpg"
                picture.save(root / kind / "480p" / name / f"{n:05}.{suffix}")
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "train.txt").write_text("bear\n")
    (root / "ImageSets" / "2017" / "val.txt").write_text("dog\n")
    plan = config(tiny, run, tmp_path / "out", data=Videos(root, "davis"))
    results = score(plan)  # what suits the records is asked where nothing is named
    assert [r["asked"]["name"] for r in results] == ["propagation"] * 2 and len(read_results(tmp_path / "out")) == 2
    for result in results:
        assert 0 < result["metrics"]["J&F"] <= 1 and result["dataset"]["complete"]
        assert result["dataset"]["title"] == "davis"
    print_table(results)
    assert "J&F" in capsys.readouterr().out and all(row.chance for row in rows(results) if row.headline)
    with pytest.raises(
        ValueError, match='Label propagation needs "masks" of each video, but Down/v_Down_g01_c01 has none'
    ):
        score(config(tiny, run, tmp_path / "other", protocols=("dino-propagation",)))
