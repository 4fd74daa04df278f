"""Time grids: the times a sampler visits, float64, descending, ending at t = 0.

``steps`` intervals make ``steps`` network calls for one-call samplers: the last interval, from the
smallest positive time to 0, is the denoise-to-zero call.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from windvane.process import Process
from windvane.registry import find


def _check(steps: int, least: int = 1) -> None:
    if steps < least:
        raise ValueError(f"a time grid needs at least {least} step(s), got {steps}")


def _finish(process: Process, times: Tensor) -> Tensor:
    # Inverse maps may round to a hair above t_max, which is outside the times that samplers take.
    return torch.cat([times.clamp(max=process.t_max), torch.zeros(1, dtype=torch.float64)])


def uniform(process: Process, steps: int) -> Tensor:
    """t_i = t_max (1 - i / steps): uniform in time, as DDIM uses."""
    _check(steps)
    return torch.linspace(process.t_max, 0.0, steps + 1, dtype=torch.float64)


def quadratic(process: Process, steps: int) -> Tensor:
    """t_i = t_max (1 - i / steps)^2: finer towards the data (Song et al. 2021, DDIM, appendix D.2)."""
    _check(steps)
    return process.t_max * torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64) ** 2


def log_snr(process: Process, steps: int) -> Tensor:
    """Uniform in log-SNR from t_max to t_min, then 0 (Lu et al. 2022, DPM-Solver).

    Where alpha(t_max) = 0 the log-SNR is -inf there; the grid then starts where lambda = -10.
    """
    _check(steps)
    ends = torch.tensor([process.t_max, process.t_min], dtype=torch.float64)
    lmbda = process.log_snr(ends)
    first = lmbda[0] if torch.isfinite(lmbda[0]) else torch.tensor(-10.0, dtype=torch.float64)
    if steps == 1:
        return _finish(process, process.t_of_log_snr(first)[None])
    fractions = torch.linspace(0.0, 1.0, steps, dtype=torch.float64)
    times = process.t_of_log_snr(first + (lmbda[1] - first) * fractions)
    return _finish(process, times)


def edm(process: Process, steps: int, rho: float = 7.0) -> Tensor:
    """EDM's grid in the noise level k = sigma / alpha, then 0 (Karras et al. 2022, eq. 5).

    k_i = (k_max^(1/rho) + i / (steps - 1) (k_min^(1/rho) - k_max^(1/rho)))^rho, with k_max and k_min the
    noise levels at t_max and t_min; where k is infinite at t_max, EDM's own 80 is used.
    """
    _check(steps)
    ends = torch.tensor([process.t_max, process.t_min], dtype=torch.float64)
    levels = process.noise_level(ends)
    first = levels[0] if torch.isfinite(levels[0]) else torch.tensor(80.0, dtype=torch.float64)
    if steps == 1:
        return _finish(process, process.t_of_noise_level(first)[None])
    fractions = torch.linspace(0.0, 1.0, steps, dtype=torch.float64)
    high, low = first ** (1 / rho), levels[1] ** (1 / rho)
    return _finish(process, process.t_of_noise_level((high + fractions * (low - high)) ** rho))


def grid_named(name: str) -> Callable[[Process, int], Tensor]:
    """The registered grid of a name.

    Raises:
        ValueError: no such name, with those there are.
    """
    return find("grid", name).load()
