"""Networks of proven size, by name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from windvane.networks.base import Network
from windvane.networks.dit import ConditionedDiT
from windvane.networks.mlp import ResidualMLP
from windvane.networks.unet import ConditionedUNet

#: Name -> (constructor, its arguments).
PRESETS: dict[str, tuple[Callable[..., Network], dict[str, Any]]] = {
    "mlp": (ResidualMLP.build, {}),
    "unet-digits": (ConditionedUNet.build, {"channels": (32, 64), "layers_per_block": 1}),
    "unet-small32": (
        ConditionedUNet.build,
        {"channels": (32, 64, 96), "layers_per_block": 1, "attention": (-1,)},
    ),
    "unet-cifar": (
        ConditionedUNet.build,
        {"channels": (128, 256, 256, 256), "layers_per_block": 2, "attention": (1,), "dropout": 0.1},
    ),
    "dit-digits": (ConditionedDiT.build, {"width": 128, "depth": 4, "heads": 4}),
    "dit-s2": (ConditionedDiT.build, {}),
    "dit-b2": (ConditionedDiT.build, {"width": 768, "depth": 12, "heads": 12}),
}


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
    (32x32 on a CPU), ``unet-cifar`` (DDPM's size for 32x32, about 38 M parameters, for a GPU);
    ``dit-digits``, ``dit-s2``, ``dit-b2``.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown network preset {name!r}; known: {', '.join(PRESETS)}")
    make, arguments = PRESETS[name]
    if make == ResidualMLP.build:
        if layout is not None or tokens is not None:
            raise ValueError(
                "the mlp takes a vector condition only; for a layout or tokens choose a unet or dit preset"
            )
        return make(shape=shape, vector=vector, signals=signals, **arguments)
    return make(shape=shape, vector=vector, layout=layout, tokens=tokens, signals=signals, **arguments)
