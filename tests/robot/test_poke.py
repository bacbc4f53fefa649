import numpy as np
import pytest
from scipy.stats import spearmanr

pytest.importorskip("pybullet")
from videossl.robot.tasks.poke import DEEPEST, LIMIT, Poke, line


def poked(env, x=0.02, y=0.01):
    return env.step(np.float32([x, y]))[-1]["record"]


@pytest.mark.parametrize("hand", ["gripper", "panda"])
def test_a_stiffer_material_gives_a_steeper_line(put, hand):
    slopes = []
    for stiffness in (400, 1500, 6000):
        env = put(Poke, (0.06, 0.06, 0.04), mass=0.1, stiffness=stiffness, hand=hand)
        record = poked(env)
        assert record["valid"] and record["r2"] > 0.95
        legs = len(env.world.client.getContactPoints(env.things[0].body, env.world.table))
        assert record["slope"] == pytest.approx(
            stiffness * legs / (legs + 1), rel=0.1
        )  # one spring in series with them
        slopes.append(record["slope"])
    assert slopes == sorted(slopes)


def test_a_poke_stops_at_the_force_or_at_the_depth(put):
    soft = poked(put(Poke, (0.06, 0.06, 0.04), mass=0.1, stiffness=400))
    hard = poked(put(Poke, (0.06, 0.06, 0.04), mass=0.1, stiffness=9000))
    assert soft["depth"].max() == pytest.approx(DEEPEST, abs=3e-4) and soft["force"].max() < LIMIT / 2
    assert LIMIT < hard["force"].max() < 1.2 * LIMIT and hard["depth"].max() < DEEPEST / 2
    for record in (soft, hard):
        many = record["samples"]
        assert (np.diff(record["depth"][:many]) > 0).all() and record["depth"][0] == 0
        assert not record["depth"][many:].any() and not record["force"][many:].any()
        assert record["point"][2] == pytest.approx(0.04, abs=2e-3)


def test_a_poke_beside_a_thing_feels_nothing(put):
    record = poked(put(Poke, (0.06, 0.06, 0.04)), -0.1, -0.1)
    assert record["samples"] == 0 and not record["valid"] and record["slope"] == 0


def test_a_poke_into_a_corner_beside_a_wall_starts_above_the_wall(put):
    env = put(Poke, (0.06, 0.06, 0.04), stiffness=1000)
    record = poked(env, 0.02 + 0.03 + 0.003)  # the ball has a radius of 6 mm: it meets the edge
    assert record["samples"] > 0


def test_slopes_of_random_pokes_tell_how_stiff_things_are():
    env = Poke(size=8, observe=())
    slopes, truths, valid = [], [], []
    for scene in range(60):
        env.reset(seed=scene)
        record = env.step(env.sample(np.random.default_rng(scene)))[-1]["record"]
        slopes.append(record["slope"])
        truths.append(record["stiffness"])
        valid.append(record["valid"])
    valid = np.array(valid)
    assert valid.mean() > 0.6
    assert spearmanr(np.array(slopes)[valid], np.array(truths)[valid])[0] > 0.85


def test_a_line_is_fitted_by_least_squares():
    x = np.array([0.0, 1, 2, 3])
    assert line(x, 2 * x + 1) == pytest.approx((2, 1, 1))
    slope, intercept, r2 = line(x, np.array([0.0, 1, 0, 1]))
    assert (slope, intercept, r2) == pytest.approx((0.2, 0.2, 0.2))
    assert line(x[:1], x[:1]) == line(np.zeros(3), x[:3]) == (0, 0, 0)
    assert line(x, np.ones(4)) == pytest.approx((0, 1, 0), abs=1e-9)
