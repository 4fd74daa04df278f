"""The one place where a network turns a condition into what it computes with."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from windvane.conditions import Condition
from windvane.networks.layout import LayoutInput
from windvane.networks.signals import check_condition
from windvane.networks.tokens import TokenInput, Tokens
from windvane.networks.vector import VectorEmbedding, check_vector


class Embedding(NamedTuple):
    """An embedded condition; what the network has no input for is None.

    ``vector`` ``(B, E)`` is added to the time embedding, ``layout`` ``(B, C + 1, h, w)`` is concatenated to
    the input and ``tokens`` join the attention. Dropout, perturbations and extra scalars attach here.
    """

    vector: Tensor | None
    layout: Tensor | None
    tokens: Tokens | None


class ConditionInput(nn.Module):
    """The condition inputs of a network: any of a vector, a layout and tokens.

    Args:
        width: E, the width of the time embedding that the vector is added to.
        vector: K, the number of classes or the length of the vector; None: no vector condition.
        layout: C, the channels of the map; None: no layout.
        tokens: the width of tokens; None: none. With tokens, the vector makes tokens too.
    """

    def __init__(
        self, width: int, *, vector: int | None = None, layout: int | None = None, tokens: int | None = None
    ) -> None:
        super().__init__()
        self.vector = None if vector is None else VectorEmbedding(vector, width)
        self.layout = None if layout is None else LayoutInput(layout)
        self.tokens = None if tokens is None else TokenInput(tokens, vector=vector)
        named = {"vector": vector, "layout": layout, "tokens": tokens}
        self.taken = tuple(name for name, size in named.items() if size is not None)

    def check(self, cond: Condition | None, rows: int) -> None:
        """Check a condition fully: on an accelerator too, which waits for the device, the range of ids."""
        check_condition(cond, rows, self.taken)
        if cond is not None and "vector" in cond.signals and self.vector is not None:
            check_vector(cond, self.vector.dim)

    def forward(
        self, cond: Condition | None, rows: int, *, device: torch.device, dtype: torch.dtype
    ) -> Embedding:
        check_condition(cond, rows, self.taken)
        vectors = embedded = layout = tokens = None
        if self.vector is not None:
            vectors = self.vector.encode(cond, rows)
            embedded = self.vector(vectors)
        if self.layout is not None:
            layout = self.layout(cond, rows, device=device, dtype=dtype)
        if self.tokens is not None:
            tokens = self.tokens(cond, vectors, rows)
        return Embedding(embedded, layout, tokens)
