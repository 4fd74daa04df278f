"""What guidance asks of others is declared by them, and passes through wrappers."""

import torch

import windvane as wv
from windvane.energies import Reward
from windvane.guidance import KickedSampler, presets
from windvane.samplers import DDIM, WrappedSampler
from windvane.search.step_costs import rehearsed

ENERGY = Reward(lambda x: x.sum(1), name="sum")
GUIDED = presets.dps(Reward(lambda x: x.sum(1)), 1e-3).sampler(DDIM())


def test_a_wrapper_of_a_guided_sampler_is_guided():
    assert not DDIM().traits.guided and not KickedSampler(DDIM(), ENERGY, 0.1).traits.guided
    for wrapper in (WrappedSampler(GUIDED), KickedSampler(GUIDED, ENERGY, 0.1)):
        assert wrapper.traits.guided
        times = torch.linspace(1, 0, 4, dtype=torch.float64)
        assert rehearsed(wrapper, wv.VPCosine(), times, (2,)) == (1, 1, 1)


class Ends(wv.FunctionDenoiser):
    def __init__(self, function):
        super().__init__(function, wv.VPCosine(), shape=(2,))
        self.ends, self.helper = 0, Helper()

    def finished(self):
        self.ends += 1


class Helper(torch.nn.Module):
    """No denoiser: a method of the same name is its own affair."""

    def finished(self):
        raise AssertionError


def test_every_denoiser_is_told_once_that_a_run_has_ended():
    inner = Ends(lambda x, t, cond: 0 * x)
    wv.sample(wv.ClassifierFree(inner, 1.0), seeds=0, n=3, steps=2, batch_size=1, progress=False)
    assert inner.ends == 1
