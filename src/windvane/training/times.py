"""Which times a training step sees. A sampler may keep state; the state is saved with the checkpoint.

The samplers here are a quantile function of uniform numbers, so that any of them can be stratified.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from windvane.arguments import whole
from windvane.process import EDM, PFGMPP, Process, RectifiedFlow


class TimeSampler(Protocol):
    """Draws the times of the global batch, the same on every process.

    ``draw(n, generator)`` returns float64 ``(n,)``, or ``(n, K)`` for K streams, on the CPU, and takes
    randomness from ``generator`` only.
    Where ``observes`` is true the loop calls ``observe(t, losses)`` with the global batch after every step.
    """

    observes: ClassVar[bool]

    def draw(self, n: int, generator: torch.Generator) -> Tensor: ...

    def observe(self, t: Tensor, losses: Tensor) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def _normal_quantile(u: Tensor) -> Tensor:
    # The ends give infinities; half a float64 step inside them is 8 standard deviations out.
    return torch.special.ndtri(u.clamp(2.0**-54, 1 - 2.0**-53))


@dataclass(frozen=True)
class QuantileTimes(ABC):
    """Independent of the losses: t = quantile(u) for u ~ U(0, 1).

    Stratified, the n draws share one random offset, u_i = (i + u) / n: each batch then covers all noise
    levels evenly and its loss varies less, while the law of a row chosen at random stays (Kingma et al.
    2021, appendix I.1).
    """

    process: Process = field(repr=False)
    stratified: bool = field(default=True, kw_only=True)
    observes: ClassVar[bool] = False

    @abstractmethod
    def quantile(self, u: Tensor) -> Tensor:
        """The time below which a share ``u`` ``(n,)`` of the draws lies."""

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        if not self.stratified:
            return self.quantile(torch.rand(n, generator=generator, dtype=torch.float64))
        offset = torch.rand(1, generator=generator, dtype=torch.float64)
        return self.quantile((torch.arange(n, dtype=torch.float64) + offset) / n)

    def observe(self, t: Tensor, losses: Tensor) -> None:
        """Nothing is learned from the losses."""
        del t, losses

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise ValueError(f"{type(self).__name__} has no state, but the checkpoint holds {sorted(state)}")


@dataclass(frozen=True)
class UniformTimes(QuantileTimes):
    """t ~ U(t_min, t_max) of the process."""

    def quantile(self, u: Tensor) -> Tensor:
        return self.process.t_min + u * (self.process.t_max - self.process.t_min)


@dataclass(frozen=True)
class LogNormalTimes(QuantileTimes):
    """log(sigma / alpha) ~ N(mean, std^2), clipped to the process's range (Karras et al. 2022, table 1)."""

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        if self.std <= 0:
            raise ValueError(f"log-normal times need std > 0, got {self.std}")

    def quantile(self, u: Tensor) -> Tensor:
        level = torch.exp(self.mean + self.std * _normal_quantile(u))
        return self.process.t_of_noise_level(level).clamp(self.process.t_min, self.process.t_max)


@dataclass(frozen=True)
class LogitNormalTimes(QuantileTimes):
    """log(t / (1 - t)) ~ N(mean, std^2), clipped to the process's range (Esser et al. 2024, eq. 19)."""

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if self.std <= 0:
            raise ValueError(f"logit-normal times need std > 0, got {self.std}")

    def quantile(self, u: Tensor) -> Tensor:
        t = torch.sigmoid(self.mean + self.std * _normal_quantile(u))
        return t.clamp(self.process.t_min, self.process.t_max)


@dataclass(frozen=True)
class StreamTimes:
    """A time for each of K streams, frames or tokens ``(n, K)``, each drawn by ``times`` for itself."""

    times: QuantileTimes
    streams: int
    observes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        whole(self.streams, "streams", least=1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        columns = [self.times.draw(n, generator) for _ in range(self.streams)]
        # Stratified draws come in order, which the streams of a row must not share.
        return torch.stack([column[torch.randperm(n, generator=generator)] for column in columns], dim=1)

    def observe(self, t: Tensor, losses: Tensor) -> None:
        self.times.observe(t, losses)

    def state_dict(self) -> dict[str, Any]:
        return self.times.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.times.load_state_dict(state)


#: The names that settings files use.
TIMES = ("uniform", "stratified", "log-normal", "logit-normal")


def times_named(name: str, process: Process) -> TimeSampler:
    """The time sampler of :data:`TIMES` called ``name``.

    All but "uniform" are stratified; "stratified" is the uniform law, stratified.
    """
    made: dict[str, TimeSampler] = {
        "uniform": UniformTimes(process, stratified=False),
        "stratified": UniformTimes(process),
        "log-normal": LogNormalTimes(process),
        "logit-normal": LogitNormalTimes(process),
    }
    if name not in made:
        raise ValueError(f"unknown time sampler {name!r}; known: {', '.join(TIMES)}")
    return made[name]


def default_times(process: Process) -> TimeSampler:
    """Log-normal for EDM and PFGM++, logit-normal for rectified flow, else uniform; all stratified."""
    if isinstance(process, (EDM, PFGMPP)):
        return times_named("log-normal", process)
    return times_named("logit-normal" if isinstance(process, RectifiedFlow) else "stratified", process)
