"""`videossl index ROOT`: find out once what is in each video of a folder."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from videossl.datasets.decoders import DECODERS, missing
from videossl.datasets.index import index_videos

SHOWN = 20  # files named, of those that are unreadable or odd


@dataclass(frozen=True)
class Index:
    """Decode every video of a folder once and write its index: frames, size, rate, codec, motion, what is unreadable.

    Run it again when files were added or replaced: only those are decoded. Which decoder is to read them is measured on
    the files, and of those that give the same frames the fastest is taken.
    """

    root: Positional[Path]  # folder of videos, looked through with its sub-folders
    out: Path | None = None  # file to write; by default index.json in the folder
    workers: int | None = None  # processes that decode; by default one for each core
    decoder: Literal["auto", *DECODERS] = "auto"  # who reads the files, where it gives the same frames
    progress: bool = True  # show a bar


def index(run: Index) -> None:
    """Write the index and print what was found.

    Raises:
        ValueError, OSError: as `index_videos` does; among others when no readable video is there.
    """
    found = index_videos(run.root, run.out, run.workers, run.progress, run.decoder)
    videos, unreadable, warnings = found["videos"], found["unreadable"], found["warnings"]
    readable = [entry for entry in videos.values() if not entry["error"]]
    counts = sorted(entry["frames"] for entry in readable)
    rows = [
        ("videos", f"{len(videos)}: {len(readable)} readable, {len(unreadable)} unreadable"),
        ("frames", f"{sum(counts)}; {counts[0]} to {counts[-1]} a video, median {counts[len(counts) // 2]}"),
        ("sizes", common(f"{entry['width']}x{entry['height']}" for entry in readable)),
        ("rates", common(f"{entry['rate']:g}" if entry["rate"] else "unknown" for entry in readable)),
        ("codecs", common(entry["codec"] for entry in readable)),
    ]
    if found["others"]:
        left = ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in Counter(found["others"]).most_common(5))
        rows.append(("left out", f"{sum(found['others'].values())} other files: {left}"))
    speed = (
        f" in {found['seconds']:.1f} s, {found['decoded'] / found['seconds']:.1f} a second" if found["decoded"] else ""
    )
    rows.append(("index", f"{found['out']}: {found['decoded']} videos decoded{speed}; {found['kept']} unchanged"))
    rows += [("decoders" * (n == 0), text) for n, text in enumerate(decoders(found["kinds"], videos))]
    for title, text in rows:
        say(f"{title:<10}{text}")
    listed("Unreadable, and left out of every data set:", unreadable, found["out"])
    listed("Readable, but odd:", warnings, found["out"])


def decoders(kinds: dict[str, dict], videos: dict[str, dict]) -> list[str]:
    """Who is there, and who reads which files, with the speeds measured."""
    there = [f"{name} is not there ({why})" if (why := missing(name)) else name for name in DECODERS]
    lines = [", ".join(there)]
    for kind, found in sorted(kinds.items(), key=lambda item: -item[1]["files"])[:SHOWN]:
        speeds = sorted(found["clips a second"].items(), key=lambda item: -item[1])
        measured = ", ".join(f"{name} {speed:.0f}" for name, speed in speeds)
        why = f"clips/s: {measured}" if measured else "not measured"
        lines.append(f"{found['decoder']} reads {found['files']} {kind} ({why})")
    for name in DECODERS:
        refused = {video: entry["agrees"][name] for video, entry in videos.items() if entry["agrees"].get(name)}
        if refused:
            video, why = next(iter(refused.items()))
            lines.append(f"{name} is not used for {len(refused)} files, on which it differs: {video} {why}")
    return lines


def common(values, shown: int = 4) -> str:
    """The commonest values and how often each occurs: "320x240 (190), 640x360 (2)"."""
    counts = Counter(values)
    more = len(counts) - shown
    text = ", ".join(f"{value} ({n})" for value, n in counts.most_common(shown))
    return text + (f" and {more} other{'s' * (more > 1)}" if more > 0 else "")


def listed(title: str, whys: dict[str, str], out: Path) -> None:
    """Print files and what is wrong with each, the first ones."""
    if whys:
        say(title)
    for name, why in list(whys.items())[:SHOWN]:
        say(f"  {name} {why}")
    if len(whys) > SHOWN:
        say(f"  ... and {len(whys) - SHOWN} more, see {out}")


def say(text: str) -> None:
    """Print, though a file's name may hold bytes that are no text."""
    print(text.encode(errors="backslashreplace").decode())
