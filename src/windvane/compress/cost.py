"""What a sampling costs: network calls, rows and floating-point operations."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.denoiser import Denoiser
from windvane.evaluations import count_evaluations
from windvane.guidance.routed import Routed, count_routes


@dataclass(frozen=True)
class Cost:
    """Cost of a run. ``per_model`` are the (calls, rows) of each model of a routed denoiser."""

    calls: int
    rows: int
    flops: int
    per_model: tuple[tuple[int, int], ...] = ()


def row_flops(denoiser: Denoiser, cond: Condition | None = None, *, t: float = 0.5) -> int:
    """Floating-point operations of one evaluation for one sample, a multiply-add counting as two.

    Matrix products and convolutions only, as :mod:`torch.utils.flop_counter` counts them; a denoiser known in
    closed form has nearly none. ``cond`` has one row; with guidance, all its rows are in the figure.
    """
    from torch.utils.flop_counter import FlopCounterMode

    if denoiser.shape is None:
        raise ValueError(f"{type(denoiser).__name__} does not know its data shape, so its cost is unknown")
    tensor = next((p for p in (*denoiser.parameters(), *denoiser.buffers())), torch.zeros(()))
    dtype = tensor.dtype if tensor.is_floating_point() else torch.float32
    x = torch.zeros(1, *denoiser.shape, device=tensor.device, dtype=dtype)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        denoiser(x, torch.full((1,), t, dtype=torch.float64), cond)
    return counter.get_total_flops()


def measure_cost(run: Callable[[], object], routed: Routed | None = None) -> Cost:
    """Run ``run()`` and count everything in it; with ``routed``, also for each of its models."""
    from contextlib import nullcontext

    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, count_evaluations() as made, count_routes(routed) if routed else nullcontext() as parts:
        run()
    per_model = tuple(zip(parts.calls, parts.rows)) if parts is not None else ()
    return Cost(made.calls, made.rows, counter.get_total_flops(), per_model)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between two batches, row by row ``(B,)``."""
    return torch.nn.functional.cosine_similarity(a.flatten(1).double(), b.flatten(1).double(), dim=1)
