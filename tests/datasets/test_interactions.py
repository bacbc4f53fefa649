import json
import pickle

import numpy as np
import pytest

from videossl.datasets.interactions import interactions, tasks
from videossl.datasets.shards import Field, pack, write
from videossl.experiments.data import Videos
from videossl.robot.outputs import write_whole

FIELDS = {
    "before": Field((6, 8, 3), "uint8", "RGB, before"),
    "after": Field((6, 8, 3), "uint8", "RGB, after"),
    "category": Field((), "int32", "of the object", ("ball", "box")),
    "action": Field((5,), "float32", "metres"),
    "contact": Field((), "bool", "touched"),
}


def record(episode: int) -> dict:
    rng = np.random.default_rng(episode)
    pictures = {name: rng.integers(0, 256, (6, 8, 3), dtype=np.uint8) for name in ("before", "after")}
    return {
        **pictures,
        "category": np.int32(episode % 2),
        "action": np.full(5, episode, np.float32),
        "contact": np.bool_(episode % 3 > 0),
    }


@pytest.fixture
def root(tmp_path):
    """Two shards of 10 pushes, 2 of a scene."""
    entries = []
    for number in range(2):
        file = f"push/{number:06}.h5"
        about = {"task": "push", "first": 10 * number, "trials": 2, "seed": 0, "config": "{}"}
        content = pack(FIELDS, [record(10 * number + k) for k in range(10)], about)
        (tmp_path / "push").mkdir(exist_ok=True)
        write(tmp_path / file, content)
        entries.append(
            {"file": file, "task": "push", "first": 10 * number, "episodes": 10, "bytes": len(content), "sha256": ""}
        )
    write_whole(tmp_path / "manifest.json", json.dumps({"shards": entries}))
    return tmp_path


def test_records_hold_what_was_stored_and_frames_the_pictures_in_order(root):
    found = interactions(root, train=True) + interactions(root, train=False)
    assert len(found) == 20 and tasks(root) == ["push"]
    for r in found:
        wanted = record(r["episode"])
        assert (r["frames"][np.arange(2)].numpy() == [wanted[k].transpose(2, 0, 1) for k in ("before", "after")]).all()
        assert np.array_equal(r["action"], wanted["action"]) and r["contact"] == wanted["contact"]
        assert r["label"] == wanted["category"] and len(pickle.loads(pickle.dumps(r["frames"]))) == 2


def test_scenes_are_in_training_or_in_test_and_each_is_tested_in_one_split(root):
    tested = []
    for split in range(1, 6):
        train, test = (interactions(root, split, part) for part in (True, False))
        assert not {r["group"] for r in train} & {r["group"] for r in test}
        tested += [r["episode"] for r in test]
    assert sorted(tested) == list(range(20))
    assert train.classes == ["ball", "box"] and train.fields["action"].about == "metres"


def test_the_folder_of_the_task_will_do_with_or_without_its_name(root):
    names = [[r["name"] for r in found] for found in (interactions(root), interactions(root / "push"))]
    assert names[0] == names[1] == [r["name"] for r in interactions(root / "push", task="push")]


def test_commands_read_them_as_squares_as_high_as_the_trunk_asks_or_as_they_are_told_to(root):
    records = Videos(root, "interactions").records(True, 1, (12, 16))
    assert records[0]["frames"][np.array([0])].shape == (1, 3, 12, 12)
    records = Videos(root, "interactions", size=(12, 16)).records(True, 1, (20, 20))
    assert records[0]["frames"][np.array([0])].shape == (1, 3, 12, 16)
    assert Videos(root, "pushed_pairs").size_for((12, 16)) == (12, 12)
    assert Videos(root, "video_folder").size_for((12, 16)) == (12, 16)


def test_damage_is_named_and_skipped_only_if_asked_for(root):
    path = root / "push/000001.h5"
    content = path.read_bytes()
    path.write_bytes(
        content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]
    )
    damaged = interactions(root, skip_damaged=True).missing["push/000001.h5"]
    assert "what it holds is not what was written" in damaged
    path.write_bytes(content[:-7])
    with pytest.raises(ValueError, match=r"000001\.h5 is cut short"):
        interactions(root)
    kept = interactions(root, skip_damaged=True)
    assert {r["episode"] for r in kept} <= set(range(10)) and "push/000001.h5" in kept.missing
    path.unlink()
    with pytest.raises(ValueError, match="lacks 1 of its shards"):
        interactions(root)
    (root / "manifest.json").unlink()
    with pytest.raises(ValueError, match="is not finished"):
        interactions(root)


def test_what_is_not_there_is_said(root, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match="holds no interactions"):
        interactions(empty)
    with pytest.raises(ValueError, match="holds no interactions of 'grasp', but of push"):
        interactions(root, task="grasp")
    with pytest.raises(ValueError, match="split is which of 5"):
        interactions(root, split=6)
