"""What a noise process is, and what its coefficients are expanded with.

The processes themselves are in :mod:`windvane.process`, which gives these names, too.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from windvane.noise import Gaussian, NoiseLaw


def expand(coefficient: Tensor, x: Tensor) -> Tensor:
    """Reshape a coefficient, 0-dim, ``(B,)`` or ``(B, K)``, so that it multiplies ``x`` of shape ``(B, *)``.

    The result has ``x``'s dtype and device. A 0-dim coefficient stays 0-dim and stays where it is:
    torch multiplies tensors of any device by a 0-dim CPU tensor without a copy. K columns are for K streams,
    frames or tokens: they split the first axis of a sample in K parts of equal length, in order.

    Raises:
        ValueError: an axis that K does not divide.
    """
    if coefficient.ndim == 0:
        if coefficient.dtype == x.dtype or coefficient.requires_grad or not coefficient.is_cpu:
            return coefficient.to(x.dtype)
        return scalar(coefficient.item(), x.dtype)
    if coefficient.ndim == 2 and coefficient.shape[1] != 1:
        coefficient = _spread(coefficient, x)
        return coefficient.to(device=x.device, dtype=x.dtype).reshape(*x.shape[:2], *([1] * (x.ndim - 2)))
    return coefficient.to(device=x.device, dtype=x.dtype).reshape(-1, *([1] * (x.ndim - 1)))


def _spread(columns: Tensor, x: Tensor) -> Tensor:
    """``(B, K)`` repeated along the first axis of a sample of ``x``."""
    (rows, count), length = columns.shape, x.shape[1] if x.ndim > 1 else 0
    if rows != len(x) or not length or length % count:
        raise ValueError(
            f"times or weights of shape ({rows}, {count}) are for {rows} rows whose first axis splits in "
            f"{count} equal parts, got {tuple(x.shape)}"
        )
    return columns.repeat_interleave(length // count, dim=1)


#: One-time coefficients remembered per process; a grid has far fewer times.
_REMEMBERED = 4096

R = TypeVar("R")


def shared_time(t: Tensor) -> bool:
    """Whether all rows of ``t`` (0-dim or ``(B,)``) plainly have one time: a scalar, or one expanded."""
    return t.ndim == 0 or t.numel() == 1 or (t.ndim == 1 and t.stride(0) == 0)


def shared_moment(t: Tensor) -> float | None:
    """The one time that all rows of ``t`` plainly have; None where they may differ or want a gradient.

    Times on other devices are not looked at, which would wait for the device.
    """
    if t.requires_grad or not t.is_cpu:
        return None
    if t.ndim == 0 or t.numel() == 1:
        return t.item()
    return t[0].item() if t.ndim == 1 and t.numel() and t.stride(0) == 0 else None


def scalar(value: float, dtype: torch.dtype) -> Tensor:
    """A number as a 0-dim CPU tensor, made once: what :func:`expand` gives for a coefficient of all rows."""
    return (_scalar.__wrapped__ if torch.is_inference_mode_enabled() else _scalar)(value, dtype)


@lru_cache(maxsize=_REMEMBERED)
def _scalar(value: float, dtype: torch.dtype) -> Tensor:
    return torch.tensor(value, dtype=dtype)


class Process(ABC):
    """A noise process with signal scale ``alpha(t)`` and noise scale ``sigma(t)``.

    Times may have any shape; results have the shape and dtype of the time. ``sigma(0) = 0`` always.
    ``t_min`` and ``t_max`` bound the times that grids and training use before the step to t = 0.
    """

    gaussian: ClassVar[bool] = True
    #: Draws the noise of :meth:`perturb` and :meth:`prior`. Where it is not Gaussian, ``gaussian`` is False.
    law: NoiseLaw = Gaussian()
    kind: ClassVar[str]
    t_min: float
    t_max: float

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Signal scale alpha(t)."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Noise scale sigma(t)."""

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha(t), sigma(t)) for use with :func:`expand`.

        Where all rows share one time, as on the sampling path, both are 0-dim and remembered: a step asks
        for the same pair several times, and a run asks for the times of its grid again for every batch.
        """
        moment = shared_moment(t)
        if moment is None:
            return self.alpha(t), self.sigma(t)

        def both() -> tuple[Tensor, Tensor]:
            one = torch.tensor(moment, dtype=t.dtype)
            return self.alpha(one), self.sigma(one)

        return self.remembered((moment, t.dtype), both)

    def remembered(self, key: Hashable, compute: Callable[[], R]) -> R:
        """``compute()``, made once for each key: it depends on the process and on hashable values alone.

        Tensors of inference mode cannot serve a later run with gradients, and are not remembered.
        """
        if torch.is_inference_mode_enabled():
            return compute()
        known = self.__dict__.get("_remembered") or self.__dict__.setdefault("_remembered", {})
        found = known.get(key)
        if found is None:
            if len(known) >= _REMEMBERED:
                known.clear()
            with torch.no_grad():
                found = known[key] = compute()
        return found

    def coefficients(
        self,
        key: Hashable,
        times: tuple[Tensor, ...],
        x: Tensor,
        compute: Callable[..., tuple[Tensor, ...]],
    ) -> tuple[Tensor, ...]:
        """``compute(*times)``, each coefficient as :func:`expand` gives it for ``x``.

        Where all rows share the times, as on the sampling path, they are remembered under the times and
        ``key``, which tells one formula from another: a run asks for its grid again for every batch.
        """
        moments = []
        for t in times:  # no comprehension: this is the most frequent call of a sampling
            moment = shared_moment(t)
            if moment is None:
                return tuple(expand(c, x) for c in compute(*times))
            moments.append(moment)

        def made() -> tuple[Tensor, ...]:
            ones = (torch.tensor(m, dtype=t.dtype) for m, t in zip(moments, times))
            return tuple(expand(c, x) for c in compute(*ones))

        return self.remembered((key, x.dtype, times[0].dtype, *moments), made)

    @abstractmethod
    def t_of_log_snr(self, lmbda: Tensor) -> Tensor:
        """The time at which log(alpha^2 / sigma^2) equals ``lmbda``."""

    def log_snr(self, t: Tensor) -> Tensor:
        """lambda(t) = log(alpha(t)^2 / sigma(t)^2); +inf at t = 0, -inf where alpha = 0."""
        alpha, sigma = self.scales(t)
        return (2 * (torch.log(alpha) - torch.log(sigma))).expand(t.shape)

    def numbers(self, moment: float) -> tuple[float, float, float]:
        """(alpha, sigma, sigma / alpha) at one time, as plain numbers in float64; remembered."""

        def compute() -> tuple[float, float, float]:
            t = torch.tensor(moment, dtype=torch.float64)
            alpha, sigma = self.scales(t)
            return alpha.item(), sigma.item(), self.noise_level(t).item()

        return self.remembered(("numbers", moment), compute)

    def noise_level(self, t: Tensor) -> Tensor:
        """sigma(t) / alpha(t), the noise level of the rescaled state x_t / alpha (EDM's sigma)."""
        alpha, sigma = self.scales(t)
        return (sigma / alpha).expand(t.shape)

    def t_of_noise_level(self, level: Tensor) -> Tensor:
        """The time at which sigma / alpha equals ``level``."""
        return self.t_of_log_snr(-2 * torch.log(level))

    def t_of_sigma(self, sigma: Tensor) -> Tensor:
        """The time at which sigma(t) equals ``sigma``; here for variance preserving processes."""
        return self.t_of_log_snr(torch.log1p(-(sigma**2)) - 2 * torch.log(sigma))

    def perturb(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t = alpha(t) x0 + sigma(t) noise, for ``t`` 0-dim, ``(B,)`` or ``(B, K)``."""
        alpha, sigma = self.scales(t)
        return expand(alpha, x0) * x0 + expand(sigma, x0) * noise

    def renoise(self, x_s: Tensor, s: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Draw x_t given x_s for a noisier time t >= s.

        x_t = (alpha_t / alpha_s) x_s + sqrt(sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2) noise.
        """
        require_gaussian(self, "renoising")
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.scales(t), self.scales(s)
        ratio = alpha_t / alpha_s
        variance = (sigma_t**2 - (ratio * sigma_s) ** 2).clamp(min=0)
        return expand(ratio, x_s) * x_s + expand(variance.sqrt(), x_s) * noise

    def prior(self, noise: Tensor, t: Tensor | None = None) -> Tensor:
        """The initial state sigma(t) noise, by default at t = ``t_max``.

        The data's own contribution alpha(t) x0 is left out: at the start of sampling it is negligible
        beside the noise.
        """
        start = torch.tensor(self.t_max, dtype=torch.float64) if t is None else t
        return expand(self.scales(start)[1], noise) * noise

    def to_config(self) -> dict[str, Any]:
        """A JSON-able description, read back by :func:`process_from_config`."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {"type": self.kind, **{f.name: getattr(self, f.name) for f in fields}}


def require_gaussian(process: Process, what: str) -> None:
    """Refuse ``what`` on a process whose noise law is not Gaussian."""
    if not process.gaussian:
        raise ValueError(f"{what} needs Gaussian noise; {type(process).__name__}'s noise is not Gaussian")
