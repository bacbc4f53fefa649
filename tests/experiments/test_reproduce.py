import dataclasses
import json
import shlex
from functools import cache
from pathlib import Path

import pytest

from videossl.experiments import reproduce as module
from videossl.experiments.cli import parse, split_command
from videossl.experiments.evaluate import Evaluate
from videossl.experiments.paper_tables import TABLES
from videossl.experiments.pretrain import Pretrain
from videossl.experiments.reproduce import Reproduce, reproduce
from videossl.experiments.runs import write_json


def test_fine_tuning_at_the_papers_scale_is_the_papers():
    def judges(name):
        words = Reproduce(name, "paper", Path("data"), Path("out"), seeds=(0,)).commands
        return [one.finetune for one in (parse(*split_command(w)) for w in words) if isinstance(one, Evaluate)]

    one, ten = judges("simclr-labels")
    assert (one.labels, ten.labels) == (0.01, 0.1)  # the rest of its recipe was not checked against its code
    (mae,) = judges("mae")
    assert (mae.epochs, mae.batch, mae.rate) == (100, 1024, 5e-4 * 1024 / 256)
    assert (mae.optimizer, mae.decay) == ("adamw", 0.05)
    assert {(judge.views.clips, judge.views.crops, judge.area) for judge in (one, ten, mae)} == {(1, 1, (0.08, 1))}


@cache
def understood(name, scale):
    """The options of each command of a recipe, of two seeds."""
    root = Path("data") if scale == "paper" else None
    words = Reproduce(name, scale, root, Path("out"), seeds=(0, 1)).commands
    return [parse(*split_command(one)) for one in words]


@pytest.mark.parametrize("scale", ["small", "paper"])
@pytest.mark.parametrize("name", TABLES)
def test_no_two_results_of_a_table_are_one_file(name, scale):
    scored = [one for one in understood(name, scale) if isinstance(one, Evaluate)]
    labels = {(one.out, one.seeds, protocol): [] for one in scored for protocol in one.protocols}
    for one in scored:
        for protocol in one.protocols:
            labels[one.out, one.seeds, protocol].append(getattr(one.judges[protocol], "labels", None))
    assert all(len(set(found)) == len(found) for found in labels.values())


@pytest.mark.parametrize("scale", ["small", "paper"])
@pytest.mark.parametrize("name", TABLES)
def test_recipes_are_commands_that_are_understood(name, scale):
    options = understood(name, scale)
    assert all(len(values) == len(TABLES[name].columns) for values in TABLES[name].theirs.values())
    learned = [one.out for one in options if isinstance(one, Pretrain)]
    scored = [one for one in options if isinstance(one, Evaluate)]
    assert name == "curious-robot" or learned == [Path("out/seed0"), Path("out/seed1")]
    assert {one.out for one in scored} <= {Path("out/evaluation")}
    assert all(one.trunks == (f"out/seed{one.seeds[0]}", "random") for one in scored)


def test_a_table_is_made_and_the_second_start_does_nothing_again(tmp_path, tiny, monkeypatch, capsys):
    table = dataclasses.replace(
        TABLES["shuffle-and-learn"],
        small=(
            f"pretrain --root {tiny} --out {{out}}/seed{{seed}} --steps 2 --batch 2 --save 2 --log 2 --workers 0 --watch 0"
            " --seed {seed} method:shuffle-and-learn --method.far 2 --method.near 2 trunk:small --trunk.length 1"
            " --trunk.width 2 --trunk.size 16",
            f"evaluate {{out}}/seed{{seed}} random --root {tiny} --protocols knn --seeds {{seed}} --out {{out}}/evaluation"
            " --workers 0",
        ),
        metrics=("clip_accuracy",),
    )
    monkeypatch.setitem(module.TABLES, "shuffle-and-learn", table)
    config = Reproduce("shuffle-and-learn", out=tmp_path, seeds=(0, 1))
    reproduce(config)
    printed = capsys.readouterr().out
    assert "k-NN: clip accuracy" in printed and "50.2" in printed  # named, and the paper's
    found = json.loads((tmp_path / "reproduce.json").read_text())
    assert {(row["subject"], row["count"]) for row in found["ours"]} == {
        ("ShuffleAndLearn", 2),
        ("random initialisation", 2),
    }
    assert found["theirs"]["theirs"]["Shuffle and Learn"] == [50.2, 18.1]
    (one,) = (tmp_path / "reproduce.md").read_text().splitlines()
    title, theirs, asked, random, learned, chance = one.strip("| ").split(" | ")
    assert title == table.title and asked == "k-NN: clip accuracy"
    assert theirs == "random initialisation / Shuffle and Learn: UCF101 38.6 / 50.2; HMDB51 13.3 / 18.1"
    shown = {row["subject"]: row for row in found["ours"] if row["metric"] == "clip_accuracy"}
    for row, words in zip(("random initialisation", "ShuffleAndLearn"), (random, learned), strict=True):
        assert words == f"{100 * shown[row]['mean']:.1f} ± {100 * shown[row]['spread']:.1f}"
    assert chance == f"{100 * shown['ShuffleAndLearn']['chance']:.1f}"
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.suffix in (".pt", ".npz")}
    reproduce(config)
    assert made and made == {path: path.stat().st_mtime_ns for path in made}


@pytest.mark.parametrize("scale", ["small", "paper"])
@pytest.mark.parametrize("name", TABLES)
def test_what_is_shown_are_lines_that_a_shell_gives_back_to_the_command(name, scale, tmp_path, capsys):
    root = Path("my data") if scale == "paper" else None
    config = Reproduce(name, scale, root, tmp_path / "an out", seeds=(0, 1), show=True)
    reproduce(config)
    lines = [line for line in capsys.readouterr().out.split("\n") if line.startswith("videossl ")]
    assert [shlex.split(line)[1:] for line in lines] == config.commands and not (tmp_path / "an out").exists()


def test_pictures_with_masks_have_lists_of_their_own_at_the_papers_scale():
    """VOC 2007 has masks of 632 of its 9963 pictures, and segmentation refuses pictures without."""
    words = Reproduce("rotnet", "paper", Path("data"), Path("out"), seeds=(0,)).commands
    scored = [one for one in (parse(*split_command(w)) for w in words) if isinstance(one, Evaluate)]
    lists = {one.protocols: one.data.lists for one in scored}
    own = Path("data/VOCdevkit/VOC2007/ImageSets/Segmentation")
    assert lists == {("detection",): None, ("segmentation",): own}


def test_a_recipe_that_finds_its_own_numbers_keeps_them(tmp_path, monkeypatch):
    class Made:
        @staticmethod
        def run(options):
            options.out.mkdir()
            write_json(options.out / "curious_robot.json", {"rows": {"robot tasks": 0.5}})

    monkeypatch.setattr(module, "module_of", lambda name: Made)
    reproduce(Reproduce("curious-robot", out=tmp_path, seeds=(0,)))
    assert json.loads((tmp_path / "reproduce.json").read_text())["ours"] == {"rows": {"robot tasks": 0.5}}


def test_commands_are_shown_without_being_run(tmp_path, capsys):
    reproduce(Reproduce("mae", "paper", out=tmp_path / "x", seeds=(0,), show=True))
    assert "pretrain --root ROOT --dataset image_folder" in capsys.readouterr().out.replace("\n", " ")
    assert not (tmp_path / "x").exists()


def test_the_papers_scale_needs_its_data():
    with pytest.raises(ValueError, match="the paper's scale needs its data: give the folder by --root"):
        Reproduce("opn", "paper")
    with pytest.raises(ValueError, match="the small scale makes its own data, but root is data: give --scale paper"):
        Reproduce("opn", root=Path("data"))
