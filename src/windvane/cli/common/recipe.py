"""What makes a picture: every setting, in the form in which it is written into the picture itself."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from windvane._version import __version__
from windvane.cli.common.config import check
from windvane.cli.common.sections import SampleSection

FORMAT = 1
#: Of a batch that a picture was made in.
MOST_ROWS = 65_536
#: The settings of the sampler, as opposed to which and how many pictures are asked for.
SAMPLER_SETTINGS = ("sampler", "eta", "steps", "grid", "weight", "interval", "clip", "weights")
#: What may differ between two makings of the same picture.
CIRCUMSTANCES = ("windvane", "model", "batch", "machine", "evaluations", "step")


@dataclass(frozen=True)
class Recipe:
    """The settings that all pictures of one command share, and the model they come from.

    Args:
        files: of the section's guidance, with the hash of each.
    """

    model: Path
    weights_sha256: str
    step: int
    section: SampleSection
    files: Mapping[str, str] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """The shared settings as JSON values."""
        return {
            "format": FORMAT,
            "windvane": __version__,
            "model": str(self.model.resolve()),
            "weights_sha256": self.weights_sha256,
            "step": self.step,
            **sampler_settings(self.section),
            **({"guidance_files": dict(self.files)} if self.files else {}),
        }

    def of(self, seed: int, condition: Any) -> dict[str, Any]:
        """The settings of one picture."""
        return {**self.settings(), "seed": seed, "condition": condition}


def sampler_settings(section: SampleSection) -> dict[str, Any]:
    """What of a section shapes a picture, as JSON values; an interval without end has None there."""
    from windvane.randomness import VERSION

    found = section.model_dump(mode="json", include=set(SAMPLER_SETTINGS))
    if section.guidance:
        found["guidance"] = list(section.guidance)
    if section.precision != "float32":  # pictures from before there was a choice have none
        found["precision"] = section.precision
    return {**found, "interval": finite_ends(section.interval), "randomness": VERSION}


def finite_ends(interval: Sequence[float] | None) -> list[float | None] | None:
    """An interval as JSON has it, which knows no infinity: None at an end that is none."""
    return None if interval is None else [level if math.isfinite(level) else None for level in interval]


def open_ends(interval: Any) -> Any:
    """What :func:`finite_ends` made, as it was; anything else is left to the check of the section."""
    if not isinstance(interval, list):
        return interval
    return [math.inf if level is None else level for level in interval]


def section_of(settings: Mapping[str, Any]) -> SampleSection:
    """The section that `sampler_settings` was made from; ValueError for settings of another making."""
    missing = [
        name for name in (*SAMPLER_SETTINGS, "seed", "weights_sha256", "model") if name not in settings
    ]
    if missing:
        raise ValueError(
            f"the settings inside the picture lack {', '.join(missing)}; it is not a single sample"
        )
    for name, sort in (("seed", int), ("weights_sha256", str), ("model", str)):
        if not isinstance(settings[name], sort) or isinstance(settings[name], bool):
            raise ValueError(f"the settings inside the picture are damaged: {name} is {settings[name]!r:.60}")
    if not 0 <= settings["seed"] < 2**63:
        raise ValueError(f"the settings inside the picture are damaged: seed is {settings['seed']!r:.60}")
    if settings.get("format") != FORMAT:
        raise ValueError(
            f"the settings inside the picture have format {settings.get('format')}, not {FORMAT}"
        )
    values = {name: settings[name] for name in SAMPLER_SETTINGS}
    values["interval"] = open_ends(values["interval"])
    values["precision"] = settings.get("precision", "float32")
    values["guidance"] = settings.get("guidance")
    return check({"sample": values}, where="the picture's settings").sample


def other_numbers(settings: Mapping[str, Any]) -> str | None:
    """Why the seed of a picture no longer gives the numbers that made it, or None where it does."""
    from windvane.randomness import VERSION

    told = settings.get("randomness")
    if type(told) is int and told == VERSION:
        return None
    then = "before windvane noted which" if told is None else f"when they had version {_short(told)}"
    return (
        f"it was made {then}: its seed gave other random numbers than today's (version {VERSION}), "
        "so it cannot come out the same"
    )


def batch_of(settings: Mapping[str, Any]) -> dict[str, int]:
    """The batch that a picture was made in, and its row there; alone where that is not told or senseless."""
    told = settings.get("batch")
    rows, row = (told.get("rows"), told.get("row")) if isinstance(told, dict) else (1, 0)
    if type(rows) is int and type(row) is int and 0 <= row < rows <= MOST_ROWS:
        return {"rows": rows, "row": row}
    return {"rows": 1, "row": 0}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """`name: first, not second` for every setting in which two pictures differ, circumstances left out."""
    names = [name for name in {**one, **other} if name not in CIRCUMSTANCES]
    return [
        f"{name} {_short(one.get(name))} there, {_short(other.get(name))} asked for"
        for name in names
        if one.get(name) != other.get(name)
    ]


def weights_hash(model: Path, weights: str) -> str:
    """SHA-256 over a model folder's weights and over the settings that say how they are used."""
    from windvane.checkpoint import read_description
    from windvane.checkpoint.folder import MODULES

    digest = hashlib.sha256()
    description = read_description(model)
    used = ("process", "parametrisation", "time", "sigma_data", "shape", "network")
    digest.update(json.dumps({name: description.get(name) for name in used}, sort_keys=True).encode())
    files = [(part, file) for part in (weights, MODULES) for file in sorted((model / part).rglob("*"))]
    for part, file in files:
        if file.is_file():
            digest.update(f"\n{file.relative_to(model / part).as_posix()}\n".encode())
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else text[:20] + "…"
