"""Sane settings of a ``UNet2DModel`` for an image shape."""

import math
from collections.abc import Sequence
from typing import Any


def _divisor(number: int, limit: int) -> int:
    return max(n for n in range(1, limit + 1) if number % n == 0)


def _halvings(size: int) -> int:
    return (size & -size).bit_length() - 1


def check_levels(shape: Sequence[int], levels: int) -> None:
    """Refuse a shape that is no image, or that cannot be halved ``levels - 1`` times."""
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(
            f"a U-Net needs images of shape (C, H, W), got {tuple(shape)}; ResidualMLP takes any shape"
        )
    height, width = shape[1:]
    possible = min(_halvings(height), _halvings(width))
    if levels - 1 > possible:
        step = 2 ** (levels - 1)
        up, down = -(-height // step) * step, -(-width // step) * step
        raise ValueError(
            f"{levels} levels halve the size {levels - 1} times, but {height}x{width} can be halved evenly "
            f"only {possible} times; use at most {possible + 1} levels of channels, or images of {up}x{down}"
        )


def attention_levels(attention: Sequence[int], levels: int) -> list[int]:
    """Positions of levels, negative ones counted from the lowest, as sorted positions."""
    unknown = [level for level in attention if not -levels <= level < levels]
    if unknown:
        raise ValueError(
            f"no such levels for attention: {unknown}; there are {levels} (0 .. {levels - 1}, or -1 .. )"
        )
    return sorted({level % levels for level in attention})


def unet_config(
    *,
    shape: Sequence[int],
    channels: Sequence[int],
    layers_per_block: int,
    attention: Sequence[int],
    head_channels: int | None,
    norm_groups: int | None,
    dropout: float,
    extra_channels: int,
    embeds_vector: bool,
) -> dict[str, Any]:
    """Arguments of ``UNet2DModel``; see ``ConditionedUNet.build``, whose choices these are."""
    if not channels or min(channels) < 1 or layers_per_block < 1:
        raise ValueError(
            f"a U-Net needs channels for at least one level and a layer in each, got {tuple(channels)} "
            f"and layers_per_block={layers_per_block}"
        )
    levels = len(channels)
    check_levels(shape, levels)
    common = math.gcd(*channels)
    groups = _divisor(common, max(1, min(32, min(channels) // 4))) if norm_groups is None else norm_groups
    attended = attention_levels(attention, levels)
    heads_of = [channels[level] for level in attended] + ([channels[-1]] if attended else [])
    head = (_divisor(math.gcd(*heads_of), 64) if attended else 8) if head_channels is None else head_channels
    if common % groups or any(count % head for count in heads_of):
        raise ValueError(
            f"norm_groups={groups} must divide the channels {tuple(channels)}, and head_channels={head} "
            f"those of the attention levels {heads_of}"
        )
    down = tuple("AttnDownBlock2D" if level in attended else "DownBlock2D" for level in range(levels))
    return {
        "sample_size": shape[1] if shape[1] == shape[2] else tuple(shape[1:]),
        "in_channels": shape[0] + extra_channels,
        "out_channels": shape[0],
        "down_block_types": down,
        "up_block_types": tuple(name.replace("Down", "Up") for name in reversed(down)),
        "block_out_channels": tuple(channels),
        "layers_per_block": layers_per_block,
        "dropout": dropout,
        "attention_head_dim": head,
        "norm_num_groups": groups,
        "attn_norm_num_groups": groups,
        "resnet_time_scale_shift": "scale_shift",
        "add_attention": bool(attended),
        "class_embed_type": "identity" if embeds_vector else None,
    }
