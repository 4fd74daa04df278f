"""Several attributes of a sample as one condition: each categorical or a set, each possibly unknown."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from windvane.arguments import whole
from windvane.conditions import Condition
from windvane.networks.signals import Signal, read_signal, zero_absent
from windvane.networks.vector import check_ids, one_hot


class AttributesEmbedding(Signal):
    """Embed A attributes of K_1 ... K_A values as ``(B, width)``, added to the time embedding.

    A row is a block of K_a numbers for each attribute and, after the blocks, whether it is known: so that
    "none of these" (a block of zeros) and "unknown" (zeros, and not known) differ. Linear(sum K_a + A,
    width / 2), SiLU and Linear(width / 2, width) follow. The null has none known. Two forms are taken:

    - integers ``(B, A)``: the value of each attribute, -1 for an unknown one;
    - real numbers or bool ``(B, sum K_a)``: one-hot, multi-hot or weights, NaN throughout an unknown block.

    Args:
        sizes: K_a by the name of the attribute.
    """

    entry: ClassVar[str] = "add"

    def __init__(self, sizes: Mapping[str, int], width: int, *, name: str = "attributes") -> None:
        super().__init__(name)
        if not isinstance(sizes, Mapping) or not sizes:
            raise ValueError(f"{name} takes the number of values of each by name, such as {{'colour': 3}}")
        self.sizes = {key: whole(size, f"the values of {key}", least=1) for key, size in sizes.items()}
        self.total = sum(self.sizes.values())
        self.first = nn.Linear(self.total + len(self.sizes), width // 2)
        self.second = nn.Linear(width // 2, width)

    @classmethod
    def build(cls, name: str, size: Any, *, width: int, signals: Mapping[str, Any]) -> "AttributesEmbedding":
        del signals
        return cls(size, width, name=name)

    def check(self, cond: Condition) -> None:
        """Shape and type, and the range of ids."""
        self._check(cond.signals[self.name], cond.present[self.name], look=True)

    def _check(self, signal: Tensor, present: Tensor, *, look: bool) -> None:
        real = signal.is_floating_point() or signal.dtype == torch.bool
        if signal.ndim != 2 or signal.shape[1] != (self.total if real else len(self.sizes)):
            raise ValueError(
                f"the {self.name} signal must be integers (B, {len(self.sizes)}), -1 for unknown, or real "
                f"numbers (B, {self.total}), got {signal.dtype} {tuple(signal.shape)}"
            )
        for column, size in enumerate(self.sizes.values() if look and not real else ()):
            check_ids(signal[:, column], present.to(signal.device) & (signal[:, column] != -1), size)

    def encode(self, cond: Condition | None, rows: int) -> Tensor:
        """``(rows, sum K_a + A)``: the blocks, and which of them are known."""
        weight = self.first.weight
        signal, present = read_signal(cond, self.name, weight.device)
        if cond is None or signal is None or present is None:
            return torch.zeros(rows, self.total + len(self.sizes), device=weight.device, dtype=weight.dtype)
        if not torch.compiler.is_compiling():
            given = cond.signals[self.name]
            self._check(given, cond.present[self.name], look=given.device.type == "cpu")
        if signal.is_floating_point() or signal.dtype == torch.bool:
            blocks = list(signal.to(weight.dtype).split(list(self.sizes.values()), dim=1))
            known = [~block.isnan().all(dim=1) for block in blocks]
        else:
            blocks = [one_hot(signal[:, a], size, weight.dtype) for a, size in enumerate(self.sizes.values())]
            known = [signal[:, a] != -1 for a in range(len(self.sizes))]
        blocks = [zero_absent(block, there) for block, there in zip(blocks, known)]
        return zero_absent(torch.cat([*blocks, torch.stack(known, dim=1).to(weight.dtype)], dim=1), present)

    def forward(
        self, cond: Condition | None, rows: int, *, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        del device, dtype
        return self.second(functional.silu(self.first(self.encode(cond, rows))))
