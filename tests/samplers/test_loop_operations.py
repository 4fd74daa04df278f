"""What a step of the loop asks of torch beside the network: on small pictures that is all of its cost."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import windvane as wv


class Still(torch.nn.Module):
    """A network that makes no operation: it gives back its input."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, time, cond=None):
        self.seen.append(x)
        return x


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.made = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.made[str(function)] += 1
        return function(*args, **(kwargs or {}))


def operations_of(run):
    run()  # coefficients of the grid are remembered
    with Operations() as operations:
        run()
    return operations.made


def guided(steps):
    model = wv.ClassifierFree(wv.NetworkDenoiser(Still(), wv.VPCosine(), shape=(1, 2, 2)), 2.0)
    cond = wv.Condition.vector(torch.arange(3))
    return lambda: wv.sample(model, seeds=0, n=3, cond=cond, steps=steps, progress=False)


def test_a_guided_step_makes_few_operations():
    many, few = operations_of(guided(20)), operations_of(guided(10))
    many.subtract(few)
    # Guidance 5, x0 of the prediction 3, DDIM 6, the look for finite numbers 1; the rest are times and views.
    assert sum(many.values()) <= 250, many


def test_a_run_checks_and_ends_in_few_operations():
    # Of these, two looks at how far predictions reach take 6.
    assert sum(operations_of(guided(1)).values()) <= 75


@pytest.mark.parametrize("process", [wv.VPCosine(), wv.EDM()])
def test_a_network_gets_the_state_itself_where_its_factor_is_one(process):
    network = Still()
    denoiser = wv.NetworkDenoiser(network, process, parametrisation="eps")
    x, t = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0)), torch.tensor(0.4).double()
    with torch.no_grad():
        x0 = denoiser(x, t)
    alpha, sigma = process.scales(t)
    factor = 1 / max(1.0, float(alpha**2 + sigma**2) ** 0.5)
    assert (network.seen[0] is x) == (factor == 1)
    torch.testing.assert_close(x0, (x - float(sigma) * factor * x) / float(alpha))
    denoiser(x, t)  # with gradients their order of summation stays
    assert network.seen[1] is not x


class Changing(torch.nn.Module):
    def forward(self, x, time, cond=None):
        return x.mul_(2)


def test_a_network_that_changes_its_input_is_refused():
    denoiser = wv.NetworkDenoiser(Changing(), wv.VPCosine(), shape=(1, 2, 2))
    with pytest.raises(ValueError, match="Changing changes its input in place.*x.clone()"):
        wv.sample(denoiser, seeds=0, n=1, steps=2, progress=False)
