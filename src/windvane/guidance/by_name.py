"""Guidance of the prediction by registered names, several joined, as settings and commands give it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from torch import Tensor

from windvane.denoiser import Denoiser
from windvane.guidance.weights import Schedule, as_schedule, interval
from windvane.registry import find
from windvane.yaml_text import read_tree

#: Options that hold files: a name of it -> what opens one.
Openers = Mapping[str, Callable[[str], Any]]
_DENOISER, _CLASSIFIER = "denoiser", "classifier"


@dataclass(frozen=True)
class Named:
    """One guidance by name: ``name`` or ``name:option=value,option=value``.

    Args:
        options: as text, checked against the signature of what the name stands for.
        kinds: what each known option holds: "denoiser", "classifier", "schedule", "number" or "value".
        required: options without a default.
    """

    name: str
    options: Mapping[str, str]
    kinds: Mapping[str, str]
    required: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> "Named":
        """A guidance from its text.

        Raises:
            ValueError: no registered guidance, or an option that it does not have.
        """
        name, _, rest = text.partition(":")
        kinds, required = _signature(name)
        given: dict[str, str] = {}
        for part in rest.split(",") if rest else ():
            option, equals, value = (word.strip() for word in part.partition("="))
            if not equals or option not in kinds:
                known = ", ".join(kinds) or "none"
                raise ValueError(f"guidance {name!r} has the options {known}, got {part.strip()!r}")
            given[option] = value
        return cls(name, given, kinds, required)

    def files(self) -> list[str]:
        """The models and classifiers that it is made with."""
        held = (_DENOISER, _CLASSIFIER)
        return [value for option, value in self.options.items() if self.kinds[option] in held]

    def around(
        self, denoiser: Denoiser, *, weight: float, window: tuple[float, float] | None, openers: Openers
    ) -> Denoiser:
        """The denoiser under this guidance.

        Args:
            weight: of the schedule that it cannot do without, where its text has none.
            window: noise levels (low, high) outside of which that schedule is 1.
            openers: what opens a ``"denoiser"`` and a ``"classifier"`` by its path.

        Raises:
            ValueError: an option that is missing, or is not what it should be.
        """
        made = {option: self._value(option, text, openers) for option, text in self.options.items()}
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
            elif self.kinds[option] == "number" and window is not None:
                raise ValueError(f"guidance {self.name!r} has one weight, and knows no interval")
        return find("guidance", self.name).make(denoiser, **made)

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
    """The denoiser under one guidance after another, the first innermost; see :meth:`Named.around`."""
    for text in texts:
        denoiser = Named.read(text).around(denoiser, weight=weight, window=window, openers=openers)
    return denoiser


def _signature(name: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The options that a text can give: what each holds, and those without a default."""
    parameters = list(inspect.signature(find("guidance", name).load()).parameters.values())[1:]
    kinds = {p.name: kind for p in parameters if (kind := _kind(p.annotation)) is not None}
    return kinds, tuple(p.name for p in parameters if p.default is p.empty)


def _kind(annotation: Any) -> str | None:
    """What a parameter holds; None where no text can give it."""
    parts = get_args(annotation) or (annotation,)
    if Denoiser in parts:
        return _DENOISER
    if annotation == Callable[[Tensor], Tensor]:
        return _CLASSIFIER
    if Schedule in parts:
        return "schedule"
    if annotation is float:
        return "number"
    return "value" if set(parts) <= {int, bool, str, float, type(None)} else None
