"""Noise processes: x_t = alpha(t) x0 + sigma(t) eps, with t in [0, 1] and data at t = 0.

A process owns its noise law. Everything that depends on the schedule (solvers, parametrisations,
guidance windows, loss weights) asks a process for ``alpha``, ``sigma`` or the log-SNR
``lambda = log(alpha^2 / sigma^2)`` and never tabulates its own.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor


def expand(coefficient: Tensor, x: Tensor) -> Tensor:
    """Reshape a coefficient, 0-dim or ``(B,)``, so that it multiplies ``x`` of shape ``(B, *)``.

    The result has ``x``'s dtype and device. A 0-dim coefficient stays 0-dim and stays where it is:
    torch multiplies tensors of any device by a 0-dim CPU tensor without a copy.
    """
    if coefficient.ndim == 0:
        return coefficient.to(x.dtype)
    return coefficient.to(device=x.device, dtype=x.dtype).reshape(-1, *([1] * (x.ndim - 1)))


class Process(ABC):
    """A noise process with signal scale ``alpha(t)`` and noise scale ``sigma(t)``.

    Times may have any shape; results have the shape and dtype of the time. ``sigma(0) = 0`` always.
    ``t_min`` and ``t_max`` bound the times that grids and training use before the step to t = 0.
    """

    gaussian: ClassVar[bool] = True
    kind: ClassVar[str]
    t_min: float
    t_max: float

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale alpha(t)."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale sigma(t)."""

    @abstractmethod
    def t_of_log_snr(self, lmbda: Tensor) -> Tensor:
        """The time at which log(alpha^2 / sigma^2) equals ``lmbda``."""

    def log_snr(self, t: Tensor) -> Tensor:
        """lambda(t) = log(alpha(t)^2 / sigma(t)^2); +inf at t = 0, -inf where alpha = 0."""
        return 2 * (torch.log(self.alpha(t)) - torch.log(self.sigma(t)))

    def noise_level(self, t: Tensor) -> Tensor:
        """sigma(t) / alpha(t), the noise level of the rescaled state x_t / alpha (EDM's sigma)."""
        return self.sigma(t) / self.alpha(t)

    def t_of_noise_level(self, level: Tensor) -> Tensor:
        """The time at which sigma / alpha equals ``level``."""
        return self.t_of_log_snr(-2 * torch.log(level))

    def t_of_sigma(self, sigma: Tensor) -> Tensor:
        """The time at which sigma(t) equals ``sigma``; here for variance preserving processes."""
        return self.t_of_log_snr(torch.log1p(-(sigma**2)) - 2 * torch.log(sigma))

    def perturb(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t = alpha(t) x0 + sigma(t) noise, for ``t`` 0-dim or ``(B,)``."""
        return expand(self.alpha(t), x0) * x0 + expand(self.sigma(t), x0) * noise

    def renoise(self, x_s: Tensor, s: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Draw x_t given x_s for a noisier time t >= s.

        x_t = (alpha_t / alpha_s) x_s + sqrt(sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2) noise.
        """
        require_gaussian(self, "renoising")
        ratio = self.alpha(t) / self.alpha(s)
        variance = (self.sigma(t) ** 2 - (ratio * self.sigma(s)) ** 2).clamp(min=0)
        return expand(ratio, x_s) * x_s + expand(variance.sqrt(), x_s) * noise

    def prior(self, noise: Tensor, t: Tensor | None = None) -> Tensor:
        """The initial state sigma(t) noise, by default at t = ``t_max``.

        The data's own contribution alpha(t) x0 is left out: at the start of sampling it is negligible
        beside the noise.
        """
        start = torch.tensor(self.t_max, dtype=torch.float64) if t is None else t
        return expand(self.sigma(start), noise) * noise

    def to_config(self) -> dict[str, Any]:
        """A JSON-able description, read back by :func:`process_from_config`."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {"type": self.kind, **{f.name: getattr(self, f.name) for f in fields}}


@dataclasses.dataclass(frozen=True)
class VPLinear(Process):
    """Variance preserving process with a linear rate beta(t) = beta_min + t (beta_max - beta_min).

    log alpha(t) = -t^2 (beta_max - beta_min) / 4 - t beta_min / 2 and sigma^2 = 1 - alpha^2: the
    continuous limit of DDPM's schedule (Ho et al. 2020; Song et al. 2021, eq. 32-33).
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    kind: ClassVar[str] = "vp_linear"
    t_min: ClassVar[float] = 1e-3  # type: ignore[misc]
    t_max: ClassVar[float] = 1.0  # type: ignore[misc]

    def _log_alpha(self, t: Tensor) -> Tensor:
        return -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(self._log_alpha(t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(2 * self._log_alpha(t)))

    def t_of_log_snr(self, lmbda: Tensor) -> Tensor:
        # alpha^2 = sigmoid(lambda), so -log alpha = softplus(-lambda) / 2; then solve the quadratic
        # in the form that does not cancel for small t.
        rate = 2 * torch.nn.functional.softplus(-lmbda)
        slope = self.beta_max - self.beta_min
        return rate / (self.beta_min + torch.sqrt(self.beta_min**2 + slope * rate))


@dataclasses.dataclass(frozen=True)
class VPCosine(Process):
    """Variance preserving process alpha = cos(theta), sigma = sin(theta), theta = t * theta_max.

    theta_max = arctan(exp(-lmbda_min / 2)) makes the log-SNR at t = 1 equal ``lmbda_min``, instead of
    -inf (Nichol and Dhariwal 2021 shift and clip the same curve; Salimans and Ho 2022 bound it so).
    """

    lmbda_min: float = -15.0
    kind: ClassVar[str] = "vp_cosine"
    t_min: ClassVar[float] = 1e-3  # type: ignore[misc]
    t_max: ClassVar[float] = 1.0  # type: ignore[misc]

    @property
    def _theta_max(self) -> float:
        return math.atan(math.exp(-self.lmbda_min / 2))

    def alpha(self, t: Tensor) -> Tensor:
        return torch.cos(t * self._theta_max)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(t * self._theta_max)

    def t_of_log_snr(self, lmbda: Tensor) -> Tensor:
        return torch.atan(torch.exp(-lmbda / 2)) / self._theta_max


@dataclasses.dataclass(frozen=True)
class EDM(Process):
    """Variance exploding process alpha = 1, sigma = sigma_max t (Karras et al. 2022).

    Time is linear in the noise level, so that a step in t is EDM's step in sigma. ``sigma_min`` only
    bounds the grids.
    """

    sigma_max: float = 80.0
    sigma_min: float = 0.002
    kind: ClassVar[str] = "edm"
    t_max: ClassVar[float] = 1.0  # type: ignore[misc]

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(
                f"EDM needs 0 < sigma_min < sigma_max, got sigma_min={self.sigma_min}, "
                f"sigma_max={self.sigma_max}"
            )

    @property
    def t_min(self) -> float:  # type: ignore[override]
        return self.sigma_min / self.sigma_max

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_max * t

    def t_of_log_snr(self, lmbda: Tensor) -> Tensor:
        return torch.exp(-lmbda / 2) / self.sigma_max

    def t_of_sigma(self, sigma: Tensor) -> Tensor:
        return sigma / self.sigma_max


@dataclasses.dataclass(frozen=True)
class RectifiedFlow(Process):
    """Straight-line interpolation alpha = 1 - t, sigma = t (Liu et al. 2022; Lipman et al. 2023)."""

    kind: ClassVar[str] = "rectified_flow"
    t_min: ClassVar[float] = 1e-3  # type: ignore[misc]
    t_max: ClassVar[float] = 1.0  # type: ignore[misc]

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t.clone()

    def t_of_log_snr(self, lmbda: Tensor) -> Tensor:
        return torch.sigmoid(-lmbda / 2)

    def t_of_sigma(self, sigma: Tensor) -> Tensor:
        return sigma.clone()


@dataclasses.dataclass(frozen=True)
class VPTable(Process):
    """A discrete variance preserving schedule, given by its cumulative products alpha_k^2, k = 0..N-1.

    Time (k + 1) / N is index k, and t = 0 is clean data. Between indices log alpha is interpolated
    linearly in t. This is how schedules of foreign models (DDPM's 1000 betas) are used.
    """

    alphas_cumprod: Sequence[float]
    kind: ClassVar[str] = "vp_table"
    t_max: ClassVar[float] = 1.0  # type: ignore[misc]

    def __post_init__(self) -> None:
        values = tuple(float(a) for a in self.alphas_cumprod)
        decreasing = all(a > b for a, b in zip((1.0, *values), values))
        if not values or not decreasing or values[-1] <= 0:
            raise ValueError(
                "alphas_cumprod must fall strictly from below 1 to above 0, got "
                f"{len(values)} values{f' from {values[0]} to {values[-1]}' if values else ''}"
            )
        object.__setattr__(self, "alphas_cumprod", values)
        table = torch.tensor((1.0, *values), dtype=torch.float64).log() / 2
        object.__setattr__(self, "_log_alpha_table", table)
        object.__setattr__(self, "_log_snr_table", 2 * table - torch.log(-torch.expm1(2 * table)))

    @property
    def t_min(self) -> float:  # type: ignore[override]
        return 1 / len(self.alphas_cumprod)

    def index(self, t: Tensor) -> Tensor:
        """The schedule's own index k = t N - 1 (not rounded)."""
        return t * len(self.alphas_cumprod) - 1

    def _log_alpha(self, t: Tensor) -> Tensor:
        table = self._log_alpha_table.to(t.device)  # type: ignore[attr-defined]
        position = (t.double() * (len(table) - 1)).clamp(0, len(table) - 1)
        low = position.floor().long().clamp(max=len(table) - 2)
        return torch.lerp(table[low], table[low + 1], position - low)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(self._log_alpha(t)).to(t.dtype)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(2 * self._log_alpha(t))).to(t.dtype)

    def t_of_log_snr(self, lmbda: Tensor) -> Tensor:
        log_alpha = -torch.nn.functional.softplus(-lmbda.double()) / 2
        table = self._log_alpha_table.to(lmbda.device)  # type: ignore[attr-defined]
        high = torch.searchsorted(-table, -log_alpha.contiguous()).clamp(1, len(table) - 1)
        fraction = (log_alpha - table[high - 1]) / (table[high] - table[high - 1])
        return ((high - 1 + fraction) / (len(table) - 1)).clamp(0, 1).to(lmbda.dtype)


_KINDS: dict[str, type[Process]] = {p.kind: p for p in (VPLinear, VPCosine, EDM, RectifiedFlow, VPTable)}


def process_from_config(config: dict[str, Any]) -> Process:
    """Build a process from the description that :meth:`Process.to_config` wrote."""
    settings = dict(config)
    kind = settings.pop("type", None)
    if kind not in _KINDS:
        raise ValueError(f"unknown process type {kind!r}; known: {', '.join(sorted(_KINDS))}")
    return _KINDS[kind](**settings)


def require_gaussian(process: Process, what: str) -> None:
    """Refuse ``what`` on a process whose noise law is not Gaussian."""
    if not process.gaussian:
        raise ValueError(f"{what} needs Gaussian noise; {type(process).__name__}'s noise is not Gaussian")
