"""Settings of a training that cannot work, refused before anything is built."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def check_numbers(**counts: int) -> None:
    """Refuse counts below one."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def check_precision(parameters: Iterable[tuple[str, Tensor]], what: str) -> None:
    """Refuse to fit weights in half precision, which most updates of an optimizer are too small to change.

    Args:
        parameters: names and trainable weights.
        what: "the denoiser" or whatever is fitted.
    """
    half = [
        (name, weight.dtype) for name, weight in parameters if weight.dtype in (torch.bfloat16, torch.float16)
    ]
    if half:
        name, dtype = half[0]
        raise ValueError(
            f"{what} has {len(half)} weights in half precision ({name} is {str(dtype)[6:]}), "
            "which small updates do not change; train float32 weights: call .float() on it first, and "
            "mixed_precision='bf16' computes in half precision where that is faster"
        )


def check_rates(
    *, lr: float, weight_decay: float, betas: tuple[float, float], warmup: int, clip_norm: float | None
) -> None:
    """Refuse settings of the optimizer that are not in range."""
    if not (lr > 0 and math.isfinite(lr)):
        raise ValueError(f"lr must be positive, got {lr}; 1e-4 to 1e-3 is usual")
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay must be 0 or more, got {weight_decay}")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be two numbers in [0, 1), got {betas}; (0.9, 0.999) is usual")
    if warmup < 0:
        raise ValueError(f"warmup must be 0 or more steps, got {warmup}")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm must be positive, or None for no limit, got {clip_norm}")


def check_modes(*, mixed_precision: str, sample_every: int, sample: Any) -> None:
    """Refuse unknown precisions, and sampling without a callback."""
    if mixed_precision not in ("no", "bf16"):
        raise ValueError(f"mixed_precision must be 'no' or 'bf16', got {mixed_precision!r}")
    if sample_every < 0:
        raise ValueError(f"sample_every must be 0 (never) or more steps, got {sample_every}")
    if sample_every and sample is None:
        raise ValueError(f"sample_every={sample_every} needs sample=, a callback that makes the pictures")


def check_cut(batch_size: int, *, processes: int, accumulate: int) -> None:
    """Refuse a global batch too small for every process and part to get a row."""
    if batch_size < processes * accumulate:
        raise ValueError(
            f"batch_size={batch_size} counts samples over all processes and cannot be cut into "
            f"{processes} processes x {accumulate} parts"
        )
