"""EluCD's second sampler: a scale-free kick of the state before each step, by an off-the-shelf classifier."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.current_step import will_finish
from windvane.denoiser import as_times
from windvane.energies import Energy
from windvane.guidance.composer import own_signals
from windvane.guidance.energy_checks import Watch
from windvane.guidance.guided_sampler import GuidedState
from windvane.guidance.pushes import rms
from windvane.process import expand
from windvane.samplers.base import BoundDenoiser, Denoise, State, condition_of, is_zero, moved
from windvane.samplers.wrapped import WrappedSampler


@dataclass(frozen=True)
class KickedSampler(WrappedSampler):
    """A sampler whose state is kicked before each step (EluCD, arXiv 2310.11311, its released EDM sampler).

    With u = x_t / max(1, RMS(x_t)) and g the gradient of the energy at u, per sample,

        x_t <- x_t + h_i RMS(x_t) g / RMS(g),
        h_i = max(h (1 - i / (N + 1)), 1e-5) + sine h sin(pi i / N)

    in step i = 0 .. N - 1, and then the sampler's own step from the same t. Scale-free, with no evaluation
    of the denoiser and no backward pass through it. The authors use Heun, h = 0.004, sine = 0.3, and the
    class energy with tau_marginal = 0 on a classifier made :func:`~windvane.energies.smooth` with beta 5.

    Rows with a zero gradient stay. The weight counts steps, as the paper's does: with more steps the kicks
    add up to more. Deviation: churn comes after the kick; the authors have the noise first.

    Args:
        energy: of u; where it is noise-aware it is given the step's t.
        size: h; 0 is off.
        window: (low, high): kicks where low < sigma / alpha <= high only.
    """

    energy: Energy
    size: float = 0.004
    sine: float = 0.3
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.energy, Energy):
            raise ValueError(
                f"a kick needs an Energy, got {type(self.energy).__name__}; put a function into Reward(...)"
            )
        if not (self.size >= 0 and self.sine >= 0 and math.isfinite(self.size + self.sine)):
            raise ValueError(
                f"size and sine are finite and not negative, got size={self.size}, sine={self.sine}"
            )
        if self.window is not None and not 0 <= self.window[0] < self.window[1]:
            raise ValueError(f"a window in noise level needs 0 <= low < high, got {self.window}")
        object.__setattr__(self, "_watch", Watch())

    def init(self, x: Tensor, times: Tensor) -> GuidedState:
        return GuidedState(self.sampler.init(x, times), tuple(times.tolist()))

    def step(
        self,
        denoise: Denoise,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        state: GuidedState,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, GuidedState]:
        watch: Watch = self._watch  # type: ignore[attr-defined]
        fraction = self.fraction(float(t), state.times)
        level = float(denoise.process.noise_level(t))
        acts = self.window is None or self.window[0] < level <= self.window[1]
        inner: State = state.inner
        if fraction > 0 and acts:
            kicked = self._kicked(watch, x, as_times(t, len(x)), denoise, fraction, level)
            watch.acted.add(self.energy)
            watch.note([self.energy], x, kicked)
            x, inner = kicked, moved(inner)
        x_s, inner = self.sampler.step(self._hidden(denoise), x, t, s, inner, noise)
        if is_zero(denoise.process.sigma(s)) and not will_finish():
            self.finished()
        return x_s, replace(state, inner=inner)

    def finished(self) -> None:
        """At the end of a run: warn if no kick changed anything."""
        why = "its size is 0" if self.size == 0 else f"its window {self.window} holds no step of the grid"
        self._watch.finish({self.energy: (self.energy.name, why)})  # type: ignore[attr-defined]
        super().finished()

    def fraction(self, t: float, times: Sequence[float]) -> float:
        """h_i of the step that starts at ``t`` on the grid ``times``."""
        if self.size == 0:
            return 0.0
        n, i = len(times) - 1, sum(time > t for time in times)
        falling = max(self.size * (1 - i / (n + 1)), 1e-5)
        return falling + self.sine * self.size * math.sin(math.pi * i / n)

    def _kicked(
        self, watch: Watch, x: Tensor, times: Tensor, denoise: Denoise, fraction: float, level: float
    ) -> Tensor:
        outer = torch.is_grad_enabled()
        size = rms(x)
        with torch.enable_grad():
            u = x / expand(size.clamp(min=1), x)
            u = u if outer and u.requires_grad else u.detach().requires_grad_(True)
            cond = condition_of(denoise)
            watch.terms(self.energy, u, times, cond, level)
            values = watch.values(self.energy, u, times, cond, level)
            g = watch.gradient(self.energy, values, u, keep=outer, level=level)
        if bool(g.any()):
            watch.pulled.add(self.energy)
        length = rms(g)
        floor = torch.finfo(length.dtype).tiny
        factor = torch.where(length > 0, fraction * size / length.clamp(min=floor), torch.zeros_like(length))
        return x + expand(factor, x) * g

    def _hidden(self, denoise: Denoise) -> Denoise:
        """The denoiser without the signals that belong to the energy alone."""
        cond = condition_of(denoise)
        own = own_signals(self.energy.signals)
        if cond is None or not isinstance(denoise, BoundDenoiser) or not own & set(cond.signals):
            return denoise
        names = [name for name in cond.signals if name not in own]
        kept = (
            Condition({k: cond.signals[k] for k in names}, {k: cond.present[k] for k in names})
            if names
            else None
        )
        return _Hiding(denoise, kept)


class _Hiding:
    """A bound denoiser under another condition; its predictions are the outer one's latest."""

    def __init__(self, outer: BoundDenoiser, cond: Condition | None) -> None:
        self.outer, self.process = outer, outer.process
        self.inner = BoundDenoiser(outer.denoiser, cond, outer.clip)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return self.outer.show(self.inner(x, t))
