"""How fast clips reach the training loop, beside the decoder's own limit and what else one would write.

`videossl bench loader ROOT`
"""

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, dropwhile, islice
from multiprocessing import active_children
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import torch
from rich.table import Table
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from tyro.conf import Positional

from videossl.datasets.decoders import DECODERS, missing, open_video, planes_of
from videossl.datasets.frames import VideoFile
from videossl.datasets.index import index_videos, read_index
from videossl.datasets.pack import pack
from videossl.datasets.packed import packed_size
from videossl.datasets.survey import survey
from videossl.datasets.video_folder import video_folder
from videossl.experiments.bench.rounds import keep, spread
from videossl.experiments.console import bar, console, quiet
from videossl.experiments.runs import command, versions
from videossl.training.checkpoints import plain
from videossl.training.draws import Draws, loader

QUEUE = 4  # batches that a worker makes ahead
TUPLE = 3  # frames of a tuple, over the same span as a clip
CLIPS, TUPLES = "raw limit", "raw limit, tuples"  # the rows that others are compared with
FEW = 20  # files, under which ours often finds one still open


@dataclass(frozen=True)
class BenchLoader:
    """Clips a second and memory of every decoder, of our loader, of packed copies and of what users write instead.

    Each is timed in turn, in every round, on the same files, and set beside the raw limit of that round: libav decoding
    just the frames needed, from the last key frame before them, in one thread, without converting any. It opens the file
    of every clip anew; ours finds a few still open, which counts where there are only a few files.
    """

    root: Positional[Path]  # folder of videos
    out: Path = Path("runs/bench_loader.json")  # file to write
    files: int = 200  # videos to read, drawn from those that are long enough
    length: int = 16  # frames in a clip
    stride: int = 2  # frames from one frame of a clip to its next
    size: tuple[int, int] = (128, 171)  # height and width that frames are scaled to
    short: int = 112  # shorter side in pixels of the packed copies, and of what they are compared with
    batch: int = 16  # clips
    batches: int = 10  # timed in each round
    rounds: int = 7  # at least 5
    settle: float = 0.5  # seconds before each is timed, for workers of the one before to fill their queues
    seed: int = 0  # of the draws

    def __post_init__(self):
        least = {"files": 1, "length": 2, "stride": 1, "short": 2, "batch": 1, "batches": 1, "rounds": 5, "seed": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name} is a whole number from {value}, but {getattr(self, name)} was given")

    @property
    def span(self) -> int:
        """Frames from a clip's first to its last, both counted."""
        return (self.length - 1) * self.stride + 1


@dataclass(frozen=True)
class RandomFrames:
    """Some frames from a random place of a video, as a clip."""

    offsets: tuple[int, ...]  # of the frames, from the first

    def start(self, record: dict, rng: np.random.Generator) -> int:
        """The number of the first frame."""
        return int(rng.integers(len(record["frames"]) - self.offsets[-1]))

    def sample(self, record: dict, rng: np.random.Generator) -> dict:
        """Ours: one line."""
        return {"clips": record["frames"][self.start(record, rng) + np.array(self.offsets)]}


def bench_loader(config: BenchLoader) -> dict:
    """Measure, print a table and write `config.out`; returns what it writes.

    Raises:
        ValueError: no video is long enough for a clip, or none is read by all that are compared.
        FileNotFoundError: the folder is not there.
    """
    quiet()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory(prefix="videossl-bench-") as place:
        videos, packed = Path(place) / "videos", Path(place) / "packed"
        chosen = link_some(config, videos)
        index_videos(videos, progress=False, decoder="pyav")
        note = pack(videos, packed, short=config.short, progress=False)["note"]
        rows = contenders(config, videos, packed)
        speeds, memory = in_turn(rows, config)
        found = {
            "command": command(),
            "config": plain(config) | {"root": config.root.name},
            "videos": chosen,
            "clips a second": {name: spread(values, 1) for name, values in speeds.items()},
            "over raw": {name: ratio(speeds, name, row.limit) for name, row in rows.items() if row.limit},
            "ratios": ratios(speeds),
            "memory in MB": memory,
            "not there": {name: why for name in DECODERS if (why := missing(name))},
            "scaling": scaling_error(videos, config),
            "packed": {name: value for name, value in note.items() if name != "from"},
            "index": time_index(videos),
            "versions": versions(),
        }
    show(found, config)
    keep(found, config.out)
    return found


def link_some(config: BenchLoader, folder: Path) -> dict:
    """A folder of links to some of the videos, so that what is written beside them goes away with it."""
    if (config.root / "index.json").exists():
        entries = read_index(config.root)
    else:
        with tempfile.TemporaryDirectory() as place:
            entries = index_videos(config.root, Path(place) / "index.json", decoder="pyav")["videos"]
    healthy = [n for n, entry in entries.items() if not entry["error"] and not entry["warning"] and entry["rate"]]
    long = [n for n in healthy if entries[n]["frames"] >= config.span]
    names, left_out = [], {}
    for name in np.random.default_rng(config.seed).permutation(long).tolist():
        if why := unread(config, config.root / name, entries[name]):
            left_out[name] = why
        elif len(names) < config.files:
            names.append(name)
        else:
            break
    if not names:
        why = "; ".join(f"{name} {why}" for name, why in list(left_out.items())[:1])
        raise ValueError(
            f"none of {len(entries)} videos in {config.root} has the {config.span} frames of a clip and is read by all "
            f"that are compared{': ' * bool(why)}{why}"
        )
    for name in sorted(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to((config.root / name).resolve())
    return {
        "count": len(names),
        "frames": sum(entries[name]["frames"] for name in names),
        "bytes": sum(entries[name]["bytes"] for name in names),
        "kinds": sorted({f"{entries[n]['codec']} {entries[n]['width']}x{entries[n]['height']}" for n in names}),
        "left out": left_out,
    }


def unread(config: BenchLoader, path: Path, entry: dict) -> str | None:
    """Why one of those that are compared does not read a file's first clip; None if all do."""
    numbers = np.arange(0, config.span, config.stride)
    video = VideoFile(path, entry["frames"], config.size)
    there = [name for name in DECODERS if not missing(name)]
    tries = {f"ours, {name}": partial(replace(video, decoder=name).array, numbers) for name in there}
    tries |= {name: partial(read, str(path), numbers, config.size) for name, read in written().items()}
    for name, read in tries.items():
        try:
            read()
        except Exception as error:  # each library raises its own
            return f"is not read by {name}: {type(error).__name__}: {str(error).strip().splitlines()[0]}"
    return None


class Row(NamedTuple):
    """What is timed."""

    begin: Callable[[], Iterator]  # begins to give batches, without end
    limit: str | None  # the row of the raw limit that it is compared with; None where it reads at another size


def contenders(config: BenchLoader, videos: Path, packed: Path) -> dict[str, Row]:
    """All that is timed, by name."""
    clips = RandomFrames(tuple(config.stride * n for n in range(config.length)))
    tuples = RandomFrames(tuple(np.linspace(0, config.span - 1, TUPLE).astype(int).tolist()))
    height, width = packed_size(*common_size(videos), config.short)

    def ours(root: Path, size: tuple[int, int], question: RandomFrames, workers: int, decoder: str | None = None):
        def begin():
            records = video_folder(root, size=size)
            if decoder:
                records = [{**record, "frames": replace(record["frames"], decoder=decoder)} for record in records]
            return iter(loader(Draws(records, question.sample, config.seed), config.batch, workers=workers))

        return begin

    def theirs(read: Callable, workers: int = 1):
        def begin():
            sample = Written(read, clips, config.size)
            draws = Draws(video_folder(videos, size=config.size), sample, config.seed)
            return iter(
                DataLoader(draws, batch_sampler=Numbers(config.batch), num_workers=workers, prefetch_factor=QUEUE)
            )

        return begin

    rows = {
        CLIPS: Row(lambda: raw(videos, clips, config), CLIPS),
        TUPLES: Row(lambda: raw(videos, tuples, config), TUPLES),
    }
    rows |= {f"ours, {w} workers": Row(ours(videos, config.size, clips, w), CLIPS) for w in (0, 1, 2)}
    rows |= {f"ours, tuples, {w} workers": Row(ours(videos, config.size, tuples, w), TUPLES) for w in (0, 1, 2)}
    there = [name for name in DECODERS if not missing(name)]
    for name in there:
        if name != "pyav":
            rows[f"ours, 1 worker, {name}"] = Row(ours(videos, config.size, clips, 1, name), CLIPS)
    rows |= {name: Row(theirs(read), CLIPS) for name, read in written().items()}
    for kind, root in (("unpacked", videos), ("packed", packed)):  # at the size that most packed videos have
        rows |= {f"{kind}, small, {w} workers": Row(ours(root, (height, width), clips, w), None) for w in (0, 1, 2)}
        rows[f"{kind}, small, tuples, 1 workers"] = Row(ours(root, (height, width), tuples, 1), None)
    return rows


def common_size(root: Path) -> tuple[int, int]:
    """The height and width that most videos have."""
    entries = read_index(root).values()
    return Counter((entry["height"], entry["width"]) for entry in entries).most_common(1)[0][0]


class Numbers:
    """Numbers of the examples of batch after batch, without end."""

    def __init__(self, batch: int):
        self.batch = batch

    def __iter__(self) -> Iterator[list[int]]:
        for first in count(0, self.batch):
            yield list(range(first, first + self.batch))


def raw(root: Path, question: RandomFrames, config: BenchLoader) -> Iterator[None]:
    """Yields after every batch of the same clips, of which each frame was decoded and none looked at."""
    draws = Draws(video_folder(root), lambda record, rng: (record["frames"], question.start(record, rng)), config.seed)
    for numbers in Numbers(config.batch):
        for n in numbers:
            video, start = draws[n]
            decode_only(video.path, video.keys, [start + offset for offset in question.offsets])
        yield


def decode_only(path: str, keys: tuple[tuple[int, int], ...], wanted: list[int]) -> None:
    """Open a file and decode these ascending frames, each from the last key frame before it or from the one before."""
    container, stream = open_video(path)
    with container:
        frames, after = container.decode(stream), 0  # the number of the frame that comes next
        for number in wanted:
            key, begin = max((key for key in keys if after <= key[0] <= number), default=(after, None))
            if begin is not None and key > after:
                container.seek(begin, stream=stream)
                frames, after = dropwhile(partial(earlier, begin), container.decode(stream)), key
            for _ in islice(frames, number + 1 - after):
                pass
            after = number + 1


def earlier(time_: int, frame: av.VideoFrame) -> bool:
    """Whether a frame is shown before this time, in its stream's units."""
    return frame.pts < time_


class Written:
    """A clip as a user would read it in a Dataset: the same places, other code."""

    def __init__(self, read: Callable, question: RandomFrames, size: tuple[int, int]):
        self.read, self.question, self.size = read, question, size

    def __call__(self, record: dict, rng: np.random.Generator) -> torch.Tensor:
        numbers = self.question.start(record, rng) + np.array(self.question.offsets)
        return self.read(record["frames"].path, numbers, self.size)


def by_pyav(path: str, numbers: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """Seek by time, decode, convert each frame, scale the clip."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        rate, unit, begin = stream.average_rate, stream.time_base, stream.start_time or 0
        container.seek(begin + int(numbers[0] / rate / unit), stream=stream)
        wanted, images = set(numbers.tolist()), []
        for frame in container.decode(stream):
            if round((frame.pts - begin) * unit * rate) in wanted:
                images.append(frame.to_ndarray(format="rgb24"))
            if len(images) == len(wanted):
                break
    images += images[-1:] * (len(numbers) - len(images))
    return v2.functional.resize(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), size, antialias=True)


def by_torchcodec(path: str, numbers: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """Its own sampler of random clips, scaled by its own transform while decoding."""
    from torchcodec.decoders import VideoDecoder
    from torchcodec.samplers import clips_at_random_indices

    decoder = VideoDecoder(path, transforms=[v2.Resize(size)])
    stride = int(numbers[1] - numbers[0])
    clips = clips_at_random_indices(decoder, num_frames_per_clip=len(numbers), num_indices_between_frames=stride)
    return clips.data[0]


def by_decord(path: str, numbers: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """As VideoMAE and V-JEPA read, a reader for each clip, but scaled while decoding, which is decord's fastest."""
    from decord import VideoReader

    reader = VideoReader(path, num_threads=1, width=size[1], height=size[0])
    return torch.from_numpy(reader.get_batch(numbers.tolist()).asnumpy()).permute(0, 3, 1, 2)


def written() -> dict[str, Callable]:
    """What users write, with the decoders that are there."""
    found = {
        "PyAV in a DataLoader": ("pyav", by_pyav),
        "torchcodec's sampler in a DataLoader": ("torchcodec", by_torchcodec),
        "decord in a DataLoader": ("decord", by_decord),
    }
    return {name: read for name, (decoder, read) in found.items() if not missing(decoder)}


def in_turn(rows: dict[str, Row], config: BenchLoader) -> tuple[dict, dict]:
    """Clips a second of each row in each round, and the memory of its workers in MB (10^6 bytes)."""
    running, processes = {}, {}
    with bar() as progress:
        task = progress.add_task("timing", total=len(rows) * (config.rounds + 1), text="")
        for name, row in rows.items():
            before = set(active_children())
            progress.update(task, advance=1, text=name)
            running[name] = row.begin()
            next(running[name])  # imports and compiles
            processes[name] = [process.pid for process in set(active_children()) - before]
        speeds = {name: [] for name in rows}
        for turn in range(config.rounds):
            for name in reversed(rows) if turn % 2 else rows:
                progress.update(task, advance=1, text=name)
                time.sleep(config.settle)
                for _ in islice(running[name], 1 + QUEUE * len(processes[name])):  # what was made ahead is not timed
                    pass
                began = time.perf_counter()
                for _ in islice(running[name], config.batches):
                    pass
                speeds[name].append(config.batch * config.batches / (time.perf_counter() - began))
    memory = {name: round(sum(map(resident, pids)) / len(pids)) for name, pids in processes.items() if pids}
    return speeds, memory


def resident(process: int) -> float:
    """Memory of a process in MB, what it shares with others counted in part (Linux's Pss); nan elsewhere."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:")), 0.0)


def ratio(speeds: dict[str, list[float]], one: str, other: str) -> dict[str, float]:
    """Of two rows in the same round."""
    return spread([a / b for a, b in zip(speeds[one], speeds[other], strict=True)], 3)


def scaling_error(root: Path, config: BenchLoader, videos: int = 10, frames: int = 8) -> dict[str, dict[str, float]]:
    """How far scaled pictures lie from exact ones, in grey levels of 255: of ours, and of filters that others use.

    Exact is: colours of all pixels in floating point, then the mean over the area of each new pixel.
    """
    found = {"ours": [], "swscale, bilinear": [], "OpenCV, bilinear": []}
    height, width = config.size
    for record in video_folder(root, size=config.size)[:videos]:
        video = record["frames"]
        numbers = np.linspace(0, len(video) - 1, frames).astype(int)
        container, stream = open_video(video.path)
        with container:
            for number, frame in enumerate(container.decode(stream)):
                if number not in numbers or frame.format.name != "yuv420p":
                    continue
                exact = cv2.resize(exact_rgb(planes_of(frame)), (width, height), interpolation=cv2.INTER_AREA)
                whole = frame.to_ndarray(format="rgb24")
                scaled = frame.reformat(width, height, "rgb24", interpolation="BILINEAR").to_ndarray()
                found["ours"].append(video[number].permute(1, 2, 0).numpy() - exact)
                found["swscale, bilinear"].append(scaled - exact)
                found["OpenCV, bilinear"].append(cv2.resize(whole, (width, height)) - exact)
    return {
        name: {
            "mean absolute": round(float(np.mean(np.abs(apart))), 3),
            "99.9 %": round(float(np.quantile(np.abs(apart), 0.999)), 2),
            "mean": round(float(np.mean(apart)), 3),
        }
        for name, apart in found.items()
        if apart
    }


def exact_rgb(planes: tuple[np.ndarray, ...]) -> np.ndarray:
    """Planes of yuv420p, BT.601, 16 to 235, as (H, W, 3) float64."""
    y, u, v = (plane.astype(float) for plane in planes)
    u, v = (plane.repeat(2, 0).repeat(2, 1)[: len(y), : y.shape[1]] for plane in (u, v))
    y, u, v = (y - 16) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224
    r, b = y + 1.402 * v, y + 1.772 * u
    return np.stack([r, (y - 0.299 * r - 0.114 * b) / 0.587, b], -1).clip(0, 255)


def time_index(root: Path, files: int = 40) -> dict:
    """What `videossl index` takes: libav's share of the time in one process; speed and memory with two workers."""
    videos = [record["frames"] for record in video_folder(root)][:files]
    for video in videos[:3]:
        survey(video.path)  # imports and compiles
    alone, surveying = 0.0, 0.0
    for video in videos:
        began = time.process_time()
        libav_alone(video)
        middle = time.process_time()
        survey(video.path)
        alone, surveying = alone + middle - began, surveying + time.process_time() - middle
    with tempfile.TemporaryDirectory() as place:
        index = [sys.executable, "-m", "videossl.experiments.cli", "index", str(root), "--workers", "2"]
        command = [*index, "--decoder", "pyav", "--out", f"{place}/index.json"]
        began, peak = time.perf_counter(), 0.0
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            peak = max(peak, sum(map(resident, family(process.pid))))
            time.sleep(0.05)
        seconds = time.perf_counter() - began
    count_ = len(video_folder(root))
    return {
        "decoding / all, processor time": round(alone / surveying, 3),
        "files a second, one process": round(len(videos) / surveying, 1),
        "files a second, 2 workers, with their start": round(count_ / seconds, 1),
        "peak memory in MB, 2 workers": round(peak),
    }


def libav_alone(video: VideoFile) -> None:
    """What libav does when a file is indexed: decode all, and try jumps to key frames, two of them with two frames."""
    container, stream = open_video(video.path)
    with container:
        for _ in container.decode(stream):
            pass
        for _, begin in video.keys[-1:] + video.keys[len(video.keys) // 2 : -1][:1]:
            container.seek(begin, stream=stream)
            for _ in islice(container.decode(stream), 2):
                pass
    if video.keys:
        container, stream = open_video(video.path)
        with container:
            for _, begin in video.keys:
                container.seek(begin, stream=stream)
                next(container.demux(stream), None)


def family(process: int) -> list[int]:
    """A process and those it started, as long as they are there (Linux)."""
    found = [process]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, task.read_text().split())
    return found


def show(found: dict, config: BenchLoader) -> None:
    """Print the tables."""
    table = Table("", "clips/s", "min to max", "/ raw limit", "MB a worker", title=title(found, config))
    for name, speed in found["clips a second"].items():
        over = found["over raw"].get(name)
        table.add_row(
            name,
            f"{speed['median']:.0f}",
            f"{speed['min']:.0f} to {speed['max']:.0f}",
            f"{over['median']:.2f}" if over else "",
            str(found["memory in MB"].get(name, "")),
        )
    console.print(table)
    table = Table("ratio, in the same round", "median", "min", "max")
    for name, values in found["ratios"].items():
        table.add_row(name, *(f"{values[key]:.2f}" for key in ("median", "min", "max")))
    console.print(table)
    for heading, part in (("scaling, grey levels from exact", found["scaling"]), ("index", found["index"])):
        console.print(f"{heading}: " + "; ".join(f"{name} {value}" for name, value in part.items()))
    for name, why in found["not there"].items():
        console.print(f"{name} is not there: {why}")
    for name, why in found["videos"]["left out"].items():
        console.print(f"left out: {name} {why}")
    if found["videos"]["count"] < FEW:
        console.print(f"note: of under {FEW} files ours keeps several open, and the raw limit opens each anew")


def title(found: dict, config: BenchLoader) -> str:
    """What was read."""
    videos = found["videos"]
    return (
        f"{config.length} frames over {config.span} from {videos['count']} videos ({', '.join(videos['kinds'][:3])}), at "
        f"{config.size[1]}x{config.size[0]}; medians of {config.rounds} rounds of {config.batch * config.batches} clips"
    )


def ratios(speeds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Those that are promised, of rows in the same round."""
    pairs = {
        "ours, 1 worker / raw limit": ("ours, 1 workers", CLIPS),
        "ours, 2 workers / 1": ("ours, 2 workers", "ours, 1 workers"),
        "ours / decord in a DataLoader": ("ours, 1 workers", "decord in a DataLoader"),
        "ours / torchcodec's sampler": ("ours, 1 workers", "torchcodec's sampler in a DataLoader"),
        "ours / PyAV in a DataLoader": ("ours, 1 workers", "PyAV in a DataLoader"),
        "packed / unpacked": ("packed, small, 1 workers", "unpacked, small, 1 workers"),
        "packed / unpacked, tuples": ("packed, small, tuples, 1 workers", "unpacked, small, tuples, 1 workers"),
    }
    return {name: ratio(speeds, *pair) for name, pair in pairs.items() if set(pair) <= speeds.keys()}
