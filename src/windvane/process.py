"""Noise processes: x_t = alpha(t) x0 + sigma(t) eps, with t in [0, 1] and data at t = 0.

A process owns its noise law. Everything that depends on the schedule (solvers, parametrisations,
guidance windows, loss weights) asks a process for ``alpha``, ``sigma`` or the log-SNR
``lambda = log(alpha^2 / sigma^2)`` and never tabulates its own.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from windvane.arguments import numbers, real, settle, shown
from windvane.noise import StudentT
from windvane.process_base import Process, expand, require_gaussian, scalar, shared_moment, shared_time
from windvane.registry import find, known_names

__all__ = [
    "EDM",
    "PFGMPP",
    "Process",
    "RectifiedFlow",
    "VPCosine",
    "VPLinear",
    "VPTable",
    "as_process",
    "expand",
    "process_from_config",
    "require_gaussian",
    "scalar",
    "shared_moment",
    "shared_time",
]


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

    def __post_init__(self) -> None:
        low = real(self.beta_min, "beta_min", least=0)
        settle(self, beta_min=low, beta_max=real(self.beta_max, "beta_max", above=0, least=low))

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

    def __post_init__(self) -> None:
        # Below -70, alpha at t = 1 is nothing but the rounding of pi / 2.
        settle(self, lmbda_min=real(self.lmbda_min, "lmbda_min of VPCosine", least=-70, most=0))

    @property
    def _theta_max(self) -> float:
        return math.atan(math.exp(-self.lmbda_min / 2))

    def alpha(self, t: Tensor) -> Tensor:
        return torch.cos(t * self._theta_max)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(t * self._theta_max)

    def t_of_log_snr(self, lmbda: Tensor) -> Tensor:
        return torch.atan(torch.exp(-lmbda / 2)) / self._theta_max


class _Exploding(Process):
    """alpha = 1 and sigma = sigma_max t: time is linear in the noise level."""

    sigma_max: float
    sigma_min: float
    t_max: ClassVar[float] = 1.0  # type: ignore[misc]

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
class EDM(_Exploding):
    """Variance exploding process alpha = 1, sigma = sigma_max t (Karras et al. 2022).

    Time is linear in the noise level, so that a step in t is EDM's step in sigma. ``sigma_min`` only
    bounds the grids.
    """

    sigma_max: float = 80.0
    sigma_min: float = 0.002
    kind: ClassVar[str] = "edm"

    def __post_init__(self) -> None:
        # Beyond 1e-9 ... 1e9 states and times lose their digits in single precision.
        low = real(self.sigma_min, "sigma_min", least=1e-9, most=1e9)
        settle(self, sigma_min=low, sigma_max=real(self.sigma_max, "sigma_max", above=low, most=1e9))


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
        values = tuple(numbers(self.alphas_cumprod, "alphas_cumprod", finite=False).flatten().tolist())
        decreasing = all(a > b for a, b in zip((1.0, *values), values))
        if not values or not decreasing or values[-1] <= 0:
            raise ValueError(
                "alphas_cumprod must fall strictly from below 1 to above 0, got "
                f"{len(values)} values{f' from {values[0]} to {values[-1]}' if values else ''}"
            )
        table = torch.tensor((1.0, *values), dtype=torch.float64).log() / 2
        levels = 2 * table - torch.log(-torch.expm1(2 * table))
        settle(self, alphas_cumprod=values, _log_alpha_table=table, _log_snr_table=levels)

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


@dataclasses.dataclass(frozen=True)
class PFGMPP(_Exploding):
    """Poisson flow with ``dof`` extra dimensions: EDM's process with Student-t noise, x_t = x0 + sigma n.

    Xu et al. 2023, arXiv 2302.04265. The perturbation kernel (|x_t - x0|^2 + r^2)^(-(N + D) / 2) with D = dof
    and r = sigma sqrt(D) (their alignment) is a multivariate Student-t of scale sigma, see
    :class:`windvane.noise.StudentT`. D = 1 is Poisson flow, D -> infinity is :class:`EDM`. Their dx/dr is
    EDM's dx/dsigma = (x - D(x, sigma)) / sigma, so solvers, losses, preconditioning and the law of sigma in
    training carry over from EDM unchanged; only the noise differs, in training and at the start of sampling.

    sigma is a scale: the variance is sigma^2 dof / (dof - 2). A network must be sampled at the dof it was
    trained with. The score, renoising, churn, ancestral and SDE steps need Gaussian noise and refuse it.

    Raises:
        ValueError: dof that is not positive and finite; noise levels out of order.
    """

    dof: float = 128.0
    sigma_max: float = 80.0
    sigma_min: float = 0.002
    kind: ClassVar[str] = "pfgmpp"
    gaussian: ClassVar[bool] = False

    def __post_init__(self) -> None:
        levels = EDM(self.sigma_max, self.sigma_min)  # refuses levels out of order
        settle(
            self, sigma_max=levels.sigma_max, sigma_min=levels.sigma_min, dof=real(self.dof, "dof", above=0)
        )
        settle(self, law=StudentT(self.dof))

    def radius(self, t: Tensor) -> Tensor:
        """r = sigma sqrt(dof), the distance in the extra dimensions."""
        return self.sigma(t) * math.sqrt(self.dof)

    def t_of_radius(self, r: Tensor) -> Tensor:
        """The time at which the radius equals ``r``."""
        return r / (math.sqrt(self.dof) * self.sigma_max)


def process_from_config(config: dict[str, Any]) -> Process:
    """Build a process from the description that :meth:`Process.to_config` wrote."""
    settings = dict(config)
    kind = settings.pop("type", None)
    if not isinstance(kind, str) or kind not in known_names("process"):
        raise ValueError(f"unknown process type {kind!r}; known: {', '.join(sorted(known_names('process')))}")
    return find("process", kind).make(**settings)


def as_process(value: Any) -> Process:
    """A process as it is; a class of them, or the name of a kind, with its usual settings.

    Raises:
        ValueError: anything else, with what to give instead.
    """
    named = isinstance(value, str) and value in known_names("process")
    found: Any = find("process", value).load() if named else value
    if isinstance(found, type) and issubclass(found, Process):
        try:
            return found()
        except TypeError as error:
            raise ValueError(f"{found.__name__} has settings to choose: {error}; pass an instance") from None
    if not (hasattr(found, "alpha") and hasattr(found, "sigma")) or isinstance(found, type):
        raise ValueError(
            f"process takes a noise process such as windvane.VPCosine(), or a name "
            f"({', '.join(sorted(known_names('process')))}); got {shown(value)}"
        )
    return found
