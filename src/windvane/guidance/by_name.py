"""Guidance by registered names, several joined, as settings and commands give it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from torch import Tensor

from windvane.denoiser import Denoiser
from windvane.energies import Energy
from windvane.guidance.weights import Schedule, as_schedule, interval
from windvane.operators import Measured
from windvane.registry import find, known_names
from windvane.samplers import Sampler
from windvane.yaml_text import read_tree

#: Options that hold files: a name of it -> what opens one.
Openers = Mapping[str, Callable[[str], Any]]
_DENOISER, _CLASSIFIER, _MEASUREMENT, _ENERGY = "denoiser", "classifier", "measurement", "energy"
_WINDOW = "window"
_HELD = {Denoiser: _DENOISER, Energy: _ENERGY, Measured: _MEASUREMENT, tuple[float, float]: _WINDOW}


@dataclass(frozen=True)
class Named:
    """One guidance by name: ``name`` or ``name:option=value,option=value``; or an energy by name.

    A guidance by an energy (``energy``, ``kicked``) is given its name among the options, with the value of
    its first option that is no file, and its other options: ``energy:class=3,classifier=FILE,weight=2``.

    Args:
        options: as text, checked against the signature of what the name stands for.
        kinds: what each known option holds: "denoiser", "classifier", "measurement", "energy", "window",
            "schedule", "number" or "value".
        required: options without a default.
        wraps: "denoiser" or "sampler", and None for an energy.
        energy: the energy that it is by.
    """

    name: str
    options: Mapping[str, str]
    kinds: Mapping[str, str]
    required: tuple[str, ...]
    wraps: str | None
    energy: "Named | None" = None

    @classmethod
    def read(cls, text: str) -> "Named":
        """A guidance from its text.

        Raises:
            ValueError: no registered guidance or energy, or an option that it does not have.
        """
        name, _, rest = text.partition(":")
        return cls._of("guidance", name, rest.split(",") if rest else ())

    @classmethod
    def _of(cls, what: str, name: str, parts: Sequence[str]) -> "Named":
        kinds, required, wraps = _signature(what, name)
        given: dict[str, str] = {}
        others: list[str] = []
        for part in parts:
            option, equals, value = (word.strip() for word in part.partition("="))
            if equals and option in kinds and kinds[option] not in (_ENERGY, _WINDOW):
                given[option] = value
            else:
                others.append(part.strip())
        if _ENERGY in kinds.values():
            return cls(name, given, kinds, required, wraps, cls._energy(name, others))
        if others:
            known = ", ".join(option for option, kind in kinds.items() if kind != _WINDOW) or "none"
            raise ValueError(f"{what} {name!r} has the options {known}, got {others[0]!r}")
        return cls(name, given, kinds, required, wraps)

    @classmethod
    def _energy(cls, guidance: str, parts: list[str]) -> "Named":
        """The energy that the first of the parts names."""
        if not parts:
            known = ", ".join(known_names("energy"))
            raise ValueError(f"guidance {guidance!r} needs an energy: {guidance}:NAME, with one of {known}")
        name, equals, value = (word.strip() for word in parts[0].partition("="))
        kinds, _, _ = _signature("energy", name)
        first = next((option for option, kind in kinds.items() if kind in ("value", _MEASUREMENT)), None)
        if equals and first is None:
            raise ValueError(f"the energy {name!r} has no value, got {parts[0]!r}")
        return cls._of("energy", name, [f"{first}={value}", *parts[1:]] if equals else parts[1:])

    def files(self) -> list[str]:
        """The models and classifiers that it is made with."""
        held = (_DENOISER, _CLASSIFIER)
        own = [value for option, value in self.options.items() if self.kinds[option] in held]
        return own if self.energy is None else [*own, *self.energy.files()]

    def measurements(self) -> list[str]:
        """The measurements that it is made with, as text."""
        own = [value for option, value in self.options.items() if self.kinds[option] == _MEASUREMENT]
        return own if self.energy is None else [*own, *self.energy.measurements()]

    def around(
        self,
        inner: Denoiser | Sampler,
        *,
        weight: float = 1.0,
        window: tuple[float, float] | None = None,
        openers: Openers,
    ) -> Any:
        """The denoiser, or the sampler, under this guidance.

        Args:
            weight: of the schedule that it cannot do without, where its text has none.
            window: noise levels (low, high) outside of which it does nothing: that schedule is 1 there.
            openers: what opens a ``"denoiser"`` and a ``"classifier"`` by its path, and a ``"measurement"``.

        Raises:
            ValueError: an option that is missing, or is not what it should be.
        """
        made = self._made(openers)
        for option in self.required:
            if option in made:
                continue
            if self.kinds[option] not in ("schedule", "number"):
                raise ValueError(f"guidance {self.name!r} needs {option}: {self.name}:{option}=...")
            made[option] = weight
        for option in self.required:
            if self.kinds[option] == "schedule" and window is not None:
                made[option] = interval(made[option], *window)
            elif self.kinds[option] == "schedule":
                made[option] = as_schedule(made[option])
        made |= {option: window for option, kind in self.kinds.items() if kind == _WINDOW}
        if window is not None and not {"schedule", _WINDOW} & {self.kinds[option] for option in made}:
            raise ValueError(f"guidance {self.name!r} has one weight, and knows no interval")
        return find("guidance", self.name).make(inner, **made)

    def _made(self, openers: Openers) -> dict[str, Any]:
        """The options, opened and read."""
        made = {option: self._value(option, text, openers) for option, text in self.options.items()}
        if self.energy is not None:
            (option,) = (option for option, kind in self.kinds.items() if kind == _ENERGY)
            made[option] = self.energy._energy_made(openers)
        return made

    def _energy_made(self, openers: Openers) -> Energy:
        made = self._made(openers)
        for option in self.required:
            if option not in made:
                raise ValueError(f"the energy {self.name!r} needs {option}: {option}=...")
        return find("energy", self.name).make(**made)

    def _value(self, option: str, text: str, openers: Openers) -> Any:
        kind = self.kinds[option]
        if kind in openers:
            return openers[kind](text)
        if kind == "value":
            return read_tree(text)
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"guidance {self.name!r}: {option} is a number, got {text!r}") from None


def guided(
    denoiser: Denoiser,
    texts: Sequence[str],
    *,
    weight: float = 1.0,
    window: tuple[float, float] | None = None,
    openers: Openers,
) -> Denoiser:
    """The denoiser under one guidance after another, the first innermost; see :meth:`Named.around`.

    Those of the step are passed over: :func:`guided_sampler` has them.
    """
    for named in map(Named.read, texts):
        if named.wraps == "denoiser":
            denoiser = named.around(denoiser, weight=weight, window=window, openers=openers)
    return denoiser


def guided_sampler(
    sampler: Sampler,
    texts: Sequence[str],
    *,
    window: tuple[float, float] | None = None,
    openers: Openers,
) -> Sampler:
    """The sampler under those guidances that guide the step, the first innermost."""
    for named in map(Named.read, texts):
        if named.wraps == "sampler":
            sampler = named.around(sampler, window=window, openers=openers)
    return sampler


def _signature(what: str, name: str) -> tuple[dict[str, str], tuple[str, ...], str | None]:
    """The options that a text can give: what each holds, and those without a default; and what is wrapped."""
    row = find(what, name)
    parameters = list(inspect.signature(row.load()).parameters.values())
    wraps = None
    if what == "guidance":
        inner, *parameters = parameters
        wraps = "sampler" if Sampler in (get_args(inner.annotation) or (inner.annotation,)) else "denoiser"
    free = [p for p in parameters if p.name not in row.settings]
    kinds = {p.name: kind for p in free if (kind := _kind(p)) is not None}
    return kinds, tuple(p.name for p in free if p.default is p.empty and kinds.get(p.name) != _ENERGY), wraps


def _kind(parameter: inspect.Parameter) -> str | None:
    """What a parameter holds; None where no text can give it."""
    annotation = parameter.annotation
    parts = get_args(annotation) or (annotation,)
    for held, kind in _HELD.items():
        if held in parts:
            return kind
    if annotation in (Callable[[Tensor], Tensor], Callable[..., Tensor]):
        return _CLASSIFIER
    if Schedule in parts:
        return "schedule"
    if annotation is float:
        return "number"
    return "value" if set(parts) - {Tensor} <= {int, bool, str, float, type(None)} else None
