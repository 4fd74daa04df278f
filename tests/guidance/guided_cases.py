"""A small exact model, one step of it, and the pieces that the papers' updates are written from."""

import warnings

import torch

from windvane.exact import GaussianMixtureDenoiser
from windvane.guidance import GuidanceWarning
from windvane.process import VPCosine
from windvane.samplers import BoundDenoiser, sample


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture(process, shape=(3,)):
    """Two classes of unlike spreads in three dimensions (or any shape of as many)."""
    d = int(torch.tensor(shape).prod())
    means = torch.stack([-0.7 * torch.ones(d), 0.5 * torch.ones(d), 0.4 * torch.linspace(-1, 1, d)])
    spread = torch.stack([torch.linspace(a, b, d) for a, b in ((0.1, 0.3), (0.2, 0.1), (0.3, 0.3))])
    return GaussianMixtureDenoiser([0.4, 0.4, 0.2], means, spread, process, classes=[0, 1, 1], shape=shape)


PROCESS = VPCosine()
MODEL = mixture(PROCESS)
TIMES = torch.linspace(0.9, 0.0, 10, dtype=torch.float64)
T, S = TIMES[3], TIMES[4]
X, Z = normal(4, 3), normal(4, 3, seed=1)
A_T, S_T, A_S, S_S = (float(f(u)) for u in (T, S) for f in (PROCESS.alpha, PROCESS.sigma))


def d_of(x, t=T):
    return MODEL(x, t.expand(len(x)))


def gradient(function, at):
    """Of the sum of ``function``, per row, at ``at``."""
    x = at.detach().clone().requires_grad_(True)
    (out,) = torch.autograd.grad(function(x).sum(), x)
    return out


def ddim(x, d, eps, eta=0.0):
    """The sampler's S(x_t, D, eps): the direction's mean and the noise's scale."""
    noise = eta * (S_S / S_T) * (1 - A_T**2 / A_S**2) ** 0.5
    return A_S * d + (S_S**2 - noise**2) ** 0.5 * eps, noise


def eps_of(x, d):
    return (x - A_T * d) / S_T


def step(guidance, sampler, x=X, z=Z, t=T, s=S, times=TIMES, model=MODEL, cond=None):
    """x_s of one guided step."""
    guided = guidance.sampler(sampler)
    with torch.no_grad():
        state = guided.init(x, times)
        return guided.step(BoundDenoiser(model, cond), x, t, s, state, z)[0]


def reported(denoiser, sampler, **settings):
    """Samples, and what guidance reported of them."""
    run = {"seeds": 0, "progress": False, "dtype": torch.float64, **settings}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = sample(denoiser, sampler=sampler, **run)
    return made.x, [str(w.message) for w in caught if issubclass(w.category, GuidanceWarning)]
