"""A sampler."""

from dataclasses import dataclass

from windvane.convert import eps_from_x0
from windvane.process import expand
from windvane.samplers import Sampler, Traits


@dataclass(frozen=True)
class Midpoint(Sampler):
    """The midpoint rule on dx = x0 d(alpha) + eps d(sigma): second order, two evaluations a step."""

    traits = Traits(evaluations=2)

    def init(self, x, times):
        return ()

    def step(self, denoise, x, t, s, state, noise=None):
        if denoise.process.sigma(s) == 0:
            return denoise(x, t), state
        middle = (t + s) / 2
        return self._move(denoise, self._move(denoise, x, x, t, t, middle), x, middle, t, s), state

    def _move(self, denoise, at, x, time, t, s):
        """From x at t to s, along the slope that the flow has at the point ``at`` and time ``time``."""
        process, x0 = denoise.process, denoise(at, time)
        eps = eps_from_x0(process, at, x0, time)
        d_alpha, d_sigma = process.alpha(s) - process.alpha(t), process.sigma(s) - process.sigma(t)
        return x + expand(d_alpha, x) * x0 + expand(d_sigma, x) * eps
