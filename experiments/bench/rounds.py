"""What the benches share: how much rounds differ, and how what was found is kept."""

from pathlib import Path
from statistics import median

from videossl.experiments.console import console
from videossl.experiments.runs import write_json


def spread(values: list[float], digits: int | None = None) -> dict[str, float]:
    """Median, least and largest of the rounds, rounded to so many digits if given."""
    found = {"median": median(values), "min": min(values), "max": max(values)}
    return found if digits is None else {name: round(value, digits) for name, value in found.items()}


def keep(found: dict, out: Path) -> None:
    """Write what was found as JSON, and say where."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, found)
    console.print(f"written: {out}")
