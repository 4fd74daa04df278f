"""Reports: one self-contained HTML page, with nothing fetched from anywhere.

`Report(title).section(title, html)` composes a page from small pieces of HTML (`table`, `images_row`,
`cards`, `figure`, ...); `run_report(path)` writes the page of a run and `annotation_report(data)` that of
an annotation.
"""

from typing import Any

from windvane.report.page import Report
from windvane.report.parts import bar, cards, facts, figure, image, images_row, note, picture, table
from windvane.report.plots import curves

__all__ = [
    "Report",
    "annotation_report",
    "bar",
    "cards",
    "curves",
    "facts",
    "figure",
    "image",
    "images_row",
    "note",
    "picture",
    "run_report",
    "table",
]


def __getattr__(name: str) -> Any:
    if name == "run_report":  # needs torch and the whole library; the builder above does not
        from windvane.report.run import run_report

        return run_report
    if name == "annotation_report":
        from windvane.report.annotation import annotation_report

        return annotation_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
