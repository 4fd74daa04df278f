"""The folder of a run: everything a training leaves behind, in files that need no service to be read.

=================  ===================================================================================
config.yaml        what was asked for
status.json        where the run stands: state, step, a message
model/             the weights, raw and averaged, for ``windvane.load``
annotations/       fitted annotators and the signals they gave
state/             training state: step-XXXXXXXX/ folders and LATEST, the name of the newest complete one
metrics.jsonl      one JSON object a line; metrics.csv holds the same numbers as a table
samples/           pictures written on the way
report.html        the report
=================  ===================================================================================
"""

import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from windvane.damage import reading
from windvane.files import (
    FolderKind,
    atomic_folder,
    atomic_write_json,
    atomic_write_text,
    recover_folder,
)
from windvane.folders import OutputKind, claimed, note_files
from windvane.hashes import EDITED, is_edited, read_sealed, sealed, sealed_text
from windvane.locks import make_folder
from windvane.metrics_log import MetricsLog
from windvane.yaml_text import read_tree

_KEPT_STATES = 2
#: What a training leaves in a folder of ``state/``; others are neither replaced nor cleared away.
STATE = FolderKind("a training state", {"state.json": ("format", "step", "settings")}, ("state.pt",))

#: What a run holds beside its folders ``model/``, ``annotations/`` and ``state/step-XXXXXXXX/``.
RUN = OutputKind(
    "run",
    "a run",
    ("config.yaml", "scan.json", "status.json", "metrics.jsonl", "metrics.csv", "state/LATEST")
    + ("samples/step-*.png",),
    {
        "status.json": ("state", "step", "steps"),
        "model/windvane.json": ("format", "weights"),
        "annotations/annotation.json": ("format", "n", "data"),
        "annotations/regions.json": ("format", "n", "data"),
    },
    {
        "config.yaml": (b"data:", b"train:"),
        "scan.json": (b'"readable"', b'"unreadable"'),
        "metrics.jsonl": (b'{"step": ',),
        "metrics.csv": (b"step,",),
        "state/LATEST": (b"step-",),
    },
)


class Run:
    """A run folder, created if it is missing.

    Args:
        path: the folder.
        create: with False a missing folder is a ValueError instead.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"a run needs a folder, but {str(self.path)!r} is a file")
        self._made = make_folder(self.path) if create else []
        if not self.path.is_dir():
            raise ValueError(f"there is no run folder at {str(self.path)!r}")
        self._held = False
        #: Called once when a training has taken the run's lock and its newest state fits: writes the config.
        self.when_opened: Callable[[], None] | None = None
        self.model = self.path / "model"
        self.annotations = self.path / "annotations"
        self.state = self.path / "state"
        self.samples = self.path / "samples"
        self.report = self.path / "report.html"
        self.config = self.path / "config.yaml"
        self.metrics = MetricsLog(self.path / "metrics.jsonl", self.path / "metrics.csv")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def write_config(self, settings: Mapping[str, Any]) -> None:
        """Write ``config.yaml`` at once, keys in the order given.

        Raises:
            ValueError: somebody else's file is there, or a folder with what no training put there.
        """
        import yaml

        text = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
        note_files(self.path, RUN, [self.config.name])
        atomic_write_text(self.config, sealed_text(text))

    def read_config(self) -> dict[str, Any]:
        """The contents of ``config.yaml``; ``{}`` if there is none.

        Users may edit it, so a text that is not the one written is told of in a warning and used.

        Raises:
            ValueError: not UTF-8, not YAML, or no mapping.
        """
        import yaml

        if not self.config.exists():
            return {}
        with reading(self.config):
            text = self.config.read_text(encoding="utf-8")
        try:
            settings = read_tree(text) or {}
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise ValueError(f"{self.config} is not valid YAML: {error}") from error
        if is_edited(text):
            warnings.warn(f"{self.config} {EDITED}", stacklevel=2)
        if not isinstance(settings, dict):
            raise ValueError(f"{self.config} must hold a mapping of settings, got {type(settings).__name__}")
        return settings

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add one row to metrics.jsonl and metrics.csv; NaN and infinities are written as empty."""
        self.metrics.append(row)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows written so far; a last line torn by a crash is left out."""
        return self.metrics.read()

    def write_status(self, state: str, *, step: int, steps: int, message: str = "") -> None:
        """Say where the run stands: state "running", "interrupted", "failed" or "finished"."""
        told = {"state": state, "step": step, "steps": steps, "message": message}
        note_files(self.path, RUN, ["status.json"])
        atomic_write_json(self.path / "status.json", sealed(told))

    def read_status(self) -> dict[str, Any] | None:
        """What :meth:`write_status` wrote last, or None."""
        path = self.path / "status.json"
        return read_sealed(path, remedy="delete it, the next training writes it") if path.exists() else None

    @contextmanager
    def save_state(self, step: int) -> Iterator[Path]:
        """Yield a folder for the training state after ``step`` steps; it counts when the block has ended.

        The folder is renamed into place, then LATEST is pointed to it, then all states but the last two go.
        A state holds ``state.json`` and ``state.pt``; folders with anything else are left alone.
        """
        final = self.state / f"step-{step:08d}"
        with atomic_folder(final, STATE) as temporary:
            yield temporary
        atomic_write_text(self.state / "LATEST", final.name + "\n")
        own = sorted(path for path in self.state.glob("step-*") if STATE.owns(path))
        kept = [path for path in own if path.name <= final.name][-_KEPT_STATES:]
        for path in own:
            if path not in kept:
                shutil.rmtree(path)

    def latest_state(self) -> Path | None:
        """The folder of the newest complete training state, or None if nothing was saved yet."""
        pointer = self.state / "LATEST"
        if pointer.exists():
            # By its form only: a damaged name must not lead anywhere else.
            found = re.fullmatch(rb"(step-\d{8,})\n?", pointer.read_bytes())
            named = recover_folder(self.state / found[1].decode()) if found else None
            if named is not None and named.is_dir():
                return named
        complete = sorted(path for path in self.state.glob("step-*") if path.is_dir())
        return complete[-1] if complete else None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for writing; a second writer gets a ValueError that names the first.

        Whoever holds this object's lock may take it again: a command holds it from before its first byte.
        """
        if self._held:
            yield
            return
        with claimed(self.path, RUN, what="the run", made=self._made):
            note_files(self.path, RUN, RUN.files)
            self._held = True
            try:
                yield
            finally:
                self._held = False
