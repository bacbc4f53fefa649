"""The file that an index is: JSON with one video a line.

    {"format": 2, "kinds": {...}, "videos": {
    "YoYo/v_YoYo_g01_c01.avi": {"bytes": 371908, "modified": 1412345678000000000, "frames": 166, ...},
    ...}}
What stands before the videos is its head; see `index` for what both hold.
"""

import json
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from videossl.datasets.whole import whole

FORMAT = 2


class Entries(MutableMapping):
    """Entries in the order of their names, each held as the text of its line, compressed: as lists of numbers it takes 15 times the memory.

    What is got is a copy; it is set again to change it.
    """

    def __init__(self, entries: Mapping[str, dict] | Iterable[tuple[str, dict]] = ()):
        self._texts: dict[str, bytes] = {}
        self.update(entries)

    def text(self, name: str) -> str:
        """An entry as JSON."""
        return zlib.decompress(self._texts[name]).decode()

    def __getitem__(self, name: str) -> dict:
        return json.loads(zlib.decompress(self._texts[name]))

    def __setitem__(self, name: str, entry: dict):
        self._texts[name] = zlib.compress(json.dumps(entry, separators=(",", ":")).encode(), 1)

    def __delitem__(self, name: str):
        del self._texts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._texts

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._texts))

    def __len__(self) -> int:
        return len(self._texts)


def load_index(path: Path, videos: MutableMapping[str, dict]) -> dict:
    """Read an index: its entries into `videos`, a line at a time; returns its head.

    Raises:
        ValueError: the file is no index.
    """
    with open(path) as file:
        head, line = _head(file), ""
        with suppress(ValueError):
            for line in file if head is not None else ():
                if line != "}}\n":
                    videos.update(json.loads("{" + line.strip().removesuffix(",") + "}"))
    if line == "}}\n":
        return head
    # It is laid out otherwise, or is none.
    found = _load_json(path)
    videos.clear()
    videos.update(found.pop("videos"))
    return found


def load_head(path: Path) -> dict:
    """What stands in an index before its entries.

    Raises:
        ValueError: the file is no index.
    """
    with open(path) as file:
        head = _head(file)
    return _load_json(path) if head is None else head


def _head(file: TextIO) -> dict | None:
    """The head, from the first line of an index; None where it is laid out otherwise, or is none."""
    try:
        head = json.loads(file.readline() + "}}")
    except ValueError:
        return None
    return head if isinstance(head, dict) and head.pop("videos", None) == {} and "format" in head else None


def _load_json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as e:
        raise ValueError(f"{path} is no index of videos, nor JSON at all ({e}): give another, or remove it") from e
    if not isinstance(found, dict) or not isinstance(found.get("videos"), dict) or "format" not in found:
        raise ValueError(f"{path} is no index of videos, but some other JSON: give another, or remove it")
    return found


def save_index(out: Path, videos: Entries, unfinished: int, kinds: dict, packed: dict | None = None) -> None:
    """Replace the index in one step: at any time there is the old one or the new one, whole.

    Args:
        out: the file.
        videos: name -> entry.
        unfinished: how many videos are not among them yet.
        kinds: see `choose`.
        packed: what the videos were packed from, if they were (see `pack`).

    Raises:
        OSError: it cannot be written.
    """
    head = {"format": FORMAT} | ({"unfinished": unfinished} if unfinished else {})
    head |= ({"packed": packed} if packed else {}) | {"kinds": kinds}
    try:
        with whole(out) as file:
            file.write((json.dumps(head)[:-1] + ', "videos": {').encode())
            for n, name in enumerate(videos):
                file.write(f"{',' * (n > 0)}\n{json.dumps(name)}: {videos.text(name)}".encode())
            file.write(b"\n}}\n")
    except OSError as e:
        old = "the old one is as it was" if out.exists() else "there is none yet"
        raise OSError(
            f"the index {out} cannot be written ({e.strerror}): {old}. Make room, or give it another place with "
            "--out FILE, and run this again"
        ) from e


def check_writable(out: Path) -> None:
    """Raise an OSError if an index cannot be written there."""
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder: --out is the file to write, such as {out / 'index.json'}")
    if not out.parent.is_dir():
        raise FileNotFoundError(
            f"{out.parent} is not there, so {out.name} cannot be written in it: make the folder first"
        )
    try:
        tempfile.TemporaryFile(dir=out.parent).close()
    except OSError as e:
        raise OSError(f"{out} cannot be written ({e.strerror}): give the index another place with --out FILE") from e
