"""Randomness keyed by (seed, stream): each sample has its own seed, each step its own stream.

Noise is drawn on the CPU, row by row, so a sample does not depend on the batch it was computed in, on
the number of processes or on the device. Nothing here touches torch's global generator.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

#: Stream of the initial state; step k of a sampler uses stream k + 1.
STREAM_PRIOR = 0

_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    # The finaliser of SplitMix64: neighbouring integers become unrelated seeds.
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def derive_seed(seed: int, *streams: int) -> int:
    """A 63-bit seed that depends on ``seed`` and every stream, in order."""
    state = _mix(seed & _MASK)
    for stream in streams:
        state = _mix(state ^ _mix(stream & _MASK))
    return state >> 1


def generator(seed: int, *streams: int) -> torch.Generator:
    """A CPU generator keyed by ``seed`` and any number of streams."""
    made = torch.Generator(device="cpu")
    made.manual_seed(derive_seed(seed, *streams))
    return made


def noise_for(
    seeds: Tensor | Sequence[int],
    stream: int,
    shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal noise ``(B, *shape)`` on the CPU; row i depends on (seeds[i], stream) alone.

    Drawn in float32 whatever the dtype, so that a float64 run starts from the same numbers.
    """
    values = seeds.tolist() if isinstance(seeds, Tensor) else list(seeds)
    out = torch.empty((len(values), *shape), dtype=torch.float32)
    shared = torch.Generator(device="cpu")
    for row, seed in enumerate(values):
        shared.manual_seed(derive_seed(seed, stream))
        out[row].normal_(generator=shared)
    return out.to(dtype)


def seed_range(seeds: int | Sequence[int] | Tensor, n: int | None = None) -> Tensor:
    """Seeds as an int64 tensor: an int S with ``n`` means S, S + 1, ..., S + n - 1."""
    if isinstance(seeds, int):
        if n is None or n < 1:
            raise ValueError(f"an integer seed needs the number of samples n >= 1, got n={n}")
        return torch.arange(seeds, seeds + n, dtype=torch.int64)
    values = torch.as_tensor(seeds, dtype=torch.int64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"seeds must be an int or a non-empty row of ints, got shape {tuple(values.shape)}")
    if n is not None and n != len(values):
        raise ValueError(f"n={n} does not match the {len(values)} seeds given")
    return values


@contextmanager
def scoped_seed(seed: int) -> Iterator[None]:
    """Seed torch's default generators inside the block and leave them as they were.

    For what draws from them without asking: the initial weights of networks, and dropout layers. Everything
    else takes a generator.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(seed)
        yield
