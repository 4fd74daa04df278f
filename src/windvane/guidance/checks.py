"""What is checked of an energy while it guides: values, gradients, and that it changes something."""

import warnings
from collections.abc import Collection, Hashable, Mapping

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.energies import Energy
from windvane.process import Process


class GuidanceWarning(UserWarning):
    """A guidance, or one guide of several, that changed nothing."""


class Watch:
    """Remembers which energies have shown a gradient, and which guides had a weight and changed something.

    Guides are known by keys: any hashable value.
    """

    def __init__(self) -> None:
        self._alive: set[int] = set()
        self.acted: set[Hashable] = set()
        self.changed: set[Hashable] = set()

    def values(self, energy: Energy, x: Tensor, t: Tensor, cond: Condition | None, level: float) -> Tensor:
        """energy(x, t, cond), with errors that name the noise level too."""
        try:
            values = energy(x, t, cond)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}, at noise level sigma / alpha = {level:.4g}") from error
        except ValueError as error:
            raise ValueError(f"{error} (at noise level sigma / alpha = {level:.4g})") from error
        return values

    def gradient(self, energy: Energy, values: Tensor, z: Tensor, *, keep: bool, level: float) -> Tensor:
        """The gradient of sum(values) in z, checked.

        Raises:
            ValueError: no gradient, or one that is zero in every row at the energy's first use.
            FloatingPointError: NaN or infinity.
        """
        if not values.requires_grad:
            raise ValueError(_without_gradient(energy, "it does not depend on x", level))
        (gradient,) = torch.autograd.grad(values.sum(), z, create_graph=keep, allow_unused=True)
        if gradient is None:
            raise ValueError(_without_gradient(energy, "it does not depend on x", level))
        if not bool(torch.isfinite(gradient).all()):
            raise FloatingPointError(
                f"the gradient of the energy {energy.name!r} is not finite at noise level "
                f"sigma / alpha = {level:.4g}, though its values are; look for a square root or a norm at 0"
            )
        return gradient

    def alive(self, energy: Energy, z: Tensor, t: Tensor, cond: Condition | None, level: float) -> None:
        """At an energy's first use: each of its terms has a gradient that is not zero."""
        if id(energy) in self._alive:
            return
        for _, term in energy.terms():
            values = self.values(term, z, t, cond, level)
            if not bool(self.gradient(term, values, z, keep=False, level=level).any()):
                raise ValueError(_without_gradient(term, "its gradient is exactly zero in every row", level))
        self._alive.add(id(energy))

    def single(self, energy: Energy, gradient: Tensor, level: float) -> None:
        """The same for an energy of one term, whose gradient is known already."""
        if id(energy) not in self._alive and not bool(gradient.any()):
            raise ValueError(_without_gradient(energy, "its gradient is exactly zero in every row", level))
        self._alive.add(id(energy))

    def note(self, keys: Collection[Hashable], before: Tensor, after: Tensor) -> None:
        """Remembers that a push by these guides changed a number."""
        if not self.changed.issuperset(keys) and not torch.equal(before, after):
            self.changed.update(keys)

    def finish(self, idle: Mapping[Hashable, tuple[str, str]]) -> None:
        """At the end of a run: warns of every guide that changed nothing, and starts again.

        Args:
            idle: key -> what the guide is called, and why it has had no weight if it had none.
        """
        for key, (name, why) in idle.items():
            if key not in self.changed:
                reason = "its push is too small for the dtype" if key in self.acted else why
                warnings.warn(
                    f"guidance changed nothing in this run ({name}): {reason}", GuidanceWarning, stacklevel=2
                )
        self.acted.clear()
        self.changed.clear()


def _without_gradient(energy: Energy, why: str, level: float) -> str:
    return (
        f"the energy {energy.name!r} cannot guide: {why}, at noise level sigma / alpha = {level:.4g}. "
        "Look for detach(), no_grad(), rounding or argmax in it, or a saturated output; or guide in a "
        "window=(low, high) where it responds"
    )


def first_level(process: Process, times: Tensor, active: Tensor) -> float:
    """The noise level of the first row that is guided, for messages."""
    return float(process.noise_level(times)[active][0])
