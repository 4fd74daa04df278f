"""Conditional networks: a residual MLP, and diffusers' U-Net and DiT, with any signals as conditions."""

import warnings
from typing import Any

from windvane.networks.attributes import AttributesEmbedding
from windvane.networks.base import Network, parameter_count
from windvane.networks.conditioning import ConditionInput, Embedding
from windvane.networks.dit import ConditionedDiT
from windvane.networks.layout import LayoutInput
from windvane.networks.mlp import ResidualMLP
from windvane.networks.presets import preset
from windvane.networks.registry import build_network, network_spec, register_network
from windvane.networks.scalar import ScalarEmbedding
from windvane.networks.signals import Signal
from windvane.networks.time_embedding import time_embedding
from windvane.networks.tokens import TokenInput
from windvane.networks.unet import ConditionedUNet
from windvane.networks.vector import VectorEmbedding
from windvane.registry import entries

__all__ = [
    "AttributesEmbedding",
    "ConditionInput",
    "ConditionedDiT",
    "ConditionedUNet",
    "Embedding",
    "LayoutInput",
    "Network",
    "ResidualMLP",
    "ScalarEmbedding",
    "Signal",
    "TokenInput",
    "VectorEmbedding",
    "build_network",
    "network_spec",
    "parameter_count",
    "preset",
    "register_network",
    "time_embedding",
]


def __getattr__(name: str) -> Any:
    if name != "PRESETS":
        raise AttributeError(f"module 'windvane.networks' has no attribute {name!r}")
    message = (
        "windvane.networks.PRESETS is windvane.registry.entries('architecture') now; the old name goes with "
    )
    warnings.warn(message + "the next release", DeprecationWarning, stacklevel=2)
    return {row.name: (row.load(), dict(row.settings)) for row in entries("architecture")}
