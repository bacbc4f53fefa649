import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import joblib
import numpy as np
import pytest

pytest.importorskip("pybullet")

from videossl.datasets.interactions import interactions
from videossl.datasets.shards import check, read_manifest
from videossl.robot import outputs
from videossl.robot.collect import DEATHS, VERSION, Collect, collect, episodes, make, scene_of, shared_out
from videossl.robot.replay import Replay, plan_of, replay, verify
from videossl.robot.tasks.grasp import Grasp
from videossl.robot.tasks.identity import Identity

TINY = {"size": 24, "workers": 1}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.is_file()}


def limit_files(most: int) -> None:
    """No file of this process and its workers gets larger than so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def start(folder: Path, config: Collect, **options) -> subprocess.Popen:
    """The same collection, as a command of its own."""
    words = [config.task, "--out", str(folder), "--episodes", str(config.episodes), "--workers", str(config.workers)]
    command = [sys.executable, "-m", "videossl.experiments.cli", "collect", *words, "--size", str(config.size)]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}
    return subprocess.Popen(command, cwd=folder.parent, start_new_session=True, **options)


def killed(folder: Path, config: Collect, kills: int, seed: int) -> list[int]:
    """Start a collection and kill it, workers and all, at random moments; how many shards were there each time.

    A moment is up to a second after none, one or two more shards have come, however fast the machine is.
    """
    rng, found = np.random.default_rng(seed), []

    def there() -> int:
        return len(list(folder.rglob("0*.h5")))

    for _ in range(kills):
        wanted, deadline = there() + rng.integers(3), time.monotonic() + 120
        process = start(folder, config)
        while there() < wanted and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 1))
        if process.poll() is None:
            found.append(there())
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Collect, dict[str, bytes]]:
    config = Collect("all", tmp_path_factory.mktemp("whole") / "set", episodes=400, **TINY)
    collect(config)
    return config, files_of(config.out)


def test_two_workers_make_the_same_bytes(whole, tmp_path):
    config, files = whole
    collect(replace(config, out=tmp_path / "set", workers=2))
    assert files_of(tmp_path / "set") == files and "manifest.json" in files


def test_killed_at_random_moments_and_gone_on_with_it_is_the_same(whole, tmp_path):
    config, files = whole
    killed(tmp_path / "set", config, 2, seed=2)
    collect(replace(config, out=tmp_path / "set"))
    assert files_of(tmp_path / "set") == files


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> tuple[Collect, str]:
    """A collection that was never stopped, and the hash of its manifest, which lists those of its shards."""
    config = Collect("all", tmp_path_factory.mktemp("large") / "set", episodes=6000, size=24, workers=2)
    collect(config)
    return config, hash_of(config.out)


def hash_of(folder: Path) -> str:
    return sha256((folder / "manifest.json").read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_killed_twenty_times_with_any_number_of_workers_it_is_the_same(large, tmp_path, workers):
    config, whole = large
    stopped = replace(config, out=tmp_path / "set", workers=workers)
    shards = killed(stopped.out, stopped, 20, seed=workers)
    assert len(shards) >= 15 and len(set(shards)) >= 4, shards  # it was at work, and went on each time
    collect(stopped)
    assert hash_of(stopped.out) == whole
    for shard in read_manifest(stopped.out):
        assert sha256(check(stopped.out / shard["file"])).hexdigest() == shard["sha256"]
    assert not list(stopped.out.rglob("*.part"))


def test_an_episode_made_alone_is_the_one_in_the_collection(whole):
    config, _ = whole
    env = make(Grasp, config)
    several = list(episodes(env, config.seed, 0, 12))
    alone = next(episodes(env, config.seed, 11, 1))
    assert all(np.array_equal(alone[name], several[11][name]) for name in env.fields)
    assert not np.array_equal(alone["action"], several[10]["action"])
    env.close()


def test_a_damaged_shard_is_made_anew_and_the_others_are_kept(whole, tmp_path, capsys):
    config, files = whole
    again = replace(config, out=tmp_path / "set")
    collect(again)
    damaged, kept = again.out / "grasp/000000.h5", again.out / "grasp/000001.h5"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match=r"000000.h5 is damaged"):
        check(damaged)
    before = kept.stat().st_mtime_ns
    collect(again)
    assert files_of(again.out) == files and kept.stat().st_mtime_ns == before
    assert "grasp/000000.h5 is damaged" in capsys.readouterr().out.replace("\n", "")


def test_the_manifest_lists_every_episode_once(whole):
    config, _ = whole
    shards = read_manifest(config.out)
    for task, count in config.counts.items():
        spans = sorted((s["first"], s["first"] + s["episodes"]) for s in shards if s["task"] == task)
        assert spans[0][0] == 0 and spans[-1][1] == count
        assert all(end == begin for (_, end), (begin, _) in pairwise(spans))


def test_the_papers_size_has_the_papers_counts():
    counts = Collect("all", Path("set"), episodes=131561).counts
    assert counts == {"grasp": 40287, "push": 5472, "poke": 1372, "identity": 84430}
    assert sum(shared_out(1001, {"a": 1, "b": 1, "c": 1}).values()) == 1001


def test_seeds_of_scenes_are_so_long_that_no_two_are_the_same():
    class Listens(NamedTuple):
        task: str
        seeds: list

        def reset(self, seed):
            self.seeds.append(seed)
            return {}, {}

    seeds = []
    for task in ("grasp", "push"):
        for seed in (0, 1):
            for scene in range(2000):
                scene_of(Listens(task, seeds), seed, scene)
    assert len(set(seeds)) == len(seeds)
    assert np.mean(seeds) == pytest.approx(2**63, rel=0.05) and max(seeds) < 2**64


def test_another_configuration_is_refused_and_nothing_is_lost(whole):
    config, files = whole
    with pytest.raises(ValueError, match=r"was made with .*seed 0 \(now 1\)"):
        collect(replace(config, seed=1))
    assert files_of(config.out) == files
    with pytest.raises(ValueError, match="task 'juggle', but there are grasp, push, poke, identity and all"):
        Collect("juggle", config.out)
    with pytest.raises(ValueError, match="at least 1 episode"):
        Collect("grasp", config.out, episodes=0)


def test_what_another_version_made_is_refused_and_nothing_is_lost(whole, tmp_path):
    config = replace(whole[0], out=tmp_path / "set")
    shutil.copytree(whole[0].out, config.out)
    note = config.out / "simulation.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"version": VERSION - 1}))
    files = files_of(config.out)
    with pytest.raises(ValueError, match=rf"was made with version {VERSION - 1} \(now {VERSION}\)"):
        collect(config)
    with pytest.raises(
        ValueError, match=rf"made by version {VERSION - 1} with pybullet .*, but here are version {VERSION}"
    ):
        replay(Replay(config.out, "grasp"))
    assert files_of(config.out) == files


def test_what_cannot_be_collected_leaves_no_folder(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="objects is 'toys', but it is one of 'household', 'random_urdfs'"):
        collect(Collect("grasp", tmp_path / "set", objects="toys", **TINY))
    monkeypatch.setitem(sys.modules, "pybullet", None)
    with pytest.raises(ImportError, match=r"no module pybullet, .* so use Python 3\.11"):
        collect(Collect("grasp", tmp_path / "set", **TINY))
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_a_signal_leaves_whole_shards_and_one_line(tmp_path, number, workers):
    config = Collect("identity", tmp_path / "set", episodes=3000, size=24, workers=workers)
    process = start(config.out, config, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(list(config.out.glob("identity/0*.h5"))) < 2 * workers - 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, number)  # to all, as Ctrl-C goes
    told = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1 and re.fullmatch(
        r"videossl: interrupted: \d+ of 3000 episodes are in .*set, and the same command goes on\n", told
    )
    shards = list(config.out.glob("identity/*.h5"))
    assert shards and all(check(path) for path in shards) and not list(config.out.rglob("*.part"))
    assert json.loads((config.out / "simulation.json").read_text())["episodes"] == 3000
    assert not (config.out / "manifest.json").exists()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc that tells which processes are whose")
def test_episodes_of_a_worker_that_dies_are_made_anew(whole, tmp_path):
    config, files = whole
    process = start(tmp_path / "set", replace(config, workers=2), stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("set/*/0*.h5")) and time.monotonic() < deadline:
        time.sleep(0.02)
    children = [n for told in Path(f"/proc/{process.pid}/task").glob("*/children") for n in told.read_text().split()]
    workers = [int(n) for n in children if b"LokyProcess" in Path(f"/proc/{n}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    told = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 0 and "a worker died, killed or out of memory: its episodes are made anew" in told
    assert files_of(tmp_path / "set") == files


def test_workers_that_die_again_and_again_are_given_up(tmp_path, monkeypatch):
    class Dies:
        def __init__(self, *_, **__):
            pass

        def __call__(self, jobs):
            raise BrokenProcessPool("killed")

    monkeypatch.setattr(joblib, "Parallel", Dies)
    with pytest.raises(ChildProcessError, match=rf"0 of 5 episodes are in .*set, but workers died {DEATHS} times"):
        collect(Collect("grasp", tmp_path / "set", 5, **TINY))


def test_workers_write_nothing_any_more_when_what_began_them_was_killed(tmp_path):
    config = Collect("identity", tmp_path / "set", episodes=6000, size=24, workers=2)
    process = start(config.out, config)
    deadline = time.monotonic() + 60
    while not list(config.out.glob("identity/0*.h5")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)  # alone, without its workers
    process.wait()
    time.sleep(0.5)  # what was being written then
    there = files_of(config.out)
    time.sleep(4)  # in which they made several shards more
    assert files_of(config.out) == there
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def test_a_full_disk_is_one_line_and_nothing_is_lost(whole, tmp_path):
    config, files = whole
    folder, sizes = tmp_path / "set", sorted(len(content) for name, content in files.items() if name.endswith(".h5"))
    limit = (sizes[0] + sizes[-1]) // 2  # some shards are larger than a file may be, as if they were on a full disk
    process = start(folder, config, stderr=subprocess.PIPE, preexec_fn=partial(limit_files, limit))
    told = process.communicate(timeout=120)[1].decode().splitlines()
    assert process.returncode == 1 and len(told) == 1
    assert re.fullmatch(
        r"videossl: \[Errno \d+\] File too large: the shard could not be written: '.*\d\.h5' "
        r"\(\d+ of 400 episodes are in .*set, and the same command goes on\)",
        told[0],
    )
    kept = {name: content for name, content in files_of(folder).items() if name.endswith(".h5")}
    assert 0 < len(kept) < len(sizes) and all(files[name] == content for name, content in kept.items())
    assert not list(folder.rglob("*.part"))
    collect(replace(config, out=folder))
    assert files_of(folder) == files


@pytest.mark.parametrize("name", ["simulation.json", "manifest.json"])
def test_a_disk_that_is_full_at_a_note_is_said_and_gone_on_from(tmp_path, monkeypatch, name):
    config, whole = Collect("grasp", tmp_path / "set", 5, **TINY), outputs.whole

    @contextmanager
    def full(path):
        with whole(path) as file:
            yield file
            if path.name == name:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(outputs, "whole", full)
        with pytest.raises(OSError, match=r"No space left on device"):
            collect(config)
    assert not list(config.out.rglob("*.part")) and not (config.out / name).exists()
    collect(config)
    assert read_manifest(config.out)[0]["episodes"] == 5


def test_any_episode_is_made_again_bit_for_bit_and_filmed(whole, tmp_path, capsys):
    config, _ = whole
    for task in config.counts:
        replay(Replay(config.out, task, sample=5))
    assert capsys.readouterr().out.count("all the same, to the last bit") == 4
    replay(Replay(config.out, "grasp", episode=3, video=tmp_path / "grasp.mp4"))
    with av.open(str(tmp_path / "grasp.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) > 5
    with pytest.raises(ValueError, match="has episodes 0 to 121 of grasp, but not 500"):
        replay(Replay(config.out, "grasp", episode=500))
    with pytest.raises(ValueError, match="holds grasp, identity, poke, push: say which by --task"):
        replay(Replay(config.out))
    with pytest.raises(ValueError, match="at least 1 episode is made again"):
        Replay(config.out, sample=0)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_damaged_note_is_named(tmp_path, content):
    (tmp_path / "simulation.json").write_text(content)
    with pytest.raises(ValueError, match=r"simulation\.json is damaged"):
        plan_of(tmp_path)
    with pytest.raises(ValueError, match=r"simulation\.json is empty or damaged"):
        collect(Collect("grasp", tmp_path, 5, **TINY))


def test_episodes_of_many_things_are_made_again_bit_for_bit_too(tmp_path, capsys):
    config = Collect("push", tmp_path / "set", 40, objects_per_scene=5, **TINY)
    collect(config)
    replay(Replay(config.out, sample=8))
    assert "8 of 40 episodes of push made again: all the same" in capsys.readouterr().out
    assert [make(kind, config).count for kind in (Grasp, Identity)] == [5, 1]
    with pytest.raises(ValueError, match=r"push takes .* 1 to 5 objects"):
        collect(replace(config, objects_per_scene=6))


def test_an_episode_that_differs_is_named_with_its_field(whole):
    config, _ = whole
    env = make(Grasp, config)
    record = next(r for r in interactions(config.out, task="grasp") if r["episode"] == 7)
    made = next(episodes(env, config.seed, 7, 1))
    verify(record, made, "episode 7")
    with pytest.raises(ValueError, match="episode 7 is not the same when it is made again: gap is 7"):
        verify(record, {**made, "gap": np.float32(7)}, "episode 7")
    env.close()


@pytest.mark.slow
def test_ray_makes_the_same_bytes(whole, tmp_path):
    pytest.importorskip("ray", reason="no ray: pip install 'videossl[ray]'")
    config, files = whole
    collect(replace(config, out=tmp_path / "set", workers=2, executor="ray"))
    assert files_of(tmp_path / "set") == files


def test_without_ray_a_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"no module ray, which --executor ray needs: pip install 'videossl\[ray\]'"):
        collect(Collect("grasp", tmp_path / "set", executor="ray", **TINY))
    assert not (tmp_path / "set").exists()
