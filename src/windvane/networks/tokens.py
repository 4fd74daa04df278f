"""The token condition: extra keys and values for every attention block."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from windvane.conditions import Condition
from windvane.networks.signals import read_signal, zero_absent
from windvane.networks.time_embedding import time_embedding

TOKENS_EACH = 8
_TIME_WIDTH = 128


class Tokens(NamedTuple):
    """Tokens ``(B, L, width)`` and, if rows may lack some of them, which count: bool ``(B, L)``."""

    values: Tensor
    valid: Tensor | None


class TokenInput(nn.Module):
    """Make tokens from the time, from the vector condition and from the ``"tokens"`` signal.

    The vector (zero where absent) through one Linear gives 8 tokens, the time embedding gives 8 more, tokens
    given with the condition (text, for instance) follow; all pass a LayerNorm (Hu et al. 2023, Self-Guided
    Diffusion Models, with width 32). Given tokens of absent rows are zero and take no part in the attention,
    so that a dropped row equals a row without any.

    Args:
        width: the width of every token, given ones included.
        vector: K of the vector condition, or None without one.
    """

    def __init__(self, width: int, *, vector: int | None = None) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"the width of tokens must be at least 1, got {width}")
        self.width = width
        self.vector = None if vector is None else nn.Linear(vector, TOKENS_EACH * width)
        self.time = nn.Sequential(
            nn.Linear(_TIME_WIDTH, _TIME_WIDTH), nn.SiLU(), nn.Linear(_TIME_WIDTH, TOKENS_EACH * width)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, cond: Condition | None, vectors: Tensor | None, rows: int) -> Tokens:
        """The tokens of the condition alone; ``vectors`` ``(B, K)`` is the encoded vector signal."""
        weight = self.norm.weight
        values, valid = [torch.zeros(rows, 0, self.width, device=weight.device, dtype=weight.dtype)], None
        if self.vector is not None and vectors is not None:
            values.append(self.vector(vectors).reshape(rows, TOKENS_EACH, self.width))
        signal, present = read_signal(cond, "tokens", weight.device)
        if signal is not None and present is not None:
            if signal.ndim != 3 or signal.shape[2] != self.width:
                raise ValueError(f"the tokens signal must be (B, L, {self.width}), got {tuple(signal.shape)}")
            own = sum(part.shape[1] for part in values)
            mine = torch.ones(rows, own, dtype=torch.bool, device=weight.device)
            valid = torch.cat([mine, present[:, None].expand(-1, signal.shape[1])], dim=1)
            values.append(zero_absent(signal.to(weight.dtype), present))
        return Tokens(torch.cat(values, dim=1), valid)

    def join_time(self, tokens: Tokens, time: Tensor) -> Tokens:
        """Put the 8 time tokens of ``time`` ``(B,)`` in front and normalise every token."""
        embedded = time_embedding(time, _TIME_WIDTH).to(self.norm.weight.dtype)
        first = self.time(embedded).reshape(len(time), TOKENS_EACH, self.width)
        values = self.norm(torch.cat([first.to(tokens.values.dtype), tokens.values], dim=1))
        if tokens.valid is None:
            return Tokens(values, None)
        always = tokens.valid.new_ones(len(time), TOKENS_EACH)
        return Tokens(values, torch.cat([always, tokens.valid], dim=1))
