"""A signal."""

import torch
from torch import nn

from windvane.networks import Signal
from windvane.networks.signals import read_signal, zero_absent


class Angle(Signal):
    """Angles ``(B,)``: cos and sin of ``harmonics`` multiples, zero where absent, through one layer."""

    entry = "add"

    def __init__(self, width, *, name="angle", harmonics=4):
        super().__init__(name)
        self.harmonics, self.layer = harmonics, nn.Linear(2 * harmonics, width)

    @classmethod
    def build(cls, name, size, *, width, signals):
        return cls(width, name=name, **size)

    def forward(self, cond, rows, *, device, dtype):
        angles, present = read_signal(cond, self.name, device)
        if angles is None:
            return self.layer(torch.zeros(rows, 2 * self.harmonics, device=device, dtype=dtype))
        turned = angles[:, None].to(dtype) * torch.arange(1, self.harmonics + 1, device=device)
        return self.layer(zero_absent(torch.cat([turned.cos(), turned.sin()], dim=1), present))
