"""What an energy is: one log-likelihood per sample, no sample seeing another; energies add."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from windvane.arguments import real
from windvane.conditions import Condition
from windvane.denoiser import as_times
from windvane.finite import all_finite


class Energy(ABC):
    """``energy(x, t) -> (B,)``: larger where row i of ``x`` ``(B, *)`` fits better.

    Constants may be left out: only the gradient guides. Energies add and scale, ``a + 2 * b - c``; the sum
    is one energy with one gradient. ``t`` is the time of ``x`` itself: 0 (or left out) for clean data and
    for predictions of it, the step's time where a noisy x_t is looked at.

    Attributes:
        name: what errors call it.
        signals: names of the condition's signals that hold its targets, one row per sample.
    """

    name: str
    signals: frozenset[str] = frozenset()

    @abstractmethod
    def log_likelihood(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        """The values ``(B,)`` for times ``t`` float64 ``(B,)`` on the CPU."""

    def terms(self) -> "tuple[tuple[float, Energy], ...]":
        """The weighted energies that this one is the sum of: itself, unless it is a sum."""
        return ((1.0, self),)

    def __call__(self, x: Tensor, t: Tensor | float | None = None, cond: Condition | None = None) -> Tensor:
        """The values ``(B,)``, checked for their shape and for NaN and infinity.

        Raises:
            ValueError: values of another shape.
            FloatingPointError: values that are not finite.
        """
        times = as_times(0.0 if t is None else t, len(x))
        values = self.log_likelihood(x, times, cond)
        if not isinstance(values, Tensor) or values.shape != (len(x),):
            received = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"the energy {self.name!r} must give one value per sample, shape ({len(x)},), "
                f"got {received} for x of shape {tuple(x.shape)}. Reduce over all dimensions but the first."
            )
        if not all_finite(values):
            rows = (~torch.isfinite(values.detach())).nonzero().flatten().tolist()
            raise FloatingPointError(
                f"the energy {self.name!r} is {float(values.detach()[rows[0]])} in {len(rows)} of {len(x)} "
                f"rows (first: row {rows[0]}, t={float(times[rows[0]]):.6g})"
            )
        return values

    def __add__(self, other: "Energy") -> "Sum":
        if not isinstance(other, Energy):
            return NotImplemented
        return Sum((*self.terms(), *other.terms()))

    def __mul__(self, weight: float) -> "Sum":
        try:
            factor = real(weight, "the weight of an energy")
        except ValueError:
            if isinstance(weight, (int, float)):
                raise
            return NotImplemented
        return Sum(tuple((factor * w, energy) for w, energy in self.terms()))

    __rmul__ = __mul__

    def __neg__(self) -> "Sum":
        return self * -1.0

    def __sub__(self, other: "Energy") -> "Sum":
        if not isinstance(other, Energy):
            return NotImplemented
        return self + -other


class Sum(Energy):
    """sum_k w_k energy_k. Made by ``+`` and ``*``; nested sums are one flat sum."""

    def __init__(self, weighted: Sequence[tuple[float, Energy]]) -> None:
        if not weighted or not all(math.isfinite(w) for w, _ in weighted):
            raise ValueError(f"a sum needs energies with finite weights, got {[w for w, _ in weighted]}")
        self._terms = tuple((float(w), energy) for w, energy in weighted)
        self.name = " + ".join(energy.name if w == 1 else f"{w:g} * {energy.name}" for w, energy in weighted)
        self.signals = frozenset().union(*(energy.signals for _, energy in weighted))

    def terms(self) -> tuple[tuple[float, Energy], ...]:
        return self._terms

    def log_likelihood(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        first, *others = (w * energy(x, t, cond) for w, energy in self._terms)
        for value in others:
            first = first + value
        return first
