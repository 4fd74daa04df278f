"""Feynman-Kac steering: unbiased normalising constants, resampling, budgets."""

import math

import pytest
import torch

from tests.search.cases import affine_law, ancestral, drawn, gaussian, mixture, right
from windvane.randomness import derive_seed
from windvane.samplers import DPMSolverSDE
from windvane.search import (
    Budget,
    Chain,
    FeynmanKac,
    MeanRank,
    RewardError,
    effective_size,
    log_z,
    multinomial,
    resampled,
    run,
    systematic,
)
from windvane.search.particles import _STREAM_PARTICLE, _STREAM_RESAMPLE


def steer(chain, reward=right, **settings):
    n, seed, budget = settings.pop("n", 1), settings.pop("seed", 0), settings.pop("budget", None)
    return run(FeynmanKac(**settings), chain, reward, n=n, seed=seed, budget=budget, progress=False)


def log_normaliser(chain, lam, dimension=0):
    """log E exp(lam x_d) of an affine chain from its prior, in closed form."""
    a, b, var = affine_law(chain, 0)
    prior = float(chain.process.sigma(chain.times[0]))
    variance = var + (a * prior) ** 2
    return float(lam * b[dimension] + lam**2 * variance[dimension] / 2)


@pytest.mark.parametrize(
    ("ess", "resampling"),
    [
        (0.0, "systematic"),
        (0.5, "systematic"),
        (1.0, "systematic"),
        (0.5, "multinomial"),
        (1.0, "multinomial"),
    ],
)
def test_the_normalising_constant_is_unbiased(ess, resampling):
    """The mean of Z over 400 systems of 8 particles is Z in closed form, within four standard errors."""
    chain = Chain(gaussian(), sampler=ancestral().sampler, steps=8, batch_size=4096)
    truth = log_normaliser(chain, 1.5)
    settings = {"particles": 8, "lam": 1.5, "ess": ess, "resampling": resampling}
    estimates = steer(chain, **settings, n=400, seed=1).memory["log_z"][:, 0].exp()
    error = float(estimates.std()) / math.sqrt(400)
    assert abs(float(estimates.mean()) - math.exp(truth)) < 4 * error
    assert error < 0.1 * math.exp(truth)


def test_particles_follow_the_tilted_law():
    """x0 is Gaussian, so p exp(lam x) is the same Gaussian moved by lam times its variance."""
    chain = Chain(gaussian(), sampler=ancestral().sampler, steps=12, batch_size=4096)
    a, b, var = affine_law(chain, 0)
    variance = var + (a * float(chain.process.sigma(chain.times[0]))) ** 2
    found = steer(chain, particles=4000, lam=2.0, ess=0.5)
    weights, x = found.memory["log_weights"][0].exp(), found.memory["particles"][0].double()
    mean = (weights[:, None] * x).sum(0)
    assert torch.allclose(mean, b + 2.0 * variance * torch.tensor([1.0, 0.0]), atol=0.1)
    assert torch.allclose((weights[:, None] * (x - mean) ** 2).sum(0), variance, atol=0.12)
    assert torch.allclose(resampled(found, 4000)[0].double().mean(0), mean, atol=0.05)


def test_without_resampling_it_is_importance_sampling():
    chain = ancestral(batch_size=512)
    found = steer(chain, particles=50, ess=0.0, seed=3)
    x = found.memory["particles"][0]
    assert torch.allclose(found.memory["log_weights"][0], right(x).double().log_softmax(0), atol=1e-6)
    assert float(found.memory["log_z"]) == pytest.approx(
        float(right(x).double().logsumexp(0)) - math.log(50), abs=1e-6
    )


def test_resampling_helps_where_the_reward_is_rare():
    """A component of weight 0.05, and a reward that wants it: the error of its share, over 60 systems."""
    chain = ancestral(steps=10, batch_size=4096)

    def rare(x):
        return 4.0 * torch.sigmoid(20 * (-0.75 - x[:, 1]))

    plain = drawn(chain, 20000, seed=10**6)
    tilt = rare(plain).double().softmax(0)
    share = float(tilt[plain[:, 1] < -0.75].sum())
    errors = {}
    for ess in (0.0, 0.5):
        found = steer(chain, rare, particles=32, ess=ess, n=60)
        weights = found.memory["log_weights"].exp()
        inside = (found.memory["particles"][..., 1] < -0.75).double()
        errors[ess] = float((((weights * inside).sum(1) - share) ** 2).mean().sqrt())
    assert errors[0.5] < errors[0.0]


def test_systematic_resampling_takes_the_floor_or_the_ceiling():
    weights = torch.tensor([0.47, 0.33, 0.15, 0.05]).double().repeat(5) / 5
    counts = torch.stack(
        [
            torch.bincount(systematic(weights.log(), u), minlength=20)
            for u in torch.arange(0, 1, 0.01).tolist()
        ]
    )
    wanted = 20 * weights
    assert ((counts >= wanted.floor() - 1e-9) & (counts <= wanted.ceil() + 1e-9)).all()
    assert torch.allclose(counts.double().mean(0), wanted, atol=0.011)
    assert float(effective_size(torch.zeros(8).double())) == pytest.approx(8)
    assert float(effective_size(torch.tensor([0.0, -1e9]).double())) == pytest.approx(1)
    uneven = torch.tensor([[0.5, 0.25, 0.25], [0.6, 0.3, 0.1]]).double().log() + 7
    assert effective_size(uneven).tolist() == pytest.approx([1 / 0.375, 1 / 0.46])


def test_multinomial_resampling_draws_independently():
    """Counts have the mean P w and the variance P w (1 - w): systematic ones have less than 1/4."""
    weights = torch.tensor([0.5, 0.3, 0.15, 0.05]).double()
    log_weights = torch.cat([weights, torch.zeros(16).double()]).log()  # 20 particles, 16 of them hopeless
    draws = [torch.bincount(multinomial(log_weights, seed), minlength=20) for seed in range(4000)]
    counts = torch.stack(draws).double()
    mean, variance = 20 * weights, 20 * weights * (1 - weights)
    assert ((counts.mean(0)[:4] - mean).abs() < 4 * (variance / 4000).sqrt()).all()
    torch.testing.assert_close(counts.var(0)[:4], variance, rtol=0.1, atol=0)
    assert not counts[:, 4:].any()
    covariance = torch.cov(counts[:, :2].T)[0, 1]
    assert float(covariance) == pytest.approx(-20 * 0.5 * 0.3, rel=0.1)


@pytest.mark.parametrize("resampling", ["systematic", "multinomial"])
def test_ess_one_resamples_every_time_even_even_weights(resampling):
    """With a constant reward, and even weights, systematic draws keep all particles, others do not."""
    chain = ancestral(steps=6, batch_size=512)
    settings = {"particles": 32, "ess": 1.0, "every": 3, "resampling": resampling, "seed": 4}
    found = steer(chain, lambda x: torch.ones(len(x)), **settings)
    assert float(found.memory["log_z"]) == pytest.approx(1.0)
    keys = [derive_seed(4, _STREAM_PARTICLE, 0, j) for j in range(32)]
    middle = chain.run(chain.start(chain.noise(keys)), keys, last=3)
    kept = torch.arange(32)
    if resampling == "multinomial":
        kept = multinomial(torch.zeros(32).double(), derive_seed(4, _STREAM_RESAMPLE, 0, 3))
        assert len(kept.unique()) < 28
    torch.testing.assert_close(found.memory["particles"][0], chain.run(middle[kept], keys, first=3))


def test_a_sweep_costs_what_sampling_costs_and_counts_the_rewards():
    found = steer(ancestral(steps=10), particles=30, n=2, every=3)
    assert found.spent.rows == 2 * 30 * 10
    # Judged before the steps 3, 6 and 9, and at the end.
    assert found.spent.verified == 2 * 30 * 4
    several = steer(ancestral(steps=10), particles=30, sweeps=None, budget=Budget(network=1000))
    assert several.spent.rows == 900 and several.memory["log_z"].shape == (1, 3)
    with pytest.raises(ValueError, match="does not pay for one sweep of 30 particles: 300 network rows"):
        steer(ancestral(steps=10), particles=30, budget=Budget(network=299))


def test_every_sweep_has_noise_of_its_own():
    found = steer(ancestral(steps=4), particles=8, n=2, sweeps=3, ess=0.0)
    assert found.memory["log_z"].shape == (2, 3)
    assert len(found.memory["log_z"].flatten().unique()) == 6


@pytest.mark.parametrize("keep", [1, 7, 1024])
def test_all_sweeps_together_are_unbiased(keep):
    """Z times the mean of x under the particles of 5 sweeps, thinned or not: Z (b + lam var) in closed form.

    Weights of any other kind are biased with 4 particles: even ones, those of each sweep by itself, and those
    of the last sweep alone.
    """
    chain, lam = Chain(gaussian(), sampler=ancestral().sampler, steps=5, batch_size=4096), 1.5
    a, b, var = affine_law(chain, 0)
    variance = float((var + (a * float(chain.process.sigma(chain.times[0]))) ** 2)[0])
    truth = math.exp(log_normaliser(chain, lam)) * (float(b[0]) + lam * variance)
    found = steer(chain, particles=4, lam=lam, ess=0.5, sweeps=5, n=1000, keep=keep)
    assert found.memory["particles"].shape == (1000, {1: 4, 7: 7, 1024: 20}[keep], 2)
    inside = (
        found.memory["log_weights"].exp() * right(found.memory["particles"].flatten(0, 1)).reshape(1000, -1)
    ).sum(1)
    estimates = log_z(found).exp() * inside
    error = float(estimates.std()) / math.sqrt(1000)
    assert error < 0.1 * truth and abs(float(estimates.mean()) - truth) < 3.5 * error


def test_a_sweep_counts_by_its_estimate():
    """Two sweeps are the first and the second one side by side, in the proportion of their estimates."""
    chain = ancestral(steps=4, batch_size=64)
    one, both = (steer(chain, particles=6, sweeps=sweeps, n=2, seed=3) for sweeps in (1, 2))
    x, weights = both.memory["particles"], both.memory["log_weights"].exp()
    assert torch.equal(x[:, :6], one.memory["particles"]) and not torch.equal(x[:, 6:], x[:, :6])
    shares = both.memory["log_z"].softmax(dim=1)
    torch.testing.assert_close(weights[:, :6], shares[:, :1] * one.memory["log_weights"].exp())
    torch.testing.assert_close(weights[:, 6:].sum(1), shares[:, 1])
    torch.testing.assert_close(log_z(both), both.memory["log_z"].exp().mean(1).log())
    part = steer(chain, particles=6, sweeps=4, n=2, seed=3, keep=9)
    again = run(
        FeynmanKac(particles=6, sweeps=4, keep=9), chain, right, n=2, seed=3, progress=False,
        resume=run(
            FeynmanKac(particles=6, sweeps=4, keep=9), chain, right, n=2, seed=3, progress=False,
            watch=lambda found: found.rounds == 2,
        ),
    )  # fmt: skip
    assert all(torch.equal(again.memory[name], value) for name, value in part.memory.items())


def test_the_result_is_the_best_particle_of_all_sweeps():
    found = steer(ancestral(steps=4), particles=3, sweeps=4, n=8)
    scores = right(found.memory["particles"].flatten(0, 1)).reshape(8, 12).double()
    torch.testing.assert_close(found.score, scores.max(1).values)
    torch.testing.assert_close(found.x, found.memory["particles"][torch.arange(8), scores.argmax(1)])
    assert bool((scores.argmax(1) < 9).any()), "the last sweep has not the best of every search"


def test_batches_and_neighbouring_systems_change_nothing():
    each = {"particles": 16, "ess": 1.0}  # resampled every time
    small = steer(ancestral(batch_size=7), n=3, seed=5, **each)
    large = steer(ancestral(batch_size=512), n=3, seed=5, **each)
    alone = steer(ancestral(batch_size=512), n=1, seed=6, **each)
    assert torch.allclose(small.memory["particles"], large.memory["particles"], atol=1e-4)
    assert torch.allclose(alone.memory["particles"][0], large.memory["particles"][1], atol=1e-4)
    assert torch.allclose(alone.memory["log_z"][0], large.memory["log_z"][1], atol=1e-5)


def test_a_sampler_with_history_keeps_it_through_resampling():
    chain = Chain(gaussian(), sampler=DPMSolverSDE(), steps=10, batch_size=4096)
    plain = right(drawn(chain, 20000, seed=10**6)).double()
    estimates = steer(chain, particles=64, ess=0.9, n=100).memory["log_z"][:, 0].exp()
    error = float(estimates.std()) / 10 + float(plain.exp().std()) / math.sqrt(20000)
    assert abs(float(estimates.mean() - plain.exp().mean())) < 4 * error


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="branches by the noise that a step adds, and DDIM"):
        steer(Chain(mixture(), steps=5))
    with pytest.raises(ValueError, match="ranks exist among candidates only"):
        steer(ancestral(), MeanRank([right, right]))
    with pytest.raises(RewardError, match="must give a tensor with one value per sample"):
        steer(ancestral(), lambda x: x)
    with pytest.raises(ValueError, match="sweeps and keep are at least 1, got 64, 1, 1 and 0"):
        FeynmanKac(keep=0)
    with pytest.raises(ValueError, match="systematic or multinomial, got 'stratified'"):
        FeynmanKac(resampling="stratified")
