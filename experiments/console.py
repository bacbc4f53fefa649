"""What a command says while it works."""

import sys
import warnings

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(highlight=False, soft_wrap=True)
if not console.is_terminal:
    console.width = 160  # tables in a file need not fit a terminal


def bar(*, disable: bool = False) -> Progress:
    """A progress bar with a text at its end: `with bar() as progress: progress.add_task("title", total=9, text="")`.

    Where the output is no terminal it stays silent; `Log` and the protocols print lines there.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
        disable=disable or not sys.stdout.isatty(),
    )


def quiet() -> None:
    """Keep libraries' notes about how they are used out of a command's output; their errors still come through."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"lightning\..*|torch\..*")
