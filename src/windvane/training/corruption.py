"""From a clean batch to what the network sees, and what it should answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from windvane.conditions import Condition
from windvane.process import Process
from windvane.training.batch import Batch


@dataclass(frozen=True)
class Corrupted:
    """A corrupted batch.

    Args:
        x_t: what the network is given, ``(B, *)``.
        t: times ``(B,)`` or ``(B, K)``, float64 on the CPU.
        targets: what it should answer, by name; ``"x0"`` is the clean sample.
        weights: of the errors, by the name of their target, broadcasting against them; 1 where there is none.
        cond: the condition, which a corruption may change.
    """

    x_t: Tensor
    t: Tensor
    targets: Mapping[str, Tensor]
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    cond: Condition | None = None


class Corruption(Protocol):
    """(batch, keys) -> :class:`Corrupted`.

    What is drawn comes from ``keys`` ``(B,)``, by :func:`windvane.randomness.noise_for` or
    :func:`~windvane.randomness.generator`, one row from one key. The batch has noise of the process's law
    and times already.
    """

    def __call__(self, batch: Batch, keys: Tensor) -> Corrupted: ...


@dataclass(frozen=True)
class Noised:
    """x_t = alpha(t) x0 + sigma(t) noise, with the noise and the times of the batch: the usual corruption."""

    process: Process

    def __call__(self, batch: Batch, keys: Tensor) -> Corrupted:
        x_t = self.process.perturb(batch.x0, batch.t, batch.noise)
        return Corrupted(x_t, batch.t, {"x0": batch.x0, "noise": batch.noise}, cond=batch.cond)
