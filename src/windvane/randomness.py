"""Randomness keyed by (seed, stream): each sample has its own seed, each step its own stream.

Noise is drawn on the CPU and each row of it from its own key, so a sample does not depend on the batch it was
computed in, on the number of processes or on the device. Nothing here touches torch's global generator.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from windvane.arguments import integer, whole
from windvane.philox import standard_normal

#: Which numbers a seed gives; raised when they change. 1 was torch's generator, which used 32 bits of a seed.
VERSION = 2
#: Seeds are 0 ... LARGEST_SEED.
LARGEST_SEED = 2**63 - 1
#: Stream of the initial state; step k of a sampler uses stream k + 1.
STREAM_PRIOR = 0

_MASK = (1 << 64) - 1
_TWISTER_WORDS = 624
#: Noise is drawn ahead for at most so many steps, and for at most so many numbers unless one step has more.
_MOST_AHEAD = 16
_NUMBERS_AHEAD = 1 << 16


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


def derive_seeds(seed: int, stream: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """:func:`derive_seed` of (seed, stream, place) for many places at once."""
    begun = np.uint64(_mix(_mix(seed & _MASK) ^ _mix(stream & _MASK)))
    return (_mixed(begun ^ _mixed(places.astype(np.uint64))) >> np.uint64(1)).astype(np.int64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # :func:`_mix` of an array, whose sums and products wrap.
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def generator(seed: int, *streams: int) -> torch.Generator:
    """A CPU generator keyed by ``seed`` and any number of streams.

    torch's ``manual_seed`` keeps the lower 32 bits of a seed, so that one in 77,000 pairs of keys would share
    their numbers. The whole state of the Mersenne twister is set here instead, spread from 63 bits by NumPy's
    ``SeedSequence``.
    """
    made = torch.Generator(device="cpu")
    made.set_state(_twister_state(derive_seed(seed, *streams)))
    return made


def _twister_state(key: int) -> Tensor:
    """The state of a torch generator that was just seeded, with the words of NumPy's twister for ``key``.

    torch's layout, in words of 8 bytes: the seed, two flags, the position, then 624 words, one each.
    """
    state = torch.Generator(device="cpu").manual_seed(0).get_state()
    # What np.random.MT19937 does with a SeedSequence, at a third of the time that it takes to build one.
    words = np.random.SeedSequence(key).generate_state(_TWISTER_WORDS).astype(np.int64)
    words[0] = 1 << 31
    state.view(torch.int64)[3 : 3 + len(words)] = torch.from_numpy(words)
    return state


def noise_for(
    seeds: Tensor | Sequence[int],
    stream: int,
    shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal noise ``(B, *shape)`` on the CPU; row i depends on (seeds[i], stream) alone.

    Drawn in float32 whatever the dtype, so that a float64 run starts from the same numbers. The seed is the
    key of a counter-based generator (:mod:`windvane.philox`) and the stream a part of its counter: different
    (seed, stream) never share numbers.
    """
    return noise_streams(seeds, [stream], shape, dtype=dtype)[0]


def noise_streams(
    seeds: Tensor | Sequence[int],
    streams: Sequence[int],
    shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """:func:`noise_for` several streams at once, ``(S, B, *shape)``: cheaper than one after another."""
    keys, chosen = _words(seeds), _words(streams)
    numbers = standard_normal(
        np.concatenate([keys] * len(chosen)), np.repeat(chosen, len(keys)), math.prod(shape)
    )
    return numbers.reshape(len(chosen), len(keys), *shape).to(dtype)


class StepNoise:
    """The noise of one step after another, drawn for several steps at once where they are small.

    Args:
        seeds: ``(B,)``.
        first: the stream of step 0; step k has stream ``first + k``.
        steps: how many steps there are.
        like: ``(B, *shape)``: shape, dtype and device of the noise.
    """

    def __init__(self, seeds: Tensor, first: int, steps: int, like: Tensor) -> None:
        self._seeds, self._first, self._steps = seeds, first, steps
        self._shape, self._dtype, self._device = like.shape[1:], like.dtype, like.device
        self._ahead = max(1, min(_MOST_AHEAD, _NUMBERS_AHEAD // max(1, like.numel())))
        self._block: Tensor | None = None
        self._start = 0

    def __call__(self, k: int) -> Tensor:
        """The noise of step k, ``(B, *shape)``."""
        if self._block is None or not self._start <= k < self._start + len(self._block):
            self._start = k
            streams = range(self._first + k, self._first + min(k + self._ahead, self._steps))
            drawn = noise_streams(self._seeds, streams, self._shape, dtype=self._dtype)
            self._block = drawn.to(self._device)
        return self._block[k - self._start]


def _words(values: Tensor | Sequence[int]) -> NDArray[np.uint64]:
    """Integers as unsigned words of 64 bits."""
    if isinstance(values, Tensor):
        return values.to(device="cpu", dtype=torch.int64).numpy().view(np.uint64)
    return np.array([int(value) & _MASK for value in values], dtype=np.uint64)


def seed_range(seeds: int | Sequence[int] | Tensor, n: int | None = None) -> Tensor:
    """Seeds as an int64 tensor: an int S with ``n`` means S, S + 1, ..., S + n - 1.

    Integers of any library count, alone or in rows.

    Raises:
        ValueError: numbers that are no integers, seeds outside 0 ... 2^63 - 1, no seeds, or a row of another
            length than ``n``.
    """
    first = integer(seeds)
    if first is not None:
        if n is None:
            raise ValueError("an integer seed needs the number of samples n >= 1, got n=None")
        n = whole(n, "n", least=1)
        last = _checked_seed(first) + n - 1
        if last > LARGEST_SEED:
            raise ValueError(f"{n} seeds from {first} on end beyond 2**63 - 1; seeds are 0 ... 2**63 - 1")
        return torch.arange(n, dtype=torch.int64) + first
    if isinstance(seeds, (str, bytes, set, frozenset, dict)) or not hasattr(seeds, "__len__"):
        raise ValueError(f"seeds must be an integer or a row of integers, got {seeds!r}")
    if isinstance(seeds, (Tensor, np.ndarray)) and seeds.ndim != 1:
        raise ValueError(f"seeds must be an int or a non-empty row of ints, got shape {tuple(seeds.shape)}")
    rows: Any = seeds.tolist() if isinstance(seeds, Tensor) else seeds
    values = [_checked_seed(value) for value in rows]
    if not values:
        raise ValueError("seeds must be an int or a non-empty row of ints, got an empty row")
    if n is not None and whole(n, "n") != len(values):
        raise ValueError(f"n={n} does not match the {len(values)} seeds given")
    return torch.tensor(values, dtype=torch.int64)


def _checked_seed(value: object) -> int:
    seed = integer(value)
    if seed is None:
        raise ValueError(f"a seed must be an integer, got {value!r}; seeds are 0 ... 2**63 - 1")
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"a seed must lie in 0 ... 2**63 - 1, got {seed}")
    return seed


@contextmanager
def scoped_seed(seed: int) -> Iterator[None]:
    """Seed torch's default generators inside the block and leave them as they were.

    For what draws from them without asking: the initial weights of networks, and dropout layers. Everything
    else takes a generator.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        seed_default(seed)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(seed)
        yield


def seed_default(seed: int) -> None:
    """Seed torch's default generator on the CPU as :func:`generator` does, with all bits of ``seed``."""
    torch.default_generator.set_state(_twister_state(derive_seed(seed)))
