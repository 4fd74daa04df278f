"""Minimising a loss over some parameters: the loop of every fit that needs no run folder."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from windvane.progress import track


def descend(
    loss: Callable[[int], Tensor],
    parameters: Iterable[nn.Parameter],
    *,
    steps: int,
    lr: float,
    rate: Callable[[int], float] | None = None,
    weight_decay: float | None = 0.0,
    clip_norm: float | None = None,
    name: str,
    progress: bool,
    error: type[Exception] = FloatingPointError,
) -> list[float]:
    """Minimise ``loss(step)``, 0-dim, which draws its own batch; returns its value at every step.

    Args:
        parameters: changed in place.
        rate: the share of ``lr`` at a step; None: all of it.
        weight_decay: AdamW's; None: plain Adam.
        clip_norm: the largest gradient norm; None: no limit.
        name: of the bar and in the error.
        error: raised where the loss is not finite.
    """
    held = list(parameters)
    if weight_decay is None:
        optimiser: torch.optim.Optimizer = torch.optim.Adam(held, lr=lr)
    else:
        optimiser = torch.optim.AdamW(held, lr=lr, weight_decay=weight_decay)
    losses: list[float] = []
    for step in track(range(steps), name, total=steps, enabled=progress):
        for group in optimiser.param_groups:
            group["lr"] = lr if rate is None else lr * rate(step)
        optimiser.zero_grad(set_to_none=True)
        with torch.enable_grad():
            value = loss(step)
            losses.append(float(value.detach()))
            if not math.isfinite(losses[-1]):
                raise error(f"{name}: the loss became {losses[-1]} at step {step}; try a rate below {lr:g}")
            value.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(held, clip_norm)
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return losses


def warm_cosine(steps: int) -> Callable[[int], float]:
    """A rate that rises over the first twentieth of the steps, below a cosine from 1 to 0 over them all."""
    warm = max(1, steps // 20)
    return lambda step: min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * step / steps))
