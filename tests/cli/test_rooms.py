"""How the files of the command line may use each other."""

import ast
from pathlib import Path

import pytest

import windvane.cli
from tests.test_house import code_lines, dotted

ROOM = Path(windvane.cli.__file__).parent
FILES = sorted(ROOM.rglob("*.py"))
MOST_LINES = 60


def module_of(path):
    return ".".join(["windvane.cli", *path.relative_to(ROOM).with_suffix("").parts]).removesuffix(".__init__")


def used(path):
    """Modules of the command line that a file imports at any time, types aside."""
    waiting, found = list(ast.parse(path.read_text()).body), set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and dotted(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("windvane.cli"):
            found.add(node.module)
        waiting.extend(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOM)))
def test_a_file_is_small_and_imports_its_own_command_or_what_all_share(path):
    text = path.read_text()
    long = [
        f"{node.name}: {code_lines(node, text)}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and code_lines(node, text) > MOST_LINES
    ]
    assert not long, f"more than {MOST_LINES} lines of code: {long}"
    own = path.relative_to(ROOM).parts[0]
    foreign = [name for name in used(path) if name.split(".")[2:3] not in ([own], ["common"], [])]
    assert not foreign or own in ("app.py", "__init__.py"), (
        f"what several commands need belongs to cli/common: {foreign}"
    )


def test_no_two_files_import_each_other():
    graph = {module_of(path): used(path) for path in FILES}

    def beyond(name, seen):
        for other in graph.get(name, ()):
            if other not in seen:
                seen.add(other)
                beyond(other, seen)
        return seen

    assert not {name for name in graph if name in beyond(name, set())}
