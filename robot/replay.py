"""Make an episode of a collection again from its number, see that it is the same to the last bit, and film it."""

import json
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image
from tyro.conf import Positional

from videossl.datasets.interactions import interactions, tasks
from videossl.datasets.shards import open_shard, read_field
from videossl.robot.collect import NET, TASKS, Collect, engine, episodes, make, policy_of, scene_of
from videossl.robot.tabletop import Randomisation

SHOWN = 320  # pixels a side of a film
FPS = 60  # of a film, which plays at half the speed of what it shows
SLOWER = 2


@dataclass(frozen=True)
class Replay:
    """Make episodes of a folder of interactions again, and verify them bit for bit."""

    folder: Positional[Path]  # which `videossl collect` made
    task: str | None = None  # of which, where the folder holds several
    episode: int | None = None  # its number; none: `sample` of them, drawn at random
    sample: int = 20
    seed: int = 0  # of the draw
    video: Path | None = None  # film the episode to this MP4 or WebP, from the side and at half the speed

    def __post_init__(self):
        if self.sample < 1 or self.seed < 0 or (self.episode or 0) < 0:
            raise ValueError(
                f"sample {self.sample}, seed {self.seed}, episode {self.episode}: at least 1 episode is made again, and "
                "seeds and episodes are numbered from 0"
            )


def replay(config: Replay) -> None:
    """Verify, and say which field differs first, if any.

    Raises:
        FileNotFoundError: there are no interactions.
        ValueError: there is no such task or episode; one differs; they were made by another version.
    """
    if config.video is not None and config.episode is None:
        raise ValueError("a film is of one episode: say which by --episode")
    if config.video is not None and config.video.suffix not in (".mp4", ".webp"):
        raise ValueError(f"{config.video} is to be a film, of which the name ends in .mp4 or .webp")
    collected, task = plan_of(config.folder), config.task or only_task(config.folder)
    records = [r for part in (True, False) for r in interactions(config.folder, train=part, task=task)]
    by_number = {record["episode"]: record for record in records}
    if config.episode is None:
        rng = np.random.default_rng(config.seed)
        numbers = rng.choice(sorted(by_number), min(config.sample, len(by_number)), replace=False).tolist()
    else:
        numbers = [config.episode]
    env, policy = make(TASKS[task], collected), policy_of(collected)
    try:
        for number in sorted(numbers):
            if number not in by_number:
                raise ValueError(f"{config.folder} has episodes 0 to {max(by_number)} of {task}, but not {number}")
            made = next(episodes(env, collected.seed, number, 1, policy))
            verify(by_number[number], made, f"episode {number} of {task}")
        print(f"{len(numbers)} of {len(by_number)} episodes of {task} made again: all the same, to the last bit")
    finally:
        env.close()
    if config.video is not None:
        action = by_number[config.episode]["action"]
        write_video(config.video, film(collected, task, config.episode, action))
        print(f"filmed: {config.video}")


def only_task(folder: Path) -> str:
    """The task of a folder that holds one.

    Raises:
        ValueError: it holds several.
    """
    there = tasks(folder)
    if len(there) > 1:
        raise ValueError(f"{folder} holds {', '.join(there)}: say which by --task")
    return there[0]


def plan_of(folder: Path) -> Collect:
    """The collection that a folder holds.

    Raises:
        FileNotFoundError, ValueError: it holds none, or one that was made by another version or engine.
    """
    path = folder / "simulation.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is no folder of interactions: it has no simulation.json")
    try:
        found = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}), so how the rest was made is not known") from error
    other = "is", "version", "engine", "randomisation", "policy"
    known = {key: value for key, value in found.items() if key not in other}
    net = folder / NET if found.get("policy") else None
    try:
        collected = Collect(out=folder, randomisation=Randomisation(**found["randomisation"]), policy=net, **known)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what this version of `videossl collect` writes ({error})") from error
    if collected.plan != found:
        raise ValueError(
            f"{folder} was made by version {found.get('version')} with {found.get('engine')}, but here are version "
            f"{collected.plan['version']} and {engine()}: what they make may differ"
        )
    return collected


def verify(stored: dict, made: dict, what: str) -> None:
    """Raise a ValueError that names the first field in which a record differs from what is stored of it."""
    pictures = stored["frames"]
    with open_shard(Path(pictures.path)) as shard:
        for name, value in made.items():
            kept = read_field(shard, name, pictures.row)
            if not np.array_equal(kept, value, equal_nan=value.dtype.kind == "f"):
                raise ValueError(f"{what} is not the same when it is made again: {name} is {value}, but was {kept}")


def film(collected: Collect, task: str, number: int, action: np.ndarray) -> np.ndarray:
    """An episode from the side, of which the action is known: (T, SHOWN, SHOWN, 3) uint8."""
    env = make(TASKS[task], collected, SHOWN)
    try:
        scene_of(env, collected.seed, number // env.trials)
        return env.film(action, FPS * SLOWER)
    finally:
        env.close()


def write_video(path: Path, frames: np.ndarray) -> None:
    """Write frames (T, H, W, 3) uint8 as MP4 (H.264), or as WebP, which plays without end and of which half suffice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".webp":
        first, *others = (Image.fromarray(frame) for frame in frames[::2])
        first.save(path, save_all=True, append_images=others, duration=round(2000 / FPS), loop=0, quality=60)
        return
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "20"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
