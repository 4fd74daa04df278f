"""The documentation is true: its Python runs, its commands exist, its links lead somewhere."""

import os
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```", re.DOTALL | re.MULTILINE
)
LINK = re.compile(r"\[[^\]]*\]\((?!https?://|#|mailto:)([^)#\s]+)[^)]*\)")


def name_of(page):
    return str(page.relative_to(ROOT))


def blocks(page, language):
    """The fenced blocks of one language, each with the line that it starts on."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        if found["language"] == language:
            yield text.count("\n", 0, found.start()) + 2, found["code"]


def run(page):
    """Execute a page's Python blocks in order, as one program. Line numbers in a traceback are the page's."""
    namespace = {"__name__": "__main__"}
    for line, code in blocks(page, "python"):
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", [page for page in PAGES if list(blocks(page, "python"))], ids=name_of)
def test_python_on_the_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(page)


def test_a_wrong_block_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text\n\n```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError) as caught:
        run(page)
    assert caught.traceback[-1].lineno + 1 == 8, "the traceback should name the line of the page"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    missing = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert not missing, f"{name_of(page)} links to {missing}"


def command_lines():
    """Every `windvane ...` line in the pages, with continued lines joined and comments removed."""
    for page in PAGES:
        for line, code in blocks(page, "sh"):
            for row in code.replace("\\\n", " ").splitlines():
                words = shlex.split(row, comments=True)
                if "windvane" in words[:1]:
                    yield pytest.param(words[1:], id=f"{name_of(page)}:{line}: {' '.join(words)}")


@pytest.mark.parametrize("words", command_lines())
def test_commands_on_the_page_exist(words):
    from typer.main import get_command

    from windvane.cli import app

    group = get_command(app)
    while words and words[0] in ("--quiet", "--debug"):
        words = words[1:]
    if words and words[0] in ("--version", "--help"):
        return
    command = group.get_command(None, words[0])
    assert command is not None, f"no such command; there are {group.list_commands(None)}"
    # Parses the line as the program would, and runs nothing.
    command.make_context(words[0], list(words[1:]), resilient_parsing=False)


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w/-]+\.md", text))
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert named == pages


def test_the_readme_names_the_command_that_the_integration_runs():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.search(r"^exec make test\b", script.read_text(encoding="utf-8"), re.MULTILINE)
    targets = re.findall(r"^make (\w+)$", readme, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_figures_in_the_readme_name_their_command():
    """Between the markers stand measured figures and the command that prints them, or nothing."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    inside = readme.split("<!-- demo figures: begin -->")[1].split("<!-- demo figures: end -->")[0]
    assert not inside.strip() or "make demo" in inside or "reproductions/" in inside


@pytest.mark.parametrize("name", ["torchvision", "nvidia"])
def test_constraints_stay_clear_of_what_breaks_installs(name):
    assert name not in (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_constraints_are_exact_and_name_no_place():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = [row for row in text.splitlines() if row and not row.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    assert "torch==2.13.0" in pins
    assert "://" not in text and "windvane" not in "\n".join(pins)
