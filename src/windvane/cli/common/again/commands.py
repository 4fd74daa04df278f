"""The command that makes a picture or a page again, as one line for a shell; nothing of it is run here."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from html import unescape
from pathlib import Path
from typing import Any

from windvane.cli.common.config import check, write_yaml
from windvane.damage import reading
from windvane.files import atomic_write_text
from windvane.terminal_text import escaped
from windvane.yaml_text import read_tree

#: The commands that leave pictures or pages.
MAKERS = (
    *("demo", "annotate", "train", "sample", "steer", "search"),
    *("compare-solvers", "stitch", "evaluate", "report"),
)
_MOST_WORDS, _LONGEST = 1000, 10_000
_LARGEST_HEAD = 1 << 16


def command_again(made: Path, told: Mapping[str, Any], out: Path) -> str:
    """One line that makes `made` again in a new folder below `out`, wherever it is given.

    The configuration of a training is written into `out` first, of as many steps as the picture shows.

    Args:
        told: ``command``, and for a training ``config`` and ``step``, as the picture or page holds them.

    Raises:
        ValueError: damaged settings, or a file of another configuration in the way.
    """
    with reading(made):
        words, folder = _checked(told["command"])
    target = (out / made.stem).resolve()
    if "config" in told:
        words = ["train", "--config", str(_config(made, told, out).resolve())]
    if words[0] != "report":  # which only replaces its own page
        words = [words[0], "--out", str(target), *_anew(words[1:])]
    return f"cd {shlex.quote(folder)} && {shlex.join(['windvane', *words])}"


def page_command(page: Path) -> dict[str, Any]:
    """``{"command": ...}`` of a page that a command wrote.

    Raises:
        ValueError: a page of another program, of an earlier version, or from Python.
    """
    from windvane.report.page import COMMAND

    with page.open("rb") as opened:
        head = opened.read(_LARGEST_HEAD).decode("utf-8", "replace")
    found = re.search(rf"<meta name='{COMMAND}' content='([^']*)'>", head)
    if found is None:
        raise ValueError(f"{page} does not say which command made it")
    with reading(page):
        return {"command": json.loads(unescape(found[1]))}


def _checked(command: Any) -> tuple[list[str], str]:
    words, folder = command["words"], command["folder"]
    texts = [*words, folder]
    if not isinstance(words, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("its command is no list of words")
    if len(words) > _MOST_WORDS or sum(map(len, texts)) > _LONGEST:
        raise ValueError("its command is longer than any")
    if any(escaped(text) != text for text in texts):
        raise ValueError("its command has control characters")
    if not words or words[0] not in MAKERS:
        raise ValueError(f"it names no command of windvane: {' '.join(words)!r:.60}")
    return list(words), folder


def _config(made: Path, told: Mapping[str, Any], out: Path) -> Path:
    """The configuration of a training as a file."""
    with reading(made):
        tree, step = read_tree(told["config"]), int(told["step"])
        # Weights do not depend on the steps that were planned.
        tree["train"] |= {"steps": step, "sample_every": step}
    text = write_yaml(check(tree, where=str(made)))
    path = out / f"{made.stem}.yaml"
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
        raise ValueError(f"{path} is another configuration; name another --out")
    out.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, text)
    return path


def _anew(words: Sequence[str]) -> list[str]:
    """The words without an --out of their own, and without --resume, which a new folder has nothing for."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*kept, word, *rest]
        if word == "--out":
            next(rest, None)
        elif word != "--resume" and not word.startswith("--out="):
            kept.append(word)
    return kept
