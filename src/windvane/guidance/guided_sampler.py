"""A sampler guided by energies: pushes after the step, and steps made again."""

import zlib
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from windvane.conditions import Condition
from windvane.current_step import will_finish
from windvane.denoiser import as_times
from windvane.guidance.composer import Composer
from windvane.guidance.guide import Guide
from windvane.guidance.pushes import Move, all_plain, rms
from windvane.guidance.step_weights import Step
from windvane.process import Process, require_gaussian
from windvane.randomness import noise_for
from windvane.samplers.base import (
    Bound,
    BoundDenoiser,
    Denoise,
    Sampler,
    State,
    Traits,
    is_zero,
    moved,
    require_noise,
    restarted,
)
from windvane.samplers.wrapped import WrappedSampler


@dataclass(frozen=True)
class Recurrence:
    """Repeats a step: after x_s, back to x_t = renoise(x_s), ``times`` steps in all (RePaint; UGD; TFG).

    Where there are guides and none of them has a weight, a step is made once: weight 0 is unguided. Each
    repeat starts a trajectory of its own, of which a multistep solver has no predictions yet: its order is 1.

    Args:
        window: (low, high) in sigma / alpha: repeats where low < level <= high only.
    """

    times: int = 1
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ValueError(f"a step is made at least once, got {self.times}")

    def at(self, level: float) -> int:
        """How often a step from this noise level is made."""
        if self.window is None or self.window[0] < level <= self.window[1]:
            return self.times
        return 1


@dataclass(frozen=True)
class GuidedState:
    """The wrapped sampler's state and the grid."""

    inner: State
    times: tuple[float, ...]

    def moved(self) -> "GuidedState":
        return replace(self, inner=moved(self.inner))

    def restarted(self) -> "GuidedState":
        return replace(self, inner=restarted(self.inner))


@dataclass(frozen=True)
class GuidedSampler(WrappedSampler):
    """A sampler whose steps are pushed by energies, and repeated: for any denoiser and any condition.

    Predictions are pushed at every evaluation of a step, steps once: with the gradient at its start. A
    solver that reuses a prediction (UniPC) must make it again after a push of its step, which costs one
    evaluation. Predictions are clipped after the energies have seen them, so clipping stops no gradient.

    At the end of a run it warns of every guide that changed nothing (:class:`GuidanceWarning`), and refuses
    an energy that showed no gradient at all. Made by :meth:`GradientGuidance.sampler`.
    """

    guides: tuple[Guide, ...]
    recurrence: Recurrence = Recurrence()
    low_memory: bool = False
    _composer: Composer | None = field(default=None, init=False, repr=False, compare=False)

    @cached_property
    def traits(self) -> Traits:  # type: ignore[override]
        inner, again = self.sampler.traits, self.recurrence.times > 1
        return replace(
            inner,
            stochastic=inner.stochastic or again,
            gaussian=inner.gaussian and not again,
            evaluations=None,  # a push makes a solver predict again, and repeats depend on the noise level
            guided=True,
        )

    def evaluations(self, process: Process, times: Tensor) -> None:
        return None

    def init(self, x: Tensor, times: Tensor) -> GuidedState:
        return GuidedState(self.sampler.init(x, times), tuple(times.tolist()))

    def _compose(self, process: Process) -> Composer:
        made = self._composer
        if made is None or made.process is not process:
            made = Composer(self.guides, process, low_memory=self.low_memory)
            object.__setattr__(self, "_composer", made)
        return made

    def step(
        self,
        denoise: Denoise,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        state: GuidedState,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, GuidedState]:
        process = denoise.process
        rounds = self._rounds(process, t, s, state)
        if rounds > 1:
            require_gaussian(process, "recurrence")
            noise = require_noise(noise, self)
        inner = state.inner
        for k in range(rounds):
            fresh = noise if k == 0 or noise is None else derived_noise(noise, 2 * k)
            begun = state if inner is state.inner else replace(state, inner=inner)
            x_s, after = self._once(denoise, x, t, s, begun, fresh)
            if k < rounds - 1 and noise is not None:
                x = process.renoise(x_s, s, t, derived_noise(noise, 2 * k + 1))
                inner = restarted(state.inner)
        if not will_finish() and is_zero(process.sigma(s)):
            self.finished()
        return x_s, state if after is state.inner else replace(state, inner=after)

    def _rounds(self, process: Process, t: Tensor, s: Tensor, state: GuidedState) -> int:
        """How often the step is made: once where there are guides and none of them acts."""
        if self.recurrence.times == 1:
            return 1
        rounds = self.recurrence.at(float(process.noise_level(t)))
        if rounds == 1 or not self.guides:
            return rounds
        step, times = self._step_of(process, t, s, state), as_times(t, 1)
        acts = any(bool((g.weights(process, times, step) != 0).any()) for g in self.guides)
        return rounds if acts else 1

    def finished(self) -> None:
        """At the end of a run: warn of the guides that changed nothing, refuse energies without gradient."""
        if self._composer is not None:
            self._composer.finished()
        super().finished()

    def _once(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: GuidedState, noise: Tensor | None
    ) -> tuple[Tensor, State]:
        tap = _Tap(self._compose(denoise.process), denoise, self._step_of(denoise.process, t, s, state))
        x_s, inner = self.sampler.step(tap, x, t, s, state.inner, noise)
        return self._pushed(tap, x, x_s, inner)

    def _pushed(self, tap: "_Tap", x: Tensor, x_s: Tensor, inner: State) -> tuple[Tensor, State]:
        if not tap.moves:
            return x_s, inner
        unit = None if all_plain(tap.moves) else rms(x_s - x)
        pushed = x_s
        for move in tap.moves:
            pushed = tap.composer.moved(pushed, move, unit, tap.step.t)
        return pushed, moved(inner)

    def _step_of(self, process: Process, t: Tensor, s: Tensor, state: GuidedState) -> Step:
        known = self._compose(process).deviations

        def std(time: Tensor, target: Tensor) -> float:
            pair = (float(time), float(target))
            if pair not in known:
                known[pair] = ancestral_std(self.sampler, process, time, target, state.inner)
            return known[pair]

        return Step(process, t, s, state.times, std)

    def transition(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: GuidedState
    ) -> tuple[Tensor, Tensor, GuidedState]:
        """Mean and standard deviation of the pushed step, where the wrapped sampler has them."""
        if not self.traits.gaussian:
            raise ValueError(f"{type(self.sampler).__name__}'s guided step has no Gaussian transition")
        tap = _Tap(self._compose(denoise.process), denoise, self._step_of(denoise.process, t, s, state))
        mean, deviation, inner = self.sampler.transition(tap, x, t, s, state.inner)
        mean, inner = self._pushed(tap, x, mean, inner)
        return mean, deviation, replace(state, inner=inner)


class _Tap(Bound):
    """What the wrapped sampler calls: the denoiser, with pushes of D; keeps those for after the step."""

    def __init__(self, composer: Composer, denoise: Denoise, step: Step) -> None:
        self.composer, self.outer, self.step = composer, denoise, step
        self.process = denoise.process
        self.cond = denoise.cond if isinstance(denoise, Bound) else None
        self.bound = denoise if isinstance(denoise, BoundDenoiser) else None
        self.clip = self.bound.clip if self.bound else None
        self.moves: tuple[Move, ...] = ()
        self.first = True

    def _base(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        return self.bound.predict(x, t, cond) if self.bound else self.outer(x, t)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        guides = self.composer.guides
        if not self.first:
            guides = tuple(g for g in guides if not g.after_step)
        network = self.bound.denoiser if self.bound else None
        found = self.composer(
            self._base,
            x,
            as_times(t, len(x)),
            self.cond,
            step=self.step,
            guides=guides,
            network=network if isinstance(network, nn.Module) else None,
        )
        if self.first:
            self.moves, self.first = found.moves, False
        x0 = found.x0 if self.clip is None else found.x0.clamp(*self.clip)
        return self.bound.show(x0) if self.bound else x0


def ancestral_std(sampler: Sampler, process: Process, t: Tensor, s: Tensor, state: State) -> float:
    """The standard deviation of a sampler's Gaussian step from t to s."""
    if not sampler.traits.gaussian:
        raise ValueError(
            f"a weight that contains the step's variance needs a sampler with a Gaussian step, such as "
            f"DDPM() or DDIM(eta=1.0); {type(sampler).__name__} has none"
        )
    probe = torch.zeros(1, 1, dtype=torch.float64)
    _, std, _ = sampler.transition(_Nothing(process), probe, t, s, state)
    return float(std.flatten()[0])


@dataclass(frozen=True)
class _Nothing:
    """A denoiser that predicts 0: a step's variance does not depend on the prediction."""

    process: Process

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)


def derived_noise(noise: Tensor, stream: int) -> Tensor:
    """More standard normal noise, row by row from the bits of ``noise``: each row still has its own seed."""
    rows = noise.detach().float().cpu().numpy()
    seeds = [zlib.crc32(row.tobytes()) << 32 | zlib.adler32(row.tobytes()) for row in rows]
    return noise_for(seeds, stream, noise.shape[1:], dtype=noise.dtype).to(noise.device)
