import json
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import torchvision

from videossl.experiments import curious_robot as module
from videossl.experiments.curious_robot import (
    SCALES,
    CuriousRobot,
    check_answers,
    check_given,
    halves,
    interactions_of,
    learn,
    run,
    sets,
    study,
    trained,
    trunk_of,
)
from videossl.experiments.curious_tables import ALL, IDENTITY, IMAGENET, LABELS, RANDOM, REBUILD, WITHOUT, cell, tables
from videossl.experiments.touched import Touched
from videossl.methods.joint import Joint, Zip
from videossl.models.small import Small
from videossl.training.fit import fit

pytest.importorskip("pybullet", reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone")

TINY = replace(
    SCALES["quick"],
    episodes={"grasp": 40, "push": 10, "poke": 20, "identity": 16},
    unseen={"grasp": 40, "push": 10, "poke": 20, "identity": 16},
    picture=32,
    trunk=Small(length=1, width=2, size=16),
    first=2,
    steps=4,
    rebuild=2,
    labels=2,
    batch=4,
    objects=replace(SCALES["quick"].objects, train=2, test=1, views=2, size=32),
    blobs=3,
    epochs=1,
    trials=2,
)


def test_rows_are_those_that_can_be_learned():
    assert CuriousRobot().rows == [RANDOM, ALL, IDENTITY, REBUILD, LABELS, *WITHOUT.values()]
    assert CuriousRobot(imagenet=Path("x")).rows[5] == IMAGENET
    given = CuriousRobot(data=Path("x"), without=("push", "identity"))
    assert given.rows == [RANDOM, ALL, REBUILD, LABELS, WITHOUT["grasp"], WITHOUT["poke"]]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A whole run, in this process, of almost nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SCALES, "quick", TINY)
        patch.setattr(CuriousRobot, "rows", [RANDOM, ALL, REBUILD, WITHOUT["push"]])
        config = CuriousRobot(out=tmp_path_factory.mktemp("curious") / "run", seeds=1, workers=1)
        yield config, run(config)


def test_all_is_told_and_a_second_start_does_nothing_again(made, capsys):
    config, found = made
    assert found["interactions"]["learned from"]["grasp"] == 40 == found["interactions"]["unseen"]["grasp"]
    assert list(found["rows"]) == [RANDOM, ALL, REBUILD, WITHOUT["push"]]
    for row, measures in found["rows"].items():
        assert {"household linear", "random_urdfs linear", "instance R@1", "category R@20"} <= measures.keys()
        assert ("household fine-tuned" in measures) == (row not in WITHOUT.values())
    told = {"grasp AUC", "push error", "poke rank correlation", "identity AUC"}
    assert told <= found["rows"][ALL].keys()
    assert told & found["rows"][WITHOUT["push"]].keys() == told - {"push error"}
    assert found["acting"].keys() == {"grasp", "push", "poke"}
    for task in found["acting"]:
        assert (config.out / "acting" / f"{task}.webp").stat().st_size > 1000
    for name in ("nearest.png", "neurons.png"):
        assert (config.out / name).stat().st_size > 10_000
    stored = json.loads((config.out / "curious_robot.json").read_text())
    assert stored["rows"] == json.loads(json.dumps(found["rows"])) and stored["paper"]["source"].startswith("Pinto")
    assert "Table 3: one task left out" in (config.out / "tables.md").read_text()

    kept = {p: p.stat().st_mtime_ns for p in config.out.rglob("*") if p.suffix in (".pt", ".h5", ".webp")}
    again = run(config)
    assert again["rows"] == found["rows"] and {p: p.stat().st_mtime_ns for p in kept} == kept
    with pytest.raises(ValueError, match="was made with another data, without: name another --out"):
        run(replace(config, data=config.out / "data", without=("push",)))


def test_data_that_is_given_may_lack_a_task_and_is_tested_on_its_held_out_scenes(made, tmp_path):
    config, _ = made
    given = CuriousRobot(out=tmp_path, data=config.out / "data", without=("push", "identity"), workers=1)
    touched, held_out = interactions_of(given)
    assert list(touched.tasks) == ["grasp", "poke"]
    assert len(touched.tasks["grasp"]) + len(held_out.tasks["grasp"]) == 40
    assert list(learn(given, ALL, 0, touched).nets) == ["grasp", "poke"]


def test_all_tasks_go_on_from_what_grasping_alone_had_learned(made, tmp_path, monkeypatch):
    config, _ = made
    monkeypatch.setitem(SCALES, "quick", replace(TINY, steps=0))
    given = CuriousRobot(out=tmp_path, data=config.out / "data", workers=1)
    touched, _ = interactions_of(given)
    net = learn(given, ALL, 0, touched)
    stored = torch.load(tmp_path / "runs" / "robot_tasks-0" / "grasp.pt", weights_only=True)["net"]
    assert all(value.equal(stored[f"trunk.{key}"]) for key, value in net.trunk.state_dict().items())
    head = {key: value for key, value in net.nets["grasp"].state_dict().items() if not key.startswith("trunk.")}
    assert head and all(value.equal(stored[f"nets.grasp.{key}"]) for key, value in head.items())


def test_learning_that_was_stopped_ends_with_the_same_weights(made, tmp_path):
    config, _ = made
    touched, _ = interactions_of(config)
    records = {"grasp": touched.tasks["grasp"], "identity": touched.tasks["identity"]}
    method = Joint({task: TINY.methods[task] for task in records})
    ends = []
    for stops in ((6,), (4, 6)):
        for stop in stops:
            torch.manual_seed(0)
            net = method.build(TINY.trunk.build())
            monkey = lambda peak: lambda progress: peak  # noqa: E731 the rate does not depend on where it is to end
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "cosine", monkey)
                trained(tmp_path / f"{len(stops)}.pt", method, net, Zip(records), stop, TINY, 0, save=2)
        ends.append(net.state_dict())
    assert all(ends[0][key].equal(ends[1][key]) for key in ends[0])
    lines = [json.loads(line) for line in (tmp_path / "2.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6] and "grasp_accuracy" in lines[0]


@pytest.mark.parametrize("stage", ["grasp", "checkpoint"])
def test_a_run_that_is_killed_in_either_stage_goes_on_to_the_same_losses(made, tmp_path, monkeypatch, stage):
    config, _ = made
    monkeypatch.setitem(SCALES, "quick", replace(TINY, first=3, steps=3))
    monkeypatch.setattr(module, "trained", partial(trained, save=1))
    whole, killed = (
        CuriousRobot(out=tmp_path / name, data=config.out / "data", workers=1) for name in ("whole", "killed")
    )
    touched, _ = interactions_of(whole)
    wanted = learn(whole, ALL, 0, touched).state_dict()

    def dying(path, *rest, **options):
        if path.stem != stage:
            return trained(path, *rest, save=1, **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "fit", lambda *all, **named: islice(fit(*all, **named), 2))
            trained(path, *rest, save=1, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "trained", dying)
        learn(killed, ALL, 0, touched)
    found = learn(killed, ALL, 0, touched).state_dict()
    assert found.keys() == wanted.keys() and all(found[key].equal(wanted[key]) for key in wanted)
    for name in ("grasp", "checkpoint"):
        first, second = (
            [
                json.loads(line)
                for line in (one.out / "runs" / "robot_tasks-0" / f"{name}.jsonl").read_text().splitlines()
            ]
            for one in (whole, killed)
        )
        keep = [
            [{k: v for k, v in line.items() if k not in ("seconds", "waiting")} for line in run]
            for run in (first, second)
        ]
        assert keep[0] == keep[1] and [line["step"] for line in first] == [1, 2, 3]


def test_of_each_thing_every_other_picture_is_looked_for_among_the_rest():
    shown = [(0, 1), (0, 1), (0, 1), (0, 2), (1, 1), (1, 1)]
    records = [{"label": a, "instance": b, "name": str(n)} for n, (a, b) in enumerate(shown)]
    gallery, queries = halves(records)
    assert [r["name"] for r in gallery] == ["0", "2", "3", "4"] and [r["name"] for r in queries] == ["1", "5"]
    with pytest.raises(ValueError, match="no thing has two pictures"):
        halves(records[2:5])


def test_a_users_folder_is_split_by_things_where_names_tell_them_and_else_by_pictures(made, tmp_path):
    config, _ = made
    for category in ("apple", "mug"):
        for thing in range(4):
            for view in range(2):
                uw = tmp_path / f"uw/{category}/{category}_{thing}/{category}_{thing}_{view}_1_crop.png"
                caltech = tmp_path / f"caltech/{category}/{thing}{view}.jpg"
                for path in (uw, caltech):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    PIL.Image.fromarray(np.full((20, 24, 3), 40 * thing, np.uint8)).save(path)
    train, test = sets(replace(config, images=tmp_path / "uw"), 16)["uw"]
    things = [{(r["label"], r["instance"]) for r in part} for part in (train, test)]
    assert things[0] and things[1] and not things[0] & things[1] and len(train) + len(test) == 16
    assert train[0]["frames"][np.array(0)].shape == (3, 16, 16)
    train, test = sets(replace(config, images=tmp_path / "caltech"), 16)["caltech"]
    assert {r["label"] for r in train} == {0, 1} and len(train) + len(test) == 16 and len(test) == 4
    for path in (tmp_path / "caltech").rglob("*.jpg"):
        if not path.stem.endswith("00"):
            path.unlink()
    with pytest.raises(ValueError, match=r"every class of .*caltech has a single thing, or picture"):
        sets(replace(config, images=tmp_path / "caltech"), 16)


def test_what_the_user_gives_is_looked_at_before_anything_else(tmp_path, capsys):
    def image(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)

    def given(**what):
        return CuriousRobot(out=tmp_path / "out", **what)

    with pytest.raises(FileNotFoundError, match=r"no weights at .*resnet18\.pth"):
        run(given(imagenet=tmp_path / "resnet18.pth"))
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth are of another net"):
        run(given(imagenet=tmp_path / "other.pth"))
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        run(given(images=tmp_path / "nowhere"))
    image("household/a/1.png")
    with pytest.raises(ValueError, match="a column 'household' of their own"):
        run(given(images=tmp_path / "household"))
    image("flat/1.png"), image("flat/2.png"), image("flat/3.png")
    with pytest.raises(ValueError, match="flat lacks classes or test images"):
        run(given(images=tmp_path / "flat"))
    image("few/a/1.png"), image("few/a/2.png"), image("few/b/1.png")
    with pytest.raises(ValueError, match=r"no class of .*few has two things, or pictures, to learn from"):
        run(given(images=tmp_path / "few"))
    assert not (tmp_path / "out").exists()
    image("few/a/3.png")
    check_given(given(images=tmp_path / "few"))
    assert "few: 1 of 2 classes are learned, but not tested: b" in capsys.readouterr().out


@pytest.mark.parametrize(("task", "answer"), [("grasp", "success"), ("identity", "same")])
def test_answers_that_are_all_alike_are_said(task, answer):
    check_answers(Touched({task: [{answer: False}, {answer: True}]}, []), "to test on")
    with pytest.raises(ValueError, match=f'"{answer}" is False for all 2 interactions of {task} to test on'):
        check_answers(Touched({task: [{answer: False}] * 2}, []), "to test on")


def test_imagenet_weights_and_a_users_images_are_scored(made, tmp_path, monkeypatch):
    """In the layouts of UW RGB-D and of Caltech-256, with random weights in torchvision's names."""
    for n, category in enumerate(("apple", "mug")):
        for thing in range(1, 5):
            for view in range(1, 3):
                uw = f"uw/{category}/{category}_{thing}/{category}_{thing}_{view}_1"
                caltech = f"caltech/{n + 1:03}.{category}/{n + 1:03}_{2 * thing + view:04}.jpg"
                for name in (f"{uw}_crop.png", f"{uw}_depthcrop.png", f"{uw}_maskcrop.png", caltech):
                    path = tmp_path / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    shade = 200 * n + 10 * view + np.zeros((20, 24, 3))
                    PIL.Image.fromarray(shade.astype(np.uint8)).save(path)
    (tmp_path / "uw/apple/apple_1/apple_1_1_1_loc.txt").write_text("1,1")
    torch.manual_seed(0)
    net = torchvision.models.resnet18()
    torch.save(net.state_dict(), tmp_path / "resnet18.pth")
    config = replace(made[0], imagenet=tmp_path / "resnet18.pth")
    trunk = trunk_of(config, IMAGENET)
    assert trunk.net.layer4[1].conv2.weight.equal(net.layer4[1].conv2.weight)
    trunk.size = 32  # pixels, not 224, which would take a minute
    whole = module.sets

    def few(config, size):
        found = whole(config, size)
        household = tuple([record for record in part if record["label"] < 4] for part in found["household"])
        return {"household": household, config.images.name: found[config.images.name]}

    monkeypatch.setattr(module, "sets", few)
    monkeypatch.setattr(module, "trunk_of", lambda config, row: trunk)
    for folder in ("uw", "caltech"):
        given = replace(config, images=tmp_path / folder)
        check_given(given)
        train, test = few(given, 32)[folder]
        assert train.classes == (["apple", "mug"] if folder == "uw" else ["001.apple", "002.mug"])
        assert len(train) + len(test) == 16 and len(test) == 4 and ("instance" in train[0]) == (folder == "uw")
        assert study(given, IMAGENET, 0)[:2] == (IMAGENET, 0)
        path = config.out / "scores" / "ImageNet-0.json"
        scored = json.loads(path.read_text())
        path.unlink()
        assert scored[f"{folder} linear"] == 1.0 and scored[f"{folder} chance"] == 0.5
        assert {f"{folder} fine-tuned", "household linear", "instance R@1", "category R@1"} <= scored.keys()


def test_tables_stand_beside_the_papers_and_show_the_spread(made):
    _, found = made
    assert cell([0.5, 0.7]) == "60.0 ± 14.1" and cell([0.5]) == "50.0" and cell(None) == ""
    made_tables = tables(found)
    columns, lines = made_tables["Table 1: classification, % of pictures"]
    assert columns[-3:] == ["paper: Household (ImageNet)", "paper: UW RGB-D", "paper: Caltech-256"]
    assert lines[0][:2] == ["chance", "3.3"] and lines[2][0] == ALL and lines[2][-3:] == ["35.4", "69.3", "31.7"]
    _, lines = made_tables["Table 3: one task left out, %"]
    assert [line[0] for line in lines] == [ALL, WITHOUT["push"]] and lines[1][-3:] == ["35.6", "71.0", "27.9"]
    assert all(len(line) == len(columns) for columns, lines in made_tables.values() for line in lines)


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="seeds and workers are numbers from 1"):
        CuriousRobot(seeds=0)
    with pytest.raises(ValueError, match="no task 'pull' to be without"):
        CuriousRobot(data=Path("x"), without=("pull",))
    with pytest.raises(ValueError, match="given by --data"):
        CuriousRobot(without=("push",))


@pytest.mark.slow
def test_the_quick_scale_shows_what_it_must(tmp_path):
    found = run(CuriousRobot(out=tmp_path / "run"))
    robot, random = found["rows"][ALL], found["rows"][RANDOM]
    for measure in ("instance R@1", "category R@1"):
        assert np.mean(robot[measure]) > np.mean(random[measure]) + 0.08
    assert np.mean(robot["household linear"]) > np.mean(random["household linear"])
    assert np.mean(robot["grasp AUC"]) > 0.8 and np.mean(robot["push error"]) < 0.7
    grasp = found["acting"]["grasp"]["rows"]
    assert grasp["the net"]["share"] > 2 * grasp["at random"]["share"]
