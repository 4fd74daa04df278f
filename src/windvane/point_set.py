"""The exact denoiser of a finite set of points, for any noise law."""

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.denoiser import Denoiser, as_times
from windvane.evaluations import record_evaluation
from windvane.process import Process, expand


class PointsDenoiser(Denoiser):
    """E[x0 | x_t] where x0 is one of ``points``, with the given or equal weights.

    D = sum_i w_i x_i p(n_i) / sum_i w_i p(n_i) with n_i = (x_t - alpha x_i) / sigma and p the density of the
    process's noise: the softmax of -|n_i|^2 / 2 for Gaussian noise, weights (|n_i|^2 + dof)^(-(d + dof) / 2)
    for PFGM++ (Xu et al. 2023, arXiv 2302.04265, where they make the stable training target). It is the
    minimiser of the training loss over all functions. Computed in float64, returned in x_t's dtype.

    Args:
        points: ``(n, *shape)``.
        weights: ``(n,)`` positive, normalised here.
    """

    points: Tensor
    log_weights: Tensor

    def __init__(self, points: Tensor, process: Process, *, weights: Tensor | None = None) -> None:
        if points.ndim < 2 or len(points) == 0:
            raise ValueError(f"points need the shape (n, *shape) with n > 0, got {tuple(points.shape)}")
        given = torch.ones(len(points)) if weights is None else weights
        if given.shape != (len(points),) or bool((given <= 0).any()):
            raise ValueError(f"{len(points)} points need as many positive weights")
        super().__init__(process, points.shape[1:])
        self.register_buffer("points", points.double())
        self.register_buffer("log_weights", (given.double() / given.sum()).log())

    def _log_joint(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """log w_i p(n_i), ``(B, n)``, without the volume sigma^d."""
        times, flat = as_times(t, len(x_t)), x_t.flatten(1).double()
        alpha, sigma = expand(self.process.alpha(times), flat), expand(self.process.sigma(times), flat)
        centres = alpha[:, :, None] * self.points.flatten(1).T
        square = ((flat[:, :, None] - centres) / sigma[:, :, None]).square().sum(1)
        return self.log_weights + self.process.law.log_density(square, flat.shape[1])

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        record_evaluation(len(x_t))
        share = self._log_joint(x_t, t).softmax(dim=1)
        return (share @ self.points.flatten(1)).reshape(x_t.shape).to(x_t.dtype)

    def log_prob(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """log p_t(x_t), float64 ``(B,)``."""
        dim = self.points[0].numel()
        sigma = self.process.sigma(as_times(t, len(x_t))).to(x_t.device)
        return self._log_joint(x_t, t).logsumexp(dim=1) - dim * sigma.log()
