"""A row of the registry."""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Any

#: What has names, and what a row of it leads to.
KINDS = MappingProxyType(
    {
        "sampler": "a class derived from windvane.samplers.Sampler",
        "grid": "a function (process, steps) -> times (steps + 1,), float64, from noise to data",
        "guidance": "a class or function (denoiser or sampler, **options) -> the same kind, guided",
        "energy": "a class or function (**options) -> windvane.energies.Energy",
        "process": "a class derived from windvane.process.Process",
        "network": "a class derived from windvane.networks.Network",
        "signal": "a class derived from windvane.networks.Signal",
        "command": "a typer function, which windvane NAME calls",
        "architecture": "a class or its method (shape, vector, ...) -> network, with its sizes as settings",
        "preset": "a function () -> settings of a run, by section",
        "objective": "a class whose instances are (model, batch, keys) -> loss (B,)",
        "corruption": "a class whose instances are (batch, keys) -> windvane.training.Corrupted",
        "model": "a class derived from windvane.checkpoint.ModelKind",
        "annotator": "a class derived from windvane.annotate.regions.RegionRule: boxes:NAME, masks:NAME",
        "features": "a feature extractor of images, derived from windvane.annotate.features.FeatureExtractor",
    }
)


@dataclass(frozen=True)
class Option:
    """One setting of a named thing: its name, its type as text, its default; ``required`` has none."""

    name: str
    type: str
    default: Any = None
    required: bool = False


@dataclass(frozen=True)
class Row:
    """A name, and where what it names stands.

    Args:
        kind: one of :data:`KINDS`.
        name: lower case, without spaces.
        target: ``"module:Class"``; imported by :meth:`load`, and never because a file says so.
        help: one line.
        settings: options that differ from the target's own defaults under this name.
        also: other names of the same, such as the one in checkpoints.
        value: the class itself, where only this process knows it.
    """

    kind: str
    name: str
    target: str
    help: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    value: Any = field(default=None, compare=False, repr=False)

    @property
    def stored(self) -> str:
        """The name in files, which outlive others."""
        return self.also[0] if self.also else self.name

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r} of {self.name!r}; known: {', '.join(KINDS)}")
        module, colon, attribute = self.target.partition(":")
        if not (module and colon and attribute):
            raise ValueError(f"the {self.kind} {self.name!r} is a 'module:Class', not {self.target!r}")

    def load(self) -> Any:
        """The class or function itself.

        Raises:
            ValueError: nothing can be imported there.
        """
        if self.value is not None:
            return self.value
        module, _, attribute = self.target.partition(":")
        try:
            return attrgetter(attribute)(importlib.import_module(module))
        except (ImportError, AttributeError) as error:
            raise ValueError(f"the {self.kind} {self.name!r} cannot be opened: {error}") from error

    def make(self, *given: Any, **options: Any) -> Any:
        """What the target gives for ``given`` and the row's settings, with ``options`` over them."""
        return self.load()(*given, **{**self.settings, **options})

    def options(self) -> dict[str, Option]:
        """The settings of the target by name, with the defaults that hold under this name."""
        found = {}
        for parameter in inspect.signature(self.load()).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            required = parameter.default is parameter.empty and parameter.name not in self.settings
            default = None if required else self.settings.get(parameter.name, parameter.default)
            found[parameter.name] = Option(parameter.name, _type(parameter.annotation), default, required)
        return found


def _type(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
