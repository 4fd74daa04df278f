"""Denoisers known in closed form: Gaussians and Gaussian mixtures, class-conditional too.

They are the oracle of the tests, and the fastest way to try a sampler or a guidance: no training, and
the right answer is known.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from windvane.arguments import numbers, sizes
from windvane.conditions import Condition
from windvane.denoiser import Denoiser, as_times
from windvane.evaluations import record_evaluation
from windvane.process import Process, as_process, expand, require_gaussian
from windvane.randomness import noise_for, seed_range

_STREAM_COMPONENT = 1 << 40
_STREAM_DATA = (1 << 40) + 1


class GaussianMixtureDenoiser(Denoiser):
    """The exact denoiser of x0 ~ sum_k w_k N(mu_k, S_k).

    p_t = sum_k w_k N(alpha mu_k, C_k) with C_k = alpha^2 S_k + sigma^2 I, and
    E[x0 | x_t] = sum_k r_k(x_t) (mu_k + alpha S_k C_k^-1 (x_t - alpha mu_k)),
    r_k the posterior weights of the components. Computed in float64, returned in x_t's dtype,
    differentiable in x_t. With times ``(B, K)`` alpha and sigma are diagonal matrices, one number for each
    dimension of a stream: C_k = alpha S_k alpha + sigma^2.

    Args:
        weights: ``(K,)`` positive, normalised here.
        means: ``(K, d)``.
        covariances: ``(K,)`` isotropic variances, ``(K, d)`` diagonals or ``(K, d, d)`` full.
        classes: ``(K,)`` class of each component. A condition's ``vector`` (class ids, or weights over
            classes) then restricts the mixture; rows without it see every component.
        shape: the data's shape, with d entries; default ``(d,)``.
    """

    log_weights: Tensor
    means: Tensor
    variances: Tensor
    basis: Tensor | None
    classes: Tensor | None

    def __init__(
        self,
        weights: Tensor | Sequence[float],
        means: Tensor | Sequence[Sequence[float]],
        covariances: Tensor | Sequence,
        process: Process,
        *,
        classes: Tensor | Sequence[int] | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        process = as_process(process)
        means, weights = numbers(means, "means"), numbers(weights, "weights")
        covariances = numbers(covariances, "covariances")
        if means.ndim != 2 or weights.shape != means.shape[:1] or covariances.shape[:1] != means.shape[:1]:
            raise ValueError(
                "a mixture needs weights (K,), means (K, d) and K covariances, got "
                f"{tuple(weights.shape)}, {tuple(means.shape)}, {tuple(covariances.shape)}"
            )
        count, dim = means.shape
        shape = (dim,) if shape is None else sizes(shape, "shape")
        if math.prod(shape) != dim or dim < 1:
            raise ValueError(f"shape {shape} does not hold the mixture's {dim} dimensions")
        require_gaussian(process, "the closed form of a Gaussian mixture's posterior mean")
        super().__init__(process, shape)
        basis = None
        if covariances.ndim == 1:
            variances = covariances[:, None].expand(count, dim)
        elif covariances.ndim == 2:
            variances = covariances
        elif covariances.shape == (count, dim, dim):
            variances, basis = torch.linalg.eigh(covariances)
        else:
            raise ValueError(
                f"covariances have the shape (K,), (K, d) or (K, d, d), got {tuple(covariances.shape)} for "
                f"means {tuple(means.shape)}"
            )
        if variances.shape != (count, dim) or (variances < 0).any() or (weights <= 0).any():
            raise ValueError(
                "covariances must be positive semi-definite of the means' size, weights positive"
            )
        self.dim = dim
        self.register_buffer("log_weights", (weights / weights.sum()).log())
        self.register_buffer("means", means)
        self.register_buffer("variances", variances.clone())
        self.register_buffer("basis", basis)
        ids = None if classes is None else numbers(classes, "classes")
        if ids is not None and (ids.shape != (count,) or ids.min() < 0 or bool((ids != ids.round()).any())):
            raise ValueError(f"classes must be {count} ids >= 0, got {classes}")
        ids = None if ids is None else ids.long()
        self.register_buffer("classes", ids)

    def _log_weights(self, rows: int, cond: Condition | None) -> Tensor:
        """Log prior weight of each component for each row, ``(B, K)``, normalised."""
        if cond is None:
            return self.log_weights.expand(rows, -1)
        if self.classes is None or "vector" not in cond.signals:
            raise ValueError("a conditional mixture needs classes= and a condition with a 'vector' signal")
        vector = cond.signals["vector"]
        if vector.dtype == torch.bool and vector.ndim == 1:
            raise ValueError("class ids are integers, got a condition whose 'vector' holds True and False")
        count = int(self.classes.max()) + 1
        if not vector.is_floating_point():
            if (vector < 0).any() or (vector >= count).any():
                raise ValueError(f"class ids must lie in 0..{count - 1}, got {vector.unique().tolist()}")
            vector = torch.nn.functional.one_hot(vector, count)
        log_member = vector.double()[:, self.classes].log() + self.log_weights
        log_member = log_member - log_member.logsumexp(dim=1, keepdim=True)
        return torch.where(cond.present["vector"][:, None], log_member, self.log_weights)

    def _components(self, x_t: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """Per component: log N(x; alpha mu, C) ``(B, K)`` and its posterior mean ``(B, K, d)``."""
        times, x = as_times(t, len(x_t), columns=True), x_t.reshape(len(x_t), -1).double()
        if x.shape[1] != self.dim:
            raise ValueError(f"a mixture in {self.dim} dimensions was given rows of {x.shape[1]} numbers")
        alpha, sigma = self.process.alpha(times).to(x.device), self.process.sigma(times).to(x.device)
        if times.ndim == 2:
            alpha, sigma = (expand(c, x_t.double()).expand(x_t.shape).flatten(1) for c in (alpha, sigma))
            if self.basis is not None:
                return self._streams(x, alpha, sigma)
            alpha, sigma = alpha[:, None, :], sigma[:, None, :]
        else:
            alpha, sigma = alpha[:, None, None], sigma[:, None, None]
        centred = x[:, None, :] - alpha * self.means
        if self.basis is not None:
            centred = torch.einsum("bkd,kde->bke", centred, self.basis)
        variance = (alpha**2 * self.variances + sigma**2).clamp(min=1e-300)
        log_density = -0.5 * (centred**2 / variance + variance.log() + math.log(2 * math.pi)).sum(-1)
        shift = alpha * self.variances / variance * centred
        if self.basis is not None:
            shift = torch.einsum("bke,kde->bkd", shift, self.basis)
        return log_density, self.means + shift

    def _streams(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """:meth:`_components` of correlated dimensions that have times of their own: ``(B, d)`` each."""
        assert self.basis is not None
        covariance = torch.einsum("kde,ke,kfe->kdf", self.basis, self.variances, self.basis)
        noise = (sigma**2).clamp(min=1e-300).diag_embed()[:, None]
        root = torch.linalg.cholesky(alpha[:, None, :, None] * covariance * alpha[:, None, None, :] + noise)
        centred = (x[:, None, :] - alpha[:, None, :] * self.means)[..., None]
        white = torch.linalg.solve_triangular(root, centred, upper=False)[..., 0]
        spread = 2 * root.diagonal(dim1=-2, dim2=-1).log() + math.log(2 * math.pi)
        pulled = alpha[:, None, :, None] * torch.cholesky_solve(centred, root)
        return -0.5 * (white**2 + spread).sum(-1), self.means + (covariance @ pulled)[..., 0]

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        record_evaluation(len(x_t))
        log_density, means = self._components(x_t, t)
        weights = (self._log_weights(len(x_t), cond) + log_density).softmax(dim=1)
        return torch.einsum("bk,bkd->bd", weights, means).reshape(x_t.shape).to(x_t.dtype)

    def log_prob(self, x_t: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """log p_t(x_t | cond), float64 ``(B,)``."""
        log_density, _ = self._components(x_t, t)
        return (self._log_weights(len(x_t), cond) + log_density).logsumexp(dim=1)

    def score(self, x_t: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """grad_x log p_t(x_t | cond) by automatic differentiation of :meth:`log_prob`."""
        with torch.enable_grad():
            x = x_t.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.log_prob(x, t, cond).sum(), x)
        return gradient

    def class_log_prob(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """log p(class | x_t), float64 ``(B, classes)``: the exact noise-aware classifier."""
        if self.classes is None:
            raise ValueError("this mixture has no classes")
        log_density, _ = self._components(x_t, t)
        log_post = (self.log_weights + log_density).log_softmax(dim=1)
        member = torch.nn.functional.one_hot(self.classes).double().log()
        return (log_post[:, :, None] + member).logsumexp(dim=1)

    def draw_components(self, n: int, seed: int) -> Tensor:
        """The component of each row of :meth:`draw` with the same arguments, int64 ``(n,)``."""
        normal = noise_for(seed_range(seed, n), _STREAM_COMPONENT, (1,), dtype=torch.float64)[:, 0]
        uniform = torch.special.ndtr(normal)
        edges = self.log_weights.exp().cumsum(0)
        return torch.searchsorted(edges, uniform).clamp(max=len(edges) - 1)

    def draw(self, n: int, seed: int) -> Tensor:
        """Exact samples of x0, float32 ``(n, *shape)``; row i depends on seed + i alone."""
        component = self.draw_components(n, seed)
        noise = noise_for(seed_range(seed, n), _STREAM_DATA, (self.dim,), dtype=torch.float64)
        noise = noise * self.variances[component].sqrt()
        if self.basis is not None:
            noise = torch.einsum("be,bde->bd", noise, self.basis[component])
        return (self.means[component] + noise).reshape(n, *(self.shape or ())).float()


class GaussianDenoiser(GaussianMixtureDenoiser):
    """The exact denoiser of x0 ~ N(mean, covariance), and its exact probability flow.

    Args:
        mean: ``(d,)``.
        covariance: a variance, a diagonal ``(d,)`` or a matrix ``(d, d)``.
    """

    def __init__(
        self,
        mean: Tensor | Sequence[float],
        covariance: Tensor | Sequence | float,
        process: Process,
        *,
        shape: Sequence[int] | None = None,
    ) -> None:
        mean, covariance = numbers(mean, "the mean"), numbers(covariance, "the covariance")
        if mean.ndim != 1:
            raise ValueError(f"the mean of a Gaussian is a row (d,), got shape {tuple(mean.shape)}")
        super().__init__([1.0], mean[None], covariance[None], process, shape=shape)

    def flow(self, x: Tensor, t: Tensor | float, s: Tensor | float) -> Tensor:
        """Where the probability flow takes x_t = ``x`` at time s.

        Along each eigenvector of the covariance, with variance l:
        x_s - alpha_s mu = sqrt((alpha_s^2 l + sigma_s^2) / (alpha_t^2 l + sigma_t^2)) (x_t - alpha_t mu).
        """
        time, target = as_times(t, 1), as_times(s, 1)
        flat = x.reshape(len(x), -1).double()
        centred = flat - self.process.alpha(time) * self.means[0]
        ratio = torch.sqrt(
            (self.process.alpha(target) ** 2 * self.variances[0] + self.process.sigma(target) ** 2)
            / (self.process.alpha(time) ** 2 * self.variances[0] + self.process.sigma(time) ** 2)
        )
        if self.basis is None:
            moved = centred * ratio
        else:
            moved = ((centred @ self.basis[0]) * ratio) @ self.basis[0].T
        return (self.process.alpha(target) * self.means[0] + moved).reshape(x.shape).to(x.dtype)
