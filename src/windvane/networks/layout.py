"""The layout condition: a map concatenated to the network's input."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from windvane.conditions import Condition
from windvane.networks.signals import Signal, read_signal, zero_absent


def mirrored_rows(values: Tensor, rows: Tensor) -> Tensor:
    """``values`` ``(B, C, H, W)`` mirrored left to right where ``rows`` ``(B,)`` is true."""
    return torch.where(rows[:, None, None, None], values.flip(-1), values)


class LayoutInput(Signal):
    """Turn maps ``(B, C, H, W)`` into ``C + 1`` input channels: the map, and where it is given.

    Absent rows are a fixed zero map with a presence channel of 0; given rows have a presence channel of 1, so
    that "no object" (a zero map) and "no map" differ. The published system has no presence channel and cannot
    tell them apart (Self-Guided Diffusion Models, Hu et al. 2023; our addition).

    Args:
        channels: C, without the presence channel.
    """

    entry: ClassVar[str] = "concat"

    def __init__(self, channels: int, *, name: str = "layout") -> None:
        super().__init__(name)
        if channels < 1:
            raise ValueError(f"a layout needs at least one channel, got {channels}")
        self.channels = channels

    @classmethod
    def build(cls, name: str, size: int, *, width: int, signals: Mapping[str, Any]) -> "LayoutInput":
        del width, signals
        return cls(size, name=name)

    @classmethod
    def input_channels(cls, size: int) -> int:
        return size + 1

    @classmethod
    def mirrored(cls, values: Tensor, rows: Tensor) -> Tensor:
        return mirrored_rows(values, rows)

    def forward(
        self, cond: Condition | None, rows: int, *, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        """The channels ``(rows, C + 1, h, w)`` at the map's own size; ``h = w = 1`` without a map."""
        signal, present = read_signal(cond, self.name, device)
        if signal is None or present is None:
            return torch.zeros(rows, self.channels + 1, 1, 1, device=device, dtype=dtype)
        if signal.ndim != 4 or signal.shape[1] != self.channels:
            raise ValueError(
                f"the {self.name} signal must be maps (B, {self.channels}, H, W), got {tuple(signal.shape)}"
            )
        maps = zero_absent(signal.to(dtype), present)
        given = present.to(dtype).reshape(-1, 1, 1, 1).expand(-1, 1, *signal.shape[-2:])
        return torch.cat([maps, given], dim=1)

    @staticmethod
    def join(x: Tensor, layout: Tensor) -> Tensor:
        """Concatenate the channels, resized by nearest pixel centres, to ``x`` ``(B, *, H, W)``."""
        if layout.shape[-2:] != x.shape[-2:]:
            layout = functional.interpolate(layout, size=x.shape[-2:], mode="nearest-exact")
        return torch.cat([x, layout.to(x.dtype)], dim=1)
