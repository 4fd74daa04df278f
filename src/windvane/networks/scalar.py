"""A real number a sample as a condition: a guidance weight, a level of augmentation, a measurement."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from windvane.arguments import one_of, real
from windvane.conditions import Condition
from windvane.networks.signals import Signal, read_signal, zero_absent
from windvane.networks.time_embedding import time_embedding

_FEATURES = 64


class ScalarEmbedding(Signal):
    """Embed numbers ``(B,)`` as ``(B, width)``: features, Linear, SiLU, Linear, added to the time embedding.

    The features of a number w are [cos(f_i s w), sin(f_i s w)] with the frequencies of the time embedding and
    s = ``scale``, as guided distillation embeds its weight (Meng et al. 2023, arXiv 2210.03142), or, learned,
    [w, 1]. The null is zero features, which no number has. The last layer starts at zero, so that a trained
    network is what it was when it is given a number.

    Args:
        embedding: ``"fourier"`` or ``"learned"``.
        scale: s; the highest frequency is one radian for a step of 1 / s.
    """

    entry: ClassVar[str] = "add"
    dropout: ClassVar[float] = 0.0

    def __init__(self, width: int, *, name: str, embedding: str = "fourier", scale: float = 1000.0) -> None:
        super().__init__(name)
        self.embedding = one_of(embedding, f"the embedding of {name}", ("fourier", "learned"))
        self.scale = real(scale, f"the scale of {name}", above=0)
        self.features = _FEATURES if embedding == "fourier" else 2
        self.first = nn.Linear(self.features, width)
        self.second = nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    @classmethod
    def build(cls, name: str, size: Any, *, width: int, signals: Mapping[str, Any]) -> "ScalarEmbedding":
        del signals
        if not isinstance(size, Mapping) or size.keys() - {"embedding", "scale"}:
            raise ValueError(f"the settings of {name!r} are embedding and scale, or {{}}, got {size!r:.80}")
        return cls(width, name=name, **size)

    def forward(
        self, cond: Condition | None, rows: int, *, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        weight = self.first.weight
        signal, present = read_signal(cond, self.name, weight.device)
        if signal is None or present is None:
            features = torch.zeros(rows, self.features, device=weight.device, dtype=weight.dtype)
            return self.second(functional.silu(self.first(features)))
        if signal.shape != (rows,):
            raise ValueError(
                f"the {self.name} signal is one number a row ({rows},), got {tuple(signal.shape)}"
            )
        if self.embedding == "fourier":
            features = time_embedding(self.scale * signal.float(), self.features)
        else:
            features = torch.stack([signal.float(), torch.ones(rows, device=weight.device)], dim=1)
        return self.second(functional.silu(self.first(zero_absent(features.to(weight.dtype), present))))
