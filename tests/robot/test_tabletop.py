import resource
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

pytest.importorskip("pybullet")
import videossl.robot  # noqa: F401  names the environments
from videossl.robot.hands import HANDS
from videossl.robot.tabletop import OBSERVATIONS, RENDERERS, Randomisation
from videossl.robot.tasks.grasp import Grasp
from videossl.robot.tasks.identity import Identity
from videossl.robot.tasks.poke import Poke
from videossl.robot.tasks.push import Push
from videossl.robot.world import Physics

TASKS = [Grasp, Push, Poke, Identity]


def action_of(env, scene, trial):
    return env.sample(np.random.default_rng([scene, trial]))


def record_of(env, scene, trial, reset=True):
    if reset:
        env.reset(seed=scene)
    return env.step(action_of(env, scene, trial))[-1]["record"]


def bits(record):
    return {name: value.tobytes() for name, value in record.items()}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.filterwarnings("ignore:.*symmetric and normalized")
def test_gymnasium_finds_no_fault(task):
    env = gymnasium.make(f"videossl/{task.__name__}-v0", size=16, observe=OBSERVATIONS, render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=True)  # which would open a window
    env.reset(seed=0)
    assert env.render().shape == (16, 16, 3)
    env.close()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_several_at_once_do_what_each_does_alone(mode):
    envs = gymnasium.make_vec("videossl/Grasp-v0", num_envs=2, vectorization_mode=mode, size=16)
    single = Grasp(size=16)
    actions, seen, rewards = [], [], []
    for seed in (3, 4):
        seen.append(single.reset(seed=seed)[0]["rgb"])
        actions.append(action_of(single, seed, 0))
        rewards.append(single.step(actions[-1])[1])
    observed, _ = envs.reset(seed=[3, 4])
    assert (observed["rgb"] == np.stack(seen)).all()
    assert envs.step(np.stack(actions))[1].tolist() == rewards
    envs.close()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_record_holds_what_its_fields_say(task, renderer):
    env = task(size=24, renderer=renderer)
    record = record_of(env, 1, 0)
    assert list(record) == list(env.fields)
    for name, field in env.fields.items():
        assert record[name].shape == field.shape and record[name].dtype == field.dtype, name
        assert field.about and np.isfinite(record[name]).all(), name
        if field.names:
            assert 0 <= record[name] < len(field.names), name
        if field.shape == (24, 24, 3):
            assert record[name].std() > 2, f"nothing is to be seen in {name}"
    assert record["action"].tobytes() == action_of(env, 1, 0).tobytes()


@pytest.mark.parametrize("task", TASKS)
def test_a_trial_is_the_same_in_any_order_and_after_any_other(task):
    forward, mixed = task(size=16), task(size=16)
    found = {}
    for scene in range(4):
        forward.reset(seed=scene)
        for trial in range(task.trials):
            found[scene, trial] = bits(record_of(forward, scene, trial, reset=False))
    for k in np.random.default_rng(0).permutation(4 * task.trials):
        scene, trial = divmod(int(k), task.trials)
        assert bits(record_of(mixed, scene, trial)) == found[scene, trial], (scene, trial)


@pytest.mark.parametrize(("task", "hand", "count"), [(Grasp, "gripper", 3), (Push, "panda", 1), (Grasp, "panda", 2)])
def test_a_trial_is_the_same_with_any_hand_and_number_of_things(task, hand, count):
    env = task(size=16, hand=hand, objects_per_scene=count)
    env.reset(seed=7)
    first = [bits(record_of(env, 7, trial, reset=False)) for trial in range(3)]
    assert [bits(record_of(env, 7, trial, reset=False)) for trial in (2, 0, 1)] == [first[2], first[0], first[1]]
    assert bits(record_of(env, 7, 1)) == first[1]


@pytest.mark.parametrize("task", [Grasp, Push, Poke])
def test_among_many_things_a_trial_is_the_same_whatever_was_tried_before(task):
    env = task(size=8, observe=(), objects_per_scene=5)
    for scene in range(3):
        env.reset(seed=scene)
        first = [bits(record_of(env, scene, trial, reset=False)) for trial in range(5)]
        for trial in np.random.default_rng(scene).permutation(10) % 5:
            assert bits(record_of(env, scene, trial, reset=False)) == first[trial], (scene, trial)


def test_a_scene_of_many_things_that_is_made_anew_is_where_and_what_it_was():
    env = Poke(size=48, objects_per_scene=4, observe=("rgb", "segmentation"))
    before = env.reset(seed=3)[0]
    lay = [env.world.pose(thing.body) for thing in env.things]
    env.step(action_of(env, 3, 0))
    env._set_again()
    for thing, pose in zip(env.things, lay, strict=True):
        assert env.world.pose(thing.body) == pytest.approx(pose, abs=1e-12)
    after = env._observation()
    assert all((before[name] == after[name]).all() for name in before)
    for thing in env.things:
        told = env.world.client.getDynamicsInfo(thing.body, -1)
        assert told[0] == pytest.approx(thing.mass) and told[1] == pytest.approx(thing.friction)
        assert told[9] == pytest.approx(thing.stiffness)


def test_a_trial_is_the_same_in_a_fresh_process():
    code = """
import sys, numpy as np
from videossl.robot.tasks.grasp import Grasp
env = Grasp(size=16)
env.reset(seed=5)
record = env.step(env.sample(np.random.default_rng([5, 2])))[-1]["record"]
sys.stdout.write(b"".join(value.tobytes() for value in record.values()).hex())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    env = Grasp(size=16)
    record_of(env, 9, 0)
    assert bytes.fromhex(done.stdout) == b"".join(bits(record_of(env, 5, 2)).values())


def test_observations_are_of_the_scene_that_the_next_step_begins_from():
    env = Push(size=32, observe=OBSERVATIONS)
    before, _ = env.reset(seed=2)
    after = env.step(action_of(env, 2, 0))[0]
    assert env.observation_space.contains(before)
    assert all((before[name] == after[name]).all() for name in before)
    on_thing = before["segmentation"] == 0
    assert 10 < on_thing.sum() < 500 and set(np.unique(before["segmentation"])) <= {-1, 0}
    table = np.median(before["depth"][~on_thing])
    assert 0.6 < table < 1.0 and before["depth"][on_thing].min() < table - 0.005


def test_both_cameras_see_things_and_table_where_they_are():
    env = Push(size=64, observe=OBSERVATIONS)
    seen, told = env.reset(seed=2)
    for camera, prefix in (("overhead", ""), ("oblique", "oblique_")):
        known, depth = told["cameras"][camera], seen[f"{prefix}depth"]
        row, column = np.indices(depth.shape)
        rays = np.stack([column, row, np.ones_like(row)], -1) @ np.linalg.inv(known["intrinsics"]).T
        pose = known["T_world_camera"]
        points = (rays * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]
        on_thing, on_table = seen[f"{prefix}segmentation"] == 0, (seen[f"{prefix}segmentation"] == -1) & (depth < 1.5)
        assert np.abs(points[on_table][:, 2]).max() < 2e-3, camera
        middle = env.world.pose(env.things[0].body)[:3]
        assert on_thing.sum() > 10 and np.linalg.norm(points[on_thing] - middle, axis=-1).max() < 0.12


def test_both_renderers_show_the_same():
    seen = [Grasp(size=48, renderer=renderer, observe=OBSERVATIONS).reset(seed=2)[0] for renderer in RENDERERS]
    assert (seen[0]["rgb"] == seen[1]["rgb"]).mean() > 0.99
    assert (seen[0]["segmentation"] == seen[1]["segmentation"]).mean() > 0.99
    assert np.abs(seen[0]["depth"] - seen[1]["depth"]).mean() < 1e-3


def test_without_restore_a_step_goes_on_from_the_last():
    env = Push(size=16, restore=False)
    env.reset(seed=2)
    first = env.step(action_of(env, 2, 0))[-1]["record"]
    second = env.step(action_of(env, 2, 1))[-1]["record"]
    moved = np.linalg.norm(first["T_world_object_after"][:3] - first["T_world_object"][:3])
    rolled = np.linalg.norm(second["T_world_object"][:3] - first["T_world_object_after"][:3])  # until it lay still
    assert rolled < 0.002 < 0.01 < moved
    assert np.hypot(*first["displacement"]) > 0.01 < np.hypot(*second["displacement"])


@pytest.mark.parametrize("hand", HANDS)
def test_a_film_shows_the_trial_and_does_not_change_it(hand):
    env = Grasp(size=48, hand=hand)
    env.reset(seed=3)
    action = action_of(env, 3, 0)
    after = env.step(action)[-1]["record"]["T_world_object_after"]
    film = env.film(action, fps=60)
    assert film.shape[1:] == (48, 48, 3) and film.dtype == np.uint8
    assert len(film) > 3 and (film[0] != film[-1]).any()
    assert (env.step(action)[-1]["record"]["T_world_object_after"] == after).all()


def test_without_randomisation_only_the_things_differ():
    env = Grasp(size=16, randomisation=Randomisation.none())
    looks = []
    for seed in (0, 1):
        env.reset(seed=seed)
        looks.append((env.light, env.overhead, env.drawn[env.world.table].colour))
    assert looks[0] == looks[1]
    varied = Grasp(size=16)
    varied.reset(seed=0)
    assert varied.light != looks[0][0] and varied.overhead != looks[0][1]


def test_unseen_things_are_others():
    seen, unseen = Grasp(size=16), Grasp(size=16, unseen=True)
    assert not set(seen.instances) & set(unseen.instances)
    assert record_of(seen, 0, 0)["unseen"] == 0 and record_of(unseen, 0, 0)["unseen"] == 1


def test_a_nudge_moves_where_the_hand_goes_and_nothing_else():
    rng = np.random.default_rng(0)
    grasp, push = np.float32([0.01, 0.02, 1]), np.float32([-0.1, 0, 0.1, 0, 0.02])
    moved = Grasp(size=16).nudge(grasp, 1e-3, rng)
    assert np.hypot(*(moved - grasp)[:2]) == pytest.approx(1e-3, rel=1e-3) and moved[2] == grasp[2]
    moved = Push(size=16).nudge(push, 1e-3, rng) - push
    assert np.hypot(*moved[:2]) == pytest.approx(1e-3, rel=1e-3)
    assert np.allclose(moved[:2], moved[2:4]) and moved[4] == 0


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ([0, 0, np.nan], "is not between"),
        ([0.2, 0, 0], r"\[0.2.* is not between \[-0.15.*Grasp explains"),
        ([0, 0], "grasp takes 3 numbers"),
        (["a", "b", "c"], "grasp takes 3 numbers"),
    ],
)
def test_what_is_no_action_is_refused(action, told):
    env = Grasp(size=16)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=told):
        env.step(action)


def test_a_step_before_reset_is_refused():
    with pytest.raises(RuntimeError, match="call reset first"):
        Grasp(size=16).step(np.zeros(3, np.float32))


@pytest.mark.parametrize("options", [{}, {"restore": False}, {"objects_per_scene": 2}, {"renderer": "tiny"}])
def test_what_was_closed_is_used_no_more(options):
    env = Grasp(size=16, render_mode="rgb_array", **options)
    env.reset(seed=0)
    env.close()
    env.close()  # once more is nothing
    for use in (lambda: env.step(np.zeros(3, np.float32)), lambda: env.reset(seed=0), env.render):
        with pytest.raises(RuntimeError, match="this environment was closed: make a new one"):
            use()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"objects": "toys"}, "objects is 'toys', but it is one of 'household', 'random_urdfs'"),
        ({"hand": "foot"}, "hand is 'foot'"),
        ({"renderer": "oil"}, "renderer is 'oil'"),
        ({"observe": ("rgb", "smell")}, "observe is 'smell'"),
        ({"render_mode": "print"}, "render_mode is 'print'"),
        ({"size": 4}, "sizes of 8 to 1024"),
        ({"objects_per_scene": 0}, "1 to 5 objects"),
    ],
)
def test_unknown_options_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        Grasp(**options)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Randomisation(mass=-1),
        lambda: Randomisation(mass=float("nan")),
        lambda: Randomisation(light=2),
        lambda: Physics(1, 5),
    ],
)
def test_ranges_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError):
        make()


def test_a_window_without_a_display_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(RuntimeError, match="no display"):
        Grasp(render_mode="human")


def test_tasks_can_be_named_without_pybullet_and_say_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pybullet", None)
    with pytest.raises(ImportError, match="no module pybullet"):
        Grasp()


def test_memory_stays_flat_over_many_scenes():
    env = Grasp(size=16)
    env.instances = env.instances[::100]  # else shapes are still being kept
    for scene in range(100):
        record_of(env, scene, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for scene in range(300):
        record_of(env, scene, 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4000  # kB: 13 a scene
