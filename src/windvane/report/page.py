"""The page: a title, a table of contents, and sections of HTML."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from windvane._version import __version__
from windvane.files import atomic_write_text
from windvane.invocation import made_by
from windvane.report.style import STYLE
from windvane.report.text import plain

#: The name under which a page holds its command, as JSON.
COMMAND = "windvane-command"


@dataclass
class Report:
    """A self-contained HTML page, built section by section.

    Example:
        >>> page = Report("Digits", subtitle="30 clusters").section("Numbers", table(["metric"], [["1.3"]]))
        >>> page.write("report.html")

    Args:
        title: heading of the page (plain text).
        subtitle: one line under it (plain text).
    """

    title: str
    subtitle: str = ""
    _sections: list[tuple[str, str, str]] = field(default_factory=list)

    def section(self, title: str, *pieces: str, intro: str = "") -> "Report":
        """Append a section of HTML `pieces` under a heading; `intro` is plain text. Returns the page."""
        body = (f"<p class='intro'>{plain(intro)}</p>" if intro else "") + "\n".join(pieces)
        self._sections.append((_anchor(title, len(self._sections)), title, body))
        return self

    def html(self) -> str:
        """The whole page."""
        links = " ".join(f"<a href='#{key}'>{plain(title)}</a>" for key, title, _ in self._sections)
        parts = [
            f"<section id='{key}'><h2>{plain(title)}</h2>\n{body}\n</section>"
            for key, title, body in self._sections
        ]
        subtitle = f"<p class='subtitle'>{plain(self.subtitle)}</p>" if self.subtitle else ""
        return (
            "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
            "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
            f"{_command()}<title>{plain(self.title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
            f"<header><h1>{plain(self.title)}</h1>{subtitle}<nav>{links}</nav></header>\n"
            f"<main>\n{chr(10).join(parts)}\n</main>\n"
            f"<footer>Made by windvane {__version__}. This page is complete: it loads nothing.</footer>\n"
            "</body>\n</html>\n"
        )

    def write(self, path: str | Path) -> Path:
        """Write the page at once and return its path."""
        path = Path(path)
        atomic_write_text(path, self.html())
        return path


def _command() -> str:
    """The command that makes the page, for `windvane sample --again PAGE`."""
    made = made_by()
    text = plain(json.dumps(made["command"], ensure_ascii=False)) if made else ""
    return f"<meta name='{COMMAND}' content='{text}'>\n" if made else ""


def _anchor(title: str, number: int) -> str:
    return f"{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-') or 'section'}-{number}"
