"""A progress bar for what takes long."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def bar(title: str, show: bool) -> Progress:
    """On standard error, where that is a terminal: `with bar("indexing", True) as b: b.add_task("", total=9, note="")`."""
    console = Console(stderr=True)
    return Progress(
        *(TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")),
        TimeRemainingColumn(),
        console=console,
        disable=not (show and console.is_terminal),
    )
