"""Several guides, one denoiser evaluation: how predictions and gradients become pushes."""

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from windvane.conditions import Condition, for_networks
from windvane.denoiser import checked_prediction
from windvane.finite import all_finite
from windvane.guidance.backward import Pull
from windvane.guidance.data_range import DataRange, largest
from windvane.guidance.energy_checks import Watch, first_level
from windvane.guidance.guide import Guide
from windvane.guidance.inactive import key_of, why_idle
from windvane.guidance.pushes import Move, all_plain, rms
from windvane.guidance.recomputation import checkpointed_blocks
from windvane.guidance.step_weights import Step
from windvane.process import Process, expand, require_gaussian, scalar, shared_time

Base = Callable[[Tensor, Tensor, Condition | None], Tensor]


def own_signals(names: Iterable[str]) -> frozenset[str]:
    """Those that no network takes: they belong to energies alone and are hidden from the denoiser."""
    return frozenset(name for name in names if not for_networks(name))


def without(cond: Condition | None, names: Collection[str]) -> Condition | None:
    """The condition without these signals; None if none is left."""
    if cond is None or not any(name in cond.signals for name in names):
        return cond
    kept = [name for name in cond.signals if name not in names]
    if not kept:
        return None
    return Condition({k: cond.signals[k] for k in kept}, {k: cond.present[k] for k in kept})


@dataclass(frozen=True)
class Steered:
    """A prediction with its pushes: ``x0`` has those of D; ``moves`` come after the step.

    ``active`` says whether any guide had a weight other than 0.
    """

    x0: Tensor
    moves: tuple[Move, ...] = ()
    active: bool = True


class Composer:
    """Evaluates all guides on one prediction.

    One denoiser evaluation. One backward pass through the denoiser for all guides that push the same place
    (D, or x_s) with plain weights, since these add before it; one more for each guide that is relative or
    limited, whose size is known only after it. None where no guide needs it. At its first use, a sum of
    energies takes one extra gradient per term, to name a term that has none; a gradient that is zero in
    every row then takes up to three more, see :class:`~windvane.guidance.energy_checks.Watch`.

    Where gradients are on outside (``sample(..., grad=True)``), pushes keep their own graph.
    """

    def __init__(self, guides: Sequence[Guide], process: Process, *, low_memory: bool = False) -> None:
        self.guides, self.process, self.low_memory = tuple(guides), process, low_memory
        if any(g.push == "score" and not g.relative for g in self.guides):
            require_gaussian(process, "a push of the score")
        self.watch, self.range = Watch(), DataRange()
        self.deviations: dict[tuple[float, float], float] = {}
        self._own = own_signals(name for g in guides for name in g.energy.signals)

    def hide(self, cond: Condition | None) -> Condition | None:
        """The condition without the signals that belong to energies alone."""
        return without(cond, self._own)

    def __call__(
        self,
        base: Base,
        x_t: Tensor,
        times: Tensor,
        cond: Condition | None,
        *,
        step: Step | None = None,
        guides: Sequence[Guide] | None = None,
        network: nn.Module | None = None,
    ) -> Steered:
        chosen = self.guides if guides is None else guides
        seen = times[0] if len(times) and shared_time(times) else times
        active: list[tuple[Guide, Tensor]] = []
        backward = False
        for guide in chosen:
            weight = guide.weights(self.process, seen if guide.even else times, step)
            if bool(weight.any()) if weight.ndim else weight.item() != 0:
                active.append((guide, weight))
                self.watch.acted.add(key_of(guide))
                backward = backward or guide.backward
        if not active:
            return Steered(base(x_t, times, self.hide(cond)), active=False)
        outer = torch.is_grad_enabled()
        saving = checkpointed_blocks(network) if self.low_memory and backward else nullcontext()
        with torch.enable_grad():
            x = x_t if outer and x_t.requires_grad else x_t.detach().requires_grad_(True)
            with torch.set_grad_enabled(outer or backward), saving:
                x0 = base(x, times, self.hide(cond))
            self.range.begin(x_t, x0)
            pull = Pull(x, x0, outer)
            moves, after = self._moves(active, pull, times, cond, step)
        pushed = x0 if outer else x0.detach()
        if moves:
            unit = None if all_plain(moves) else self._unknown(x_t, pushed, times)
            for move in moves:
                pushed = self.moved(pushed, move, unit, times)
        return Steered(pushed, after)

    def moved(self, x: Tensor, move: Move, unit: Tensor | None, times: Tensor) -> Tensor:
        """x pushed, and watched for whether that changed it.

        Raises:
            FloatingPointError: a push that is not finite.
        """
        pushed = x + move.sized(unit)
        # One pass over x says both: what is not finite is not below any bound, either.
        if not largest(pushed) < self.range.far:
            self._look(move, x, pushed, times)
        self.watch.note(move.keys, x, pushed)
        return pushed

    def _look(self, move: Move, x: Tensor, pushed: Tensor, times: Tensor) -> None:
        """A push that ended far away, or nowhere."""
        if not all_finite(pushed):
            return self._refuse_push(move, times) if all_finite(x) else None
        level, sigma = float(self.process.noise_level(times).max()), float(self.process.sigma(times).max())
        return self.range.note(move.keys, x, pushed, level, sigma)

    def _refuse_push(self, move: Move, times: Tensor) -> NoReturn:
        names = dict.fromkeys(repr(g.energy.name) for g in self.guides if key_of(g) in move.keys)
        of = f"the energies {', '.join(names)}" if len(names) > 1 else f"the energy {', '.join(names)}"
        level = float(self.process.noise_level(times).max())
        raise FloatingPointError(
            f"the push by {of} is not finite at noise level sigma / alpha = {level:.4g}: its weight is too "
            "large, or the gradient through the denoiser is not finite"
        )

    def finished(self) -> None:
        """At the end of a run: warn of the guides that changed nothing, refuse energies without gradient."""
        together: dict[Hashable, list[Guide]] = {}
        for guide in self.guides:
            together.setdefault(key_of(guide), []).append(guide)
        self.range.finish(self.guides, key_of)
        self.watch.finish({key: (of[0].energy.name, why_idle(of)) for key, of in together.items()})

    def _unknown(self, x_t: Tensor, x0: Tensor, times: Tensor) -> Tensor:
        """sigma / sqrt(alpha^2 + sigma^2) RMS(eps), ``(B,)``: see :class:`Guide`'s ``relative``."""
        alpha, sigma = self.process.scales(times)
        eps_sigma = rms(x_t - expand(alpha, x_t) * x0)
        return eps_sigma / torch.sqrt(alpha**2 + sigma**2).to(eps_sigma)

    def _moves(
        self,
        active: list[tuple[Guide, Tensor]],
        pull: Pull,
        times: Tensor,
        cond: Condition | None,
        step: Step | None,
    ) -> tuple[list[Move], tuple[Move, ...]]:
        """The pushes of D and those after the step."""
        found: dict[bool, list[Move]] = {False: [], True: []}
        waiting: list[tuple[bool, bool, Move]] = []
        for guide, weight in active:
            one = times if weight.ndim else times[0]
            factor = guide.factors(self.process, one, weight)
            level = first_level(self.process, one, weight != 0 if weight.ndim else weight)
            plain = not guide.relative and guide.limit is None
            if guide.where == "x_t" or not guide.through:
                gradient, factor = self._direct(guide, pull, times, cond, factor, level)
            else:
                gradient = self._gradient(guide, pull, pull.at_x0(), times, cond, level)
            relative = guide.relative and guide.iterations == 1
            carry = guide.carry(step)
            factor = factor if carry == 1 else factor * carry
            move = Move(gradient, factor, relative, guide.limit, (key_of(guide),))
            if guide.backward:
                waiting.append((guide.after_step, plain, move))
            else:
                found[guide.after_step].append(move)
        for after, move in pull.all(waiting, self.watch):
            found[after].append(move)
        return found[False], tuple(found[True])

    def _direct(
        self, guide: Guide, pull: Pull, times: Tensor, cond: Condition | None, factor: Tensor, level: float
    ) -> tuple[Tensor, Tensor]:
        """A gradient that needs no backward pass through the denoiser, and its factor."""
        if guide.where == "x_t":
            return self._gradient(guide, pull, pull.at_x(), times, cond, level), factor
        z = pull.at_x0()
        if guide.iterations == 1 and guide.latent is None:
            return self._gradient(guide, pull, z, times, cond, level), factor
        moved = z if guide.latent is None else guide.latent.encode(z)
        unit = self._unknown(pull.x, z, times) / guide.iterations if guide.relative else None
        for _ in range(guide.iterations):
            moved = moved if pull.outer else moved.detach().requires_grad_(True)
            gradient = self._gradient(guide, pull, moved, times, cond, level)
            moved = moved + Move(gradient, factor, guide.relative, None).sized(unit)
        ended = moved if guide.latent is None else guide.latent.decoded(moved, z)
        # The factor is in the steps already; rows outside the window stay where they are.
        return (ended - z if pull.outer else (ended - z).detach()), (factor != 0).to(factor)

    def _gradient(
        self, guide: Guide, pull: Pull, z: Tensor, times: Tensor, cond: Condition | None, level: float
    ) -> Tensor:
        """The gradient in z of the guide's energy, smoothed if it asks for it."""
        energy = guide.energy
        seen = times if guide.where == "x_t" else scalar(0.0, torch.float64).expand(len(times))
        alone = len(energy.terms()) == 1 or guide.latent is not None
        if not alone:
            self.watch.terms(energy, z, seen, cond, level)
        values = self._values(guide, pull, z, times, seen, cond, level)
        gradient = self.watch.gradient(energy, values, z, keep=pull.outer, level=level)
        if alone:
            decode = None if guide.latent is None else guide.latent.decode

            def look(z: Tensor) -> Tensor:
                return energy(z if decode is None else decode(z), seen, cond)

            self.watch.shown(energy, gradient, look, level)
        if key_of(guide) not in self.watch.pulled and bool(gradient.any()):
            self.watch.pulled.add(key_of(guide))
        return gradient

    def _values(
        self,
        guide: Guide,
        pull: Pull,
        z: Tensor,
        times: Tensor,
        seen: Tensor,
        cond: Condition | None,
        level: float,
    ) -> Tensor:
        energy = guide.energy
        if guide.where != "noised":
            at = z if guide.latent is None else guide.latent.decode(z)
            return self.watch.values(energy, at, seen, cond, level)
        values = [
            self.watch.values(energy, z + noise, seen, cond, level)
            for noise in pull.draws_of(guide, self.process, z, times, level)
        ]
        if guide.draws == 1:
            return values[0]
        return torch.stack(values).logsumexp(dim=0) - torch.tensor(float(guide.draws)).log().to(z)


def as_base(denoise: Any) -> Base:
    """A denoiser, or a function of (x, t), as ``(x, t, cond) -> D``."""

    def base(x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        return checked_prediction(denoise(x, t) if cond is None else denoise(x, t, cond), x, denoise)

    return base
