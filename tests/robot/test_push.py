from math import pi

import numpy as np
import pytest

pytest.importorskip("pybullet")
from videossl.robot.tasks.push import Push, turned

CENTRE = np.array([0.02, 0.01])  # where `put` puts things


def pushed(env, ahead, beside=0.0, length=0.14, height=0.02):
    """A push along a unit vector, from 6 cm before the centre, so far to the left of it."""
    ahead = np.array(ahead, float)
    start = CENTRE - 0.06 * ahead + beside * np.array([-ahead[1], ahead[0]])
    return env.step(np.float32([*start, *(start + length * ahead), height]))[-1]["record"]


@pytest.mark.parametrize("hand", ["gripper", "panda"])
@pytest.mark.parametrize("ahead", [(1, 0), (0, -1), (-0.6, 0.8)])
def test_a_push_moves_a_thing_in_its_direction(put, hand, ahead):
    record = pushed(put(Push, (0.05, 0.05, 0.04), hand=hand, yaw=np.arctan2(ahead[1], ahead[0])), ahead)
    along, across = record["displacement"] @ ahead, record["displacement"] @ (-ahead[1], ahead[0])
    assert record["contact"] and 0.08 < along < 0.14 and abs(across) < 0.02
    assert np.allclose(record["displacement"], (record["T_world_object_after"] - record["T_world_object"])[:2])


def test_a_push_to_one_side_turns_a_thing(put):
    left = pushed(put(Push, (0.04, 0.10, 0.04)), (1, 0), beside=0.035)["rotation"]
    right = pushed(put(Push, (0.04, 0.10, 0.04)), (1, 0), beside=-0.035)["rotation"]
    assert left < -0.2 and right > 0.2


def test_a_turned_scene_gives_the_turned_result(put):
    one = pushed(put(Push, (0.04, 0.08, 0.04)), (1, 0), beside=0.01)
    other = pushed(put(Push, (0.04, 0.08, 0.04), yaw=pi / 2), (0, 1), beside=0.01)
    assert other["displacement"] == pytest.approx([-one["displacement"][1], one["displacement"][0]], abs=0.005)
    assert other["rotation"] == pytest.approx(one["rotation"], abs=0.1)


def test_pushes_that_are_tried_meet_the_thing_and_show_it():
    env = Push(size=32)
    contact, changed = [], []
    for scene in range(20):
        env.reset(seed=scene)
        for trial in range(3):
            record = env.step(env.sample(np.random.default_rng([scene, trial])))[-1]["record"]
            contact.append(record["contact"])
            changed.append((record["before"] != record["after"]).any())
    assert np.mean(contact) >= 0.95 and np.mean(changed) > 0.9


def test_the_mark_is_seen_and_the_reward_is_how_far_the_thing_is_from_it():
    env = Push(size=8, observe=())
    mark = env.reset(seed=0)[0]["mark"]
    seen, reward, done, _, info = env.step(env.sample(np.random.default_rng(0)))
    distance = np.hypot(*(info["record"]["T_world_object_after"][:2] - mark))
    assert np.array_equal(seen["mark"], mark) and env.observation_space.contains(seen)
    assert reward == pytest.approx(-distance, abs=1e-6) and done == (distance < 0.02)


def test_a_tip_that_would_start_inside_a_thing_does_nothing(put):
    record = put(Push, (0.05, 0.05, 0.04)).step(np.float32([*CENTRE, 0.1, 0.1, 0.02]))[-1]["record"]
    assert not record["contact"] and np.abs(record["displacement"]).max() < 1e-4


def test_a_push_over_a_thing_or_of_no_length_does_nothing(put):
    env = put(Push, (0.05, 0.05, 0.03))
    assert not pushed(env, (1, 0), height=0.06)["contact"]
    assert not pushed(env, (1, 0), length=0.0)["contact"]


def test_the_reward_is_the_distance_left_to_the_mark(put):
    env = put(Push, (0.05, 0.05, 0.04))
    env.mark = np.float32(CENTRE + np.array([0.1, 0]))
    start = CENTRE - np.array([0.06, 0])
    _, reward, done, _, info = env.step(np.float32([*start, *(CENTRE + np.array([0.065, 0])), 0.02]))
    after = info["record"]["T_world_object_after"][:2]
    assert reward == pytest.approx(-np.hypot(*(after - env.mark)), abs=1e-6)
    assert done == (reward > -0.02) and done


def test_turns_are_about_the_vertical():
    quarter, tipped = np.array([0, 0, np.sqrt(0.5), np.sqrt(0.5)]), np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    still = np.array([0, 0, 0, 1.0])
    assert turned(still, quarter) == pytest.approx(pi / 2)
    assert turned(quarter, still) == pytest.approx(-pi / 2)
    assert turned(still, tipped) == pytest.approx(0)
