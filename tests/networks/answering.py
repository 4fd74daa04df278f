"""A small conditional denoiser whose output depends on its condition; that of a fresh network is zero."""

from windvane.denoiser import NetworkDenoiser
from windvane.networks import ResidualMLP
from windvane.process import VPCosine
from windvane.randomness import scoped_seed


def answering():
    """Of images 1 x 8 x 8 and three classes."""
    with scoped_seed(0):
        network = ResidualMLP.build(shape=(1, 8, 8), vector=3, width=32, blocks=1)
        for parameter in network.parameters():
            if not parameter.any():
                parameter.data.normal_(0, 0.3)
    return NetworkDenoiser(network, VPCosine(), parametrisation="v", shape=(1, 8, 8))
