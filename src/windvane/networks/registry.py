"""Networks by name, so that checkpoints can rebuild them."""

from typing import Any

from torch import nn

from windvane.networks.base import Network
from windvane.networks.dit import ConditionedDiT
from windvane.networks.mlp import ResidualMLP
from windvane.networks.unet import ConditionedUNet

NETWORKS: dict[str, type[Network]] = {cls.kind: cls for cls in (ResidualMLP, ConditionedUNet, ConditionedDiT)}


def register_network(cls: type[Network]) -> type[Network]:
    """Make a network of one's own loadable from checkpoints; usable as a class decorator."""
    known = NETWORKS.get(cls.kind)
    if known is not None and known is not cls:
        raise ValueError(f"the network type {cls.kind!r} is taken by {known.__name__}; choose another name")
    NETWORKS[cls.kind] = cls
    return cls


def build_network(kind: str, config: dict[str, Any]) -> Network:
    """A new network with random weights from its registered type and its ``config``."""
    if kind not in NETWORKS:
        raise ValueError(
            f"unknown network type {kind!r}; known: {', '.join(sorted(NETWORKS))} "
            "(register_network adds others)"
        )
    try:
        return NETWORKS[kind].from_config(config)
    except KeyError as error:
        raise ValueError(f"the config of network {kind!r} lacks {error}; it has {sorted(config)}") from error


def network_spec(network: nn.Module) -> dict[str, Any]:
    """``{"type", "config"}`` of a registered network: what :func:`build_network` takes."""
    if not isinstance(network, Network) or NETWORKS.get(network.kind) is not type(network):
        raise ValueError(
            f"{type(network).__name__} is not a registered network and could not be loaded again; derive it "
            f"from Network and call register_network, or use one of {', '.join(sorted(NETWORKS))}"
        )
    return {"type": network.kind, "config": network.config}
