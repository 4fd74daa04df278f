"""Exact models for the search tests, and chains whose law is known in closed form."""

import torch

from windvane.exact import GaussianDenoiser, GaussianMixtureDenoiser
from windvane.process import EDM, VPLinear
from windvane.samplers import DDPM
from windvane.search import Chain

EDM_PROCESS = EDM(sigma_max=20.0, sigma_min=0.02)


def mixture(process=EDM_PROCESS):
    """Three separate components in the plane, one of them rare."""
    means = [[-1.5, 0.0], [1.0, 1.0], [1.0, -1.5]]
    return GaussianMixtureDenoiser([0.6, 0.35, 0.05], means, [0.05, 0.05, 0.05], process)


def gaussian(process=None):
    return GaussianDenoiser([0.5, -0.3], [0.9, 0.3], process or VPLinear())


def ancestral(denoiser=None, steps=10, **settings):
    return Chain(mixture() if denoiser is None else denoiser, sampler=DDPM(), steps=steps, **settings)


def right(x):
    return x[:, 0]


def drawn(chain, n, seed=0):
    """``n`` plain samples of a chain."""
    keys = list(range(seed, seed + n))
    return chain.run(chain.start(chain.noise(keys)), keys)


def affine_law(chain, first):
    """The chain from step ``first`` on for a Gaussian model: x_N = a x + b + sqrt(var) z, each ``(d,)``.

    The exact denoiser of a Gaussian is affine, so every transition is, and the rest of the chain is Gaussian
    given x. Read off from the sampler's own means at two points.
    """
    d = chain.shape[0]
    a, b, var = (torch.ones(d).double(), torch.zeros(d).double(), torch.zeros(d).double())
    bound = chain.bound(torch.zeros(2, dtype=torch.int64))
    for k in range(first, chain.steps):
        points = torch.stack([torch.zeros(d), torch.ones(d)]).double()
        mean, std, _ = chain.sampler.transition(bound, points, chain.times[k], chain.times[k + 1], ())
        slope = mean[1] - mean[0]
        a, b = a * slope, b * slope + mean[0]
        var = var * slope**2 + torch.as_tensor(std).double() ** 2
    return a, b, var
