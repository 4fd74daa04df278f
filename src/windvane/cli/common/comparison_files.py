"""The files of a comparison: a table as CSV, everything as JSON, and curves as a picture."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from windvane.folders import OutputKind, note_files


def write_comparison(
    out: Path,
    kind: OutputKind,
    *,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    numbers: Mapping[str, Any],
    curves: Callable[[Any], None],
    settings: Mapping[str, Any],
) -> None:
    """Write the three files that the kind names, in this order.

    Args:
        numbers: beside the settings, in the JSON file.
        curves: draws on matplotlib's axes.
        settings: in the JSON file, and with the command inside the picture.
    """
    from matplotlib.figure import Figure

    from windvane.files import atomic_file, atomic_write_json
    from windvane.invocation import made_by
    from windvane.pictures import text_chunk

    table, whole, plot = kind.files
    note_files(out, kind, kind.files)
    with atomic_file(out / table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    atomic_write_json(out / whole, {"settings": settings, **numbers})
    figure = Figure(figsize=(7.0, 4.4), layout="constrained", dpi=130)
    axes = figure.subplots()
    curves(axes)
    axes.grid(color="0.9", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    with atomic_file(out / plot) as temporary:
        chunk = text_chunk({**settings, **made_by()})
        figure.savefig(temporary, format="png", pil_kwargs={"pnginfo": chunk})
