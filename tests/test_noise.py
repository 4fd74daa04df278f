"""Noise laws and PFGM++: moments, marginals and posterior means by quadrature, limits, what is refused."""

import dataclasses
import math

import pytest
import torch

import windvane as wv
from tests.training.tiny import mlp, short
from windvane.convert import score_from_x0, x0_from_score
from windvane.denoiser import FunctionDenoiser
from windvane.exact import GaussianMixtureDenoiser
from windvane.noise import Gaussian, StudentT
from windvane.point_set import PointsDenoiser
from windvane.process import EDM, PFGMPP, process_from_config
from windvane.randomness import noise_for
from windvane.samplers import default_grid, sample, start_from
from windvane.training import Denoising
from windvane.training.batches import Batches, TensorData
from windvane.training.times import default_times

QUIET = {"progress": False}
T = torch.tensor(0.3, dtype=torch.float64)


@pytest.mark.parametrize("dim", [2, 64])
@pytest.mark.parametrize("dof", [8.0, 128.0, 1e7])
def test_the_second_moment_of_student_t_noise(dof, dim):
    n = 400_000 // dim
    normal = torch.randn(n, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    square = StudentT(dof).scaled(normal, 5).square().mean(1)
    assert float(square.mean()) == pytest.approx(dof / (dof - 2), abs=4 * float(square.std()) / n**0.5)


def test_one_factor_belongs_to_a_whole_sample():
    seeds = torch.arange(6)
    ratio = StudentT(3.0).draw(seeds, 0, (2, 4, 4), dtype=torch.float64) / noise_for(seeds, 0, (2, 4, 4))
    factor = ratio.flatten(1)
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), rtol=1e-6, atol=0)
    assert len(factor[:, 0].unique()) == 6


def test_noise_depends_on_seed_and_stream_alone():
    law = StudentT(3.0)
    together = law.draw([4, 5, 6], 0, (2,), dtype=torch.float32)
    assert torch.equal(law.draw([6], 0, (2,), dtype=torch.float32), together[2:])
    assert not torch.allclose(law.draw([6], 1, (2,), dtype=torch.float32), together[2:])
    before = torch.random.get_rng_state()
    law.draw([1], 0, (2,), dtype=torch.float32)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_gaussian_noise_is_the_normal_numbers_themselves():
    assert torch.equal(Gaussian().draw([3, 4], 7, (5,), dtype=torch.float32), noise_for([3, 4], 7, (5,)))
    normal = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert Gaussian().scaled(normal, 1) is normal


@pytest.mark.parametrize("law", [Gaussian(), StudentT(1.0), StudentT(5.0), StudentT(1e7)], ids=repr)
def test_the_density_integrates_to_one_and_is_that_of_the_draws(law):
    # Radial quadrature in two dimensions; r = tan(angle) reaches the heavy tails.
    angle = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000 * math.pi / 2
    r = angle.tan()
    mass = law.log_density(r**2, 2).exp() * 2 * math.pi * r * (1 + r**2) * (math.pi / 2 / 200_000)
    assert float(mass.sum()) == pytest.approx(1, abs=1e-5)
    normal = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = law.scaled(normal, 0).norm(dim=1)
    for radius in (0.5, 1.0, 2.0, 4.0):
        inside = float((drawn < radius).double().mean())
        assert inside == pytest.approx(float(mass[r < radius].sum()), abs=0.005)


def test_student_t_is_scipys():
    from scipy.stats import multivariate_t

    x = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64)
    wanted = multivariate_t(loc=[0, 0, 0], shape=1, df=4.5).logpdf(x[0].numpy())
    assert float(StudentT(4.5).log_density(x.square().sum(1), 3)) == pytest.approx(float(wanted))


@pytest.mark.parametrize("dof", [2.0, 8.0])
def test_marginals_and_posterior_means_are_those_of_quadrature(dof):
    """x0 uniform on [-1, 1]: what perturbed pairs show, what the integral says, what the points give."""
    process, n = PFGMPP(dof=dof, sigma_max=2.0, sigma_min=0.01), 400_000
    generator = torch.Generator().manual_seed(3)
    x0 = 2 * torch.rand(n, 1, generator=generator, dtype=torch.float64) - 1
    normal = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    x_t = process.perturb(x0, T, process.law.scaled(normal, 11))
    nodes = (torch.arange(2000, dtype=torch.float64) + 0.5) / 1000 - 1
    model = PointsDenoiser(nodes[:, None], process)
    for low in (-1.5, -0.6, 0.0, 0.8, 2.0):
        fine = torch.linspace(low, low + 0.3, 301, dtype=torch.float64)[:, None]
        sigma = float(process.sigma(T))
        kernel = (1 + ((fine - nodes) / sigma) ** 2 / dof) ** (-(1 + dof) / 2)
        norm = math.gamma((dof + 1) / 2) / math.gamma(dof / 2) / math.sqrt(dof * math.pi) / sigma
        density, first = norm * kernel.mean(1), norm * (kernel * nodes).mean(1)
        inside = (x_t[:, 0] >= low) & (x_t[:, 0] < low + 0.3)
        share = float(torch.trapezoid(density, fine[:, 0]))
        assert float(inside.double().mean()) == pytest.approx(share, abs=4 * (share / n) ** 0.5)
        expected = float(torch.trapezoid(first, fine[:, 0])) / share
        error = float(x0[inside].std()) / int(inside.sum()) ** 0.5
        assert float(x0[inside].mean()) == pytest.approx(expected, abs=4 * error)
        torch.testing.assert_close(model(fine, T.expand(301))[:, 0], first / density, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(model.log_prob(fine, T), density.log(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sampler", [wv.Heun(), wv.UniPC(), wv.EVODiff(), wv.DDIM()], ids=repr)
def test_the_flow_carries_the_heavy_prior_to_the_data(sampler):
    """Three points with unlike weights: the shares of the samples are the weights, though D alone is seen."""
    points = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.5, -1.0]])
    weights = torch.tensor([0.5, 0.3, 0.2])
    process = PFGMPP(dof=3.0, sigma_max=30.0, sigma_min=0.02)
    model, n = PointsDenoiser(points, process, weights=weights), 3000
    drawn = sample(model, seeds=0, n=n, sampler=sampler, steps=40, **QUIET).x
    nearest = torch.cdist(drawn, points).argmin(1)
    shares = torch.bincount(nearest, minlength=3) / n
    torch.testing.assert_close(shares, weights, rtol=0, atol=4 * 0.5 / n**0.5)
    assert float(torch.cdist(drawn, points).min(1).values.median()) < 1e-3


def test_with_many_dimensions_it_is_edm():
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    heavy, plain = PFGMPP(dof=1e13, sigma_max=20.0, sigma_min=0.02), EDM(sigma_max=20.0, sigma_min=0.02)
    settings = {"seeds": 0, "n": 8, "sampler": wv.Heun(), "steps": 12, "dtype": torch.float64, **QUIET}
    ours, theirs = (sample(PointsDenoiser(points, p), **settings) for p in (heavy, plain))
    assert torch.equal(ours.times, theirs.times)
    torch.testing.assert_close(ours.x, theirs.x, rtol=1e-4, atol=1e-4)


def test_a_start_has_the_processes_noise():
    process, x0 = PFGMPP(dof=2.0), torch.zeros(3, 2)
    begin = start_from(process, x0, 0.5, 7)[0]
    wanted = process.law.draw([7, 8, 9], 0, (2,), dtype=torch.float32) * 40
    torch.testing.assert_close(begin, wanted)
    assert not torch.allclose(begin, 40 * noise_for([7, 8, 9], 0, (2,)))


def batches(process, **settings):
    data = TensorData(torch.zeros(64, 3))
    return Batches(
        data, None, batch_size=64, seed=4, times=default_times(process), dropout=0.0, flip=False, **settings
    )


def test_training_draws_the_processes_noise():
    plain, heavy = PFGMPP(dof=1e13), PFGMPP(dof=1.0)
    usual = batches(EDM()).load(3)
    assert torch.equal(batches(EDM(), law=EDM().law).load(3).noise, usual.noise)
    torch.testing.assert_close(batches(plain, law=plain.law).load(3).noise, usual.noise, rtol=1e-5, atol=1e-6)
    tails = batches(heavy, law=heavy.law)
    whole = tails.load(3)
    assert whole.noise.abs().max() > 3 * usual.noise.abs().max() and torch.equal(whole.t, usual.t)
    ratio = whole.noise / usual.noise
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-5, atol=0)
    assert torch.equal(tails.load(3, 10, 20).noise, whole.noise[10:20])
    assert not torch.equal(tails.load(4).noise / batches(EDM()).load(4).noise, ratio)


def test_the_training_loop_uses_the_law_of_its_process():
    seen = []

    class Spy(Denoising):
        def __call__(self, denoiser, x0, t, noise, cond=None):
            seen.append(noise)
            return super().__call__(denoiser, x0, t, noise, cond)

    for process in (PFGMPP(dof=1.0), EDM()):
        short(mlp("edm", process=process), steps=2, objective=Spy("edm"))
    ratio = seen[0] / seen[2]
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-5, atol=0)
    assert float(ratio[:, 0].log().std()) > 0.1


def test_the_radius_is_aligned_with_sigma():
    process = PFGMPP(dof=128.0)
    assert float(process.radius(T)) == pytest.approx(80 * 0.3 * math.sqrt(128))
    assert float(process.t_of_radius(process.radius(T))) == pytest.approx(0.3)


def test_configuration_grids_and_times_are_edms():
    process = PFGMPP(dof=64.0, sigma_max=40.0)
    assert process_from_config(process.to_config()) == process
    assert process.to_config() == {"type": "pfgmpp", "dof": 64.0, "sigma_max": 40.0, "sigma_min": 0.002}
    edm = EDM(sigma_max=40.0)
    for sampler in (wv.DDIM(), wv.DPMSolverPP()):
        assert default_grid(process, sampler) is default_grid(edm, sampler)
    drawn = [default_times(p).draw(8, torch.Generator().manual_seed(0)) for p in (process, edm)]
    assert torch.equal(*drawn)
    assert dataclasses.replace(process, dof=2.0).law == StudentT(2.0)


@pytest.mark.parametrize(
    "sampler",
    [wv.DDPM(), wv.DDIM(eta=0.5), wv.Heun(churn=5.0), wv.DPMSolverSDE(), wv.DPMSolverSDE(order=1)],
    ids=repr,
)
def test_samplers_that_add_gaussian_noise_are_refused_by_name(sampler):
    model = FunctionDenoiser(lambda x, t, cond: x / 2, PFGMPP(), shape=(2,))
    with pytest.raises(ValueError, match=rf"{type(sampler).__name__}.*needs Gaussian noise; PFGMPP"):
        sample(model, seeds=0, n=2, sampler=sampler, steps=4, **QUIET)


def test_what_else_needs_gaussian_noise_is_refused_by_name():
    process, x = PFGMPP(), torch.ones(1, 2)
    for refused in (
        lambda: score_from_x0(process, x, x, T),
        lambda: x0_from_score(process, x, x, T),
        lambda: process.renoise(x, T, T + 0.1, x),
        lambda: GaussianMixtureDenoiser([1.0], [[0.0]], [1.0], process),
    ):
        with pytest.raises(ValueError, match="needs Gaussian noise; PFGMPP"):
            refused()


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: PFGMPP(dof=0.0), "got 0.0"),
        (lambda: PFGMPP(dof=math.inf), "got inf"),
        (lambda: PFGMPP(sigma_max=1.0, sigma_min=2.0), "sigma_max must be a number > 2"),
        (lambda: PointsDenoiser(torch.zeros(3), EDM()), r"\(3,\)"),
        (lambda: PointsDenoiser(torch.zeros(3, 1), EDM(), weights=torch.zeros(3)), "positive weights"),
    ],
)
def test_wrong_settings_are_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()
