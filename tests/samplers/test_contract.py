"""What every named sampler owes: its traits, its count, D at the end; and a wrapper that loses none of it."""

from dataclasses import dataclass

import pytest
import torch

from tests.samplers.cases import PROCESSES, mixture, name, normal
from windvane.convert import eps_from_x0
from windvane.energies import Reward
from windvane.guidance import KickedSampler, presets
from windvane.point_set import PointsDenoiser
from windvane.process import PFGMPP, expand
from windvane.registry import known_names
from windvane.samplers import (
    DDPM,
    BoundDenoiser,
    DPMSolverPP,
    EVODiff,
    Heun,
    Sampler,
    Traits,
    WrappedSampler,
    default_grid,
    moved,
    sample,
    start_from,
)
from windvane.samplers.names import as_sampler

every = pytest.mark.parametrize("named", known_names("sampler"))
processes = pytest.mark.parametrize("process", PROCESSES, ids=name)


@dataclass(frozen=True)
class Scaled(WrappedSampler):
    """The inner sampler's step, and x multiplied after it."""

    factor: float = 1.0

    def step(self, denoise, x, t, s, state, noise=None):
        x_s, state = self.sampler.step(denoise, x, t, s, state, noise)
        return (x_s, state) if self.factor == 1 else (self.factor * x_s, moved(state))


def draw(model, sampler, steps=6, **settings):
    return sample(
        model, seeds=0, n=4, sampler=sampler, steps=steps, dtype=torch.float64, progress=False, **settings
    )


@every
@processes
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_run_to_zero_makes_the_evaluations_that_were_promised(named, process, steps):
    sampler, model = as_sampler(named), mixture(process)
    made = draw(model, sampler, steps)
    assert made.rows_per_sample == sampler.evaluations(process, made.times)


@every
@processes
def test_the_step_to_zero_is_the_prediction_at_its_start(named, process):
    sampler, model = as_sampler(named), mixture(process)
    steps = []
    made = draw(model, sampler, after_step=lambda info: steps.append(info), before_step=steps.append)
    begun = steps[-2]
    torch.testing.assert_close(made.x, model(begun.x, begun.t.expand(4)), rtol=1e-9, atol=1e-9)


@every
@processes
def test_a_wrapped_sampler_is_its_sampler(named, process):
    inner, model = as_sampler(named), mixture(process)
    outer = Scaled(inner)
    assert default_grid(process, outer) is default_grid(process, inner)
    for settings in ({}, {"start": start_from(process, normal(4, 2), 0.6, 0)}):
        plain, wrapped = (draw(model, sampler, 7, record=True, **settings) for sampler in (inner, outer))
        assert torch.equal(plain.times, wrapped.times)
        assert torch.equal(plain.trajectory.x, wrapped.trajectory.x)
        assert plain.rows_per_sample == wrapped.rows_per_sample
    assert outer.evaluations(process, plain.times) == plain.rows_per_sample
    assert outer.stochastic == inner.stochastic and outer.traits.memory == inner.traits.memory
    assert not torch.allclose(draw(model, Scaled(inner, 1.1)).x, draw(model, inner).x, atol=1e-3)


def test_a_wrapped_sampler_takes_names_and_wraps_again():
    model = mixture(PROCESSES[0])
    twice = Scaled(Scaled("dpm++2m"))
    assert twice.traits.grid == "log_snr"
    assert torch.equal(draw(model, twice).x, draw(model, DPMSolverPP()).x)


def test_a_step_that_was_changed_alone_has_no_transition():
    denoise, x = BoundDenoiser(mixture(PROCESSES[0])), normal(4, 2)
    t, s = (torch.tensor(v, dtype=torch.float64) for v in (0.6, 0.4))

    class Halved(Scaled):
        def transition(self, denoise, x, t, s, state):
            mean, std, state = self.sampler.transition(denoise, x, t, s, state)
            return 0.5 * mean, 0.5 * std, state

    assert WrappedSampler(DDPM()).traits.gaussian and Halved(DDPM(), 0.5).traits.gaussian
    assert not Scaled(DDPM()).traits.gaussian and not KickedSampler(DDPM(), reward()).traits.gaussian
    with pytest.raises(ValueError, match="no Gaussian transition"):
        Scaled(DDPM()).transition(denoise, x, t, s, ())
    mean, std, _ = Halved(DDPM(), 0.5).transition(denoise, x, t, s, ())
    x_s, _ = Halved(DDPM(), 0.5).step(denoise, x, t, s, (), normal(4, 2, seed=1))
    torch.testing.assert_close(x_s, mean + std * normal(4, 2, seed=1))


@pytest.mark.parametrize("sampler", [DPMSolverPP(), EVODiff(), Heun()], ids=name)
@processes
def test_guidance_keeps_the_grid_of_what_it_guides(sampler, process):
    for guided in (presets.dps(reward(), 0.0).sampler(sampler), KickedSampler(sampler, reward(), 0.0)):
        assert default_grid(process, guided) is default_grid(process, sampler)
        assert guided.traits.memory == sampler.traits.memory


def reward():
    return Reward(lambda x: x.sum(1), name="sum")


class Plain:
    """Euler's rule by an object that derives from nothing, and prefers a grid as samplers once said it."""

    stochastic, prefers_log_snr = False, True

    def init(self, x, times):
        return ()

    def step(self, denoise, x, t, s, state, noise=None):
        process, x0 = denoise.process, denoise(x, t)
        eps = eps_from_x0(process, x, x0, t)
        return expand(process.alpha(s), x) * x0 + expand(process.sigma(s), x) * eps, state


def test_an_object_with_the_methods_is_adopted():
    model = mixture(PROCESSES[0])
    adopted = as_sampler(Plain)
    assert isinstance(adopted, Sampler) and adopted.traits == Traits(grid="log_snr", evaluations=None)
    assert adopted.evaluations(model.process, torch.tensor([1.0, 0.5, 0.0])) is None
    torch.testing.assert_close(draw(model, Plain()).x, draw(model, "ddim", grid="log_snr").x)
    with pytest.raises(ValueError, match="takes a sampler"):
        as_sampler(object())


@every
def test_what_needs_gaussian_noise_says_so(named):
    process, sampler = PFGMPP(dof=8.0), as_sampler(named)
    model = PointsDenoiser(normal(5, 2), process)
    if sampler.stochastic:
        with pytest.raises(ValueError, match="Gaussian"):
            draw(model, sampler)
    else:
        assert torch.isfinite(draw(model, sampler).x).all()
