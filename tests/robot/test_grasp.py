from math import pi

import numpy as np
import pytest

pytest.importorskip("pybullet")
from videossl.robot.tasks.grasp import ANGLES, GRIP, OUTCOMES, Grasp
from videossl.robot.world import PHYSICS, Physics


def outcome(env, *action):
    record = env.step(np.float32(action))[-1]["record"]
    assert record["success"] == (record["outcome"] == 0)
    return OUTCOMES[record["outcome"]]


@pytest.mark.parametrize("hand", ["gripper", "panda"])
def test_a_narrow_box_is_lifted_across_and_blocks_along(put, hand):
    env = put(Grasp, (0.03, 0.10, 0.06), hand=hand)
    assert outcome(env, 0.02, 0.01, 0) == "lifted"
    assert outcome(env, 0.02, 0.01, pi / 2) == "blocked"
    assert outcome(env, -0.14, -0.14, 0) == "empty"


def test_a_lifted_box_is_in_the_hand(put):
    env = put(Grasp, (0.03, 0.10, 0.06))
    record = env.step(np.float32([0.02, 0.01, 0]))[-1]["record"]
    assert record["T_world_object_after"][2] - record["T_world_object"][2] == pytest.approx(0.15, abs=0.01)
    assert record["gap"] == pytest.approx(0.03, abs=0.002)
    assert record["T_world_grasp"][:3] == pytest.approx([0.02, 0.01, 0.02], abs=1e-3)


def test_what_is_heavier_than_the_grip_can_hold_slips(put):
    friction = 0.5
    most = 2 * friction * GRIP[1] / 9.81  # kg
    assert outcome(put(Grasp, (0.04, 0.04, 0.06), mass=0.6 * most, friction=friction), 0.02, 0.01, 0) == "lifted"
    assert outcome(put(Grasp, (0.04, 0.04, 0.06), mass=1.4 * most, friction=friction), 0.02, 0.01, 0) == "slipped"


def test_the_angle_is_that_of_the_thing_in_the_world(put):
    lifted = []
    for turn in range(3):
        env = put(Grasp, (0.04, 0.10, 0.05), yaw=turn * pi / ANGLES)
        lifted.append([outcome(env, 0.02, 0.01, k * pi / ANGLES) == "lifted" for k in range(ANGLES)])
    assert 0 < sum(lifted[0]) < ANGLES
    for turn in (1, 2):
        assert np.roll(lifted[turn], -turn).tolist() == lifted[0]


def test_half_a_turn_is_no_turn(put):
    env = put(Grasp, (0.03, 0.10, 0.06))
    record = env.step(np.array([0.02, 0.01, env.action_space.high[2]]))[-1]["record"]
    assert record["success"] and record["angle"] == 0


def test_the_fingers_are_where_the_pixels_say(put):
    env = put(Grasp, (0.03, 0.10, 0.06), size=200)
    (x0, y0), (x1, y1) = env.step(np.float32([0.02, 0.01, pi / 2]))[-1]["record"]["pixels"]
    assert x0 == pytest.approx(99.5, abs=2) == x1
    assert y0 - y1 == pytest.approx(80, abs=8)  # up in the picture is the world's y; 1 mm a pixel


def test_random_grasps_succeed_now_and_then_and_more_often_at_the_centre():
    env = Grasp(size=8, observe=())
    success, away, reasons = [], [], set()
    for scene in range(120):
        env.reset(seed=scene)
        for trial in range(2):
            record = env.step(env.sample(np.random.default_rng([scene, trial])))[-1]["record"]
            success.append(record["success"])
            away.append(np.hypot(*(record["action"] - record["T_world_object"][:3])[:2]))
            reasons.add(OUTCOMES[record["outcome"]])
    success, away = np.array(success), np.array(away)
    assert 0.12 < success.mean() < 0.33
    assert success[away < 0.015].mean() > 0.4 > success[away > 0.03].mean()
    assert reasons >= {"lifted", "blocked", "empty", "slipped"}


def test_labels_agree_with_those_of_a_finer_simulation():
    env = Grasp(size=8, observe=())
    agree = []
    for scene in range(40):
        env.reset(seed=1000 + scene)
        action = env.sample(np.random.default_rng(scene))
        labels = []
        for env.physics in (PHYSICS, Physics(1 / 1000, 150)):
            labels.append(env.step(action)[-1]["record"]["success"])
        agree.append(labels[0] == labels[1])
    assert np.mean(agree) >= 0.9
