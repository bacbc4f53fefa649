"""Interactions of a simulated robot, as many as wanted, in a folder of shards that any number of workers fill.

Episode k of a task comes from (seed, task, k) alone, and where a net chooses, from that net: see `episodes`. So it does not
matter who makes it, in which order, or how often all was stopped: the same command makes the same bytes. A shard is written in one step when all of its
episodes are there (`videossl.datasets.shards` describes them), so what is lost with a process is at most the shard that
it was at.
"""

import fcntl
import json
import math
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple
from zlib import crc32

import joblib
import numpy as np
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from tyro.conf import Positional

from videossl.datasets.shards import Field, check, fields_of, open_shard, pack, read_field, sweep, write
from videossl.robot.hands import HANDS
from videossl.robot.objects import OBJECT_SETS
from videossl.robot.outputs import claim, write_whole
from videossl.robot.tabletop import RENDERERS, Randomisation, Tabletop
from videossl.robot.tasks.grasp import Grasp
from videossl.robot.tasks.identity import Identity
from videossl.robot.tasks.poke import Poke
from videossl.robot.tasks.push import Push

if TYPE_CHECKING:
    from videossl.robot.guide import Guide

VERSION = 4  # of the episodes: raise it when the same config gives others, so that no folder mixes both
TASKS = {kind.task: kind for kind in (Grasp, Push, Poke, Identity)}
# Interactions of each kind in the paper's data set. Source: Pinto et al., "The Curious Robot", ECCV 2016, section 3.
PAPER = {"grasp": 40287, "push": 5472, "poke": 1372, "identity": 84430}
MOST, FEWEST, PARTS = 256, 32, 8  # episodes in a shard, about: an eighth of all, but within these
DEATHS = 3  # of workers in a row, with no shard finished in between, after which it is given up
LOOK, LINE = 0.5, 60.0  # seconds between two looks at what has come, and two lines where there is no terminal

GUIDED = {"guided": Field((), "uint8", "1 if a trained net chose the action, 0 if it is as at random")}
NET = "policy.pt"  # in the folder of a collection, the net that chose
GUIDING = {"explore": 0.2, "points": 24}  # what a policy is taken to be asked for where it is not said

# From a scene, what is seen of it and what to draw with: an action, and whether a net chose it.
Policy = Callable[[Tabletop, dict[str, np.ndarray], np.random.Generator], tuple[np.ndarray, bool]]


@dataclass(frozen=True)
class Collect:
    """Have a simulated robot interact with things, and keep what it saw and felt. The same command goes on when stopped."""

    task: Positional[Literal["grasp", "push", "poke", "identity", "all"]]  # all: in the proportions of the paper
    out: Path  # folder to make, or to go on with
    episodes: int = 1000  # in all; 131561 of all tasks are as many as the paper's
    workers: int | None = None  # processes; all cores when not given. The episodes do not depend on it
    seed: int = 0  # of scenes and actions
    objects: Literal[tuple(OBJECT_SETS)] = "household"  # what lies on the table
    unseen: bool = False  # objects that are kept for tests, instead of the others
    object_seed: int = 0  # of which objects are kept for tests
    objects_per_scene: int = 1  # things on the table; identity shows one
    hand: Literal[tuple(HANDS)] = "gripper"  # gripper is fast, panda is a whole arm
    size: int = 128  # side of the pictures in pixels
    renderer: Literal[RENDERERS] = "raster"  # raster is fast; tiny is PyBullet's own
    randomisation: Randomisation = field(default_factory=Randomisation)  # what is drawn anew for each scene
    executor: Literal["local", "ray"] = "local"  # ray: on a cluster, whose machines share the folder `out`
    # run of `videossl pretrain --dataset interactions method:grasp`, whose net chooses grasps; None: all at random. The
    # folder keeps the net: replay does without the run, and so does going on with DIR/policy.pt; no other net goes on
    policy: Path | None = None
    explore: float | None = None  # share of grasps that are at random nevertheless; with a policy 0.2 when not given
    points: int | None = None  # proposed at random, for the net to choose from at all angles; with a policy 24

    def __post_init__(self):
        if self.task not in (*TASKS, "all"):
            raise ValueError(f"task {self.task!r}, but there are {', '.join(TASKS)} and all")
        if self.episodes < 1 or self.seed < 0 or (self.workers is not None and self.workers < 1):
            raise ValueError(
                f"episodes {self.episodes}, workers {self.workers}, seed {self.seed}: at least 1 episode and 1 worker are "
                "needed, and seeds start at 0"
            )
        if self.task == "identity" and self.objects_per_scene != 1:
            raise ValueError(f"identity shows one thing at a time, but objects_per_scene is {self.objects_per_scene}")
        if self.policy is not None and self.task != "grasp":
            raise ValueError(f"a policy chooses grasps, so it can collect grasp, but not {self.task}")
        if self.policy is None and (self.explore, self.points) != (None, None):
            raise ValueError(
                f"explore {self.explore}, points {self.points}: they are of grasps that a net chooses, so give its run by "
                "--policy, or leave them out"
            )
        if self.policy is not None:
            for name, usual in GUIDING.items():
                if getattr(self, name) is None:
                    object.__setattr__(self, name, usual)
            if not 0 <= self.explore <= 1 or self.points < 1:
                raise ValueError(
                    f"explore {self.explore}, points {self.points}: explore is a share of 0 to 1, and points are 1 or more"
                )

    @property
    def counts(self) -> dict[str, int]:
        """How many episodes of each task there are to be; those with none are left out."""
        counts = shared_out(self.episodes, PAPER) if self.task == "all" else {self.task: self.episodes}
        return {task: count for task, count in counts.items() if count}

    @property
    def plan(self) -> dict:
        """What decides on the episodes: by this, a folder is known to hold the same."""
        settings = {name: value for name, value in asdict(self).items() if name not in ("out", "workers", "executor")}
        settings["policy"] = self.policy and _guide(self.policy).digest
        about = {"is": "videossl.robot.collect:Collect", "version": VERSION, "engine": engine()}
        return json.loads(json.dumps(about | settings))


def engine() -> str:
    """What simulates: "pybullet 3.2.7"."""
    return f"pybullet {version('pybullet')}"


def shared_out(total: int, weights: Mapping[str, int]) -> dict[str, int]:
    """`total` in whole numbers in these proportions, by largest remainder."""
    every = sum(weights.values())
    counts = {name: total * weight // every for name, weight in weights.items()}
    left = sorted(weights, key=lambda name: total * weights[name] % every, reverse=True)
    for name in left[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


# Episodes


def make(kind: type[Tabletop], config: Collect, size: int | None = None) -> Tabletop:
    """A task's environment, as a collection has it; pictures of another size do not change what an action does."""
    return kind(
        objects=config.objects,
        unseen=config.unseen,
        hand=config.hand,
        size=size or config.size,
        renderer=config.renderer,
        randomisation=config.randomisation,
        objects_per_scene=1 if kind.most == 1 else config.objects_per_scene,
        object_seed=config.object_seed,
        observe=(),  # records hold all the pictures that are kept
    )


def at_random(env: Tabletop, observation: dict[str, np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """What the paper's robot would try: see the task's `sample`."""
    return env.sample(rng), False


def policy_of(config: Collect) -> Policy:
    """How the actions of a collection are chosen."""
    if config.policy is None:
        return at_random
    guide = _guide(config.policy)

    def guided(env: Tabletop, observation: dict[str, np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, bool]:
        if rng.uniform() < config.explore:
            return env.sample(rng), False
        return guide.choose(env, rng, config.points), True

    return guided


def _guide(path: Path) -> "Guide":
    file = path / "checkpoint.pt" if path.is_dir() else path
    return _guide_as_of(path, file.stat().st_mtime_ns if file.exists() else 0)


@lru_cache(maxsize=2)  # the run's, and the folder's copy of it
def _guide_as_of(path: Path, written: int) -> "Guide":
    from videossl.robot.guide import guide_of  # torch takes seconds to import, which what is at random does without

    return guide_of(path)


def fields_of_records(env: Tabletop) -> dict[str, Field]:
    """What records of a collection hold: more than the environment tells where a net may have chosen."""
    return env.fields | (GUIDED if env.task == "grasp" else {})


def scene_of(env: Tabletop, seed: int, scene: int) -> dict[str, np.ndarray]:
    """Lay a scene of a collection; the observation of it.

    Its seed has 64 bits: of 32, two of 10,000 scenes are the same in one collection of a hundred.
    """
    numbers = np.random.SeedSequence([seed, crc32(env.task.encode()), scene])
    return env.reset(seed=int(numbers.generate_state(1, np.uint64)[0]))[0]


def chance_of(env: Tabletop, seed: int, scene: int, trial: int) -> np.random.Generator:
    """What an episode's action is drawn with."""
    return np.random.default_rng([seed, crc32(env.task.encode()), scene, 1 + trial])


def episodes(env: Tabletop, seed: int, first: int, count: int, policy: Policy = at_random) -> Iterator[dict]:
    """Records of the episodes first, first + 1, ...

    Episode k is trial k % trials of scene k // trials. A trial begins from its scene at rest, whatever was tried there
    before, so each episode is what it is when made alone.
    """
    observation, laid = {}, None
    for episode in range(first, first + count):
        scene, trial = divmod(episode, env.trials)
        try:
            if scene != laid:
                observation, laid = scene_of(env, seed, scene), scene
            action, guided = policy(env, observation, chance_of(env, seed, scene, trial))
            record = env.step(action)[-1]["record"]
            if env.task == "grasp":
                record |= {"guided": np.uint8(guided)}
        except Exception as error:  # raised on, with where it was
            error.add_note(f"in episode {episode} of {env.task}")
            raise
        yield record


# Shards


class Shard(NamedTuple):
    """Which episodes a file holds."""

    task: str
    number: int
    first: int
    episodes: int

    @property
    def file(self) -> str:
        return f"{self.task}/{self.number:06}.h5"


def shards_of(counts: Mapping[str, int], kinds: Mapping[str, type[Tabletop]]) -> list[Shard]:
    """All shards of a collection. The tasks advance together, so that the pace tells how long all will take."""
    shards = []
    for task, count in counts.items():
        wanted = min(MOST, max(FEWEST, math.ceil(count / PARTS)))
        trials = kinds[task].trials
        length = math.ceil(wanted / trials) * trials  # whole scenes, which cost as much for one trial as for all
        shards += [
            Shard(task, number, first, min(length, count - first))
            for number, first in enumerate(range(0, count, length))
        ]
    return sorted(shards, key=lambda shard: (shard.first / counts[shard.task], shard.task))


@lru_cache(maxsize=len(TASKS))
def _environment(kind: type[Tabletop], config: Collect) -> Tabletop:
    """A worker's own, kept from shard to shard."""
    return make(kind, config)


def make_shard(config: Collect, kind: type[Tabletop], shard: Shard, parent: int | None = None) -> None:
    """Make the episodes of a shard and write it; nothing if it is there.

    Args:
        parent: number of the process that asks for it; where that was killed, this one ends, too, and writes nothing, for
            the folder may be another's by then. None does not look.
    """
    if multiprocessing.parent_process() is not None or multiprocessing.current_process().name != "MainProcess":
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the process that began this one stops it
    path = config.out / shard.file
    if path.exists():  # made before another worker died
        return
    _end_without(parent)
    env = _environment(kind, config)
    records = list(episodes(env, config.seed, shard.first, shard.episodes, policy_of(config)))
    about = {"task": shard.task, "first": shard.first, "trials": env.trials, "seed": config.seed}
    about |= {"engine": engine(), "renderer": config.renderer, "config": json.dumps(config.plan)}
    content = pack(fields_of_records(env), records, about)
    _end_without(parent)
    write(path, content)


def _end_without(parent: int | None) -> None:
    if parent not in (None, os.getpid(), os.getppid()):
        os._exit(1)


class Tally(NamedTuple):
    """What is shown of episodes while they come."""

    episodes: int
    true: Counter  # how often each yes-or-no field is yes: success, contact, ...
    categories: Counter  # of the objects


class Whole(NamedTuple):
    """A shard that is there and as it should be."""

    bytes: int
    sha256: str
    tally: Tally


def examine(config: Collect, shard: Shard) -> Whole:
    """Look whether a shard is there, whole, and of this collection.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is damaged, or of another collection.
    """
    path = config.out / shard.file
    content = check(path)
    with open_shard(path) as file:
        fields = fields_of(file)
        told = [file.attrs.get(name) for name in ("task", "first", "config")]
        length = file[next(iter(fields))].shape[0]
        if [*told, length] != [shard.task, shard.first, json.dumps(config.plan), shard.episodes]:
            raise ValueError(
                f"{path} is of another collection: it holds {length} episodes of {told[0]} from {told[1]} on"
            )
        yes = {name: int(read_field(file, name).sum()) for name, field in fields.items() if field.dtype == "bool"}
        of_category = read_field(file, "category").tolist() if "category" in fields else []
    tally = Tally(shard.episodes, Counter(yes), Counter(of_category))
    return Whole(len(content), sha256(content).hexdigest(), tally)


# The whole


def collect(config: Collect) -> None:
    """Make the interactions, or what is missing of them; what is damaged is made anew.

    Raises:
        ValueError: the folder holds another collection; things that the tasks cannot do are asked for.
        FileExistsError: the folder holds something else, or is a file. Nothing is overwritten.
        FileNotFoundError: there is no such policy.
        OSError: the disk is full; workers die again and again. What is done is kept.
        ImportError: PyBullet, or Ray if it is asked for, is not installed.
        KeyboardInterrupt: it was stopped, by Ctrl-C or SIGTERM; says how far it is.
    """
    collect_from(config, {task: TASKS[task] for task in config.counts})


def collect_from(config: Collect, kinds: Mapping[str, type[Tabletop]]) -> None:
    """As `collect`, with the environment of each task."""
    for kind in kinds.values():
        make(kind, config).close()  # which says what is wrong before anything is made
    if config.executor == "ray":
        _begin_ray()
        config = replace(config, out=config.out.absolute())  # workers elsewhere begin in folders of their own
    claim(config.out, config.plan)
    if config.policy is not None:
        config = replace(config, policy=_keep(config))
    shards = shards_of(config.counts, kinds)
    for task in kinds:
        (config.out / task).mkdir(exist_ok=True)
    with _alone(config.out), _terminable(), _Progress(config, shards) as progress:
        try:
            progress.begin()
            _run(config, kinds, progress)
            progress.look(finally_=True)
            _write_manifest(config, progress)
        except KeyboardInterrupt as stop:
            sweep(config.out)
            progress.look()
            raise KeyboardInterrupt(f"{progress.stand}, and the same command goes on") from stop
        except OSError as error:
            if error.errno is not None:  # of the system's: a full disk, for one
                progress.look()
                error.add_note(f"{progress.stand}, and the same command goes on")
            raise
    progress.console.print(
        f"{config.out}: {progress.stand}, {progress.megabytes:.1f} MB. Look: videossl inspect {config.out}"
    )


def _keep(config: Collect) -> Path:
    """The folder's own copy of the net that chooses, which all workers and later replays read."""
    guide, path = _guide(config.policy), config.out / NET
    with suppress(FileNotFoundError, ValueError):
        if _guide(path).digest == guide.digest:
            return path
    guide.save(path)
    return path


def _write_manifest(config: Collect, progress: "_Progress") -> None:
    entries = [
        {
            **{"file": shard.file, "task": shard.task, "first": shard.first, "episodes": shard.episodes},
            **{"bytes": progress.whole[shard].bytes, "sha256": progress.whole[shard].sha256},
        }
        for shard in sorted(progress.shards)
    ]
    chosen = {"policy": config.plan["policy"]} if config.policy else {}
    write_whole(config.out / "manifest.json", json.dumps(chosen | {"shards": entries}, indent=1) + "\n")


def _run(config: Collect, kinds: Mapping[str, type[Tabletop]], progress: "_Progress") -> None:
    """Have workers make the shards that are missing."""
    deaths, left = 0, len(progress.shards) + 1
    while missing := [shard for shard in progress.shards if not (config.out / shard.file).exists()]:
        deaths, left = (0 if len(missing) < left else deaths), len(missing)
        workers = config.workers or (-1 if config.executor == "ray" else joblib.cpu_count())
        backend, parent = ("ray", None) if config.executor == "ray" else ("loky", os.getpid())
        jobs = [joblib.delayed(make_shard)(config, kinds[shard.task], shard, parent) for shard in missing]
        try:
            joblib.Parallel(min(workers, len(jobs)), backend=backend, batch_size=1)(jobs)
        except _death(config.executor) as error:
            deaths += 1
            if deaths == DEATHS:
                raise ChildProcessError(
                    f"{progress.stand}, but workers died {DEATHS} times and finished nothing in between: {config.out} keeps "
                    "what is there; if memory is short, give fewer --workers or a smaller --size, then the same command"
                ) from error
            progress.console.print("a worker died, killed or out of memory: its episodes are made anew")
            continue
        if gone := [shard.file for shard in missing if not (config.out / shard.file).exists()]:
            raise FileNotFoundError(
                f"workers wrote {gone[0]}, but {config.out} does not hold it here: give a folder that all machines share"
            )


def _begin_ray() -> None:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ModuleNotFoundError as error:
        raise ImportError("no module ray, which --executor ray needs: pip install 'videossl[ray]'") from error
    register_ray()
    if not ray.is_initialized():  # joins the cluster at RAY_ADDRESS, or starts one here
        ray.init(logging_level="ERROR", log_to_driver=False)


def _death(executor: str) -> tuple[type[Exception], ...]:
    """What tells that a worker died."""
    if executor == "ray":
        from ray.exceptions import RayActorError, WorkerCrashedError

        return RayActorError, WorkerCrashedError
    return (BrokenProcessPool,)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Have the folder for this process alone, without what killed ones were writing."""
    lock = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however it ends
        except BlockingIOError as error:
            raise ValueError(f"{out} is being collected by another process: wait for it, or stop it") from error
        sweep(out)
        yield
    finally:
        os.close(lock)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends this as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Progress:
    """How far a collection is, by what lies in its folder: so it does not matter who makes it, and where.

    Attributes:
        whole: the shards that are there.
    """

    def __init__(self, config: Collect, shards: list[Shard]):
        self.config, self.shards = config, shards
        self.console = Console(highlight=False, soft_wrap=True)
        self.whole: dict[Shard, Whole] = {}
        self.total, self.kept, self.begun = sum(shard.episodes for shard in shards), 0, time.monotonic()
        self.stopped = threading.Event()
        self.live = Live(console=self.console, auto_refresh=False, transient=not self.console.is_terminal)
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_Progress":
        self.live.start()
        return self

    def __exit__(self, *_) -> None:
        self.stopped.set()
        if self.thread.is_alive():
            self.thread.join()
        if self.console.is_terminal or self.done == self.total:
            self.live.update(self.table())
        self.live.stop()
        if not self.console.is_terminal:
            self.console.print(self.table())

    @property
    def done(self) -> int:
        return sum(whole.tally.episodes for whole in list(self.whole.values()))

    @property
    def megabytes(self) -> float:
        return sum(whole.bytes for whole in list(self.whole.values())) / 1e6

    @property
    def stand(self) -> str:
        return f"{self.done} of {self.total} episodes are in {self.config.out}"

    def begin(self) -> None:
        """Look what is there already, and take away what is damaged; then watch what comes."""
        for shard in self.shards:
            try:
                self.whole[shard] = examine(self.config, shard)
            except FileNotFoundError:
                continue
            except ValueError as error:
                self.console.print(f"{error}: it is made anew")
                (self.config.out / shard.file).unlink()
        self.kept, self.begun = self.done, time.monotonic()
        self.thread.start()

    def look(self, finally_: bool = False) -> None:
        """See which shards have come; finally, all must be there."""
        for shard in self.shards:
            if shard in self.whole:
                continue
            with suppress(() if finally_ else (OSError, ValueError)):
                self.whole[shard] = examine(self.config, shard)

    def _watch(self) -> None:
        told = time.monotonic()
        while not self.stopped.wait(LOOK):
            self.look()
            if self.console.is_terminal:
                self.live.update(self.table(), refresh=True)
            elif time.monotonic() - told > LINE:
                told = time.monotonic()
                self.console.print(f"{self.done} of {self.total} episodes, {self.pace()}")

    def pace(self) -> str:
        """ "61.2 episodes/s, 0:12:40 left"."""
        made, seconds = self.done - self.kept, time.monotonic() - self.begun
        if not made:
            return "" if self.done == self.total else "the first are being made"
        left = round((self.total - self.done) * seconds / made)
        return f"{made / seconds:.1f} episodes/s" + (
            f", {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left" if left else ""
        )

    def table(self) -> Table:
        """All tasks: how many episodes are there, and what came of them."""
        table = Table.grid(padding=(0, 2))
        table.add_row("all", ProgressBar(self.total, self.done, 24), f"{self.done}/{self.total}", self.pace())
        for task, count in self.config.counts.items():
            tallies = [whole.tally for shard, whole in list(self.whole.items()) if shard.task == task]
            done = sum(tally.episodes for tally in tallies)
            table.add_row(task, ProgressBar(count, done, 24), f"{done}/{count}", _outcomes(tallies, done))
        return table


def _outcomes(tallies: list[Tally], episodes: int) -> str:
    """ "success 23 %; 20 categories, 3.9 to 6.2 % each"."""
    if not episodes:
        return ""
    yes, categories = (sum((getattr(tally, name) for tally in tallies), Counter()) for name in ("true", "categories"))
    names = sorted({name for tally in tallies for name in tally.true})
    shares = [f"{name} {100 * yes[name] / episodes:.0f} %" for name in names]
    if categories:
        least, most = (100 * of(categories.values()) / episodes for of in (min, max))
        shares.append(f"{len(categories)} categories, {least:.1f} to {most:.1f} % each")
    return "; ".join(shares)
