"""Small things to train, and the tests' own loop to compare with."""

import torch
from torch import nn

from windvane.conditions import Condition
from windvane.denoiser import NetworkDenoiser
from windvane.networks import ResidualMLP
from windvane.process import VPCosine
from windvane.training import train

DIM, CLASSES, ROWS = 3, 4, 40


def data(rows=ROWS, seed=5):
    keyed = torch.Generator().manual_seed(seed)
    return torch.randn(rows, DIM, generator=keyed)


def conditions(rows=ROWS):
    return Condition.vector(torch.arange(rows) % CLASSES)


def mlp(parametrisation="v", process=None, seed=3, vector=CLASSES, dim=DIM, width=16):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ResidualMLP(dim, width=width, blocks=1, vector=vector)
        # The output layer starts at zero, which would hide errors of scale in the first steps.
        nn.init.normal_(network.last.weight, std=0.3)
    return NetworkDenoiser(network, process or VPCosine(), parametrisation=parametrisation, shape=(dim,))


def short(denoiser, *, values=None, signals=None, **changed):
    """A quick training; changed settings by name."""
    settings = dict(steps=6, batch_size=8, lr=1e-2, warmup=3, log_every=2, checkpoint_every=4, progress=False)
    values = data() if values is None else values
    signals = conditions() if signals is None else signals
    return train(denoiser, values, conditions=signals, **{**settings, **changed})


def weights(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def assert_same_weights(first, second, tolerance=0.0):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=tolerance, atol=tolerance, msg=name)


def largest_difference(first, second):
    return max(float((first[name] - second[name]).abs().max()) for name in first)
