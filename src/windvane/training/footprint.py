"""What a training step keeps in memory."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def kept_bytes(network: nn.Module, rows: int, shape: Sequence[int]) -> int:
    """Bytes that a forward pass of ``rows`` inputs keeps for the backward pass, without the weights.

    A network on the device "meta" has shapes and no numbers, and is enough.

    Args:
        network: run without a condition.
        rows: inputs B.
        shape: of one input; the network gets ``(B, *shape)`` and times ``(B,)``.
    """
    weights = {value.untyped_storage()._cdata for value in network.parameters()}
    kept: dict[int, Any] = {}

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage  # held, so that nothing else gets its number
        return value

    device = next(network.parameters()).device
    inputs, times = torch.zeros(rows, *shape, device=device), torch.zeros(rows, device=device)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        made = network(inputs, times, None)
    del made
    return sum(storage.nbytes() for storage in kept.values())
