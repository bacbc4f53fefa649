"""`videossl index ROOT`: find out once what is in each video of a folder."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from videossl.datasets.choice import look
from videossl.datasets.decoders import DECODERS
from videossl.datasets.index import index_videos
from videossl.datasets.jobs import LIMIT

SHOWN = 20  # files named, of those that are unreadable or odd


@dataclass(frozen=True)
class Index:
    """Decode every video of a folder once and write its index: frames, size, rate, codec, motion, what is unreadable.

    Run it again when files were added or replaced: only those are decoded. Which decoder is to read them is measured where
    8 files or more are of one kind (suffix, codec and size), and of those that give the same frames the fastest is taken;
    PyAV reads the others. Decoders that are not installed here, or do not import, are named then and not chosen.
    """

    root: Positional[Path]  # folder of videos, looked through with its sub-folders
    out: Path | None = None  # file to write; by default index.json in the folder
    workers: int | None = None  # processes that decode; by default one for each core
    # who reads the files, where it is there and gives the same frames; auto measures, again when a decoder was upgraded
    decoder: Literal["auto", *DECODERS] = "auto"
    # seconds within which a file's next frame must come: one on which the decoder hangs or crashes is unreadable
    limit: float = LIMIT
    progress: bool = True  # show a bar


def index(run: Index) -> None:
    """Write the index and print what was found.

    Raises:
        ValueError, OSError: as `index_videos` does; among others when no readable video is there.
    """
    found = index_videos(run.root, run.out, run.workers, run.progress, run.decoder, run.limit)
    videos, unreadable, warnings = found["videos"], found["unreadable"], found["warnings"]
    counts, sizes, rates, codecs = [], Counter(), Counter(), Counter()
    for entry in videos.values():
        if not entry["error"]:
            counts.append(entry["frames"])
            sizes[f"{entry['width']}x{entry['height']}"] += 1
            rates[f"{entry['rate']:g}" if entry["rate"] else "unknown"] += 1
            codecs[entry["codec"]] += 1
    counts.sort()
    rows = [
        ("videos", f"{len(videos)}: {len(counts)} readable, {len(unreadable)} unreadable"),
        ("frames", f"{sum(counts)}; {counts[0]} to {counts[-1]} a video, median {counts[len(counts) // 2]}"),
        *(("sizes", common(sizes)), ("rates", common(rates)), ("codecs", common(codecs))),
    ]
    if found["others"]:
        left = ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in Counter(found["others"]).most_common(5))
        rows.append(("left out", f"{counted(sum(found['others'].values()), 'other file')}: {left}"))
    speed = (
        f" in {found['seconds']:.1f} s, {found['decoded'] / found['seconds']:.1f} a second" if found["decoded"] else ""
    )
    rows.append(
        ("index", f"{found['out']}: {counted(found['decoded'], 'video')} decoded{speed}; {found['kept']} unchanged")
    )
    lines = [offered()] if run.decoder == "auto" else []  # a decoder that is asked for spares the others' import
    lines += decoders(found["kinds"], videos)
    rows += [("decoders" * (n == 0), text) for n, text in enumerate(lines)]
    for title, text in rows:
        say(f"{title:<10}{text}")
    listed("Unreadable, and left out of every data set:", unreadable, found["out"])
    listed("Readable, but odd:", warnings, found["out"])


def offered() -> str:
    """Which decoders are there, and why others are not."""
    absent = look(*DECODERS)[1]
    return ", ".join(f"{name} is not there ({absent[name]})" if name in absent else name for name in DECODERS)


def decoders(kinds: dict[str, dict], videos: Mapping[str, dict]) -> list[str]:
    """Who reads which files, with the speeds measured, and who does not."""
    lines = []
    for kind, found in sorted(kinds.items(), key=lambda item: -item[1]["files"])[:SHOWN]:
        speeds = sorted(found["clips a second"].items(), key=lambda item: -item[1])
        measured = ", ".join(f"{name} {speed:.0f}" for name, speed in speeds)
        why = f"clips/s: {measured}" if measured else "not measured"
        lines.append(f"{found['decoder']} reads {found['files']} {kind} ({why})")
        for name, video in found["refused"].items():
            lines.append(f"{name} is not used for {kind}: {video} {videos[video]['agrees'][name]}")
    crashed = {(name, video) for found in kinds.values() for name, video in found["refused"].items()}
    differs = defaultdict(dict)
    for video, entry in videos.items():
        for name, why in entry["agrees"].items():
            if why and (name, video) not in crashed:
                differs[name][video] = why
    for name, whys in differs.items():
        video, why = next(iter(whys.items()))
        lines.append(f"{name} is not used for {counted(len(whys), 'file')}, on which it differs: {video} {why}")
    return lines


def counted(number: int, thing: str) -> str:
    """Such as "1 file" and "2 files"."""
    return f"{number} {thing}{'s' * (number != 1)}"


def common(counts: Counter, shown: int = 4) -> str:
    """The commonest values and how often each occurs: "320x240 (190), 640x360 (2)"."""
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
    """Print a line, though a file's name may hold bytes that are no text, or line breaks."""
    print("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))
