import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pybullet", reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone")

from videossl.datasets.interactions import interactions
from videossl.experiments.data import Videos
from videossl.methods.identity import Identity
from videossl.robot.collect import Collect, collect, make, scene_of
from videossl.robot.pairs import GREY, MOVED, SIDE, pushed_pairs
from videossl.robot.tabletop import PATCH, VIEW
from videossl.robot.tasks.push import Push

FRAMES = np.arange(2)


@pytest.fixture(scope="module")
def pushes(tmp_path_factory) -> Collect:
    config = Collect("push", tmp_path_factory.mktemp("pushes") / "set", episodes=60, size=72, workers=1)
    collect(config)
    return config


def colours(image: np.ndarray) -> list[list[int]]:
    """Of all pixels of (3, H, W) that are not grey, sorted."""
    pixels = image.reshape(3, -1).T
    return sorted(pixels[(pixels != GREY).any(1)].tolist())


def test_each_thing_is_cut_out_to_the_pixel_and_nothing_of_the_table_is_left(pushes):
    env = make(Push, pushes)
    for pair in pushed_pairs(pushes.out)[::7]:
        first, second = pair["frames"].array(FRAMES)
        for cut, seen in zip((first, second), pair["frames"].seen, strict=True):
            scene_of(env, pushes.seed, _scene(pushes, seen))
            (thing,) = env.things
            env.world.put(thing.body, seen.pose)
            picture = env.picture(env.overhead)
            shown = picture.segmentation == thing.body
            assert 0 < shown.sum() < 0.5 * shown.size
            assert colours(cut) == colours(np.where(shown, picture.rgb.transpose(2, 0, 1), GREY))
            row, column = np.nonzero((cut != GREY).any(0))
            assert np.hypot(row.mean() - cut.shape[1] / 2, column.mean() - cut.shape[2] / 2) < cut.shape[1] / 4
    env.close()


def _scene(pushes: Collect, seen) -> int:
    """Which scene a picture is of."""
    every = [r for train in (True, False) for r in interactions(pushes.out, train=train)]
    place = seen.pictures.path, seen.pictures.row
    return next(r["scene"] for r in every if (r["frames"].path, r["frames"].row) == place)


def test_pairs_are_of_one_push_or_of_two_things_and_no_picture_tells_which(pushes):
    pairs, of = pushed_pairs(pushes.out), interactions(pushes.out)
    moved = [p for p in of if p["contact"] and p["inside"] and np.hypot(*p["displacement"]) > MOVED]
    assert sum(p["same"] for p in pairs) == len(moved) > 10
    assert 0.4 < np.mean([p["same"] for p in pairs]) <= 0.6 and len({p["name"] for p in pairs}) == len(pairs)
    seconds = {True: Counter(), False: Counter()}
    for pair in pairs:
        first, second = pair["frames"].seen
        one_push = (first.pictures.path, first.pictures.row) == (second.pictures.path, second.pictures.row)
        one_thing = (pair["category"], pair["instance"]) == (pair["other_category"], pair["other_instance"])
        assert pair["same"] == one_push == one_thing and (first.which, second.which) == (0, 1)
        assert pairs.classes[pair["label"]] == first.thing[0] and first.thing[1] == pair["instance"]
        assert np.linalg.norm(first.pose[:2] - second.pose[:2]) > MOVED or not pair["same"]
        seconds[pair["same"]][second.pictures.row, second.pictures.path] += 1
    assert max(seconds[True].values()) == max(seconds[False].values()) == 1
    assert seconds[False].keys() <= seconds[True].keys()


def test_scenes_are_in_training_or_in_test(pushes):
    train, test = (pushed_pairs(pushes.out / "push", train=part) for part in (True, False))
    assert train and test and not {p["group"] for p in train} & {p["group"] for p in test}
    assert (train.part, test.part) == ("train", "test") and train.name.endswith("pairs split 1 train")


def test_the_question_of_identity_is_asked_of_them_at_the_size_of_the_trunk(pushes):
    side = round(72 * PATCH / VIEW)
    assert pytest.approx(PATCH / VIEW) == SIDE
    pair = pushed_pairs(pushes.out)[0]
    assert Identity().sample(pair, np.random.default_rng(0))["clips"].shape == (2, 1, 3, side, side)
    records = Videos(pushes.out, "pushed_pairs").records(True, 1, (12, 16))
    assert records[0]["frames"][FRAMES].shape == (2, 3, 12, 12)  # squares stay squares
    again = pickle.loads(pickle.dumps(pair["frames"]))
    assert (again.array(FRAMES) == pair["frames"].array(FRAMES)).all()


def test_what_gives_no_pairs_is_said(pushes, tmp_path):
    def collected(name: str, **other) -> Path:
        config = replace(pushes, out=tmp_path / name, **other)
        collect(config)
        return config.out

    grasps = collected("grasps", task="grasp", episodes=5, size=16)
    with pytest.raises(ValueError, match="holds no interactions of 'push', but of grasp"):
        pushed_pairs(grasps)
    with pytest.raises(ValueError, match="holds interactions of grasp, but pairs are made of pushes"):
        pushed_pairs(grasps / "grasp")
    several = collected("several", objects_per_scene=3, episodes=10, size=16)
    with pytest.raises(ValueError, match="with 3 things on the table, which may hide each other"):
        pushed_pairs(several)
    with pytest.raises(ValueError, match="pushes moved something, but pairs need 2"):
        pushed_pairs(collected("few", episodes=1, size=16), train=False)
    with pytest.raises(ValueError, match="lists or an index"):
        pushed_pairs(pushes.out, lists=tmp_path)
    with pytest.raises(FileNotFoundError, match="is not there"):
        pushed_pairs(tmp_path / "nowhere")


def test_damage_is_named(pushes, tmp_path):
    pair = pushed_pairs(pushes.out)[0]
    gone = replace(pair["frames"].seen[0].pictures, path=tmp_path / "gone.h5")
    broken = replace(pair["frames"], seen=(replace(pair["frames"].seen[0], pictures=gone), pair["frames"].seen[1]))
    with pytest.raises(FileNotFoundError, match=r"gone\.h5"):
        broken.array(0)
