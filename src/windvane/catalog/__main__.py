"""`python -m windvane.catalog`: print the catalogue, or write its table between the markers of a file."""

import argparse
import sys
from pathlib import Path

from windvane.catalog import table

BEGIN = "<!-- catalogue: begin (python -m windvane.catalog --update FILE) -->"
END = "<!-- catalogue: end -->"


def updated(text: str) -> str:
    """`text` with the current table between its markers. No markers, or more than one pair: ValueError."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"expected the two lines {BEGIN!r} and {END!r} once each, in this order")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m windvane.catalog", description=__doc__)
    parser.add_argument("--update", type=Path, metavar="FILE", help="rewrite the table in this file")
    parser.add_argument("--format", default="plain", choices=["plain", "markdown", "tsv"])
    options = parser.parse_args(arguments)
    if options.update is None:
        print(table(options.format))
        return 0
    try:
        text = options.update.read_text(encoding="utf-8")
        options.update.write_text(updated(text), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"{options.update}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
