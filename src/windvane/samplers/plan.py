"""What a call of ``sample`` asks for, made definite: seeds, times, start, condition, shape, device."""

import operator
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from windvane.conditions import Condition
from windvane.finite import extremes
from windvane.grids import edm, log_snr, uniform
from windvane.process import EDM, PFGMPP, Process, RectifiedFlow
from windvane.randomness import STREAM_PRIOR, seed_range
from windvane.samplers.base import Sampler

Grid = Callable[[Process, int], Tensor]
Start = tuple[Tensor, float]


def default_grid(process: Process, sampler: Sampler) -> Grid:
    """The grid used where none is given.

    ================================  ============  ========  ==============
    sampler                           VP processes  EDM*      rectified flow
    ================================  ============  ========  ==============
    DPM-Solver++, UniPC               log_snr       log_snr   uniform
    EVODiff                           log_snr       log_snr   log_snr
    all others                        uniform       edm       uniform
    ================================  ============  ========  ==============

    (* and PFGM++.) DPM-Solver++ and UniPC are built in log-SNR and want even steps there; on the rectified
    flow, whose log-SNR is infinite at both ends, a log-SNR grid would spend most steps near the ends. A
    sampler with ``own_grid(process, steps)`` brings its own.
    """
    own = getattr(sampler, "own_grid", None)
    if own is not None:
        return own
    if getattr(sampler, "needs_log_snr", False):
        return log_snr
    if isinstance(process, RectifiedFlow):
        return uniform
    if getattr(sampler, "prefers_log_snr", False):
        return log_snr
    return edm if isinstance(process, (EDM, PFGMPP)) else uniform


def start_from(process: Process, x0: Tensor, t: float, seeds: int | Sequence[int] | Tensor) -> Start:
    """A start for image-to-image: x0 ``(n, *)`` noised to time ``t``, each row by its own seed.

    Pass the result as ``sample(..., start=...)``, with the same seeds.

    Raises:
        ValueError: another number of seeds than rows; a time outside (0, 1], or with no noise to take away.
    """
    if not 0 < t <= 1 or float(process.sigma(torch.tensor(t, dtype=torch.float64))) == 0:
        raise ValueError(
            f"start_from adds the noise of time t, 0 < t <= 1, got t={t}; at t = 0 there is none, and the "
            "result would be the picture itself"
        )
    rows = seed_range(seeds, len(x0) if _stands_alone(seeds) else None)
    if len(rows) != len(x0):
        raise ValueError(f"start_from needs one seed per row: got {len(rows)} seeds for {len(x0)} rows")
    noise = process.law.draw(rows, STREAM_PRIOR, x0.shape[1:], dtype=x0.dtype).to(x0.device)
    return process.perturb(x0, torch.tensor(t, dtype=torch.float64), noise), float(t)


def resolve_times(
    process: Process, sampler: Sampler, grid: Grid | Tensor | None, steps: int, start: Start | None
) -> Tensor:
    """The times of a run, float64 on the CPU.

    A tensor is taken as it is, and must begin at the start's time. A grid function gives its own times;
    with a start at t_start, those below t_start, preceded by it (so fewer than ``steps`` steps).
    """
    if isinstance(grid, Tensor):
        times = grid.detach().to("cpu", torch.float64)
        begin = float(times.flatten()[0]) if times.numel() else float("nan")
        if start is not None and not abs(begin - start[1]) <= 1e-9:
            raise ValueError(f"the grid must begin at the start's t={start[1]}, but it begins at t={begin}")
    else:
        chosen = grid or default_grid(process, sampler)
        times = chosen(process, steps)
        if start is not None:
            first = torch.tensor([start[1]], dtype=torch.float64)
            # Not a hair below t_start either: a step of rounding size is no step.
            below = times[times < start[1] * (1 - 1e-9)]
            times = torch.cat([first, below[1:] if len(below) == len(times) else below])
            if chosen is log_snr and getattr(sampler, "needs_log_snr", False):
                times = _even_log_snr(process, times)
    _check_times(process, sampler, times, upwards=start is not None)
    return times


def _even_log_snr(process: Process, times: Tensor) -> Tensor:
    """As many times from the first to the last above 0, even in log-SNR: a start lies between two of them."""
    if len(times) < 4:
        return times
    first, last = process.log_snr(times[0]), process.log_snr(times[-2])
    if not torch.isfinite(first):
        return times
    shares = torch.linspace(0.0, 1.0, len(times) - 1, dtype=torch.float64)
    inner = process.t_of_log_snr(first + (last - first) * shares)[1:-1]
    return torch.cat([times[:1], inner, times[-2:]])


def _check_times(process: Process, sampler: Sampler, times: Tensor, *, upwards: bool) -> None:
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"a time grid needs at least two times in one row, got shape {tuple(times.shape)}")
    least, most = (float(end) for end in extremes(times))
    if not 0 <= least <= most <= 1:  # not so, too, where one is NaN
        raise ValueError(f"times must lie in [0, 1], got {least} to {most}")
    steepest, flattest = (float(end) for end in extremes(times.diff()))
    if flattest < 0:
        return
    if not steepest > 0:
        raise ValueError("times must fall strictly (noise at 1 to data at 0), or rise strictly to invert")
    if sampler.stochastic:
        raise ValueError(f"rising times invert the flow, which {sampler} cannot do: it is stochastic")
    if not upwards or float(process.sigma(times[0])) == 0:
        raise ValueError("rising times need start=(x, t) with sigma(t) > 0, such as t = process.t_min")


def resolve_seeds(
    seeds: int | Sequence[int] | Tensor, n: int | None, cond: Condition | None, start: Start | None
) -> Tensor:
    """One seed per sample. With an int and no ``n``: as many as condition or start have rows, else 1."""
    if n is None and _stands_alone(seeds):
        n = max(len(cond) if cond is not None else 1, len(start[0]) if start is not None else 1)
    return seed_range(seeds, n)


def _stands_alone(seeds: Any) -> bool:
    """Whether seeds are one number, of whatever library, and no row of them."""
    return seeds.ndim == 0 if hasattr(seeds, "ndim") else not hasattr(seeds, "__len__")


def as_denoiser(denoiser: Any) -> Any:
    """A denoiser as it is.

    Raises:
        ValueError: what cannot be called, or has no process; the message says how it becomes a denoiser.
    """
    name = getattr(denoiser, "__name__", None) or type(denoiser).__name__
    if not callable(denoiser) or isinstance(denoiser, type):
        hint = "windvane.load opens one from a folder, windvane.from_pipeline one from a pipeline"
        raise ValueError(f"sample needs a denoiser, a function (x_t, t, cond) -> x0, got {name}; {hint}")
    if not hasattr(denoiser, "process"):
        wrap = "NetworkDenoiser" if isinstance(denoiser, nn.Module) else "FunctionDenoiser"
        raise ValueError(
            f"{name} has no noise process, which a denoiser needs: windvane.{wrap}({name}, "
            "windvane.VPCosine()), with the process it was trained on, makes it one"
        )
    return denoiser


def as_steps(steps: Any) -> int:
    """The number of steps as an int of at least 1."""
    try:
        count = operator.index(steps)
    except TypeError:
        raise ValueError(f"steps must be an integer of at least 1, got {steps!r}") from None
    if count < 1 or isinstance(steps, bool):
        raise ValueError(f"steps must be an integer of at least 1, got {steps!r}")
    return count


def as_condition(cond: Any) -> Condition | None:
    """A condition as it is; ids ``(n,)`` or vectors ``(n, K)``, as a tensor, become one.

    Raises:
        ValueError: anything else, with what to give instead.
    """
    if cond is None or isinstance(cond, Condition):
        return cond
    if isinstance(cond, Tensor) and cond.dtype != torch.bool:
        whole = not cond.is_floating_point() and not cond.is_complex()
        if cond.ndim == 1 and whole:
            return Condition.vector(cond.long())
        if cond.ndim == 2:
            return Condition.vector(cond)
    shape = f" of shape {tuple(cond.shape)} and {cond.dtype}" if isinstance(cond, Tensor) else ""
    raise ValueError(
        f"cond= takes a windvane.Condition, or a tensor of class ids (n,) or vectors (n, K), got a "
        f"{type(cond).__name__}{shape}; windvane.Condition.vector(torch.tensor([3, 5])) asks for two classes"
    )


def resolve_cond(cond: Condition | None, n: int) -> Condition | None:
    """The condition with ``n`` rows: one row is repeated, any other number is refused."""
    if cond is None or len(cond) == n:
        return cond
    if len(cond) != 1:
        raise ValueError(f"the condition has {len(cond)} rows for {n} samples; give 1 or {n}")
    return cond.index(torch.zeros(n, dtype=torch.int64))


def resolve_start(start: Start | None, n: int) -> Start | None:
    """The start with ``n`` rows and a float time: one row is repeated."""
    if start is None:
        return None
    x, t = start
    if len(x) not in (1, n):
        raise ValueError(f"the start has {len(x)} rows for {n} samples; give 1 or {n}")
    return (x if len(x) == n else x.expand(n, *x.shape[1:])), float(t)


def resolve_shape(denoiser: Any, shape: Sequence[int] | None, start: Start | None) -> tuple[int, ...]:
    """The data shape: as given, or the start's, or the denoiser's own."""
    known = shape if shape is not None else start[0].shape[1:] if start is not None else None
    known = getattr(denoiser, "shape", None) if known is None else known
    if known is None:
        raise ValueError(f"{type(denoiser).__name__} does not know its data shape; pass shape=(C, H, W)")
    if start is not None and tuple(start[0].shape[1:]) != tuple(known):
        raise ValueError(
            f"the start has shape {tuple(start[0].shape[1:])} a row, shape={tuple(known)} was given"
        )
    return tuple(known)


def resolve_device(denoiser: Any, device: torch.device | str | None) -> torch.device:
    """The device asked for, or the one of the denoiser's first parameter or buffer, or the CPU."""
    if device is not None:
        return torch.device(device)
    if isinstance(denoiser, nn.Module):
        for tensor in chain(denoiser.parameters(), denoiser.buffers()):
            return tensor.device
    return torch.device("cpu")
