"""Names with control characters: shown on standard output and in pages, never obeyed."""

import ast
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import windvane.cli
from windvane.cli import app
from windvane.cli.common.console import print_table, tell
from windvane.pictures import save_png, to_picture
from windvane.progress import track
from windvane.report import Report, table
from windvane.report.parts import cards, figure, image, note
from windvane.report.text import plain

EVIL = "a\x1b]0;owned\x07\x9b2J\u202eb\x7f"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]")
#: Modules that print what is no line for people: JSON, tables, standard error.
OTHERS = {"app.py", "common/console.py", "common/errors.py", "doctor/checks.py", "doctor/command.py"}
OTHERS |= {"papers/command.py"}


def test_a_line_of_output_is_one_line_without_control_characters(capsys):
    tell(f"\n{EVIL}\nforged: a line\udcff")
    print_table(["name", EVIL], [[EVIL, "1"], ["x\ny", "2"]])
    found = capsys.readouterr().out
    assert not OBEYED.search(found) and found.count("\n") == 5 and "\\x1b]0;owned" in found


@pytest.mark.parametrize("terminal", [True, False])
def test_descriptions_of_bars_are_not_obeyed(capsys, monkeypatch, terminal):
    monkeypatch.setenv("WINDVANE_PROGRESS", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    times = iter(range(0, 1000, 20))
    monkeypatch.setattr("windvane.progress.time.monotonic", lambda: next(times))
    assert list(track(range(3), EVIL)) == [0, 1, 2]
    found = capsys.readouterr().err
    assert "\\x1b]0;owned" in found and "\x1b]" not in found and "\u202e" not in found and "\x07" not in found


def test_pages_show_control_characters():
    page = Report(EVIL, subtitle=EVIL)
    pieces = [table([EVIL], [[EVIL]]), note(EVIL), cards([(EVIL, EVIL, "")]), figure("", EVIL)]
    page.section(EVIL, *pieces, image(np.zeros((1, 2, 2)), title=EVIL), intro=EVIL)
    assert not OBEYED.search(page.html()) and "\\x1b]0;owned" in page.html()
    assert plain("<'\n\udcff") == "&lt;&#x27;\n\\udcff"


def test_commands_print_through_tell():
    room = Path(windvane.cli.__file__).parent
    for file in sorted(room.rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        bare = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert file.relative_to(room).as_posix() in OTHERS or not bare, (
            f"{file}: print() in lines {bare}: use console.tell"
        )


def test_a_folder_with_such_a_name_is_annotated_without_obeying_it(tmp_path, monkeypatch):
    monkeypatch.setenv("WINDVANE_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for row in range(24):
        folder = tmp_path / f"{EVIL}s" / f"{row % 2}{EVIL}"
        folder.mkdir(parents=True, exist_ok=True)
        save_png(to_picture(rng.integers(0, 255, (1, 8, 8), dtype=np.uint8)), folder / f"{EVIL}{row}.png")
    out = tmp_path / f"out{EVIL}"
    words = ["annotate", str(tmp_path / f"{EVIL}s"), "--out", str(out), "--k", "2", "--features", "pca:2"]
    made = CliRunner().invoke(app, words)
    assert made.exit_code == 0, made.output
    pages = list(tmp_path.rglob("*.html"))
    assert pages and not OBEYED.search(made.stdout)
    for page in pages:
        assert not OBEYED.search(page.read_text()), page
