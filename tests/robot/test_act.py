from math import pi

import numpy as np
import pytest
import torch

from videossl.robot import act
from videossl.robot.tasks.grasp import Grasp
from videossl.robot.tasks.poke import Poke
from videossl.robot.tasks.push import Push

pytest.importorskip("pybullet", reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone")


class Known(torch.nn.Module):
    """A net that answers the same whatever it is shown, and keeps what that was."""

    def __init__(self, answer):
        super().__init__()
        self.told, self.angles = answer, 18

    def logits(self, patches):
        self.shown = patches
        return self.told[: len(patches)]

    def answer(self, clips):
        self.shown = clips
        return self.told


@pytest.mark.parametrize("yaw", [0.0, 0.5, 2.0])
def test_the_rule_goes_across_the_shorter_side_in_the_middle_and_lifts_a_bar(put, yaw):
    env = put(Grasp, (0.12, 0.04, 0.05), yaw=yaw, size=96)
    x, y, angle = act.shortest_side(env, np.random.default_rng(0))
    assert abs(x - 0.02) < 0.006 and abs(y - 0.01) < 0.006  # metres, seen from above, with its sides
    across = abs((angle - yaw - pi / 2 + pi / 2) % pi - pi / 2)
    assert across < 0.1
    assert env.step(np.float32([x, y, angle]))[-1]["record"]["success"]
    env.close()


def test_the_best_grasp_is_that_of_the_largest_difference_of_logits(put):
    env = put(Grasp, (0.12, 0.04, 0.05), size=32)
    logits = torch.zeros(8, 18, 2)
    logits[5, 7, 1], logits[2, 3] = 1.0, torch.tensor([5.0, 5.5])  # 5, 7 is better by 1.0, the other by 0.5
    net = Known(logits)
    x, y, angle = act.BestGrasp(net, (16, 16), points=8)(env, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    spots = [env.sample(rng)[:2] for _ in range(8)]
    assert [x, y] == spots[5].tolist() and angle == pytest.approx(7 * pi / 18)
    assert net.shown.shape == (8, 3, 16, 16) and net.shown.max() <= 1
    env.close()


def test_pushing_straight_reaches_a_goal_and_a_start_on_the_thing_is_drawn_back(put):
    for choose in (
        act.straight,
        act.PushTo(Known(torch.tensor([[0.02, 0.01, 0.12, 0.01, 0.02]])), (16, 16)),  # from its middle
    ):
        env = put(Push, (0.05, 0.05, 0.05), size=16)
        env.restore = False
        goal, rng = np.array([0.12, 0.01]), np.random.default_rng(0)
        action = choose(env, goal, rng)
        assert action[0] < 0.02 - 0.025 - 0.006 and action[1] == pytest.approx(0.01, abs=1e-3)
        record = env.step(action)[-1]["record"]
        assert record["contact"] and record["displacement"][0] > 0.05
        if choose is act.straight:
            assert np.linalg.norm(record["T_world_object_after"][:2] - goal) < 0.02
        env.close()


def test_a_goal_is_shown_as_the_thing_lying_there_and_the_thing_stays_where_it_is(put):
    env = put(Push, (0.05, 0.05, 0.05), size=64)
    net = Known(torch.tensor([[-0.1, 0.0, 0.0, 0.0, 0.02]]))
    before = env.world.pose(env.things[0].body)
    act.PushTo(net, (64, 64))(env, np.array([-0.1, 0.01]), np.random.default_rng(0))
    now, then = net.shown[0, :, 0].float()
    changed = (now - then).abs().sum(0) > 60
    columns = changed.any(0).nonzero().flatten()
    middle = 63 / 2
    assert columns.min() < middle - 10 and columns.max() > middle + 2  # gone from the right, there on the left
    assert np.array_equal(env.world.pose(env.things[0].body), before)
    env.close()


def test_goals_are_within_reach_and_pushes_end_near_one_or_after_three():
    env = Push(size=16, observe=(), restore=False)
    for scene in range(4):
        left = act.push(env, act.straight, 0, scene)
        assert act.NEAR <= left[0] <= act.FAR and len(left) <= 1 + act.PUSHES
        assert left[-1] <= act.REACHED or len(left) == 1 + act.PUSHES
        assert act.push(env, act.straight, 0, scene) == left
    env.close()


def test_what_knows_the_stiffness_sorts_all_and_its_opposite_none():
    env = Poke(size=16, observe=())
    for trial in range(3):
        assert act.sort(env, lambda env, rng: env.things[0].stiffness, 0, trial) == 1
        assert act.sort(env, lambda env, rng: -env.things[0].stiffness, 0, trial) == 0
    assert isinstance(act.darkness(env, np.random.default_rng(0)), float)
    env.close()


def test_the_same_scene_is_tried_whatever_is_chosen():
    env = Grasp(size=16, observe=())
    poses = []
    for choose in (act.at_random, act.shortest_side):
        act.grasp(env, choose, 0, 5)
        env.begin()
        poses.append(env.world.pose(env.things[0].body).tolist())
    assert poses[0] == poses[1]
    env.close()
