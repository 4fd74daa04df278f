"""The vector condition: class ids, one-hot, multi-hot or real-valued vectors."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from windvane.conditions import Condition
from windvane.networks.signals import Signal, read_signal, zero_absent


def check_ids(ids: Tensor, present: Tensor, dim: int) -> None:
    """Raise a ValueError that names the first id of a present row outside 0 .. dim - 1."""
    bad = present & ((ids < 0) | (ids >= dim))
    if bool(bad.any()):
        raise ValueError(
            f"class id {int(ids[bad][0])} is out of range for a network of {dim} classes (0 .. {dim - 1})"
        )


def one_hot(ids: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    """``(B,)`` ids as ``(B, dim)``; an id out of range becomes a row of NaN, never a silent null row.

    No value is read back from the device, so that there is neither a wait for an accelerator nor a graph
    break.
    """
    hot = (ids[:, None] == torch.arange(dim, device=ids.device)).to(dtype)
    valid = ((ids >= 0) & (ids < dim))[:, None]
    return torch.where(valid, hot, torch.full((), float("nan"), dtype=dtype, device=ids.device))


def check_vector(cond: Condition, dim: int, *, name: str = "vector", only_cpu: bool = False) -> None:
    """Check the vector signal's shape and type and the range of ids (with ``only_cpu``: of those there)."""
    signal, present = cond.signals[name], cond.present[name]
    ids = signal.ndim == 1 and not signal.is_floating_point() and signal.dtype != torch.bool
    if not ids and (signal.ndim != 2 or signal.shape[1] != dim):
        raise ValueError(
            f"the {name} signal must be integer ids (B,) or vectors (B, {dim}), "
            f"got {signal.dtype} {tuple(signal.shape)}"
        )
    if ids and not (only_cpu and signal.device.type != "cpu"):
        check_ids(signal, present.to(signal.device), dim)


def encode_vector(cond: Condition | None, name: str, rows: int, dim: int, like: Tensor) -> Tensor:
    """The vector signal as ``(rows, dim)``, where ``like`` is; absent rows are the fixed null, a zero vector.

    Ids ``(B,)`` of an integer type are one-hot encoded; anything of shape ``(B, dim)`` is taken as it is. Ids
    on the CPU are range-checked here. On an accelerator, where looking would wait for the device at every
    sampling step, an id out of range gives NaN (which samplers refuse); ``Network.check`` looks at it.
    """
    if cond is not None and name in cond.signals and not torch.compiler.is_compiling():
        check_vector(cond, dim, name=name, only_cpu=True)
    signal, present = read_signal(cond, name, like.device)
    if signal is None or present is None:
        return torch.zeros(rows, dim, device=like.device, dtype=like.dtype)
    values = one_hot(signal, dim, like.dtype) if signal.ndim == 1 else signal.to(like.dtype)
    return zero_absent(values, present)


class VectorEmbedding(Signal):
    """Embed vectors ``(B, K)`` as ``(B, width)``: Linear(K, width / 2), SiLU, Linear(width / 2, width).

    The result is added to the time embedding (Hu et al. 2023, Self-Guided Diffusion Models, the form with
    maps; their vector-only form concatenates instead). The null is the zero vector *before* the layers, fixed
    and not learned; see :func:`encode_vector`.

    Args:
        dim: K, the number of classes or the length of the vector.
        width: the width of the time embedding.
    """

    entry: ClassVar[str] = "add"

    def __init__(self, dim: int, width: int, *, name: str = "vector") -> None:
        super().__init__(name)
        if dim < 1 or width < 2:
            raise ValueError(
                f"a vector embedding needs dim >= 1 and width >= 2, got dim={dim}, width={width}"
            )
        self.dim = dim
        self.width = width
        self.first = nn.Linear(dim, width // 2)
        self.second = nn.Linear(width // 2, width)

    @classmethod
    def build(cls, name: str, size: int, *, width: int, signals: Mapping[str, Any]) -> "VectorEmbedding":
        del signals
        return cls(size, width, name=name)

    def check(self, cond: Condition) -> None:
        check_vector(cond, self.dim, name=self.name)

    def forward(
        self, cond: Condition | None, rows: int, *, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        del device, dtype
        vectors = encode_vector(cond, self.name, rows, self.dim, self.first.weight)
        return self.second(functional.silu(self.first(vectors)))
