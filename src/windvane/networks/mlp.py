"""A residual MLP for flat and low-dimensional data."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from windvane.networks.base import Network
from windvane.networks.conditioning import ConditionInput, Embedding
from windvane.networks.time_embedding import time_embedding

_TIME_WIDTH = 64


class FiLMBlock(nn.Module):
    """h + W2 silu(W1 ((1 + scale) LayerNorm(h) + shift)), with scale and shift linear in the embedding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.film = nn.Linear(width, 2 * width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.film(embedding).chunk(2, dim=1)
        normed = functional.layer_norm(h, (self.width,))
        return h + self.second(functional.silu(self.first(torch.addcmul(shift, normed, 1 + scale))))


class ResidualMLP(Network):
    """A residual MLP whose blocks are modulated (FiLM) by the time and the vector condition.

    x ``(B, *shape)`` is flattened; the output layer starts at zero. Cheap enough to train on a CPU: the
    network of the digits demonstration.

    Args:
        dim: the number of values of one sample.
        width: of every hidden layer.
        blocks: the number of residual blocks.
        vector: K of the vector condition (classes, or the length of the vector); None: unconditional.
        shape: the shape of one sample; ``(dim,)`` by default.
        signals: other signals that are added to the time embedding, by name, see
            :class:`~windvane.networks.ConditionInput`.
    """

    kind: ClassVar[str] = "residual_mlp"

    def __init__(
        self,
        dim: int,
        *,
        width: int = 192,
        blocks: int = 3,
        vector: int | None = None,
        shape: Sequence[int] | None = None,
        signals: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.shape = (dim,) if shape is None else tuple(int(n) for n in shape)
        if dim < 1 or math.prod(self.shape) != dim:
            raise ValueError(f"shape {self.shape} has {math.prod(self.shape)} values, dim is {dim}")
        if width < 2 or width % 2 or blocks < 1:
            raise ValueError(f"width must be even and blocks at least 1, got width={width}, blocks={blocks}")
        self.dim = dim
        self.width = width
        self.conditions = ConditionInput(width, signals, vector=vector, entries=("add",))
        self.time = nn.Sequential(nn.Linear(_TIME_WIDTH, width), nn.SiLU(), nn.Linear(width, width))
        self.first = nn.Linear(dim, width)
        self.blocks = nn.ModuleList([FiLMBlock(width) for _ in range(blocks)])
        self.last = nn.Linear(width, dim)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    @property
    def config(self) -> dict[str, Any]:
        return {
            "dim": self.dim,
            "width": self.width,
            "blocks": len(self.blocks),
            **self.conditions.config("vector"),
            "shape": list(self.shape),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ResidualMLP":
        return cls(
            config["dim"],
            width=config["width"],
            blocks=config["blocks"],
            vector=config["vector"],
            shape=config["shape"],
            signals=config.get("signals"),
        )

    @classmethod
    def build(
        cls,
        *,
        shape: Sequence[int],
        vector: int | None = None,
        signals: Mapping[str, Any] | None = None,
        width: int = 192,
        blocks: int = 3,
    ) -> "ResidualMLP":
        """The network for samples of ``shape``."""
        dim = math.prod(shape)
        return cls(dim, width=width, blocks=blocks, vector=vector, shape=shape, signals=signals)

    def layers(self) -> dict[str, nn.Module]:
        return {f"block.{i}": block for i, block in enumerate(self.blocks)}

    def run(self, x: Tensor, time: Tensor, embedding: Embedding) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"this network takes samples of shape {self.shape}, got {tuple(x.shape[1:])}")
        e = self.time(time_embedding(time, _TIME_WIDTH).to(x.dtype))
        if embedding.add is not None:
            e = e + embedding.add
        e = functional.silu(e)
        h = self.first(x.flatten(1))
        for block in self.blocks:
            h = block(h, e)
        return self.last(functional.silu(functional.layer_norm(h, (self.width,)))).reshape(x.shape)
