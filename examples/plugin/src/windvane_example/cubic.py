"""A time grid."""

import torch


def cubic(process, steps):
    """t_i = t_max (1 - i / steps)^3."""
    return process.t_max * torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64) ** 3
