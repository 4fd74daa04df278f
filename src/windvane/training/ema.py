"""Exponential moving average of the weights, with a warm-up of the decay."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from windvane.denoiser import Denoiser


class EMA:
    """ema <- d_n ema + (1 - d_n) raw with d_n = min(decay, (1 + n) / (10 + n)), n the updates made before.

    The first update (n = 0) copies the raw weights, as torch's ``AveragedModel`` and diffusers' ``EMAModel``
    do: an average that remembers the initialisation gives noise for thousands of steps. Buffers are copied,
    not averaged, because counters and tables have no average. Same numbers as ``AveragedModel`` with these
    decays, at a third of its time on small networks: the lists of tensors are made once.

    Weights in half precision are averaged in float32: at decay 0.9999 a step is smaller than their rounding,
    and an average kept in bfloat16 or float16 stands still.

    Args:
        denoiser: the one to follow; its average :attr:`denoiser` starts as a copy, in evaluation mode.
        decay: in [0, 1); 0 keeps a copy of the raw weights.
    """

    def __init__(self, denoiser: Denoiser, decay: float = 0.9999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(
                f"ema_decay must lie in [0, 1), got {decay}; 0.9999 is usual, 0 keeps no average"
            )
        self.decay = decay
        self.updates = 0
        #: The denoiser with averaged weights.
        self.denoiser = _full(copy.deepcopy(denoiser)).requires_grad_(False).eval()
        # What is frozen is the same in both, and no step costs anything for it.
        pairs = [p for p in zip(self.denoiser.parameters(), denoiser.parameters()) if p[1].requires_grad]
        self._averaged: list[Tensor] = [own for own, _ in pairs]
        self._raw: list[Tensor] = [raw for _, raw in pairs]
        self._all = list(denoiser.parameters())
        self._buffers, self._raw_buffers = list(self.denoiser.buffers()), list(denoiser.buffers())

    def decay_at(self, n: int) -> float:
        """The decay of the update that ``n`` updates preceded; 0 for the first, which copies."""
        return 0.0 if n == 0 else min(self.decay, (1 + n) / (10 + n))

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after an optimizer step."""
        torch._foreach_lerp_(self._averaged, self._weights(), 1 - self.decay_at(self.updates))
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._raw_buffers)
        self.updates += 1

    @torch.no_grad()
    def gap(self) -> Tensor:
        """||ema - raw|| / ||raw|| over all parameters, 0-dim: how far the average lags behind."""
        difference = torch._foreach_sub(self._averaged, self._weights())  # type: ignore[arg-type]
        return _norm(difference) / _norm(self._all).clamp(min=torch.finfo(torch.float32).tiny)

    def _weights(self) -> list[Tensor]:
        """The raw weights in the dtypes of their averages."""
        return [raw.to(own.dtype) for raw, own in zip(self._raw, self._averaged)]

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` needs to go on."""
        return {"updates": self.updates, "weights": self.denoiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.denoiser.load_state_dict(state["weights"])
        self.updates = int(state["updates"])


def _full(denoiser: Denoiser) -> Denoiser:
    """The denoiser with its half-precision weights and buffers in float32, in place; others as they are."""
    for tensor in (*denoiser.parameters(), *denoiser.buffers()):
        if tensor.dtype in (torch.bfloat16, torch.float16):
            tensor.data = tensor.data.float()
    return denoiser


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([norm.float() for norm in torch._foreach_norm(list(tensors))]).norm()
