"""Reading the signals of a condition: which ones, for which rows, on which device."""

from collections.abc import Sequence

import torch
from torch import Tensor

from windvane.conditions import Condition


def check_condition(cond: Condition | None, rows: int, taken: Sequence[str]) -> None:
    """Refuse what is no condition, has another number of rows, or has a signal the network would ignore."""
    if cond is None:
        return
    if not isinstance(cond, Condition):
        raise ValueError(
            f"cond must be a Condition or None, got {type(cond).__name__}; "
            "Condition.vector(ids) makes one from class ids"
        )
    if len(cond) != rows:
        raise ValueError(f"the condition has {len(cond)} rows, the batch has {rows}; they must agree")
    ignored = [name for name in cond.signals if name not in taken]
    if ignored:
        accepted = ", ".join(taken) or "no signals"
        raise ValueError(
            f"the network takes {accepted}, but the condition has {', '.join(ignored)}; "
            "leave that out of the condition or build the network with it"
        )


def read_signal(
    cond: Condition | None, name: str, device: torch.device
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """The signal and its ``present`` mask ``(B,)`` on ``device``, or ``(None, None)``."""
    if cond is None or name not in cond.signals:
        return None, None
    return cond.signals[name].to(device), cond.present[name].to(device)


def zero_absent(signal: Tensor, present: Tensor) -> Tensor:
    """``signal`` ``(B, *)`` with exact zeros in the absent rows, whatever they held (NaN included)."""
    mask = present.reshape(-1, *([1] * (signal.ndim - 1)))
    return torch.where(mask, signal, torch.zeros((), dtype=signal.dtype, device=signal.device))
