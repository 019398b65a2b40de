"""Tables that any terminal can hold: no number breaks. What finds no room beside the rest stands in a table below."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.console import Console
from rich.table import Table

NAME_MAX = 32
"""Longer names are folded."""
UNBOUNDED = 10_000


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its head, and a cell for each row. Cells are rich's markup."""

    head: str
    cells: Sequence[str]


def stacked(names: Column, columns: Sequence[Column], console: Console, last_apart: bool = False) -> Iterable[Table]:
    """Yield as few tables as hold all columns within the console's width, in their order, each with the names in front.

    `last_apart` draws a line above the last row. A single column that is wider than the console stays whole.
    """
    held: list[Column] = []
    for column in columns:
        if held and width_of(_drawn(names, [*held, column], last_apart), console) > console.width:
            yield _drawn(names, held, last_apart)
            held = []
        held.append(column)
    yield _drawn(names, held, last_apart)


def width_of(table: Table, console: Console) -> int:
    """Return how many columns of a terminal a table takes where nothing of it is folded."""
    return console.measure(table, options=console.options.update(max_width=UNBOUNDED)).maximum


def folded(name: str) -> str:
    """Return a name in lines that are not too long."""
    return "\n".join(wrap(name, NAME_MAX)) or name


def _drawn(names: Column, columns: Sequence[Column], last_apart: bool) -> Table:
    table = Table()
    table.add_column(names.head, no_wrap=True)
    for column in columns:
        table.add_column(column.head, justify="right", no_wrap=True)
    for index, name in enumerate(names.cells):
        if last_apart and index == len(names.cells) - 1:
            table.add_section()
        table.add_row(folded(name), *(column.cells[index] for column in columns))
    return table
