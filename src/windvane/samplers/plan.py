"""What a call of ``sample`` asks for, made definite: seeds, times, start, condition, shape, device."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from windvane.arguments import called, numbers, one_of, real, shown, sizes
from windvane.conditions import Condition
from windvane.finite import extremes
from windvane.grids import edm, grid_named, log_snr, uniform
from windvane.process import EDM, PFGMPP, Process, RectifiedFlow, as_process
from windvane.randomness import STREAM_PRIOR, seed_range
from windvane.registry import known_names
from windvane.samplers.base import Grid, Sampler

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
    flow, whose log-SNR is infinite at both ends, a log-SNR grid would spend most steps near the ends. The
    table is what their :class:`~windvane.samplers.Traits` say; a sampler with an ``own_grid`` brings its own.
    """
    if sampler.own_grid is not None:
        return sampler.own_grid
    traits = sampler.traits
    if traits.grid is not None and (traits.needs_grid or not isinstance(process, RectifiedFlow)):
        return grid_named(traits.grid)
    return edm if isinstance(process, (EDM, PFGMPP)) else uniform


def start_from(process: Process, x0: Tensor, t: float, seeds: int | Sequence[int] | Tensor) -> Start:
    """A start for image-to-image: x0 ``(n, *)`` noised to time ``t``, each row by its own seed.

    Pass the result as ``sample(..., start=...)``, with the same seeds.

    Raises:
        ValueError: data that are no floating point; another number of seeds than rows; a time outside (0, 1],
            or with no noise to take away.
    """
    if not _is_data(x0):
        kind = f" and {x0.dtype}" if isinstance(x0, Tensor) else ""
        raise ValueError(
            "start_from takes data (n, *) of floating point, in the range that the model was trained on "
            f"(8-bit pictures as x / 127.5 - 1), got {shown(x0)}{kind}"
        )
    process, t = as_process(process), real(t, "the time t of start_from")
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
    process: Process, sampler: Sampler, grid: Grid | Tensor | str | None, steps: int, start: Start | None
) -> Tensor:
    """The times of a run, float64 on the CPU.

    A row of times is taken as it is, and must begin at the start's time. A grid function, or the name of one,
    gives its own times; with a start at t_start, those below t_start, preceded by it (so fewer than ``steps``
    steps).
    """
    if grid is not None and not callable(grid) and not isinstance(grid, str):
        times = numbers(
            grid, "grid= takes times, a function (process, steps) -> times or a name: times", finite=False
        )
        times = times.detach().to("cpu")
        begin = float(times.flatten()[0]) if times.numel() else float("nan")
        if start is not None and not abs(begin - start[1]) <= 1e-9:
            raise ValueError(f"the grid must begin at the start's t={start[1]}, but it begins at t={begin}")
    else:
        if isinstance(grid, str):
            grid = grid_named(one_of(grid, "grid=, a name of times,", known_names("grid")))
        chosen = default_grid(process, sampler) if grid is None else grid
        times = _given_by(chosen, process, steps)
        if start is not None:
            first = torch.tensor([start[1]], dtype=torch.float64)
            # Not a hair below t_start either: a step of rounding size is no step.
            below = times[times < start[1] * (1 - 1e-9)]
            times = torch.cat([first, below[1:] if len(below) == len(times) else below])
            if chosen is log_snr and sampler.traits.needs_grid:
                times = _even_log_snr(process, times)
    _check_times(process, sampler, times, upwards=start is not None)
    return times


def _given_by(grid: Any, process: Process, steps: int) -> Tensor:
    times = None if isinstance(grid, type) or hasattr(grid, "process") else grid(process, steps)
    if not isinstance(times, Tensor) or times.ndim != 1 or not times.is_floating_point():
        received = shown(grid if times is None else times)
        raise ValueError(
            "grid= takes times (steps + 1,), a function (process, steps) -> times such as "
            f"windvane.grids.log_snr, or a name ({', '.join(known_names('grid'))}), got {received}"
        )
    return times.detach().to("cpu", torch.float64)


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


def as_start(start: Any) -> Start | None:
    """A start as it is, its time a float.

    Raises:
        ValueError: no pair of data ``(n, *)`` of floating point and a time in [0, 1].
    """
    if start is None:
        return None
    pair = isinstance(start, (tuple, list)) and len(start) == 2
    if not pair or not _is_data(start[0]):
        raise ValueError(
            "start= takes (x_t (n, *) of floating point, t), as windvane.samplers.start_from makes it of "
            f"data, got {shown(start)}"
        )
    return start[0], real(start[1], "the time of start=", least=0, most=1)


def _is_data(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and x.ndim >= 2 and len(x) > 0


def resolve_start(start: Start | None, n: int) -> Start | None:
    """The start with ``n`` rows: one row is repeated."""
    if start is None:
        return None
    x, t = start
    if len(x) not in (1, n):
        raise ValueError(f"the start has {len(x)} rows for {n} samples; give 1 or {n}")
    return (x if len(x) == n else x.expand(n, *x.shape[1:])), t


def resolve_shape(denoiser: Any, shape: Sequence[int] | None, start: Start | None) -> tuple[int, ...]:
    """The data shape: as given, or the start's, or the denoiser's own."""
    known = sizes(shape, "shape=") if shape is not None else start[0].shape[1:] if start is not None else None
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
        try:
            if isinstance(device, bool):
                raise TypeError("a switch is no device")
            return torch.device(device)
        except (TypeError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"device= takes 'cpu', 'cuda' or a torch.device, got {shown(device)}: {reason}"
            ) from None
    if isinstance(denoiser, nn.Module):
        for tensor in chain(denoiser.parameters(), denoiser.buffers()):
            return tensor.device
    return torch.device("cpu")


def check_dtype(dtype: Any) -> None:
    """Refuse anything but a dtype of floating point."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(
            f"dtype= takes torch.float32, or another dtype of floating point, got {shown(dtype)}"
        )


def check_callback(callback: Any, what: str) -> None:
    """Refuse what is no callback."""
    if callback is not None:
        called(callback, what, "(StepInfo) -> a new x or None")
