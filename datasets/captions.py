"""Captions of pictures in a folder, in tables as the `imagefolder` of Hugging Face's datasets has them."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

TABLES = "metadata.csv", "metadata.jsonl"


def captions_of(root: Path, names: Iterable[str]) -> dict[str, str]:
    """Captions by the paths of their pictures, relative to the root.

    A metadata.csv or metadata.jsonl may lie in the root and in any folder in which, or below which, one of the pictures
    lies. Each row, or line, has "file_name", a path relative to the table's folder, and "text", or "caption".

    Args:
        names: paths of pictures, relative to the root; captions of others are read as well.

    Raises:
        ValueError: a table has no rows, or is no text in UTF-8, or a folder has both kinds; a row (told by its number) lacks
            something, is no JSON, names a path outside of the folder, or a picture that has a caption already.
    """
    places = {place for name in names for place in PurePosixPath(name).parents} | {PurePosixPath(".")}
    found: dict[str, str] = {}
    for place in sorted(places):
        there = [table for name in TABLES if (table := root / place / name).is_file()]
        if len(there) > 1:
            raise ValueError(f"{root / place} has {' and '.join(TABLES)}: take one of them away")
        for table in there:
            for number, row in _rows(table):
                name, text = _told(row, f"{table}, line {number}")
                path = (place / name).as_posix()
                if path in found:
                    raise ValueError(f"{table}, line {number}: {name} has a caption already, and can have one")
                found[path] = text
    return found


def _rows(table: Path) -> Iterator[tuple[int, object]]:
    """Rows of a table and the numbers of their lines; empty lines are none."""
    try:
        text = table.read_text(encoding="utf-8-sig")  # spreadsheets put a mark before it
    except UnicodeDecodeError as error:
        raise ValueError(f"{table} is no text in UTF-8 ({error}): write it anew in that encoding") from None
    lines = io.StringIO(text, newline=None)
    found = 0
    if table.suffix == ".csv":
        rows = csv.DictReader(lines, strict=True)
        if {"file_name"} - set(rows.fieldnames or ()) or not {"text", "caption"} & set(rows.fieldnames or ()):
            raise ValueError(
                f'{table}: its first line names the columns "file_name" and "text" or "caption", with commas between, but '
                f"there are {', '.join(map(repr, rows.fieldnames or ())) or 'none'}"
            )
        while True:
            try:
                row = next(rows, None)
            except csv.Error as error:
                raise ValueError(f"{table}, line {rows.line_num}: is no CSV ({error})") from None
            if row is None:
                break
            if None in row:
                raise ValueError(f"{table}, line {rows.line_num}: has more parts than columns: quote what has a comma")
            found += 1
            yield rows.line_num, row
    else:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{table}, line {number}: is no JSON ({error})") from None
            found += 1
            yield number, row
    if not found:
        raise ValueError(f"{table} has no captions: fill it, or take it away")


def _told(row: object, where: str) -> tuple[str, str]:
    """The path and the caption of a row."""
    told = row if isinstance(row, dict) else {}
    name, *texts = (told.get(key) for key in ("file_name", "text", "caption"))
    words = [text.strip() for text in texts if isinstance(text, str) and text.strip()]
    if not isinstance(name, str) or not name.strip() or not words:
        raise ValueError(f'{where}: each has "file_name", and "text" or "caption", which are words, but this is {row}')
    path = PurePosixPath(name.strip())
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{where}: {name} lies outside of the folder")
    return path.as_posix(), words[0]
