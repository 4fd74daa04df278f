"""The memory of a training, known before anything large is made: from shapes alone."""

import math
from typing import TYPE_CHECKING, Any

from windvane.cli.common.memory import free_memory

if TYPE_CHECKING:
    from windvane.cli.common.config import Config

#: Of every weight: itself, its gradient, the two moments of AdamW, and the average.
_COPIES = 5
#: Bytes of a network so small that it is made and run for its footprint.
_SMALL = 2**26


def footprint(config: "Config", **built: Any) -> tuple[int, int] | None:
    """Bytes that every training of this network needs, and those that each image of a step adds to them.

    Both are lower bounds: what the optimiser keeps, and what the forward pass keeps for the backward one.
    None for networks that cannot be run without numbers.

    Args:
        config: of the run.
        **built: `shape`, `vector` and `layout` of :func:`.build_denoiser`.
    """
    import torch

    from windvane.cli.common.builders import build_denoiser
    from windvane.networks import parameter_count
    from windvane.training.footprint import kept_bytes

    try:
        with torch.device("meta"):
            denoiser = build_denoiser(config.model, config.process, seed=config.train.seed, **built)
        network = denoiser.network
        fixed = _COPIES * 4 * parameter_count(network)
        if fixed <= _SMALL and not any(isinstance(part, torch.nn.Conv2d) for part in network.modules()):
            # On the device "meta" torch computes by rules whose import takes longer than such a training.
            network = build_denoiser(config.model, config.process, seed=config.train.seed, **built).network
        with torch.device(next(network.parameters()).device):
            one, two = (kept_bytes(network, rows, built["shape"]) for rows in (1, 2))
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError):
        return None
    return fixed, (two - one) // (2 if config.train.precision == "bf16" else 1)


def check_memory(config: "Config", **built: Any) -> None:
    """Refuse a training that cannot fit into what is free, before its network is made.

    Raises:
        ValueError: too little memory, with what to lower and how far.
    """
    free, needs = free_memory(), footprint(config, **built)
    if free is None or needs is None:
        return
    fixed, each = needs
    rows = math.ceil(config.train.batch_size / config.train.accumulate)
    whole = fixed + rows * each
    if whole <= free:
        return
    most = (free - fixed) // each if each and free > fixed else 0
    if most < 1:
        advice = "lower the network's width, channels or depth (model.*)"
    else:
        parts = math.ceil(config.train.batch_size / most)
        advice = (
            f"lower --batch-size below {most:,}, or take a step in parts (--set train.accumulate={parts}), "
            "or lower the network's width or channels (model.*)"
        )
    raise ValueError(
        f"too little memory: {_size(free)} are free, and a training with steps of {rows:,} images needs at "
        f"least {_size(whole)} ({_size(fixed)} of it for the network, its gradients and averages); {advice}"
    )


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
