import json
from math import sqrt

import pytest
import torch

from videossl.experiments.act import NET, Act, act, choosers, net_of, size_of, told
from videossl.methods.grasp import Grasp
from videossl.methods.joint import Joint
from videossl.methods.poke import Poke
from videossl.models.small import Small
from videossl.training import checkpoints

pytest.importorskip("pybullet", reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone")
TRUNK = Small(length=1, width=2, size=16)


def stored(path, method):
    """A run that learned nothing yet."""
    path.mkdir()
    torch.manual_seed(0)
    net = method.build(TRUNK.build())
    about = {"method": method, "prepared": method, "trunk": TRUNK, "step": 0, "seed": 0, "split": 1, "seen": []}
    checkpoints.save(path / "checkpoint.pt", net=net, **about)
    return path


def test_shares_have_wilsons_interval_and_what_succeeds_is_told_by_the_task():
    found = told("grasp", [True] * 30 + [False] * 70)
    z, p, n = 1.959964, 0.3, 100
    middle, half = (
        (p + z * z / (2 * n)) / (1 + z * z / n),
        z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n),
    )
    assert found["share"] == 0.3 and found["interval"] == pytest.approx([middle - half, middle + half], rel=1e-6)
    pushes = told("push", [[0.1, 0.05, 0.02], [0.12, 0.06, 0.05, 0.04]])
    assert pushes["successes"] == 1 and pushes["metres at first"] == pytest.approx(0.11)
    assert pushes["after one push"] == pytest.approx(0.055) and pushes["at the end"] == pytest.approx(0.03)
    sorts = told("poke", [1.0, 2 / 3, 1 / 3, 1.0])
    assert sorts["successes"] == 2 and sorts["pairs in order"] == pytest.approx(0.75)


def test_a_joint_run_or_one_of_the_task_alone_acts_in_the_same_scenes_and_is_filmed(tmp_path, capsys):
    heads = {"grasp": Grasp(align=True, channels=4, widths=(4,)), "poke": Poke(widths=(4,))}
    run = stored(tmp_path / "joint", Joint(heads))
    config = Act("grasp", run, tmp_path / "out", trials=3, picture=32, shown=1, workers=1)
    found = act(config)
    assert list(found["rows"]) == ["at random", "across the shortest side", NET]
    assert all(row["trials"] == 3 for row in found["rows"].values())
    assert json.loads((tmp_path / "out" / "grasp.json").read_text())["rows"] == found["rows"]
    assert (tmp_path / "out" / "grasp.webp").stat().st_size > 1000
    assert "across the shortest side" in capsys.readouterr().out
    assert act(config)["rows"] == found["rows"]
    alone = stored(tmp_path / "alone", heads["poke"])
    assert NET in choosers(Act("poke", alone)) and type(net_of(Act("poke", alone))).__name__ == "PokeNet"
    with pytest.raises(ValueError, match="learned grasp, poke, but not push: give another run"):
        act(Act("push", run, tmp_path / "out"))
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        act(Act("push", tmp_path / "nowhere"))


def test_pictures_are_scaled_as_in_training(tmp_path):
    run = stored(tmp_path / "run", Poke(widths=(4,)))
    net = net_of(Act("poke", run))
    assert size_of(Act("poke", run), net) == (16, 16)
    (run / "config.json").write_text(json.dumps({"config": {"data": {"size": None}}}))
    assert size_of(Act("poke", run), net) == (18, 18)  # not stretched to the trunk's 18 by 24
    (run / "config.json").write_text(json.dumps({"config": {"data": {"size": [20, 24]}}}))
    assert size_of(Act("poke", run), net) == (20, 24)
    assert size_of(Act("poke", run, size=(8, 8)), net) == (8, 8)


def test_wrong_numbers_are_named(tmp_path):
    with pytest.raises(ValueError, match="trials 0"):
        Act("grasp", tmp_path, trials=0)
