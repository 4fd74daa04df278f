"""How many files each kind of addition touches.

    python examples/plugin/touched.py

One line a row of the package: kind, name, its own file, and every other file that knows of it: files of the
package that import it, and files of the installed library that name this package at all. The exit status is
1 where there is one. The row itself, a test and a page come on top.
"""

import ast
import importlib.util
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "src" / "windvane_example"


def imports(path: Path) -> set[str]:
    """The names of modules that a file imports, and the last parts of what it imports from them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {part for alias in node.names for part in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom):
            found |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
    return found


def main() -> int:
    sys.path.insert(0, str(PACKAGE.parent))
    from windvane_example.rows import ROWS

    from windvane.registry import KINDS

    library = Path(importlib.util.find_spec("windvane").origin).parent
    knowing = [p for p in library.rglob("*.py") if PACKAGE.name in p.read_text(encoding="utf-8")]
    status = 0
    for row in ROWS:
        module = row.target.partition(":")[0].rpartition(".")[2]
        own = PACKAGE / f"{module}.py"
        others = [*knowing, *(p for p in PACKAGE.glob("*.py") if p != own and module in imports(p))]
        status |= bool(others) or not own.is_file()
        told = ", ".join(path.name for path in others) or "no other file"
        print(f"{row.kind:<11} {row.name:<10} {own.name:<14} {told}")
    print(f"{len({row.kind for row in ROWS})} of the {len(KINDS)} kinds of the registry")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
