"""Ranges of noise, one for each expert, and the times drawn inside one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from windvane.guidance.routed import ByNoiseLevel
from windvane.process import EDM, PFGMPP, Process
from windvane.training.times import QuantileTimes


@dataclass(frozen=True)
class NoiseRanges:
    """``count`` ranges [low, high) of the times from 0 to t_max, numbered from the noisiest.

    PPAP's split (arXiv 2212.05973, section 4.1) is into equal intervals of time; that is it for variance
    preserving processes and the rectified flow. For EDM and PFGM++, whose time is the noise level itself,
    the ranges are equal in log-SNR between t_min and t_max. Boundaries belong to the noisier expert.
    """

    process: Process
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"at least one range of noise is needed, got {self.count}")

    @property
    def edges(self) -> tuple[float, ...]:
        """t_max = edges[0] > ... > edges[count] = 0: expert i has edges[i + 1] <= t < edges[i]."""
        top, shares = self.process.t_max, [1 - k / self.count for k in range(1, self.count)]
        if not isinstance(self.process, (EDM, PFGMPP)):
            return (top, *(top * share for share in shares), 0.0)
        ends = torch.tensor([self.process.t_min, top], dtype=torch.float64)
        low, high = self.process.log_snr(ends)
        inner = [float(self.process.t_of_log_snr(torch.lerp(low, high, share))) for share in shares]
        return (top, *inner, 0.0)

    @property
    def route(self) -> ByNoiseLevel:
        """Which expert answers."""
        inner = torch.tensor(self.edges[1:-1], dtype=torch.float64)
        return ByNoiseLevel(tuple(self.process.noise_level(inner).tolist()))

    def times(self, number: int) -> "RangeTimes":
        """Times drawn uniformly in range ``number``; uniformly in log-SNR for EDM and PFGM++."""
        if not 0 <= number < self.count:
            raise ValueError(f"there are ranges 0..{self.count - 1}, got {number}")
        low = max(self.edges[number + 1], self.process.t_min)
        return RangeTimes(self.process, low=low, high=self.edges[number])


@dataclass(frozen=True)
class RangeTimes(QuantileTimes):
    """t ~ U(low, high), or uniform in log-SNR for EDM and PFGM++."""

    low: float = 0.0
    high: float = 1.0

    def quantile(self, u: Tensor) -> Tensor:
        if not isinstance(self.process, (EDM, PFGMPP)):
            return self.low + u * (self.high - self.low)
        ends = self.process.log_snr(torch.tensor([self.low, self.high], dtype=torch.float64))
        return self.process.t_of_log_snr(torch.lerp(ends[0], ends[1], u))
