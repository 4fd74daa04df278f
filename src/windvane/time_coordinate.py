"""The coordinates of time that networks are given: a network expects one, and a model's folder names it."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from windvane.arguments import one_of
from windvane.process import Process, VPTable

#: Coordinate -> its value (process, t). Finite at t = 0 and where alpha = 0.
TIME_COORDINATES: MappingProxyType[str, Callable[[Any, Tensor], Tensor]] = MappingProxyType(
    {
        "index": lambda process, t: 1000 * t,
        "log_snr": lambda process, t: (-50 * process.log_snr(t)).clamp(-1500, 1500),
        "t": lambda process, t: t.clone(),
        "noise_level": lambda process, t: process.noise_level(t).clamp(max=1e9),
        "table_index": lambda process, t: process.index(t),
    }
)


@runtime_checkable
class TimedNetwork(Protocol):
    """A network that says which of :data:`TIME_COORDINATES` it expects; None: whichever it is given."""

    time_coordinate: str | None


def checked_coordinate(name: str, process: Process, network: Any = None) -> str:
    """``name``, if there is such a coordinate, of such a process, and ``network`` expects no other.

    Raises:
        ValueError: it is not.
    """
    one_of(name, "the time coordinate", TIME_COORDINATES)
    if name == "table_index" and not isinstance(process, VPTable):
        raise ValueError(f"the time coordinate 'table_index' needs a VPTable, got {type(process).__name__}")
    expected = network.time_coordinate if isinstance(network, TimedNetwork) else None
    if expected not in (None, name):
        raise ValueError(
            f"{type(network).__name__} expects the time coordinate {expected!r}, but time={name!r} was given"
        )
    return name
