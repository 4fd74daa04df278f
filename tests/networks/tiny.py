"""Tiny networks with random weights everywhere, also where training starts at zero."""

import torch

from windvane.networks import ConditionedDiT, ConditionedUNet, ResidualMLP

SHAPE = (2, 8, 8)
CLASSES = 5
LAYOUT = 3
WIDTH = 12


def randomised(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 10
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
    return network.eval()


def mlp(**arguments):
    return randomised(ResidualMLP(128, width=16, blocks=2, shape=SHAPE, **arguments))


def unet(**arguments):
    return randomised(ConditionedUNet.build(shape=SHAPE, channels=(8, 16), layers_per_block=1, **arguments))


def dit(**arguments):
    return randomised(ConditionedDiT.build(shape=SHAPE, width=16, depth=2, heads=2, **arguments))


MAKERS = {"mlp": mlp, "unet": unet, "dit": dit}


def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch(rows, seed=1):
    """Inputs and times of ``rows`` rows."""
    return draw(rows, *SHAPE, seed=seed), torch.linspace(3.0, 950.0, rows)
