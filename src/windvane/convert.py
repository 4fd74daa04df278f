"""Conversions between what networks predict: x0, eps, v, flow and score.

With x_t = alpha x0 + sigma eps, knowing x_t and any one of these gives all others. This module is the
only place for that algebra. Shapes: ``x_t`` and predictions ``(B, *)``; ``t`` 0-dim, ``(B,)``
or ``(B, K)``, see :func:`windvane.process.expand`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from windvane.process import Process, expand, require_gaussian


def _scales(process: Process, t: Tensor) -> tuple[Tensor, Tensor]:
    return process.scales(t)


def _of_v(process: Process, t: Tensor) -> tuple[Tensor, Tensor]:
    a, s = process.scales(t)
    norm = a**2 + s**2
    return a / norm, s / norm


def _of_flow(process: Process, t: Tensor) -> tuple[Tensor, Tensor]:
    a, s = process.scales(t)
    return 1 / (a + s), s / (a + s)


def _none(process: Process, t: Tensor) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class ToX0:
    """How x0 is made of a prediction: ``apply(x_t, prediction, *c)`` with c = ``coefficients(process, t)``.

    Apart, so that a sampling run computes the coefficients of each of its times once.
    """

    coefficients: Callable[[Process, Tensor], tuple[Tensor, ...]]
    apply: Callable[..., Tensor]

    def __call__(self, process: Process, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        found = process.coefficients(self.coefficients, (t,), x_t, partial(self.coefficients, process))
        return self.apply(x_t, prediction, *found)


_FROM_EPS = ToX0(_scales, lambda x_t, eps, alpha, sigma: (x_t - sigma * eps) / alpha)
_FROM_V = ToX0(_of_v, lambda x_t, v, c_x, c_v: c_x * x_t - c_v * v)
_FROM_FLOW = ToX0(_of_flow, lambda x_t, flow, c_x, c_flow: c_x * x_t - c_flow * flow)
_FROM_ITSELF = ToX0(_none, lambda x_t, x0: x0)


def x0_from_eps(process: Process, x_t: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """x0 = (x_t - sigma eps) / alpha."""
    return _FROM_EPS(process, x_t, eps, t)


def eps_from_x0(process: Process, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """eps = (x_t - alpha x0) / sigma; not defined where sigma = 0."""
    alpha, sigma = process.coefficients(_scales, (t,), x_t, process.scales)
    return (x_t - alpha * x0) / sigma


def x0_from_v(process: Process, x_t: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """x0 = (alpha x_t - sigma v) / (alpha^2 + sigma^2), for v = alpha eps - sigma x0.

    For variance preserving processes the denominator is 1 (Salimans and Ho 2022, appendix D).
    """
    return _FROM_V(process, x_t, v, t)


def v_from_x0(process: Process, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """v = alpha eps - sigma x0 = (alpha x_t - (alpha^2 + sigma^2) x0) / sigma."""
    a, s = process.scales(t)
    return expand(a / s, x_t) * x_t - expand((a**2 + s**2) / s, x_t) * x0


def x0_from_flow(process: Process, x_t: Tensor, flow: Tensor, t: Tensor) -> Tensor:
    """x0 = (x_t - sigma u) / (alpha + sigma), for the flow u = eps - x0.

    On the rectified flow u is the velocity dx_t/dt and x0 = x_t - t u.
    """
    return _FROM_FLOW(process, x_t, flow, t)


def flow_from_x0(process: Process, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """u = eps - x0 = (x_t - (alpha + sigma) x0) / sigma."""
    a, s = process.scales(t)
    return expand(1 / s, x_t) * x_t - expand((a + s) / s, x_t) * x0


def score_from_x0(process: Process, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """Tweedie: grad log p_t(x_t) = (alpha E[x0 | x_t] - x_t) / sigma^2, for Gaussian noise."""
    require_gaussian(process, "the score")
    a, s = process.scales(t)
    alpha, variance = expand(a, x_t), expand(s**2, x_t)
    return (alpha * x0 - x_t) / variance


def x0_from_score(process: Process, x_t: Tensor, score: Tensor, t: Tensor) -> Tensor:
    """x0 = (x_t + sigma^2 score) / alpha, for Gaussian noise."""
    require_gaussian(process, "the score")
    a, s = process.scales(t)
    alpha, variance = expand(a, x_t), expand(s**2, x_t)
    return (x_t + variance * score) / alpha


def velocity_from_x0(process: Process, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """The probability-flow velocity dx/dt = alpha'(t) x0 + sigma'(t) eps, derivatives by autograd."""
    with torch.enable_grad():
        time = t.detach().clone().requires_grad_(True)
        (d_alpha,) = torch.autograd.grad(process.alpha(time).sum() + 0 * time.sum(), time)
        (d_sigma,) = torch.autograd.grad(process.sigma(time).sum() + 0 * time.sum(), time)
    return expand(d_alpha, x_t) * x0 + expand(d_sigma, x_t) * eps_from_x0(process, x_t, x0, t)


def _identity(process: Process, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    return x0


_Conversion = Callable[[Process, Tensor, Tensor, Tensor], Tensor]
#: The conversions whose coefficients are known apart.
TO_X0 = {"x0": _FROM_ITSELF, "eps": _FROM_EPS, "v": _FROM_V, "flow": _FROM_FLOW}
_TO_X0: dict[str, _Conversion] = {**TO_X0, "score": x0_from_score}
_FROM_X0: dict[str, _Conversion] = {
    "x0": _identity,
    "eps": eps_from_x0,
    "v": v_from_x0,
    "flow": flow_from_x0,
    "score": score_from_x0,
}


def x0_from_prediction(process: Process, kind: str, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
    """Turn a prediction of the named kind ("x0", "eps", "v", "flow", "score") into x0."""
    return _lookup(_TO_X0, kind)(process, x_t, prediction, t)


def prediction_from_x0(process: Process, kind: str, x_t: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """Turn x0 into the prediction of the named kind ("x0", "eps", "v", "flow", "score")."""
    return _lookup(_FROM_X0, kind)(process, x_t, x0, t)


def _lookup(table: dict[str, _Conversion], kind: str) -> _Conversion:
    if kind not in table:
        raise ValueError(f"unknown prediction kind {kind!r}; known: {', '.join(table)}")
    return table[kind]
