"""What was asked of a command, written into its pictures in a form that asks for the same once more.

Nothing in a picture may run code: a classifier opened with `--trust` and a reward in a Python file are named
in the settings, and refused when the picture is made again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.config import check
from windvane.cli.common.recipe import finite_ends, open_ends
from windvane.hashes import file_hash

if TYPE_CHECKING:
    from windvane.cli.common.config import Config
    from windvane.cli.common.sections import SampleSection

_MOST = 1_000_000


def section_values(section: "SampleSection") -> dict[str, Any]:
    """A whole section as JSON values; an interval without end has None there."""
    return {**section.model_dump(mode="json"), "interval": finite_ends(section.interval)}


def config_of(order: Mapping[str, Any]) -> "Config":
    """The sections `sample` and, where it is there, `data` of an order; of at most a million pictures."""
    values = {**order["sample"], "interval": open_ends(order["sample"].get("interval"))}
    made = check({"sample": values, "data": order.get("data") or {}}, where="the picture's settings")
    if max(made.sample.n, made.sample.steps, made.sample.batch_size) > _MOST:
        raise ValueError(f"more than {_MOST:,} pictures or steps")
    return made


def changed_files(files: Mapping[str, str]) -> list[str]:
    """Those that are gone, or whose hash is another one now."""
    return [name for name, sha256 in files.items() if hashes([name]).get(name) != sha256]


def hashes(names: Sequence[str]) -> dict[str, str]:
    """SHA-256 of those that are files."""
    return {name: file_hash(name) for name in names if name and Path(name).is_file()}


def whole(name: str) -> str:
    """A path that is there as one that holds from anywhere; anything else as it is."""
    return str(Path(name).resolve()) if name and ":" not in name and Path(name).exists() else name
