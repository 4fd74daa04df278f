"""Networks of proven size, by name."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from windvane.networks.base import Network
from windvane.registry import find, known_names


def preset(
    name: str,
    *,
    shape: Sequence[int],
    vector: int | None = None,
    layout: int | None = None,
    tokens: int | None = None,
    signals: Mapping[str, Any] | None = None,
) -> Network:
    """A network by name for samples of ``shape``.

    ``mlp``: any shape, vector condition only. ``unet-digits`` (0.7 M parameters, 8x8), ``unet-small32``
    (32x32 on a CPU), ``unet-ddpm32`` (DDPM's size for 32x32, about 38 M parameters, for a GPU);
    ``dit-digits``, ``dit-s2``, ``dit-b2``.
    """
    known = known_names("architecture")
    if name not in (*known, "unet-cifar"):
        raise ValueError(f"unknown network preset {name!r}; known: {', '.join(known)}")
    if name not in known:
        message = "the network preset unet-cifar is unet-ddpm32 now; the old name goes with the next release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
    row = find("architecture", name)
    if row.name == "mlp":
        if layout is not None or tokens is not None:
            raise ValueError(
                "the mlp takes a vector condition only; for a layout or tokens choose a unet or dit preset"
            )
        return row.make(shape=shape, vector=vector, signals=signals)
    return row.make(shape=shape, vector=vector, layout=layout, tokens=tokens, signals=signals)
