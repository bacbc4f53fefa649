import json
import os
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest

from videossl.datasets.index import index_videos
from videossl.datasets.ucf101 import ucf101
from videossl.robot import actions
from videossl.robot.actions import ACTIONS, DIFFICULTIES, SimulateActions, Stage, simulate_actions
from videossl.robot.humanoid import new_client
from videossl.robot.outputs import claim_for

pytestmark = pytest.mark.skipif(
    find_spec("pybullet") is None, reason="no pybullet, which has wheels for CPython 3.9 to 3.11 alone"
)


def small(out, **changes) -> SimulateActions:
    return SimulateActions(**{"out": out, "groups": 5, "frames": 4, "size": 24, "workers": 1, **changes})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "actions"
    simulate_actions(small(folder))
    return folder


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_two_workers_write_the_same_bytes(made, tmp_path):
    simulate_actions(small(tmp_path, workers=2))
    assert contents(tmp_path) == contents(made)


def test_it_goes_on_after_an_interruption_with_the_same_bytes(made, tmp_path):
    simulate_actions(small(tmp_path))
    kept = tmp_path / "Run" / "v_Run_g02_c01.avi"
    before = kept.stat().st_mtime_ns
    for name in (
        "Walk/v_Walk_g02_c01.avi",
        "Backflip/v_Backflip_g02_c01.avi",
        "Jump/v_Jump_g05_c01.avi",
        "testlist02.txt",
    ):
        (tmp_path / name).unlink()
    (tmp_path / "Walk" / "v_Walk_g02_c01.avi.part").write_bytes(b"half a clip")
    simulate_actions(small(tmp_path))
    assert contents(tmp_path) == contents(made)
    assert kept.stat().st_mtime_ns == before


def test_another_seed_gives_other_clips(made, tmp_path):
    stages = [Stage(small(tmp_path, seed=seed), group) for seed, group in ((0, 1), (0, 1), (1, 1), (0, 2))]
    first, again, other_seed, other_group = [stage.film("Walk", 1) for stage in stages]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other_seed) and not np.array_equal(first, other_group)
    assert not np.array_equal(first, stages[0].film("Walk", 2))


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_what_was_filmed_before_leaves_no_trace(tmp_path, difficulty):
    stage = Stage(small(tmp_path, difficulty=difficulty), 3)
    alone = stage.film("Kick", 1)
    for action in ("Run", "DanceA", "Cartwheel"):
        stage.film(action, 1)
    assert np.array_equal(stage.film("Kick", 1), alone)
    assert np.array_equal(Stage(small(tmp_path, difficulty=difficulty), 3).film("Kick", 1), alone)


def test_lists_divide_by_group_and_every_clip_is_on_one_side(made):
    clips = {str(p.relative_to(made)) for p in made.rglob("*.avi")}
    assert len(clips) == 15 * 5
    tested = []
    for split in (1, 2, 3):
        train = [line.split() for line in lines(made / f"trainlist{split:02}.txt")]
        test = lines(made / f"testlist{split:02}.txt")
        assert len(train) + len(test) == len(clips) and {name for name, _ in train} | set(test) == clips
        classes = [line.split()[1] for line in lines(made / "classInd.txt")]
        assert all(classes[int(label) - 1] == name.split("/")[0] for name, label in train)
        tested.append({name.split("_")[2] for name in test})
        assert not tested[-1] & {name.split("_")[2] for name, _ in train}
    assert tested == [{"g01"}, {"g02"}, {"g03"}]  # a quarter of five groups, rounded down


def test_a_quarter_of_the_groups_is_for_test(tmp_path):
    actions._write_lists(small(tmp_path, groups=80, clips=2))
    assert len(lines(tmp_path / "testlist01.txt")) == 20 * 2 * 15
    assert len(lines(tmp_path / "trainlist01.txt")) == 60 * 2 * 15
    assert lines(tmp_path / "testlist01.txt")[0] == "Backflip/v_Backflip_g01_c01.avi"
    assert lines(tmp_path / "trainlist01.txt")[-1] == "Walk/v_Walk_g80_c02.avi 15"


def test_ucf101_reads_it(made, tmp_path):
    index = tmp_path / "index.json"
    index_videos(made, index, workers=1, decoder="pyav")
    train, test = (ucf101(made, split=2, train=train, index=index) for train in (True, False))
    assert len(train) == 60 and len(test) == 15 and train.classes == list(ACTIONS)
    assert {record["group"] for record in test} == {"g02"}
    assert [record["label"] for record in test] == list(range(15))
    for record in (*train, *test):
        assert len(record["frames"]) == 4
    assert test[0]["frames"][np.arange(4)].shape == (4, 3, 24, 24)


def test_the_video_is_what_was_filmed(made):
    stage = Stage(small(made), 2)
    for action in ("Crawl", "SpinKick"):
        with av.open(made / action / f"v_{action}_g02_c01.avi") as container:
            shown = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
            assert container.streams.video[0].average_rate == 25
        filmed = stage.film(action, 1)
        assert shown.shape == filmed.shape == (4, 24, 24, 3)
        assert abs(shown.astype(int) - filmed).mean() < 6  # of 255; colours are stored at half the size


def test_actions_differ_and_move(tmp_path):
    stage = Stage(small(tmp_path, frames=8, size=32), 1)
    films = np.stack([stage.film(action, 1) for action in ACTIONS]).astype(int)
    assert abs(np.diff(films, axis=1)).mean((1, 2, 3, 4)).min() > 0.5  # grey levels, from frame to frame
    apart = abs(films[:, None] - films[None]).mean((2, 3, 4, 5))
    assert apart[~np.eye(len(films), dtype=bool)].min() > 1


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_the_actor_is_in_view_in_every_action(tmp_path, monkeypatch, difficulty):
    alone = replace(DIFFICULTIES[difficulty], distractors=(0, 0), tones=1)
    monkeypatch.setitem(DIFFICULTIES, difficulty, alone)
    monkeypatch.setattr(Stage, "_room", lambda *_: np.ones((32, 32, 3), np.uint8))
    for group in (1, 2):
        stage = Stage(small(tmp_path, difficulty=difficulty, frames=32, size=32), group)
        for action in ACTIONS:
            actor = (stage.film(action, 1) != 1).any(-1)  # (T, H, W)
            shares = actor.mean((1, 2))
            assert shares.min() > {"easy": 0.03, "medium": 0.015, "hard": 0.01}[difficulty], (action, shares.min())
            edge = np.concatenate([actor[:, 0], actor[:, -1], actor[:, :, 0], actor[:, :, -1]], 1)
            assert (edge.sum(1) < actor.sum((1, 2)) / 4).all(), action  # most of the body is inside


def test_distractors_and_a_wandering_camera_come_with_difficulty(tmp_path):
    films = {name: Stage(small(tmp_path, difficulty=name, frames=16), 1).film("Walk", 1) for name in DIFFICULTIES}
    corners = {
        name: film[:, -3:, [0, -1]].astype(float).std(0).mean() for name, film in films.items()
    }  # the floor there
    assert corners["easy"] == 0 and corners["medium"] > 1 and corners["hard"] > 1


def test_the_room_is_what_the_renderer_would_show(tmp_path):
    stage = Stage(small(tmp_path, difficulty="medium", size=64), 1)
    client, wall = new_client(), actions.ROOM
    eye, aim, ride = np.array([1.9, 1.3, 0.7]), np.array([0.1, 0.8, -0.2]), np.array([0.37, 0, -5.2])

    def tiles(surface, u_shift, v_shift, v_range, place, normal):
        """Tile after tile as a square of its own, cut at the walls; place(u, v) is a point of the surface."""
        tile = stage.tiles[surface]
        for i in range(-16, 16):
            for j in range(-16, 16):
                u = np.clip([i * tile - u_shift, (i + 1) * tile - u_shift], -wall, wall)
                v = np.clip([j * tile - v_shift, (j + 1) * tile - v_shift], *v_range)
                if u[0] < u[1] and v[0] < v[1]:
                    shape = client.createVisualShape(
                        client.GEOM_MESH,
                        vertices=[place(u[a], v[b]) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))],
                        indices=[0, 1, 2, 0, 2, 3, 0, 2, 1, 0, 3, 2],  # seen from both sides
                        normals=[normal] * 4,
                        uvs=[[0, 0]] * 4,
                        rgbaColor=[*stage.colours[surface, stage.pattern[i % 4, j % 4]], 1],
                    )
                    client.createMultiBody(baseMass=0, baseVisualShapeIndex=shape)

    tiles(0, ride[0], ride[2], (-wall, wall), lambda u, v: [u, 0, v], [0, 1, 0])
    tiles(1, 0, 0, (0, wall), lambda u, v: [-wall, v, u], [1, 0, 0])  # the two walls in this picture
    tiles(1, 0, 0, (0, wall), lambda u, v: [u, v, -wall], [0, 0, 1])
    rendered = client.getCameraImage(
        64,
        64,
        viewMatrix=client.computeViewMatrix(eye, aim, (0, 1, 0)),
        projectionMatrix=client.computeProjectionMatrixFOV(np.degrees(actions.FIELD), 1, 0.1, 30),
        shadow=0,
        renderer=client.ER_TINY_RENDERER,
        **{**stage.light, "lightSpecularCoeff": 0},
    )[2]
    rendered = np.reshape(rendered, (64, 64, 4))[..., :3].astype(int)
    drawn = stage._room(eye, aim, ride).astype(int)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 6  # two tones of the floor and of either wall
    assert (abs(drawn - rendered).max(-1) <= 3).mean() > 0.9  # the rest are edges, half a pixel off
    shifted = abs(np.roll(drawn, 3, 1) - rendered).max(-1) <= 3
    assert shifted.mean() < 0.85


def test_another_config_is_not_mixed_in(made):
    before = contents(made)
    with pytest.raises(ValueError, match=r"was made with frames 4 \(now 6\), seed 0 \(now 1\): ask for the same"):
        simulate_actions(small(made, frames=6, seed=1))
    assert contents(made) == before


@pytest.mark.parametrize("content", [b"", b'{"is": "videossl.rob', b"\0\xff\0"])
def test_a_damaged_note_is_named_with_a_way_on(tmp_path, content):
    (tmp_path / "simulation.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"simulation.json is empty or damaged .* give another folder, or remove"):
        simulate_actions(small(tmp_path))
    assert contents(tmp_path) == {"simulation.json": content}


def test_notes_and_lists_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    (tmp_path / "lists").mkdir()
    actions._write_lists(small(tmp_path / "lists"))
    before = contents(tmp_path / "lists")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for write, folder in ((partial(claim_for, version=actions.VERSION), "new"), (actions._write_lists, "lists")):
            with pytest.raises(OSError, match="No space left"):
                write(small(tmp_path / folder))
    assert contents(tmp_path / "lists") == before and contents(tmp_path / "new") == {}
    (tmp_path / "new" / ".simulation.json.abc.part").write_text("{")  # what is left when killed
    claim_for(small(tmp_path / "new"), actions.VERSION)
    assert contents(tmp_path / "new").keys() == {"simulation.json"}


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="choose a new or an empty folder"):
        simulate_actions(small(tmp_path))
    assert contents(tmp_path) == {"notes.txt": b"mine"}


@pytest.mark.parametrize("wrong", [{"groups": 3}, {"size": 33}, {"size": 8}, {"frames": 0}, {"clips": 0}, {"seed": -1}])
def test_wrong_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))[:-1]):
        small(tmp_path, **wrong)


def test_what_is_noted_is_the_config(made):
    noted = json.loads((made / "simulation.json").read_text())
    config = {"groups": 5, "clips": 1, "frames": 4, "size": 24, "rate": 25, "difficulty": "easy", "seed": 0}
    assert noted == {"is": "videossl.robot.actions:SimulateActions", "version": actions.VERSION, **config}
