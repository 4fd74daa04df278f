"""EluCD's kick before the step: the released update written out, and its place round any sampler."""

import math

import pytest
import torch

from windvane.conditions import Condition
from windvane.energies import ClassLogProb, Reward
from windvane.guidance import GuidanceWarning, KickedSampler
from windvane.samplers import DDIM, BoundDenoiser, DPMSolverPP, Heun, UniPC, sample

from .guided_cases import MODEL, PROCESS, TIMES, S, T, X, gradient

ENERGY = Reward(lambda x: -(x - 0.3).square().sum(1) - 0.1 * x[:, 0] ** 3, name="bowl")
N = len(TIMES) - 1


def kicked(x, i, size, sine):
    """The pseudo-code of the released EDM sampler."""
    rms = x.square().mean(1, keepdim=True).sqrt()
    g = gradient(ENERGY, x / rms.clamp(min=1))
    h = max(size * (1 - i / (N + 1)), 1e-5) + sine * size * math.sin(math.pi * i / N)
    return x + h * rms * g / g.square().mean(1, keepdim=True).sqrt()


def one_step(sampler, x=X, t=T, s=S, model=MODEL, cond=None):
    state = sampler.init(x, TIMES)
    with torch.no_grad():
        return sampler.step(BoundDenoiser(model, cond), x, t, s, state)[0]


@pytest.mark.parametrize("inner", [Heun(), DDIM()], ids=["heun", "ddim"])
@pytest.mark.parametrize("i", [0, 3, N - 1])
def test_a_step_is_the_papers(inner, i):
    made = one_step(KickedSampler(inner, ENERGY, 0.05, 0.4), t=TIMES[i], s=TIMES[i + 1])
    expected = one_step(inner, kicked(X, i, 0.05, 0.4), TIMES[i], TIMES[i + 1])
    torch.testing.assert_close(made, expected, rtol=1e-10, atol=1e-10)


def test_the_kick_is_the_fraction_of_the_states_size_whatever_the_energys_scale():
    class Stay:
        stochastic = False

        def init(self, x, times):
            return ()

        def step(self, denoise, x, t, s, state, noise=None):
            return x, state

    for energy in (ENERGY, 1000.0 * ENERGY):
        sampler = KickedSampler(Stay(), energy, 0.1, 0.0)
        moved = one_step(sampler, t=TIMES[0]) - X
        ratio = moved.square().mean(1).sqrt() / X.square().mean(1).sqrt()
        torch.testing.assert_close(ratio, torch.full((4,), 0.1, dtype=torch.float64))


def test_rows_do_not_see_each_other_and_calls_are_the_samplers_own():
    def draw(sampler, **more):
        return sample(MODEL, seeds=0, n=7, sampler=sampler, steps=8, progress=False, **more)

    for inner in (Heun(), DPMSolverPP(), UniPC(), DDIM(eta=1.0)):
        guided, plain = draw(KickedSampler(inner, ENERGY, 0.05)), draw(inner)
        alone = draw(KickedSampler(inner, ENERGY, 0.05), batch_size=2)
        torch.testing.assert_close(guided.x, alone.x, rtol=1e-4, atol=1e-5)
        assert ENERGY(guided.x).mean() > ENERGY(plain.x).mean()
        if not isinstance(inner, UniPC):
            assert guided.calls == plain.calls
    with pytest.warns(GuidanceWarning):
        off = draw(KickedSampler(Heun(), ENERGY, 0.0))
    assert torch.equal(off.x, draw(Heun()).x)


def test_targets_travel_in_the_condition_and_are_hidden_from_the_denoiser():
    energy = ClassLogProb(MODEL.class_log_prob, "wanted", timed=True, tau_marginal=0.0)
    wanted = torch.arange(60) % 2
    run = dict(seeds=0, n=60, steps=12, progress=False, batch_size=16)
    cond = Condition({"wanted": wanted})
    found = sample(MODEL, sampler=KickedSampler(Heun(), energy, 0.15), cond=cond, **run).x

    def right(x):
        return (MODEL.class_log_prob(x.double(), 1e-3).argmax(1) == wanted).double().mean()

    assert right(found) > right(sample(MODEL, sampler=Heun(), **run).x) + 0.2


def test_a_window_in_noise_level():
    level = float(PROCESS.noise_level(T))
    inside = KickedSampler(DDIM(), ENERGY, 0.05, window=(level / 2, level))
    outside = KickedSampler(DDIM(), ENERGY, 0.05, window=(0.0, level / 2))
    assert not torch.equal(one_step(inside), one_step(DDIM()))
    assert torch.equal(one_step(outside), one_step(DDIM()))


def test_refusals():
    with pytest.raises(ValueError, match="needs an Energy"):
        KickedSampler(Heun(), lambda x: x.sum(1))
    with pytest.raises(ValueError, match="size=-1"):
        KickedSampler(Heun(), ENERGY, -1)
    with pytest.raises(ValueError, match="window"):
        KickedSampler(Heun(), ENERGY, window=(2.0, 1.0))
    with pytest.raises(ValueError, match="'blind' cannot guide"):
        one_step(KickedSampler(DDIM(), Reward(lambda x: x.round().sum(1), name="blind")))
