from math import pi

import numpy as np
import pytest

pytest.importorskip("pybullet")
from videossl.robot.tabletop import matrix
from videossl.robot.tasks.identity import OTHERS, Identity


def test_the_same_thing_is_shown_again_in_the_pose_that_was_asked_for():
    env = Identity(size=64)
    env.reset(seed=1)
    record = env.step(np.float32([-0.5, 0.03, -0.02, 0, 0, 1.0]))[-1]["record"]
    assert record["same"] and record["other_category"] == record["category"]
    assert record["other_instance"] == record["instance"]
    assert record["T_world_object_after"][:2] == pytest.approx([0.03, -0.02], abs=2e-3)
    assert (record["first"] != record["second"]).any()


def test_a_box_lies_as_it_fell(put):
    after = put(Identity, (0.08, 0.05, 0.02)).step(np.float32([-1, 0, 0, 0, 0, 1.0]))[-1]["record"][
        "T_world_object_after"
    ]
    turn = matrix(after[3:])
    assert turn[2, 2] == pytest.approx(1, abs=1e-3)
    assert np.arctan2(turn[1, 0], turn[0, 0]) == pytest.approx(1.0, abs=0.02)
    after = put(Identity, (0.08, 0.05, 0.02)).step(np.float32([-1, 0, 0, pi / 2, 0, 0]))[-1]["record"]
    assert after["T_world_object_after"][2] == pytest.approx(0.025, abs=1e-3)  # on its side


def test_each_of_the_others_can_be_shown():
    env = Identity(size=32)
    env.reset(seed=1)
    seen = set()
    for k in range(OTHERS):
        record = env.step(np.float32([(k + 0.5) / OTHERS, 0, 0, 0, 0, 0]))[-1]["record"]
        thing = env.things[1 + k]
        assert not record["same"]
        assert (record["other_category"], record["other_instance"]) == (thing.category, thing.shape.number)
        assert (record["category"], record["instance"]) == (env.things[0].category, env.things[0].shape.number)
        seen.add(record["second"].tobytes())
    assert len(seen) == OTHERS


def test_half_of_the_pairs_that_are_tried_are_of_one_thing():
    env = Identity(size=8)
    env.reset(seed=0)
    same = [env.sample(np.random.default_rng(k))[0] < 0 for k in range(400)]
    assert np.mean(same) == pytest.approx(0.5, abs=0.08)


def test_one_thing_at_a_time_is_shown():
    with pytest.raises(ValueError, match=r"identity takes .* 1 to 1 objects"):
        Identity(objects_per_scene=2)
    with pytest.raises(ValueError, match="cannot do without restore"):
        Identity(restore=False)
