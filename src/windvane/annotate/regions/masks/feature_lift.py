"""Vectors whose direction and length both count, for methods that compare by cosine."""

import torch
from torch import Tensor

#: torch's quantile takes at most 16 million values.
_QUANTILE = 1 << 24


class Lift:
    """v' = [v / s, b], with s the 95th percentile of |v| over the vectors that it was fitted on.

    Of unit length, v' shows the direction of v where v is long and the constant where it is short; long
    vectors do not outweigh short ones. Without b the vectors stay as they are.

    Args:
        b: None, or above 0; the length, in units of s, at which direction and constant weigh the same.
    """

    def __init__(self, b: float | None) -> None:
        if b is not None and b <= 0:
            raise ValueError(f"lift must be positive, got {b}")
        self.b, self.scale = b, torch.ones(())

    def more(self, dim: int) -> int:
        """How long vectors of length ``dim`` are afterwards."""
        return dim if self.b is None else dim + 1

    def fit(self, lengths: Tensor) -> None:
        """Take s from the lengths ``(m,)`` of some vectors."""
        if self.b is not None:
            scale = torch.quantile(lengths[:_QUANTILE], 0.95).cpu()
            self.scale = scale if scale > 0 else torch.ones(())

    def __call__(self, vectors: Tensor) -> Tensor:
        """Vectors ``(m, D)`` or maps ``(B, D, h, w)`` with one number more."""
        if self.b is None:
            return vectors
        constant = torch.full_like(vectors[:, :1], self.b)
        return torch.cat([vectors / self.scale.to(vectors), constant], dim=1)
