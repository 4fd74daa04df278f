"""Conditions: named signals with a per-row mask that says which rows have them.

Conditional and unconditional rows travel in one batch; a network embeds an absent signal as a fixed
zero vector or zero map. All row-wise work (drop, index, concatenate) is here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from windvane.arguments import shown
from windvane.registry import known_names


def for_networks(name: str) -> bool:
    """Whether networks may take a signal of this name; energies have others for themselves."""
    return name.partition(":")[0] in known_names("signal")


def _named(values: object, what: str) -> dict[str, Tensor]:
    """Tensors of at least one row by name; arrays and rows of numbers become tensors."""
    if not isinstance(values, Mapping):
        raise ValueError(
            f"the {what} of a condition are a dictionary such as {{'vector': ids}}, got {shown(values)}; "
            "windvane.Condition.vector(ids) makes one of class ids"
        )
    return {name: _rows(value, f"{what}[{name!r}] of a condition") for name, value in values.items()}


def _rows(value: object, what: str) -> Tensor:
    found: Any = value
    if isinstance(value, (list, tuple, np.ndarray)):
        try:
            found = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            found = None
    if not isinstance(found, Tensor) or found.ndim == 0 or found.is_complex():
        raise ValueError(f"{what} must be a tensor with one row for each sample, got {shown(value)}")
    return found


@dataclass(frozen=True)
class Condition:
    """Signals of ``n`` rows, and for each signal which rows have it.

    Args:
        signals: name to tensor ``(n, *)``, any names. Networks take those of the registry:
            ``"vector"`` (class ids ``(n,)`` int64, or one-hot, multi-hot or real vectors ``(n, K)``),
            ``"layout"`` (maps ``(n, C, H, W)``), ``"tokens"`` (``(n, L, D)``), ``"scalar:NAME"`` (numbers
            ``(n,)``), ``"attributes"`` (ids ``(n, A)``, -1 for unknown), and what packages add. Where there
            are several of one kind, a name follows the kind: ``"vector:author"``.
        present: name to bool ``(n,)``; a name left out is present in every row.
    """

    signals: Mapping[str, Tensor]
    present: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        signals, present = (
            _named(self.signals, "signals"),
            _named({} if self.present is None else self.present, "present"),
        )
        if not signals:
            raise ValueError("a condition needs at least one signal; use cond=None for none at all")
        object.__setattr__(self, "signals", signals)
        object.__setattr__(self, "present", present)
        sizes = {name: len(signal) for name, signal in self.signals.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"all signals of a condition need the same number of rows, got {sizes}")
        unknown = set(self.present) - set(self.signals)
        if unknown:
            raise ValueError(f"present masks without a signal: {sorted(unknown)}; signals: {sorted(sizes)}")
        masks = {}
        for name, signal in self.signals.items():
            mask = self.present.get(name)
            if mask is None:
                mask = torch.ones(len(signal), dtype=torch.bool, device=signal.device)
            if mask.shape != (len(signal),) or mask.dtype != torch.bool:
                raise ValueError(
                    f"present[{name!r}] must be bool of shape ({len(signal)},), "
                    f"got {mask.dtype} {tuple(mask.shape)}"
                )
            masks[name] = mask
        object.__setattr__(self, "present", masks)

    @classmethod
    def of(cls, **signals: Tensor | None) -> "Condition":
        """A condition of these signals, present in every row; None leaves one out."""
        return cls({name: signal for name, signal in signals.items() if signal is not None})

    @classmethod
    def vector(cls, values: Tensor) -> "Condition":
        """A condition of ids ``(n,)`` or vectors ``(n, K)``."""
        return cls({"vector": values})

    def __len__(self) -> int:
        return len(next(iter(self.signals.values())))

    def _map(self, signals: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> "Condition":
        # The rows were checked when this condition was made; skip the checks on the sampling path.
        made = object.__new__(Condition)
        object.__setattr__(made, "signals", signals)
        object.__setattr__(made, "present", present)
        return made

    def index(self, rows: Tensor | slice) -> "Condition":
        """The rows chosen by an index tensor, a bool mask or a slice."""
        return self._map(
            {k: v[rows] for k, v in self.signals.items()}, {k: v[rows] for k, v in self.present.items()}
        )

    def drop(self, rows: Tensor, signals: Sequence[str] | None = None) -> "Condition":
        """The same condition with ``signals`` (default all) absent where ``rows`` ``(n,)`` is true."""
        names = list(self.signals) if signals is None else list(signals)
        unknown = set(names) - set(self.signals)
        if unknown:
            raise ValueError(f"cannot drop {sorted(unknown)}; signals: {sorted(self.signals)}")
        present = {k: v & ~rows.to(v.device) if k in names else v for k, v in self.present.items()}
        return self._map(self.signals, present)

    def null(self) -> "Condition":
        """The same rows with every signal absent."""
        return self._map(self.signals, {k: torch.zeros_like(v) for k, v in self.present.items()})

    def to(self, device: torch.device | str) -> "Condition":
        """Move every tensor to ``device``."""
        return self._map(
            {k: v.to(device) for k, v in self.signals.items()},
            {k: v.to(device) for k, v in self.present.items()},
        )

    def repeat(self, times: int) -> "Condition":
        """The whole condition ``times`` times over: rows 0..n-1, 0..n-1, ..."""
        return Condition.cat([self] * times)

    @staticmethod
    def cat(conditions: "Sequence[Condition]") -> "Condition":
        """Concatenate conditions with the same signals along the rows."""
        names = [sorted(c.signals) for c in conditions]
        if not conditions or any(n != names[0] for n in names):
            raise ValueError(f"can only concatenate conditions with the same signals, got {names}")
        first = conditions[0]
        return first._map(
            {k: torch.cat([c.signals[k] for c in conditions]) for k in first.signals},
            {k: torch.cat([c.present[k] for c in conditions]) for k in first.signals},
        )
