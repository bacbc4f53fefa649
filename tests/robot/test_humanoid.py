import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from videossl.robot.humanoid import CLOSING, JOINTS, Humanoid, Look, new_client, read_motion, slerp

needs_pybullet = pytest.mark.skipif(
    find_spec("pybullet") is None, reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone"
)


def data() -> Path:
    import pybullet_data

    return Path(pybullet_data.getDataPath())


def motions() -> list[Path]:
    return sorted((data() / "data" / "motions").glob("humanoid3d_*.txt"))


def angle_between(a, b):
    """Radians from one rotation to another, (...)."""
    return 2 * np.arccos(np.clip(np.abs((a * b).sum(-1)), 0, 1))


def about_z(angle):
    return np.array([0, 0, np.sin(angle / 2), np.cos(angle / 2)])


def test_slerp_turns_at_constant_speed_the_shorter_way():
    for share in (0, 0.25, 0.5, 1):
        assert np.allclose(slerp(about_z(0.2), about_z(1.8), np.array(share)), about_z(0.2 + 1.6 * share))
        assert np.allclose(slerp(about_z(0.2), -about_z(1.8), np.array(share)), about_z(0.2 + 1.6 * share))
    assert np.allclose(slerp(about_z(0.3), about_z(0.3), np.array(0.5)), about_z(0.3))  # where the formula is 0 / 0
    a, b = np.array([0.5, 0.5, 0.5, 0.5]), np.array([0, 0, 0, 1])  # 120 degrees about (1, 1, 1), and none
    assert np.allclose(slerp(a, b, np.array(0.5)), [*[np.sin(np.pi / 6) / np.sqrt(3)] * 3, np.cos(np.pi / 6)])


@needs_pybullet
def test_there_are_15_motions_and_at_the_time_of_a_frame_the_pose_is_the_files():
    # first column and kind of some joints, from pybullet_envs/deep_mimic/env/humanoid_pose_interpolator.py
    quaternions = {"root": 4, "chest": 8, "right_hip": 16, "right_ankle": 21, "left_hip": 30, "left_shoulder": 39}
    angles = {"right_knee": 20, "right_elbow": 29, "left_knee": 34, "left_elbow": 43}
    names = list(JOINTS)
    assert len(motions()) == 15
    for path in motions():
        motion, content = read_motion(path), json.loads(path.read_text())
        frames = np.array(content["Frames"])
        assert motion.cyclic == (content["Loop"] == "wrap")
        last = motion.seconds - (CLOSING if motion.cyclic else 0)
        own = np.flatnonzero(motion.times <= last)[:: max(1, len(frames) // 20)]
        assert len(own) > 5
        places, turns = motion.at(motion.times[own])
        assert np.allclose(places, frames[own, 1:4])
        for name, column in quaternions.items():
            wxyz = frames[own, column : column + 4]
            unit = wxyz / np.linalg.norm(wxyz, axis=1, keepdims=True)  # some are 4 % off
            assert angle_between(turns[:, names.index(name)], unit[:, [1, 2, 3, 0]]).max() < 1e-3
        for name, column in angles.items():
            x, y, z, w = turns[:, names.index(name)].T
            assert np.allclose(x, 0) and np.allclose(y, 0)
            assert np.allclose(np.cos(2 * np.arctan2(z, w) - frames[own, column]), 1)


@needs_pybullet
def test_between_two_frames_the_pose_is_half_way():
    motion = read_motion(data() / "data/motions/humanoid3d_run.txt")
    places, turns = motion.at((motion.times[:5] + motion.times[1:6]) / 2)
    assert np.allclose(places, (motion.places[:5] + motion.places[1:6]) / 2)
    whole = angle_between(motion.turns[:5], motion.turns[1:6])
    assert np.allclose(angle_between(motion.turns[:5], turns), whole / 2, atol=1e-6)
    assert np.allclose(angle_between(turns, motion.turns[1:6]), whole / 2, atol=1e-6)


@needs_pybullet
def test_cycles_join_without_a_jerk_and_what_is_no_cycle_holds_its_last_pose():
    for path in motions():
        motion = read_motion(path)
        if motion.cyclic:
            for seam in (motion.seconds, 3 * motion.seconds):
                places, turns = motion.at(seam + np.array([-1e-6, 1e-6]))
                assert np.allclose(places[0], places[1], atol=0.03)  # roll: the heights of its ends differ by 2 cm
                assert angle_between(turns[0], turns[1]).max() < 1e-3
            travel = (motion.places[-1] - motion.places[0]) * (1, 0, 1)
            once, thrice = motion.at(np.array([0.1, 0.1 + 2 * motion.seconds]))[0]
            assert np.allclose(thrice - once, 2 * travel)
        else:
            places, turns = motion.at(np.array([-1, 0, motion.seconds, motion.seconds + 9]))
            assert np.array_equal(places[[0, 2]], places[[1, 3]]) and np.array_equal(turns[[0, 2]], turns[[1, 3]])


@needs_pybullet
def test_another_skeletons_motion_is_refused():
    with pytest.raises(ValueError, match="20 numbers in a frame, but a humanoid's motion has 44"):
        read_motion(data() / "data/motions/laikago_walk.txt")


@needs_pybullet
@pytest.mark.parametrize("height", [1.0, 1.2])
def test_every_joint_is_where_pybullets_own_humanoid_has_it(height):
    client = new_client()
    ours = Humanoid(client, Look(height=height))
    # its base is the pelvis; in units of a quarter of a metre
    path, scale = str(data() / "humanoid" / "humanoid.urdf"), 0.25 * height
    theirs = client.loadURDF(path, globalScaling=scale, useFixedBase=True)
    theirs_by_name = {client.getJointInfo(theirs, i)[1].decode(): i for i in range(client.getNumJoints(theirs))}
    for name in ("run", "cartwheel", "getup_faceup"):
        motion = read_motion(data() / f"data/motions/humanoid3d_{name}.txt")
        (place,), (turns,) = motion.at(np.array([0.3]))
        ours.pose(place, turns)
        client.resetBasePositionAndOrientation(theirs, place * height, turns[0])
        for index, (joint, (_, _, numbers)) in enumerate(JOINTS.items()):
            if joint != "root" and numbers == 4:
                client.resetJointStateMultiDof(theirs, theirs_by_name[joint], turns[index].tolist())
            elif joint != "root":
                client.resetJointState(theirs, theirs_by_name[joint], 2 * np.arctan2(turns[index, 2], turns[index, 3]))
        for index, joint in enumerate(list(JOINTS)[1:]):
            here, there = client.getLinkState(ours.body, index), client.getLinkState(theirs, theirs_by_name[joint])
            assert np.allclose(here[4], there[4], atol=1e-4), (name, joint)
            assert angle_between(np.array(here[5]), np.array(there[5])) < 2e-3, (name, joint)


@needs_pybullet
def test_a_client_reaches_no_other_and_prints_nothing():
    code = (
        "from videossl.robot.humanoid import *\n"
        "a, b = new_client(), new_client()\n"
        "Humanoid(a, Look())\n"
        "assert (a.getNumBodies(), b.getNumBodies()) == (1, 0)\n"
        "print('and what we print is seen')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("and what we print is seen\n", "")


def test_without_pybullet_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pybullet", None)
    with pytest.raises(ImportError, match=r"CPython 3.9 to 3.11 alone, so use Python 3.11"):
        new_client()
