"""Noise added while sampling: against closed forms, and the same for each sample at any batch size."""

import pytest
import torch

from windvane.exact import GaussianDenoiser
from windvane.point_set import PointsDenoiser
from windvane.process import EDM, PFGMPP, VPCosine
from windvane.samplers import DDIM, DDPM, Euler, Heun, UniPC, sample
from windvane.tasks.robustness import added, robustness

QUIET = {"progress": False}
EDM_PROCESS = EDM(sigma_max=3.0, sigma_min=0.02)


def variance(x):
    return float(x.double().var())


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_one_step_has_the_variance_of_the_closed_form(alpha):
    """One step to sigma = 0 is D, affine on a Gaussian: k^2 sigma^2 (1 + alpha^2), k = v / (v + sigma^2)."""
    model = GaussianDenoiser([0.7], [0.5], EDM_PROCESS)
    found = robustness(model, [alpha], variance, n=20_000, sampler=Euler(), steps=1, **QUIET)
    gain = 0.5 / (0.5 + 9.0)
    assert found.values[0] == pytest.approx(gain**2 * 9.0 * (1 + alpha**2), rel=0.04)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_noise_is_added_before_every_step(alpha):
    """Two steps of Euler on a Gaussian, the variance carried by hand."""
    process = VPCosine()
    model, times = GaussianDenoiser([0.0], [0.5], process), torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    want = float(process.sigma(times[0]) ** 2)
    for t, s in zip(times[:-1], times[1:]):
        (a, sigma), (a_s, sigma_s) = process.scales(t), process.scales(s)
        gain = a * 0.5 / (a**2 * 0.5 + sigma**2)
        slope = 1 + (a_s - a) * gain + (sigma_s - sigma) * (1 - a * gain) / sigma
        want = float(slope**2 * (want + alpha**2 * sigma**2))
    found = robustness(model, [alpha], variance, n=20_000, sampler=DDIM(), steps=2, grid=times, **QUIET)
    assert found.values[0] == pytest.approx(want, rel=0.04)


def test_without_noise_it_is_plain_sampling_and_each_sample_has_its_own():
    model, kept = GaussianDenoiser([0.5, 0.1], [0.3, 0.1], EDM_PROCESS), []
    settings = {"n": 7, "seeds": 3, "sampler": UniPC(), "steps": 6, **QUIET}
    robustness(model, [0.0, 0.2], lambda x: kept.append(x) or 0.0, **settings)
    robustness(model, [0.2], lambda x: kept.append(x) or 0.0, **settings, batch_size=2)
    plain = sample(model, seeds=3, n=7, sampler=UniPC(), steps=6, **QUIET).x
    assert torch.equal(kept[0], plain)
    torch.testing.assert_close(kept[1], kept[2], rtol=1e-5, atol=1e-6)
    assert (kept[1] - plain).abs().min() > 1e-6


def test_the_noise_is_not_that_of_a_stochastic_samplers_steps():
    """With DDPM's own noise in the same direction the variance of the sum would be larger."""
    model = GaussianDenoiser([0.0], [0.5], EDM_PROCESS)
    seen = {}

    class Spy:
        stochastic = True

        def init(self, x, times):
            return ()

        def step(self, denoise, x, t, s, state, noise=None):
            seen[float(t)] = (x, noise)
            return DDPM().step(denoise, x, t, s, state, noise)

    settings = {"n": 4000, "steps": 4, "sampler": Spy(), **QUIET}
    robustness(model, [0.0], variance, **settings)
    before = {t: x for t, (x, _) in seen.items()}
    robustness(model, [0.5], variance, **settings)
    first = max(seen)
    extra, noise = seen[first][0] - before[first], seen[first][1]
    assert abs(float(torch.corrcoef(torch.stack([extra[:, 0], noise[:, 0]]))[0, 1])) < 0.06
    assert float(extra.std()) == pytest.approx(0.5 * 3.0, rel=0.05)


def test_heavy_tails_and_any_metric():
    """Three points: the more noise, the more samples end at another point than without any."""
    model = PointsDenoiser(torch.eye(3), PFGMPP(dof=4.0, sigma_max=20.0, sigma_min=0.02))
    plain = sample(model, seeds=0, n=300, sampler=Heun(), steps=18, **QUIET).x

    def astray(x):
        return (x.argmax(1) != plain.argmax(1)).double().mean()

    found = robustness(model, [0, 0.1, 0.5], astray, n=300, **QUIET)
    assert found.alphas == (0.0, 0.1, 0.5)
    assert found.values[0] == 0 < found.values[1] < found.values[2]
    lines = str(found).splitlines()
    assert lines[0].split() == ["alpha", "metric"] and lines[2].split() == ["0.1", f"{found.values[1]:.4g}"]


def test_what_is_refused():
    model = GaussianDenoiser([0.0], [0.5], EDM_PROCESS)
    for alphas in ([], [0.1, -0.2]):
        with pytest.raises(ValueError, match="strengths alpha >= 0"):
            robustness(model, alphas, variance, n=2)
    assert added(EDM_PROCESS, 0.0) is None
