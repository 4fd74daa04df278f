"""Numbers over time in two plain files: JSON lines (the record) and CSV (the table made from it)."""

import csv
import io
import json
import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from windvane.damage import reading
from windvane.files import atomic_write_text
from windvane.resource_errors import writing


def _finite(value: Any) -> Any:
    # JSON has no NaN; readers in other languages refuse it.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv_text(columns: list[str], rows: Iterable[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writerows(rows)
    return out.getvalue()


def _row(line: bytes) -> dict[str, Any]:
    row = json.loads(line)
    if not isinstance(row, dict) or not all(isinstance(row.get(name, 0), int) for name in ("step", "images")):
        raise ValueError("it is no row of numbers by name")
    for value in row.values():
        if not (value is None or isinstance(value, (int, float))):
            raise ValueError(f"{value!r:.40} is no number")
    return row


class MetricsLog:
    """Rows of named numbers, appended one at a time.

    A crash can tear the last line only; reading leaves it out and the next append removes it. Columns of the
    CSV file keep their place: a name that appears later is added at the right.
    """

    def __init__(self, jsonl: Path, table: Path) -> None:
        self.jsonl, self.table = jsonl, table
        self._columns: list[str] | None = None

    def read(self) -> list[dict[str, Any]]:
        """All complete rows, in order.

        A row that the table has otherwise is told of in a warning: one of the two files is damaged.

        Raises:
            ValueError: a damaged line that is not the last.
        """
        if not self.jsonl.exists():
            return []
        lines = self.jsonl.read_bytes().split(b"\n")
        rows = []
        # What follows the last line end is either nothing or torn.
        for number, line in enumerate(lines[:-1], start=1):
            with reading(f"{self.jsonl}, line {number}"):
                rows.append(_row(line))
        self._compare(rows)
        return rows

    def _compare(self, rows: list[dict[str, Any]]) -> None:
        if not self.table.exists():
            return
        columns = self._header()
        kept = self.table.read_bytes().split(b"\n")[1:]
        for number, (row, line) in enumerate(zip(rows, kept), start=1):
            if number == len(rows):  # may be torn, or not in the table yet
                return
            if not set(row) <= set(columns) or _csv_text(columns, [row]).encode() != line + b"\n":
                warnings.warn(
                    f"{self.jsonl} and {self.table.name} beside it differ in row {number}: one of them was "
                    f"changed; {self.jsonl.name} is used, and the table is made from it",
                    stacklevel=3,
                )
                return

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        row = {name: _finite(value) for name, value in row.items()}
        if self._columns is None:
            self._rewrite(self.read())
        assert self._columns is not None
        line = json.dumps(row, allow_nan=False) + "\n"
        with writing(self.jsonl), self.jsonl.open("ab") as file:
            file.write(line.encode())
        if set(row) <= set(self._columns):
            with writing(self.table), self.table.open("ab") as file:
                file.write(_csv_text(self._columns, [row]).encode())
        else:
            self._rewrite(self.read())

    def truncate(self, step: int) -> None:
        """Remove the rows of steps after ``step``: a resumed run writes them again."""
        self._rewrite([row for row in self.read() if row.get("step", 0) <= step])

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        known = self._columns or self._header()
        self._columns = list(dict.fromkeys([*known, *(name for row in rows for name in row)]))
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if not self.jsonl.exists() or self.jsonl.read_bytes() != text.encode():
            atomic_write_text(self.jsonl, text)
        header = ",".join(self._columns) + "\n" if self._columns else ""
        table = header + _csv_text(self._columns, rows)
        if not self.table.exists() or self.table.read_bytes() != table.encode():
            atomic_write_text(self.table, table)

    def _header(self) -> list[str]:
        if not self.table.exists():
            return []
        first = self.table.read_bytes().split(b"\n")[0].decode("utf-8", "replace")
        return [name for name in first.split(",") if name]
