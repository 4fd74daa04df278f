"""Networks by name, so that checkpoints can rebuild them."""

from typing import Any

from torch import nn

from windvane.networks.base import Network
from windvane.registry import Row, entries, find, register


def register_network(cls: type[Network]) -> type[Network]:
    """Make a network of one's own loadable from checkpoints in this process; usable as a class decorator.

    A package makes its networks loadable in every process by a row of its own, see
    :mod:`windvane.registry.plugins`.

    Raises:
        ValueError: another network has that name.
    """
    known = _registered(cls.kind)
    if known is not None and known is not cls:
        raise ValueError(f"the network type {cls.kind!r} is taken by {known.__name__}; choose another name")
    if known is None:
        said = (cls.__doc__ or cls.kind).strip().splitlines()[0]
        register(Row("network", cls.kind, f"{cls.__module__}:{cls.__qualname__}", said, value=cls))
    return cls


def build_network(kind: str, config: dict[str, Any]) -> Network:
    """A new network with random weights from its registered type and its ``config``."""
    found = _registered(kind)
    if found is None:
        raise ValueError(
            f"unknown network type {kind!r}; known: {', '.join(_stored())} (register_network adds others)"
        )
    try:
        return found.from_config(config)
    except KeyError as error:
        raise ValueError(f"the config of network {kind!r} lacks {error}; it has {sorted(config)}") from error


def network_spec(network: nn.Module) -> dict[str, Any]:
    """``{"type", "config"}`` of a registered network: what :func:`build_network` takes."""
    if not isinstance(network, Network) or _registered(network.kind) is not type(network):
        raise ValueError(
            f"{type(network).__name__} is not a registered network and could not be loaded again; derive it "
            f"from Network and call register_network, or use one of {', '.join(_stored())}"
        )
    return {"type": network.kind, "config": network.config}


def _stored() -> list[str]:
    return sorted(row.stored for row in entries("network"))


def _registered(kind: Any) -> type[Network] | None:
    """The class of a type, as files name it."""
    return find("network", kind).load() if isinstance(kind, str) and kind in _stored() else None
