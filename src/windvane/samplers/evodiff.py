"""EVODiff: a two-step multistep solver whose difference coefficients are set per sample, on the fly."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from windvane.arguments import flag, settle
from windvane.process import Process
from windvane.samplers.base import Denoise, Sampler, Traits
from windvane.samplers.history import History, Level, first_order, level_at

# More steps than this and the released code takes another formula for zeta.
_MANY_STEPS = 20
# How unlike two steps in log-SNR may be and still count as equal.
_EVEN = 1e-4
# The geometric mean of the last two noise levels must be below this for the last step's formula.
_LAST_LEVEL = 0.5


@dataclass(frozen=True)
class EvoState:
    """State of :class:`EVODiff`: the predictions so far, and the grid that ``init`` saw.

    Args:
        history: predictions and half log-SNRs.
        times: the grid; levels: noise levels k = sigma / alpha of its times but for 0 and infinite ones, once
            checked.
    """

    history: History
    times: tuple[float, ...]
    levels: tuple[float, ...] = ()

    def moved(self) -> "EvoState":
        """The state after x was changed from outside: no prediction is ready for it."""
        return replace(self, history=self.history.moved())

    def restarted(self) -> "EvoState":
        """The state of a trajectory that begins here: no predictions, the same grid."""
        return replace(self, history=self.history.restarted())


@dataclass(frozen=True)
class EVODiff(Sampler):
    """EVODiff (Li, Chen, Zeng 2025, arXiv 2509.26096; coefficients of the released code, order 2).

    For alpha = 1, from noise level k_t to k_s, with h = log(k_t / k_s), u = 1 - e^-h, X the first-order step,
    M_0 and M_1 the newest predictions, S the sigmoid, and proj(a, b) = clip(<a, b> / <b, b>, -2, 2) per
    sample and channel:

    w = (1 - ((k_s + k_end) / (k_first + k_end))^2) / 2,  q = 1 on an even grid,
    D_1 = M_0 - g_1 M_1,  g_1 = (1 - w) q + w proj(M_0, M_1),  r = clip(S(|g_1| / 4), 1/4, 3/2),
    x' = X + u D_1 / (2 r),  M = D(x', s),  D_2 = M - g_2 M_0,  g_2 = (1 - w) q + w proj(M, M_0),
    eta = S(|proj(D_2 + D_1, D_2 - D_1) / 2|) / 2,  B = (1 - eta) D_2 - eta D_1,
    x_s = X + u B / (2 zeta),  zeta = S(|proj(x' - X - u B / (2 r), D_1) / u| - 1/2).

    Above 20 steps zeta = S(-z S(proj(M_0, (M_0 - M_1) / tau) (2 - (k_s / k_t)^2))) for the same argument z,
    tau = 1 / k_s - 1 / k_t. M is the next step's M_0, so N steps make N evaluations. The first step is
    first order; the last above sigma = 0 has its own formula. Other processes: the same on x / alpha.

    Args:
        lower_order_final: use the released code's formula for the last step above sigma = 0. Without it that
            step is x' where a step to 0 follows, whose result M(x', s) is.

    The differences keep a multiple of M_0 that vanishes slowly, so the asymptotic order is 1; it gains where
    h is 0.5 to 0.8, and loses to 2M below about 8 evaluations over a wide range.

    Raises:
        ValueError: a grid that is not even in log-SNR, where the formula is not consistent (q is not 1);
            rising times; an end at so much noise that the last formula means nothing.
    """

    lower_order_final: bool = True
    traits: ClassVar[Traits] = Traits(grid="log_snr", needs_grid=True, memory=True)  # type: ignore[misc]

    def __post_init__(self) -> None:
        settle(self, lower_order_final=flag(self.lower_order_final, "lower_order_final"))

    def init(self, x: Tensor, times: Tensor) -> EvoState:
        return EvoState(History.on(times), tuple(float(t) for t in times))

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: EvoState, noise: Tensor | None = None
    ) -> tuple[Tensor, EvoState]:
        if not state.levels:
            state = replace(state, levels=self._even_levels(denoise.process, state.times))
        here, there = level_at(denoise.process, t), level_at(denoise.process, s)
        known = state.history.at(here.half)
        m0 = denoise(x, t) if known is None else known
        history = state.history.push(here.half, m0, keep=2)
        base = first_order(x, m0, here, there)
        x_s, ready = base, None
        # Before a step of another length (a search that jumped) the history does not serve.
        if history.order(2, there, lower_order_final=False) == 2 and _even(there.half, *history.halves):
            last, to_zero = history.steps_left <= 1, state.times[-1] == 0
            step = _Step(base, m0, history.predictions[1], here, there, state.levels)
            if last and self.lower_order_final:
                x_s = step.last()
            elif last and to_zero:
                # What would correct the probe is the prediction there, which the step to zero returns.
                x_s = step.probe()[0]
            else:
                probe, d1, r = step.probe()
                m_s = denoise(probe, s)
                x_s, ready = step.update(probe, d1, r, m_s), (there.half, m_s)
        return x_s, replace(state, history=history.advance(ready))

    def _even_levels(self, process: Process, times: tuple[float, ...]) -> tuple[float, ...]:
        """The noise levels of a grid, or the reason why it will not do."""
        found = [level_at(process, torch.tensor(t, dtype=torch.float64)) for t in times]
        # A step from or to an infinite level (alpha = 0 at the start, sigma = 0 at the end) is first order.
        halves = [level.half for level in found if math.isfinite(level.half)]
        gaps = [b - a for a, b in zip(halves, halves[1:])]
        advice = (
            "; leave grid= out or take windvane.grids.log_snr, also with a start, or UniPC and DPMSolverPP, "
            "which take any grid"
        )
        if any(gap <= 0 for gap in gaps):
            raise ValueError(f"EVODiff runs from noise to data, but the times rise{advice}")
        if not all(math.isfinite(gap) and _even(gap, 0.0, -gaps[0]) for gap in gaps):
            raise ValueError(
                "EVODiff needs a grid even in log-SNR: elsewhere its differences keep a multiple of the "
                f"prediction itself and it does not converge; half log-SNR grows by {min(gaps):.4g} to "
                f"{max(gaps):.4g} a step{advice}"
            )
        levels = [math.exp(-half) for half in halves]
        if self.lower_order_final and len(levels) > 2 and levels[-1] * levels[-2] >= _LAST_LEVEL**2:
            raise ValueError(
                f"EVODiff's last step scales x by 1 - sqrt(k_t k_s) with noise levels {levels[-2]:.3g} and "
                f"{levels[-1]:.3g}, which must be small; end the grid at less noise or set "
                "lower_order_final=False"
            )
        return tuple(levels)


@dataclass(frozen=True)
class _Step:
    """One step between equal ones, in terms of x / alpha; ``base``, predictions and results are unscaled."""

    base: Tensor
    m0: Tensor
    m1: Tensor
    here: Level
    there: Level
    levels: tuple[float, ...]

    @property
    def u(self) -> float:
        """1 - e^-h = k_s tau."""
        return -math.expm1(self.here.half - self.there.half)

    @property
    def half_u(self) -> float:
        """u / 2, for a correction to x instead of x / alpha."""
        return 0.5 * self.there.alpha * self.u

    def difference(self, newer: Tensor, older: Tensor) -> tuple[Tensor, Tensor]:
        """newer - g older, and g = (1 - w) + w proj(newer, older)."""
        first, last, now = self.levels[0], self.levels[-1], math.exp(-self.there.half)
        w = 0.5 * (1 - ((now + last) / (first + last)) ** 2)
        g = (1 - w) + w * _projection(newer, older)
        return newer - g * older, g

    def probe(self) -> tuple[Tensor, Tensor, Tensor]:
        """x', D_1 and r."""
        d1, g = self.difference(self.m0, self.m1)
        r = torch.sigmoid(0.25 * g.abs()).clamp(0.25, 1.5)
        return self.base + self.half_u * d1 / r, d1, r

    def update(self, probe: Tensor, d1: Tensor, r: Tensor, m_s: Tensor) -> Tensor:
        """x_s, from the prediction at the probe."""
        d2, _ = self.difference(m_s, self.m0)
        eta = 0.5 * torch.sigmoid((0.5 * _projection(d2 + d1, d2 - d1)).abs())
        b = (1 - eta) * d2 - eta * d1
        rest = (probe - self.base) / self.there.alpha - 0.5 * self.u * b / r
        z = (_projection(rest, d1) / self.u).abs() - 0.5
        if len(self.levels) - 1 > _MANY_STEPS:
            k_t, k_s = math.exp(-self.here.half), math.exp(-self.there.half)
            turn = _projection(self.m0, (self.m0 - self.m1) / (1 / k_s - 1 / k_t))
            z = -z * torch.sigmoid(turn * (2 - (k_s / k_t) ** 2))
        return self.base + self.half_u * b / torch.sigmoid(z)

    def last(self) -> Tensor:
        """x_s = (1 - sqrt(k_t k_s)) X + u (M_0 - c M_1) / 2: the last step above sigma = 0."""
        ratio = math.exp(self.here.half - self.there.half)
        c = 1 - 0.5 * math.sqrt(ratio if ratio < 0.5 else ratio - 0.5)
        shrink = 1 - math.exp(-0.5 * (self.here.half + self.there.half))
        return shrink * self.base + self.half_u * (self.m0 - c * self.m1)


def _even(there: float, here: float, before: float) -> bool:
    """Whether two steps have one length."""
    return abs((there - here) / (here - before) - 1) < _EVEN


def _projection(a: Tensor, b: Tensor) -> Tensor:
    """clip(<a, b> / <b, b>, -2, 2) for each sample, and each channel of ``(B, C, ...)``; 0 where b = 0."""
    axes = tuple(range(2, a.ndim)) if a.ndim > 2 else (1,)
    wide = torch.promote_types(a.dtype, torch.float32)
    product = (a * b).sum(axes, keepdim=True, dtype=wide)
    square = (b * b).sum(axes, keepdim=True, dtype=wide)
    ratio = torch.where(square > 0, product / torch.where(square > 0, square, 1), 0)
    return ratio.clamp(-2, 2).to(a.dtype)
