"""A progress bar for files that take long."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def file_bar(title: str, show: bool) -> Progress:
    """How many files are done, on standard error where that is a terminal.

    Usage: `with file_bar("indexing", True) as bar: bar.add_task("", total=9, note="")`.
    """
    console = Console(stderr=True)
    return Progress(
        *(TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")),
        TimeRemainingColumn(),
        console=console,
        disable=not (show and console.is_terminal),
    )
