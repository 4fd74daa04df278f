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
    from windvane.cli.steer.wishes import Asked
    from windvane.search import Budget

_MOST = 1_000_000
_PATHS = ("like", "content", "style")


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


def steering_order(asked: "Asked", config: "Config") -> dict[str, Any]:
    """What `windvane steer` was asked for: wishes with whole paths, images, and the hash of every file."""
    from windvane.tasks.steering.measurements import split_measure

    paths = {name: [_whole(str(path)) for path in getattr(asked, name)] for name in _PATHS}
    measure = []
    for text in asked.measure:
        name, parameter, file = split_measure(text)
        head = name if not parameter else f"{name}={_whole(parameter)}"
        measure.append(f"{head}:{_whole(file)}")
        paths[text] = [_whole(file), *([_whole(parameter)] if parameter else [])]
    kind, colon, encoder = (asked.encoder or "").partition(":")
    classifier = None if asked.classifier is None else _whole(asked.classifier)
    return {
        **{name: paths[name] for name in _PATHS},
        "text": list(asked.text),
        "class": list(asked.classes),
        "measure": measure,
        "wish_weights": dict(asked.weights),
        "encoder": f"{kind}{colon}{_whole(encoder)}" if asked.encoder else None,
        "classifier": classifier,
        "trust": asked.trust,
        "files": hashes(
            [*(path for found in paths.values() for path in found), classifier or "", config.data.names or ""]
        ),
        "data": config.data.model_dump(mode="json"),
        "sample": section_values(config.sample),
    }


def asked_of(order: Mapping[str, Any]) -> "Asked":
    """The wishes of an order.

    Raises:
        ValueError: one that would open a file which may run code.
    """
    from windvane.cli.steer.wishes import Asked

    if order["trust"] is not False:
        raise ValueError(
            f"it was steered by {str(order['classifier'])[:80]} with --trust, and no picture may open a file "
            "that could run code; windvane steer with the same flags makes it again"
        )
    like, content, style = ([Path(one) for one in _texts(order[name])] for name in _PATHS)
    weights = {str(name): float(value) for name, value in order["wish_weights"].items()}
    encoder, classifier = (
        None if order[name] is None else str(order[name]) for name in ("encoder", "classifier")
    )
    text, classes, measure = (_texts(order[name]) for name in ("text", "class", "measure"))
    return Asked(text, like, content, style, classes, measure, weights, encoder, classifier)


def search_order(
    rewards: Sequence[str], section: "SampleSection", budget: "Budget", model: Path
) -> dict[str, Any]:
    """What `windvane search` was asked for, beside its method and the settings of that."""
    return {
        "model": str(model.resolve()),
        "reward": [f"like:{_whole(one[5:])}" if one.startswith("like:") else one for one in rewards],
        "sample": section_values(section),
        "budget": {"network": budget.network, "verifier": budget.verifier},
    }


def changed_files(files: Mapping[str, str]) -> list[str]:
    """Those that are gone, or whose hash is another one now."""
    return [name for name, sha256 in files.items() if hashes([name]).get(name) != sha256]


def hashes(names: Sequence[str]) -> dict[str, str]:
    """SHA-256 of those that are files."""
    return {name: file_hash(name) for name in names if name and Path(name).is_file()}


def _whole(name: str) -> str:
    """A path that is there as one that holds from anywhere; anything else as it is."""
    return str(Path(name).resolve()) if name and ":" not in name and Path(name).exists() else name


def _texts(found: Any) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise TypeError("a list of texts is none")
    return found
