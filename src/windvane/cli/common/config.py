"""The configuration of a run: presets, a YAML file, flags and `--set` merged, then checked.

Later wins: defaults, `--preset` (or `preset:` in a file), the configuration of an earlier run, `--config
FILE`, flags, `--set`. Configuration objects exist only in this room; the library takes plain arguments.
"""

import copy
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from windvane.cli.common.config_errors import explain_validation
from windvane.cli.common.sections import (
    AnnotateSection,
    DataSection,
    EvaluateSection,
    ModelSection,
    ProcessSection,
    SampleSection,
    TrainSection,
)
from windvane.cli.common.sections.base import Section
from windvane.cli.common.suggestions import suggestion
from windvane.damage import Damaged
from windvane.hashes import EDITED, is_edited
from windvane.registry import find, known_names
from windvane.yaml_text import read_tree

#: Data that come with the library; a folder of such a name is given as ./digits.
EMBEDDED = ("digits", "natural")


class Config(Section):
    """Everything a run can be told."""

    preset: str | None = Field(default=None, description="the preset this started from")
    data: DataSection = DataSection()
    annotate: AnnotateSection = AnnotateSection()
    model: ModelSection = ModelSection()
    process: ProcessSection = ProcessSection()
    train: TrainSection = TrainSection()
    sample: SampleSection = SampleSection()
    evaluate: EvaluateSection = EvaluateSection()


def make_config(
    *,
    base: Mapping[str, Any] | None = None,
    file: Path | None = None,
    preset: str | None = None,
    flags: Mapping[str, Any] | None = None,
    settings: Iterable[str] = (),
) -> Config:
    """Merge all sources into a checked configuration.

    Args:
        base: settings of an earlier run, which everything else goes over.
        file: YAML file with any of the sections.
        preset: name of a preset; wins over the file's own `preset:`.
        flags: dotted path -> value; None means that the flag was not given.
        settings: `a.b=value` strings of `--set`, values in YAML.
    Raises:
        ValueError: one line that names the path of the offending setting and what would work.
    """
    tree = copy.deepcopy(dict(base or {}))
    _anchor(tree)
    before = copy.deepcopy(tree.get("data"))
    tree = merged(tree, read_yaml(file)) if file is not None else tree
    for dotted, value in (flags or {}).items():
        if value is not None:
            put(tree, dotted.split("."), value)
    named = (flags or {}).get("data.names") is not None
    for text in settings:
        path, value = parse_setting(text)
        put(tree, path, value)
        named |= path == ["data", "names"]
    _anchor(tree)
    if not named:
        _drop_names(tree.get("data"), before)
    name = preset or tree.get("preset")
    if name is not None:
        known = known_names("preset")
        if name not in known:
            raise ValueError(f"unknown preset {name!r}{suggestion(str(name), known)}")
        tree = merged(_start(find("preset", name).make(), tree), tree) | {"preset": name}
    return check(tree)


def _start(preset: Mapping[str, Any], tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """The preset, without the sizes of its network where another network is asked for."""
    model = tree.get("model")
    asked = model.get("type") if isinstance(model, dict) else None
    if asked is None or asked == preset["model"]["type"]:
        return preset
    return {**preset, "model": {"prediction": preset["model"]["prediction"]}}


def _anchor(tree: Mapping[str, Any]) -> None:
    """Make the paths of the data absolute in place, so that a run can be continued from anywhere."""
    data = tree.get("data")
    if not isinstance(data, dict):
        return
    if isinstance(data.get("names"), str) and Path(data["names"]).exists():
        data["names"] = str(Path(data["names"]).resolve())
    source = data.get("source")
    if not isinstance(source, str):
        return
    if source not in EMBEDDED and ":" not in source and Path(source).exists():
        data["source"] = str(Path(source).resolve())


def _drop_names(data: Any, before: Any) -> None:
    """Forget in place the list of names that an earlier run had for other data."""
    if isinstance(data, dict) and isinstance(before, dict) and data.get("names") == before.get("names"):
        if data.get("source") != before.get("source"):
            data.pop("names", None)


def check(tree: Mapping[str, Any], *, where: str | None = None) -> Config:
    """A checked configuration from plain data, or ValueError in one line."""
    # `train:` with nothing under it is an empty section, as a reader of the file would expect.
    filled = {key: {} if value is None and key != "preset" else value for key, value in tree.items()}
    try:
        return Config.model_validate(filled)
    except ValidationError as error:
        prefix = f"{where}: " if where else ""
        raise ValueError(prefix + explain_validation(error, Config)) from None


def read_yaml(file: Path, *, left: bool = False) -> dict[str, Any]:
    """The mapping in a YAML file, which a command left there or which a user wrote."""
    if not file.is_file():
        raise ValueError(f"configuration file not found: {file}")
    try:
        text = file.read_text(encoding="utf-8")
        tree = read_tree(text)
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not a text file in UTF-8") from None
    except RecursionError:
        raise ValueError(f"{file} is not YAML that can be read: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError, AttributeError, TypeError) as error:  # PyYAML raises these, too
        raise ValueError(f"{file} is not YAML: {error}") from None
    if is_edited(text, left=left):
        warnings.warn(f"{file} {EDITED}", stacklevel=2)
    if tree is None:
        warnings.warn(f"{file} holds no settings", stacklevel=2)
        return {}
    if not isinstance(tree, dict):
        raise ValueError(f"{file} must hold sections such as `train:`, got {type(tree).__name__}")
    return tree


def checked_yaml(file: Path) -> dict[str, Any]:
    """The settings that a command left in a file, checked, so that what is wrong is said of that file."""
    settings = left_yaml(file)
    check(settings, where=str(file))
    return settings


def left_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file that a command wrote, and so never wrote empty."""
    settings = read_yaml(file, left=True)
    if not settings:
        raise Damaged(file, "it holds no settings", "write it again, or remove it and give the settings anew")
    return settings


def write_yaml(config: Config) -> str:
    """The configuration as YAML that `--config` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def parse_setting(text: str) -> tuple[list[str], Any]:
    """`a.b=value` -> (["a", "b"], value); the value is YAML."""
    path, equals, value = text.partition("=")
    parts = path.strip().split(".")
    if not equals or not all(parts):
        raise ValueError(f"--set needs section.name=value, got {text!r}")
    try:
        return parts, read_tree(value)
    except (yaml.YAMLError, RecursionError):
        raise ValueError(f"--set {path}: the value is not YAML: {value!r}") from None


def put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    """Set `tree[a][b]... = value` in place, making the mappings on the way."""
    for part in path[:-1]:
        inner = tree.get(part)
        if not isinstance(inner, dict):
            inner = {}
            tree[part] = inner
        tree = inner
    tree[path[-1]] = value


def merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `top` over it, mapping by mapping."""
    both = dict(base)
    for key, value in top.items():
        inner = both.get(key)
        both[key] = (
            merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
        )
    return both
