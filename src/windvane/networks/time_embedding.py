"""The sinusoidal embedding of a network's time coordinate."""

import math

import torch
from torch import Tensor


def time_embedding(time: Tensor, width: int, *, max_period: float = 10000.0) -> Tensor:
    """Embed times ``(B,)`` as ``(B, width)`` float32: [cos(f_i time), sin(f_i time)].

    f_i = max_period^(-i / h) for i = 0 .. h - 1 with h = width / 2 (Vaswani et al. 2017, section 3.5; the
    order of diffusers with ``flip_sin_to_cos``). Always float32, also under autocast: half precision cannot
    tell neighbouring times of 0 .. 1000 apart.
    """
    if width < 2 or width % 2:
        raise ValueError(f"the width of a time embedding must be even and at least 2, got {width}")
    half = width // 2
    exponents = torch.arange(half, dtype=torch.float32, device=time.device) / half
    angles = time.float()[:, None] * torch.exp(-math.log(max_period) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=1)
