"""Philox4x32-10, a counter-based generator: number i of stream s of seed k is a function of (k, s, i).

Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3. The key is the seed (64 bits);
the counter (128 bits) holds the index of the block in its lower half and the stream in its upper half. For
one key it is a bijection of the counters, so that no two (stream, index) of a seed share their numbers, and
seeds use all of their bits.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ROUNDS = 10
_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], dtype=np.uint64)
#: What the key grows by from round to round.
_WEYL = np.array([[0x9E3779B9], [0xBB67AE85]], dtype=np.uint64)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
#: Blocks worked on at once: the few arrays of one part stay in the processor's cache.
_PART = 1 << 13

Words = NDArray[np.uint64]


def philox(counter: Words, key: Words) -> NDArray[np.uint32]:
    """The four words w0, w1, w2, w3 of each block: uint32 ``(4, N)``.

    Args:
        counter: words c0, c1, c2, c3 below 2^32, as uint64 ``(4, N)``.
        key: words k0, k1 below 2^32, as uint64 ``(2, N)``.
    """
    # A round makes (c0, c2) = (hi(M1 c2) ^ c1 ^ k0, hi(M0 c0) ^ c3 ^ k1), (c1, c3) = (lo(M1 c2), lo(M0 c0)).
    # Each product's upper half stays in its row, so that the rows of c0 and c2 are exchanged every round, and
    # multipliers and keys with them. Upper halves of c1, c3 and the key are not cleared: the mask drops them.
    even, odd, key = counter[::2].copy(), counter[1::2].copy(), key.copy()
    product = np.empty_like(even)
    for number in range(_ROUNDS):
        step = -1 if number % 2 else 1
        np.multiply(even, _MULTIPLIERS[::step], out=product)
        np.right_shift(product, _HALF, out=even)
        even ^= odd[::-1]
        even ^= key[::-step]
        even &= _LOW
        key += _WEYL
        odd, product = product, odd
    words = np.empty(counter.shape, dtype=np.uint32)
    words[::2], words[1::2] = even, odd
    return words


def standard_normal(keys: Words, streams: Words, n: int) -> Tensor:
    """Standard normal numbers, float32 ``(B, n)`` on the CPU; row i depends on (keys[i], streams[i]) alone.

    Of each block of words (w0, w1, w2, w3), each pair gives two numbers by Box and Muller's transform,
    sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v), u = (w0 + 1/2) / 2^32 and v = w1 / 2^32; none exceeds 6.77.

    Args:
        keys, streams: 64-bit words ``(B,)``.
        n: numbers in each row.
    """
    rows, blocks = len(keys), -(-n // 4)
    out = torch.empty((rows, 4, blocks), dtype=torch.float32)
    wide = max(1, min(blocks, _PART))
    high = max(1, _PART // wide)
    for top in range(0, rows, high):
        chosen = slice(top, top + high)
        for left in range(0, blocks, wide):
            part = slice(left, min(left + wide, blocks))
            _fill(out[chosen, :, part], keys[chosen], streams[chosen], part)
    return out.reshape(rows, 4 * blocks)[:, :n]


def _fill(out: Tensor, keys: Words, streams: Words, blocks: slice) -> None:
    """The blocks of some rows, ``out`` ``(B, 4, blocks)``."""
    indices = np.arange(blocks.start, blocks.stop, dtype=np.uint64)
    counter = np.empty((4, len(keys), len(indices)), dtype=np.uint64)
    key = np.empty((2, *counter.shape[1:]), dtype=np.uint64)
    counter[:2] = _halves(indices)[:, None]
    counter[2:] = _halves(streams)[:, :, None]
    key[:] = _halves(keys)[:, :, None]
    words = philox(counter.reshape(4, -1), key.reshape(2, -1))
    # Sums and products are the same in NumPy, which costs less to call; roots and functions are torch's.
    shape = (2, *counter.shape[1:])
    radius = words[::2].astype(np.float32).reshape(shape)
    # Signed, so that the conversion is one instruction: the angle is the same up to a whole turn.
    angle = words[1::2].view(np.int32).astype(np.float32).reshape(shape)
    radius += 0.5
    radius *= 2.0**-32
    root = torch.from_numpy(radius).log_()
    radius *= -2
    root.sqrt_()
    angle *= 2 * math.pi / 2**32
    turn, numbers = torch.from_numpy(angle), out.numpy().swapaxes(0, 1)
    np.multiply(radius, turn.cos().numpy(), out=numbers[::2])
    np.multiply(radius, turn.sin_().numpy(), out=numbers[1::2])


def _halves(values: Words) -> NDArray[np.uint32]:
    """The lower and the upper words of 32 bits, ``(2, N)``."""
    return values.astype("<u8", copy=False).view("<u4").reshape(-1, 2).T
