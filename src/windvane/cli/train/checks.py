"""May a training be started, or continued, in this folder?"""

from pathlib import Path
from typing import Any

from windvane.cli.common.config import Config, check, checked_yaml, read_yaml
from windvane.cli.common.suggestions import listed
from windvane.damage import read_json
from windvane.runs import RUN

#: Settings that may change when a run continues: they do not shape what was done so far.
_FREE = {"steps", "compile", "log_every", "sample_every", "checkpoint_every", "trackers", "annotation"}


def check_run_folder(out: Path, *, resume: bool) -> dict[str, Any]:
    """The settings to continue with, {} for a new run.

    Raises:
        ValueError: a file in the place of the folder, a run that would be overwritten, nothing to resume.
    """
    RUN.check(out)
    started = (out / "state" / "LATEST").exists()
    config = out / "config.yaml"
    if started and not resume:
        raise ValueError(f"{out} holds a run already; --resume continues it, another --out starts a new one")
    if not resume:
        return {}
    if not config.is_file():
        raise ValueError(f"there is no run to resume in {out}: it has no config.yaml")
    return checked_yaml(config)


def check_same_run(out: Path, config: Config) -> None:
    """Refuse settings that would make the rest of the run another one than its beginning."""
    before = _flat(check(read_yaml(out / "config.yaml")).model_dump(mode="json"))
    now = _flat(config.model_dump(mode="json"))
    given = config.train.annotation
    if given is not None and before.get("train.annotation") != given:
        _check_same_annotation(Path(given), out / "annotations")
    changed = [
        f"{name} ({before.get(name)!r} so far, {now[name]!r} now)"
        for name in now
        if before.get(name) != now[name] and _matters(name)
    ]
    if changed:
        raise ValueError(f"a resumed run keeps its settings; changed: {listed(changed)}; use another --out")


def _check_same_annotation(given: Path, kept: Path) -> None:
    """Refuse another annotation than the one that the run keeps and goes on with; it may have moved."""
    for name in ("annotation.json", "regions.json"):
        told = [read_json(folder / name) if (folder / name).is_file() else {} for folder in (kept, given)]
        if told[0] and told[0].get("tensors") != told[1].get("tensors"):
            raise ValueError(
                f"a resumed run keeps its annotation, {kept}, and {given} is another one; use another --out"
            )


def _matters(name: str) -> bool:
    section, _, setting = name.partition(".")
    if section in ("data", "model", "process", "annotate"):
        # Images may move: the training state knows them by their content.
        return setting not in ("strict", "cache", "source")
    return section == "train" and setting not in _FREE


def _flat(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return flat
