"""Tables of papers, theirs beside ours: `videossl reproduce NAME`."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.table import Table
from tyro.conf import Positional

from videossl.experiments.cli import COMMANDS, module_of, parse, split_command
from videossl.experiments.comparison import pretrained
from videossl.experiments.console import console
from videossl.experiments.paper_tables import TABLES, PaperTable
from videossl.experiments.pretrain import Pretrain
from videossl.experiments.results import UNTRAINED, Row, print_table, read_results, rows
from videossl.experiments.runs import command, read_json, versions, write_json
from videossl.training.checkpoints import plain


@dataclass(frozen=True)
class Reproduce:
    """Make a table of a paper anew and print it below the paper's; the same command goes on when stopped."""

    name: Positional[Literal[tuple(TABLES)]]  # of the table
    # small: on what is simulated, in minutes on a CPU; paper: on its data, with its net and schedule, which takes GPUs
    scale: Literal["small", "paper"] = "small"
    root: Path | None = None  # folder of the paper's data, for its scale
    out: Path | None = None  # folder for all of it; runs/reproduce/NAME where not given
    seeds: tuple[int, ...] = (0, 1, 2)
    show: bool = False  # print the paper's table and the commands, and run none

    def __post_init__(self):
        if not self.seeds:
            raise ValueError("at least one seed is needed")
        if self.scale == "paper" and self.root is None and not self.show:
            raise ValueError("the paper's scale needs its data: give the folder by --root")
        if self.scale == "small" and self.root is not None:
            raise ValueError(f"the small scale makes its own data, but root is {self.root}: give --scale paper, too")

    @property
    def folder(self) -> Path:
        return self.out or Path("runs/reproduce") / self.name

    @property
    def commands(self) -> list[list[str]]:
        """Words of each command of the recipe, those with a seed for every seed."""
        table, found = TABLES[self.name], []
        for line in getattr(table, self.scale):
            for seed in self.seeds if "{seed}" in line else self.seeds[:1]:
                places = {"out": self.folder, "root": self.root or "ROOT", "seed": seed}
                found.append([word.format(**places) for word in line.split()])
        return found


def reproduce(config: Reproduce) -> None:
    """Run the recipe, and print and write what came of it."""
    table = TABLES[config.name]
    show(table, config.scale)
    if config.show:
        for words in config.commands:
            console.print(shlex.join(["videossl", *words]), markup=False)
        return
    for words in config.commands:
        console.print(shlex.join(["videossl", *words]), style="bold", markup=False)
        name, rest = split_command(words)
        options = parse(name, rest)
        pretrained(options) if isinstance(options, Pretrain) else getattr(module_of(name), COMMANDS[name].run)(options)
    results = read_results(config.folder / "evaluation")
    ours = rows(results)
    if results:
        print_table(results, table.metrics)
        (config.folder / "reproduce.md").write_text(markdown(table, ours), encoding="utf-8")
    found = {
        "command": command(),
        "theirs": plain(table),
        "scale": config.scale,
        "commands": [shlex.join(words) for words in config.commands],
        "ours": read_json(config.folder / table.numbers) if table.numbers else [plain(row) for row in ours],
        "versions": versions(),
    }
    write_json(config.folder / "reproduce.json", found)
    console.print(
        f"all numbers: {config.folder}/reproduce.json" + f"; as Markdown: {config.folder}/reproduce.md" * bool(results)
    )


def markdown(table: PaperTable, ours: list[Row]) -> str:
    """Lines of a Markdown table, beside what the paper prints: the README's table has these lines.

    There is one for each number that the paper's table is about: `PaperTable.metrics`, or else the first of each protocol.
    Cells: the table; theirs, on their data; ours; that of untrained weights; that after pretraining; chance.
    """
    before, after = (table.theirs[name] for name in table.beside)
    pairs = [part for part in zip(table.columns, before, after, strict=True) if None not in part]
    theirs = f"{' / '.join(table.beside)}: "
    theirs += "; ".join(f"{column} {one:.{table.digits}f} / {other:.{table.digits}f}" for column, one, other in pairs)
    title = table.title if table.verified else f"{table.title} (from memory)"
    first = {row.protocol: row.metric for row in reversed(ours) if row.headline}
    told = [row for row in ours if row.metric in (table.metrics or (first.get(row.protocol),))]
    lines = []
    for asked in dict.fromkeys(row.title for row in told):
        here = [row for row in told if row.title == asked]
        untrained, learned = ([row for row in here if (row.subject in UNTRAINED) == which] for which in (True, False))
        cells = [", ".join(row.words for row in part) for part in (untrained, learned)]
        chance = next((row.chance_words for row in here if row.chance is not None), "")
        lines.append([title, theirs, asked, *cells, chance])
        title = theirs = ""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def show(table: PaperTable, scale: str) -> None:
    """Print what the paper prints, and how the recipe at this scale leaves it."""
    printed = Table("", *table.columns, title=f"{table.title}, %", title_justify="left")
    for name, values in table.theirs.items():
        printed.add_row(name, *("" if value is None else f"{value:.{table.digits}f}" for value in values))
    console.print(printed)
    console.print(f"{table.source}" + ("" if table.verified else "; from memory, not checked against the paper"))
    if scale == "small":
        console.print(
            "the recipe is a small one, on what is simulated: which row is above which can be compared, not numbers"
        )
    elif table.leaves:
        console.print(f"the recipe leaves it: {table.leaves}")
