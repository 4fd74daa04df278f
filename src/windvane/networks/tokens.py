"""The token condition: extra keys and values for every attention block."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from windvane.conditions import Condition
from windvane.networks.signals import Signal, read_signal, zero_absent
from windvane.networks.time_embedding import time_embedding
from windvane.networks.vector import encode_vector

TOKENS_EACH = 8
_TIME_WIDTH = 128


class Tokens(NamedTuple):
    """Tokens ``(B, L, width)`` and, if rows may lack some of them, which count: bool ``(B, L)``."""

    values: Tensor
    valid: Tensor | None


def joined(first: Tokens, second: Tokens) -> Tokens:
    """The tokens of two signals, one after the other."""
    values = torch.cat([first.values, second.values], dim=1)
    if first.valid is None and second.valid is None:
        return Tokens(values, None)
    valid = [
        part.values.new_ones(part.values.shape[:2], dtype=torch.bool) if part.valid is None else part.valid
        for part in (first, second)
    ]
    return Tokens(values, torch.cat(valid, dim=1))


class TokenInput(Signal):
    """Make tokens from the time, from the vector condition and from the ``"tokens"`` signal.

    A network has one; other signals that enter as tokens follow its own and pass the same LayerNorm.

    The vector (zero where absent) through one Linear gives 8 tokens, the time embedding gives 8 more, tokens
    given with the condition (text, for instance) follow; all pass a LayerNorm (Hu et al. 2023, Self-Guided
    Diffusion Models, with width 32). Given tokens of absent rows are zero and take no part in the attention,
    so that a dropped row equals a row without any.

    Args:
        width: the width of every token, given ones included.
        vector: K of the vector condition, or None without one.
    """

    entry: ClassVar[str] = "tokens"

    def __init__(self, width: int, *, vector: int | None = None) -> None:
        super().__init__("tokens")
        if width < 1:
            raise ValueError(f"the width of tokens must be at least 1, got {width}")
        self.width = width
        self.vector = None if vector is None else nn.Linear(vector, TOKENS_EACH * width)
        self.time = nn.Sequential(
            nn.Linear(_TIME_WIDTH, _TIME_WIDTH), nn.SiLU(), nn.Linear(_TIME_WIDTH, TOKENS_EACH * width)
        )
        self.norm = nn.LayerNorm(width)

    @classmethod
    def build(cls, name: str, size: int, *, width: int, signals: Mapping[str, Any]) -> "TokenInput":
        del width
        if name != "tokens":
            raise ValueError(f"a network has one 'tokens', with the width of all of them; got {name!r}")
        return cls(size, vector=signals.get("vector"))

    def forward(
        self, cond: Condition | None, rows: int, *, device: torch.device, dtype: torch.dtype
    ) -> Tokens:
        """The tokens of the condition alone."""
        del device, dtype
        weight = self.norm.weight
        values, valid = [torch.zeros(rows, 0, self.width, device=weight.device, dtype=weight.dtype)], None
        if self.vector is not None:
            vectors = encode_vector(cond, "vector", rows, self.vector.in_features, weight)
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
