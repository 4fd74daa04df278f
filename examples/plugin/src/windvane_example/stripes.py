"""An energy."""

import torch

from windvane.energies import Energy


class Stripes(Energy):
    """<x, s> / sqrt(C H W) with s = cos(2 pi k j / W) over the columns j: large where x has k stripes."""

    signals = frozenset()

    def __init__(self, count: float = 2.0, *, name: str = "stripes"):
        self.count, self.name = count, name

    def log_likelihood(self, x, t, cond):
        columns = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device)
        wave = torch.cos(2 * torch.pi * self.count * columns / x.shape[-1])
        return (x * wave).flatten(1).sum(1) / x[0].numel() ** 0.5
