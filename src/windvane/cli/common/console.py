"""What standard output gets: lines, and tables that rich draws on a terminal and spaces align elsewhere."""

import sys
from collections.abc import Sequence

from windvane.terminal_text import escaped


def tell(text: object = "") -> None:
    """Print a line on standard output; empty lines before it may lead.

    What a terminal would obey is written out, line ends within it included, so that no name makes a line.
    """
    line = str(text).lstrip("\n")
    lead = len(str(text)) - len(line)
    print("\n" * lead + escaped(line), flush=True)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), keep: int = 1
) -> None:
    """Print a table whose first `keep` columns are never folded; columns in `right` are right-aligned."""
    rows = [[escaped(cell) for cell in row] for row in rows]
    columns = [escaped(name) for name in columns]
    if sys.stdout.isatty():
        _draw(columns, rows, right, keep)
        return
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths))
        ]
        print("  ".join(cells).rstrip())


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int], keep: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(
            name, no_wrap=number < keep, justify="right" if number in right else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)
