"""`videossl protocols` lists the published protocols; `videossl protocols diff A B` says in which fields two differ."""

from dataclasses import dataclass

from rich.table import Table
from tyro.conf import Positional

from videossl.evaluation.protocols import PUBLISHED, Published, differences, fields_of
from videossl.experiments.console import console


@dataclass(frozen=True)
class Protocols:
    """List the published protocols, or print one in full. `videossl evaluate --protocols NAME` scores by them."""

    names: Positional[tuple[str, ...]] = ()  # those to print in full


@dataclass(frozen=True)
class Diff:
    """Say what differs between two protocols of one kind. `videossl evaluate --compare A B` says what it is worth."""

    one: Positional[str]
    other: Positional[str]


def protocols(config: Protocols) -> None:
    """Print them."""
    if not config.names:
        table = Table("name", "kind", "source", "mistake that it repeats", title="published protocols")
        for name, entry in PUBLISHED.items():
            table.add_row(name, entry.judge.title, entry.source, entry.mistake)
        console.print(table)
        return
    for name in config.names:
        entry = published(name)
        console.print(f"{name}, version {entry.version}: {entry.judge.title}\n  source: {entry.source}")
        for title in ("leaves", "mistake"):
            if text := getattr(entry, title):
                console.print(f"  {title}: {text}")
        for field, value in fields_of(entry.judge).items():
            console.print(f"  {field}: {value}")


def diff(config: Diff) -> None:
    """Print what differs, field by field, and what the sources say."""
    one, other = published(config.one), published(config.other)
    table = Table("", config.one, config.other)
    for field, values in differences(one.judge, other.judge).items():
        table.add_row(field, *map(str, values))
    for title in ("source", "leaves", "mistake"):
        if getattr(one, title) != getattr(other, title):
            table.add_row(title, getattr(one, title), getattr(other, title))
    console.print(table)


def published(name: str) -> Published:
    """The one of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in PUBLISHED:
        raise ValueError(f"there is no published protocol {name!r}; there are: {', '.join(PUBLISHED)}")
    return PUBLISHED[name]
