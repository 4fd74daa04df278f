"""What a guide is shown while images are made: noisy states, predictions of the clean image, clean images."""

import math

import torch
from torch import Tensor

from windvane.text.towers import CLEAN

#: Between the two lies all that is neither clean nor pure noise.
NOISIEST = -6.0


def noisy_views(
    images: Tensor, known: Tensor, random: torch.Generator, *, width: float = 0.2
) -> tuple[Tensor, Tensor]:
    """The images as a guide may meet them, ``(B, C, H, W)``, and the log-SNR it is told, ``(B,)``.

    Half of them with noise, x = a x0 + s eps with a^2 + s^2 = 1, at a log-SNR that is uniform in
    [NOISIEST, CLEAN], and told; a quarter as a denoiser would predict them from such a state; a quarter
    clean. Both of these are told to be clean, for so do energies look at predictions. The predictions are
    posterior means under ``known`` ``(m, C, H, W)``, images of the same data, each widened by ``width``:

        D(x) = sum_i w_i y_i,  w = softmax_i(-||x - a y_i||^2 / 2 (s^2 + a^2 width^2)).
    """
    count = len(images)
    lmbda = NOISIEST + (CLEAN - NOISIEST) * torch.rand(count, generator=random, dtype=images.dtype)
    alpha, sigma = lmbda.sigmoid().sqrt(), (-lmbda).sigmoid().sqrt()
    shape = (-1, *([1] * (images.ndim - 1)))
    noise = torch.randn(images.shape, generator=random, dtype=images.dtype)
    noisy = alpha.reshape(shape) * images + sigma.reshape(shape) * noise
    kind = torch.randint(4, (count,), generator=random)
    seen = torch.where((kind < 2).reshape(shape), noisy, images)
    guessed = (kind == 2).nonzero().flatten()
    if len(guessed):
        seen = seen.index_copy(
            0, guessed, posterior_mean(noisy[guessed], alpha[guessed], sigma[guessed], known, width=width)
        )
    return seen, torch.where(kind < 2, lmbda, torch.full_like(lmbda, math.inf))


def posterior_mean(x: Tensor, alpha: Tensor, sigma: Tensor, known: Tensor, *, width: float) -> Tensor:
    """E[x0 | x] where x0 is one of ``known`` with Gaussian width ``width``, that width itself left out."""
    a, flat = alpha[:, None], known.flatten(1)
    distance = torch.cdist(x.flatten(1) / a, flat).square()
    weight = (-distance * a**2 / (2 * (sigma[:, None] ** 2 + (a * width) ** 2))).softmax(1)
    return (weight @ flat).reshape(x.shape)
