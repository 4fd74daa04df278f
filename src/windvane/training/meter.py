"""Health of a training between two lines of the log, gathered on the device without waiting for it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: Centres of the bins of the loss per noise level, in log-SNR; the outer two are open.
LEVELS = (-8, -4, 0, 4, 8)
_EDGES = torch.tensor([-6.0, -2.0, 2.0, 6.0], dtype=torch.float64)


class Meter:
    """Sums of losses by log-SNR, and of gradient norms.

    Row by row in the order of the steps, so that saving and restoring in between changes no digit.
    """

    def __init__(self, device: torch.device) -> None:
        # Apple's devices have no float64.
        self.dtype = torch.float32 if device.type == "mps" else torch.float64
        self._device = device
        self._bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self._clear()

    def _clear(self) -> None:
        self._sums = torch.zeros(len(LEVELS), dtype=self.dtype, device=self._device)
        self._counts = torch.zeros(len(LEVELS), dtype=torch.float64)
        self._norms = torch.zeros((), dtype=self.dtype, device=self._device)
        self._largest = torch.zeros((), dtype=self.dtype, device=self._device)
        self._beside: dict[str, Tensor] = {}
        self.steps = 0

    def add(self, step: int, losses: Tensor, log_snr: Tensor, norm: Tensor) -> None:
        """Take in the losses ``(b,)`` at ``log_snr`` ``(b,)`` (CPU) and the gradient norm of one step."""
        bins = torch.bucketize(log_snr, _EDGES)
        self._sums.index_add_(0, bins.to(self._device), losses.to(self.dtype))
        self._counts += torch.bincount(bins, minlength=len(LEVELS))
        norm = norm.to(self.dtype)
        self._norms += norm
        self._largest = torch.maximum(self._largest, norm)
        self.steps += 1
        bad = ~torch.isfinite(norm + losses.sum()) & (self._bad_step < 0)
        self._bad_step = torch.where(bad, step, self._bad_step)

    def beside(self, step: int, name: str, losses: Tensor, norm: Tensor) -> None:
        """Take in the losses ``(b,)`` and the gradient norm of another update of the step."""
        sums = torch.stack([losses.to(self.dtype).sum(), losses.new_full((), len(losses), dtype=self.dtype)])
        self._beside[name] = self._beside.get(name, 0) + sums
        bad = ~torch.isfinite(norm + losses.sum()) & (self._bad_step < 0)
        self._bad_step = torch.where(bad, step, self._bad_step)

    def bad_step(self) -> int | None:
        """The first step whose loss or gradient was not finite, or None. Waits for the device."""
        step = int(self._bad_step)
        return None if step < 0 else step

    def report(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Means since the last report, over all processes (``reduce`` sums over them); starts afresh."""
        totals = reduce(torch.stack([self._sums, self._counts.to(self._sums)])).cpu().double()
        sums, counts = totals[0], totals[1]
        row = {"loss": float(sums.sum() / counts.sum())}
        row |= {f"loss_log_snr_{level}": float(s / n) for level, s, n in zip(LEVELS, sums, counts)}
        row |= {"grad_norm": float(self._norms) / self.steps, "grad_norm_max": float(self._largest)}
        for name, total in self._beside.items():
            total = reduce(total).cpu().double()
            row[name] = float(total[0] / total[1])
        self._clear()
        return row

    def state_dict(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """The sums of all processes together."""
        totals = reduce(torch.stack([self._sums, self._counts.to(self._sums)])).cpu()
        return {
            "sums": totals[0],
            "counts": totals[1],
            "norms": self._norms.cpu(),
            "largest": self._largest.cpu(),
            "steps": self.steps,
            **({"beside": {k: reduce(v).cpu() for k, v in self._beside.items()}} if self._beside else {}),
        }

    def load_state_dict(self, state: dict[str, Any], *, main: bool) -> None:
        """Go on from :meth:`state_dict`; the sums are those of all processes, so one of them takes them."""
        if main:
            self._sums = state["sums"].to(self._sums, copy=True)
            self._counts = state["counts"].to(self._counts, copy=True)
            self._beside = {name: sums.to(self._sums) for name, sums in state.get("beside", {}).items()}
        self._norms = state["norms"].to(self._norms, copy=True)
        self._largest = state["largest"].to(self._largest, copy=True)
        self.steps = int(state["steps"])
