"""What is checked of an energy while it guides: values, gradients, and that it changes something."""

import warnings
from collections.abc import Callable, Collection, Hashable, Mapping
from functools import partial

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.current_step import will_finish
from windvane.energies import Energy
from windvane.finite import all_finite
from windvane.process import Process, shared_moment
from windvane.randomness import noise_for

#: Values beyond this are not data of any scale, but a guidance that has run away.
_FAR = 1e6


class GuidanceWarning(UserWarning):
    """A guidance, or one guide of several, that changed nothing, or that left the data's range."""


class Watch:
    """Remembers which energies have shown a gradient, and which guides had a weight and changed something.

    Guides are known by keys: any hashable value.

    A gradient that is exactly zero in every row may be that of an energy which these rows satisfy (a hinge, a
    measurement they meet) or of one that cannot guide. Fixed probes tell most apart: who has a gradient at
    one of them is only satisfied. Who has none may still have one in other rows, so in a run it is refused
    at the end, if no row of any batch had one at any step; of what nobody will end, at once.
    """

    def __init__(self) -> None:
        self._alive: set[int] = set()
        self._silent: dict[int, tuple[Energy, float, float]] = {}
        self.acted: set[Hashable] = set()
        self.pulled: set[Hashable] = set()
        self.changed: set[Hashable] = set()

    def values(self, energy: Energy, x: Tensor, t: Tensor, cond: Condition | None, level: float) -> Tensor:
        """energy(x, t, cond), with errors that name the energy and the noise level."""
        try:
            values = energy(x, t, cond)
        except FloatingPointError as error:
            raise FloatingPointError(f"{_named(error, energy)}, at {_at(level)}{_far(x)}") from error
        except ValueError as error:
            raise ValueError(f"{_named(error, energy)} (at {_at(level)})") from error
        except Exception as error:
            error.add_note(f"raised by the energy {energy.name!r} at {_at(level)}")
            raise
        return values

    def gradient(self, energy: Energy, values: Tensor, z: Tensor, *, keep: bool, level: float) -> Tensor:
        """The gradient of sum(values) in z, checked.

        Raises:
            ValueError: no gradient.
            FloatingPointError: NaN or infinity.
        """
        if not values.requires_grad:
            raise ValueError(_without_gradient(energy, "it does not depend on x", f"at {_at(level)}"))
        (gradient,) = torch.autograd.grad(
            values, z, torch.ones_like(values), create_graph=keep, allow_unused=True
        )
        if gradient is None:
            raise ValueError(_without_gradient(energy, "it does not depend on x", f"at {_at(level)}"))
        if not all_finite(gradient):
            raise FloatingPointError(
                f"the gradient of the energy {energy.name!r} is not finite at {_at(level)}, though its "
                f"values are; look for a square root or a norm at 0{_far(z)}"
            )
        return gradient

    def terms(self, energy: Energy, z: Tensor, t: Tensor, cond: Condition | None, level: float) -> None:
        """Each term of an energy, until it has shown a gradient: see :meth:`shown`."""
        for _, term in energy.terms():
            if id(term) not in self._alive:
                values = self.values(term, z, t, cond, level)
                gradient = self.gradient(term, values, z, keep=False, level=level)
                self.shown(term, gradient, partial(term, t=t, cond=cond), level)

    def shown(self, energy: Energy, gradient: Tensor, look: Callable[[Tensor], Tensor], level: float) -> None:
        """Notes an energy's gradient; ``look`` gives its values at other points.

        Raises:
            ValueError: zero in every row and at the probes, where no end of a run can decide.
        """
        if id(energy) in self._alive:
            return
        known = self._silent.get(id(energy))
        if bool(gradient.any()) or (known is None and _responds(look, gradient)):
            self._alive.add(id(energy))
            self._silent.pop(id(energy), None)
        elif not will_finish():
            raise ValueError(_without_gradient(energy, _ZERO, f"at {_at(level)}"))
        elif known is None:
            self._silent[id(energy)] = energy, level, level
            warnings.warn(
                f"the energy {energy.name!r} has shown no gradient so far: it is exactly zero at {_at(level)}"
                ". If it is so in every row at every step, the run will end with an error",
                GuidanceWarning,
                stacklevel=2,
            )
        else:
            self._silent[id(energy)] = energy, known[1], level

    def note(self, keys: Collection[Hashable], before: Tensor, after: Tensor) -> None:
        """Remembers that a push by these guides changed a number."""
        if not self.changed.issuperset(keys) and not torch.equal(before, after):
            self.changed.update(keys)

    def finish(self, idle: Mapping[Hashable, tuple[str, str]]) -> None:
        """At the end of a run: warns of every guide that changed nothing, and starts again.

        Args:
            idle: key -> what the guide is called, and why it has had no weight if it had none.

        Raises:
            ValueError: an energy without a gradient in any row at any step, nor at the probes.
        """
        silent = list(self._silent.values())
        dead = {energy.name for energy, _, _ in silent}
        for key, (name, why) in idle.items():
            if key not in self.changed and name not in dead:
                reason = why
                if key in self.acted:
                    reason = (
                        "its push is zero or too small for the dtype" if key in self.pulled else _SATISFIED
                    )
                warnings.warn(
                    f"guidance changed nothing in this run ({name}): {reason}", GuidanceWarning, stacklevel=2
                )
        for told in (self.acted, self.pulled, self.changed, self._silent):
            told.clear()
        if silent:
            energy, first, last = silent[0]
            where = f"at every step from {_at(first)} to {last:.4g}"
            raise ValueError(_without_gradient(energy, _ZERO, where))


_ZERO = "its gradient is exactly zero in every row"
_SATISFIED = "its energy's gradient was zero in every row at every step, as where it is satisfied"


def _responds(look: Callable[[Tensor], Tensor], like: Tensor) -> bool:
    """Whether the values have a gradient at one of three points, the same for every row and batch."""
    noise = noise_for([0], 0, like.shape[1:], dtype=like.dtype).to(like.device).expand_as(like)
    for middle in (-1.0, 0.0, 1.0):
        point = (middle + 0.5 * noise).requires_grad_(True)
        try:
            (gradient,) = torch.autograd.grad(look(point).sum(), point, allow_unused=True)
        except (ArithmeticError, ValueError, RuntimeError):  # not a point that it is made for
            continue
        if gradient is not None and bool(gradient.any()):
            return True
    return False


def _without_gradient(energy: Energy, why: str, where: str) -> str:
    return (
        f"the energy {energy.name!r} cannot guide: {why}, {where}. "
        "Look for detach(), no_grad(), rounding or argmax in it, or a saturated output; or guide in a "
        "window=(low, high) where it responds"
    )


def _named(error: Exception, energy: Energy) -> str:
    """The error's message, with the energy's name where it has none."""
    known = any(repr(term.name) in str(error) for _, term in energy.terms())
    return str(error) if known else f"the energy {energy.name!r} raised: {error}"


def _at(level: float) -> str:
    return f"noise level sigma / alpha = {level:.4g}"


def _far(x: Tensor) -> str:
    """What to add where the fault lies with x."""
    largest = float(x.detach().abs().max())
    if largest < _FAR:
        return ""
    return (
        f"; what it is asked about reaches {largest:.3g} there: a guide's weight is too large, or the "
        "denoiser fails"
    )


def first_level(process: Process, times: Tensor, active: Tensor) -> float:
    """The noise level of the first row that is guided, for messages."""
    moment = shared_moment(times)
    if moment is not None:
        return process.numbers(moment)[2]
    return float(process.noise_level(times)[active][0])
