"""What each method samples where the right answer is known: normal data and a linear measurement.

With x0 ~ N(m, C), y = A x0 + s noise and l(x) = log N(y; A x, s^2) the prediction D and all gradients are
affine in x, so a run is an affine map of the start and the noises: its law is normal, and known. The exact
push has the likelihood N(y; A D, A Cov(x0 | x_t) A^T + s^2); every method leaves something of it out.
"""

import math
from dataclasses import dataclass, replace

import pytest
import torch

from windvane.energies import Measurement
from windvane.exact import GaussianDenoiser
from windvane.guidance import GradientGuidance, Guide, StepWeight, presets
from windvane.operators import Matrix
from windvane.process import VPCosine
from windvane.samplers import DDIM, DDPM, BoundDenoiser

from .guided_cases import normal

PROCESS = VPCosine()
STD = 0.5


@dataclass(frozen=True)
class Case:
    """N(mean, covariance), measured by ``a`` as ``y`` with noise of STD, on a grid."""

    mean: torch.Tensor
    covariance: torch.Tensor
    a: torch.Tensor
    y: torch.Tensor
    times: torch.Tensor

    @property
    def model(self):
        return GaussianDenoiser(self.mean, self.covariance, PROCESS)

    @property
    def energy(self):
        return Measurement(Matrix(self.a), self.y[None], std=STD)

    def posterior(self):
        """Mean and covariance of x0 given y."""
        crossed = self.covariance @ self.a.T
        gain = crossed @ torch.linalg.inv(self.a @ crossed + STD**2 * eye(len(self.a)))
        return self.mean + gain @ (self.y - self.a @ self.mean), self.covariance - gain @ crossed.T


def eye(n):
    return torch.eye(n, dtype=torch.float64)


def one(steps=100):
    """Unit data, y = 1 seen directly: the posterior is N(0.8, 0.2)."""
    times = torch.linspace(0.999, 0, steps + 1, dtype=torch.float64)
    return Case(torch.zeros(1).double(), eye(1), eye(1), torch.ones(1).double(), times)


ROOT = normal(3, 3, seed=11)
THREE = Case(
    torch.tensor([0.2, -0.4, 0.1], dtype=torch.float64),
    0.3 * ROOT @ ROOT.T + 0.1 * eye(3),
    normal(2, 3, seed=5),
    normal(1, 3, seed=6)[0] @ normal(2, 3, seed=5).T,
    torch.linspace(0.9, 0, 11, dtype=torch.float64),
)


def steps_of(case, kind, scale, eta=1.0):
    """(F, f, v) of every step: x_s = F x_t + f + v z, written out from the papers."""
    n = len(case.mean)
    alphas, sigmas = (f(case.times).tolist() for f in (PROCESS.alpha, PROCESS.sigma))
    largest = 0.0
    for t, at, st, as_, ss in zip(case.times.tolist(), alphas, sigmas, alphas[1:], sigmas[1:]):
        inner = torch.linalg.inv(at**2 * case.covariance + st**2 * eye(n))
        gain = at * case.covariance @ inner  # D = gain x + rest
        rest = case.mean - at * gain @ case.mean
        variance = (ss / st) ** 2 * (1 - (at / as_) ** 2)
        largest, noise = max(largest, variance), eta * variance**0.5
        keep = (ss**2 - noise**2) ** 0.5 / st
        into = as_ - keep * at  # with what a push of D enters x_s, eps recomputed
        wave = variance + 0.3 * largest * math.sin(math.pi * t)
        left = {"lgd": st**2 * eye(n), "exact": case.covariance - at * gain @ case.covariance}
        push = scale * factor(kind, into, at, st, wave) * gradient_of(case, kind, gain, left)
        plain, constant = keep * eye(n) + into * gain, into * rest
        yield plain - push @ case.a @ gain, constant + push @ (case.y - case.a @ rest), noise


def factor(kind, into, at, st, wave):
    """What the gradient is multiplied by on its way into x_s, at scale 1."""
    if kind in ("exact", "universal"):
        return into * st**2 / at  # a push of the score
    return {"steered": into * st, "elucd": wave}.get(kind, 1.0)


def gradient_of(case, kind, gain, left):
    """The matrix that y - A D is multiplied by: through the denoiser or not, with what of Cov(x0 | x_t)."""
    through = case.a.T if kind in ("mpgd", "elucd") else gain.T @ case.a.T
    spread = case.a @ left[kind] @ case.a.T if kind in left else 0.0
    return through @ torch.linalg.inv(STD**2 * eye(len(case.a)) + spread)


def law(case, kind, scale, eta=1.0):
    """Mean and covariance of the samples, from x ~ N(0, 1) at the grid's first time."""
    mean, covariance = torch.zeros_like(case.mean), eye(len(case.mean))
    for matrix, shift, noise in steps_of(case, kind, scale, eta):
        mean = matrix @ mean + shift
        covariance = matrix @ covariance @ matrix.T + noise**2 * eye(len(mean))
    return mean, covariance


MAKE = {
    "dps": presets.dps,
    "freedom": presets.freedom,
    "universal": presets.universal,
    "steered": presets.steered,
    "mpgd": presets.mpgd,
    "elucd": presets.elucd,
}


@pytest.mark.parametrize("case", [one(20), THREE], ids=["one", "three"])
@pytest.mark.parametrize(("eta", "sampler"), [(1.0, DDPM()), (0.0, DDIM())], ids=["ddpm", "ddim"])
@pytest.mark.parametrize("kind", MAKE)
def test_a_run_is_the_affine_map(case, kind, eta, sampler):
    if kind == "elucd" and eta == 0:
        return  # its weight is the step's variance
    guided = MAKE[kind](case.energy, 0.02).sampler(sampler)
    x, denoise = normal(4, len(case.mean), seed=3), BoundDenoiser(case.model)
    expected, state = x, guided.init(x, case.times)
    with torch.no_grad():
        for k, (matrix, shift, noise) in enumerate(steps_of(case, kind, 0.02, eta)):
            z = normal(*x.shape, seed=50 + k)
            x, state = guided.step(denoise, x, case.times[k], case.times[k + 1], state, z)
            expected = expected @ matrix.T + shift + noise * z
            assert torch.allclose(x, expected, atol=1e-9), k


def test_the_exact_push_gives_the_posterior():
    fine = one(400)
    for case, tolerance in ((fine, 0.01), (replace(THREE, times=fine.times), 0.03)):
        mean, covariance = law(case, "exact", 1.0)
        wanted, spread = case.posterior()
        assert (mean - wanted).abs().max() < tolerance and (covariance - spread).abs().max() < tolerance


def right_in_the_mean(case, kind):
    """The scale at which the samples' mean is the posterior's."""
    wanted = float(case.posterior()[0])
    low, high = 0.0, 1e-5
    while float(law(case, kind, high)[0]) < wanted:
        high *= 2
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if float(law(case, kind, middle)[0]) < wanted else (low, middle)
    return high


#: The spread at the scale where the mean is right, as a share of the posterior's.
SPREADS = {
    "dps": (0.45, 0.7),
    "freedom": (0.45, 0.7),
    "lgd": (0.25, 0.5),
    "steered": (0.45, 0.7),
    "mpgd": (0.6, 0.85),
    "elucd": (1.05, 1.3),
    "universal": (1.2, 1.5),
}


@pytest.mark.parametrize("kind", SPREADS)
def test_the_documented_bias(kind):
    """A constant scale cannot be right at every noise level: where the mean is, the spread is not."""
    case = one(60)
    scale = right_in_the_mean(case, kind)
    mean, variance = (float(v) for v in law(case, kind, scale))
    assert mean == pytest.approx(0.8, abs=1e-4)
    low, high = SPREADS[kind]
    assert low < variance / 0.2 < high
    # Twice as strong is past the posterior, and half as strong short of it.
    assert float(law(case, kind, 2 * scale)[0]) > 0.83 and float(law(case, kind, scale / 2)[0]) < 0.77


def test_universals_own_scale_pushes_too_far():
    """forward = 1 is the likelihood of y given D, as if D were x0: the mean goes past the posterior's."""
    mean, variance = law(one(), "universal", 1.0)
    assert float(mean) > 0.95 and float(variance) < 0.15


def test_lgd_is_exact_for_unit_data_in_the_limit_of_many_draws():
    """Its radius sigma / sqrt(alpha^2 + sigma^2) is then the spread of x0 given x_t."""
    case = one(20)
    k = 12
    t, s = case.times[k], case.times[k + 1]
    at, st, as_, ss = (float(f(u)) for u in (t, s) for f in (PROCESS.alpha, PROCESS.sigma))
    variance = st**2  # of x0 given x_t, for alpha^2 + sigma^2 = 1

    @dataclass(frozen=True)
    class AsAScore(StepWeight):
        """With what a push of the score enters the step of DDIM."""

        scale: float = 1.0

        def __call__(self, step):
            return st * (as_ * st / at - ss)

    x = torch.tensor([[-1.0], [0.3], [1.5]], dtype=torch.float64)
    (made,) = presets.lgd(case.energy, AsAScore(), draws=4000).guides
    guided = GradientGuidance((made,)).sampler(DDIM())
    with torch.no_grad():
        out, _ = guided.step(BoundDenoiser(case.model), x, t, s, guided.init(x, case.times), None)
    (matrix, shift, _) = list(steps_of(case, "exact", 1.0, eta=0.0))[k]
    (plain, constant, _) = list(steps_of(case, "dps", 0.0, eta=0.0))[k]
    exact, unguided = x @ matrix.T + shift, x @ plain.T + constant
    assert variance == pytest.approx(1 / (1 + at**2 / st**2))
    assert ((out - exact).abs() < 0.05 * (exact - unguided).abs().max()).all()
    # One draw without noise is DPS, which pushes 1 + variance / s^2 times as far.
    (sure,) = presets.lgd(case.energy, AsAScore(), draws=1, radius=0.0).guides
    assert isinstance(sure, Guide)
    with torch.no_grad():
        far, _ = (
            GradientGuidance((sure,))
            .sampler(DDIM())
            .step(BoundDenoiser(case.model), x, t, s, guided.init(x, case.times), None)
        )
    assert torch.allclose((far - unguided) / (exact - unguided), torch.tensor(1 + variance / STD**2).double())
