"""The counter-based generator: known answers, any size, and the normal law in bulk and tails."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from windvane import philox as module
from windvane.philox import philox, standard_normal

ONES = 0xFFFFFFFF
# The known answers that Salmon et al. give out with their code (Random123, philox4x32 with 10 rounds).
KNOWN = [
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([ONES] * 4, [ONES] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def words(*values):
    return np.array(values, dtype=np.uint64)


@pytest.mark.parametrize("counter, key, answer", KNOWN)
def test_known_answers(counter, key, answer):
    assert philox(words(*counter)[:, None], words(*key)[:, None])[:, 0].tolist() == answer


def test_many_blocks_are_each_block_alone():
    counters = words(*(c for c, _, _ in KNOWN)).T
    keys = words(*(k for _, k, _ in KNOWN)).T
    assert philox(counters, keys).T.tolist() == [answer for _, _, answer in KNOWN]


def test_the_numbers_are_box_and_mullers():
    block = philox(words(0, 0, 3, 1)[:, None], words(9, 2)[:, None])[:, 0].astype(np.float64)
    expected = []
    for u, v in ((block[0], block[1]), (block[2], block[3])):
        radius = math.sqrt(-2 * math.log((u + 0.5) / 2**32))
        expected += [radius * math.cos(2 * math.pi * v / 2**32), radius * math.sin(2 * math.pi * v / 2**32)]
    made = standard_normal(words(9 + (2 << 32)), words(3 + (1 << 32)), 4)[0]
    assert made.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("part", [1, 7, 64, 1 << 13])
@pytest.mark.parametrize("n", [1, 3, 4, 5, 257])
def test_parts_change_nothing(monkeypatch, part, n):
    keys, streams = words(1, 2, 3, 1 << 40), words(0, 5, 0, 1 << 50)
    whole = standard_normal(keys, streams, n)
    monkeypatch.setattr(module, "_PART", part)
    assert torch.equal(standard_normal(keys, streams, n), whole)


def test_nothing_of_nothing():
    assert standard_normal(words(1, 2), words(0, 0), 0).shape == (2, 0)
    assert standard_normal(words(), words(), 5).shape == (0, 5)


def test_the_law_is_normal_in_bulk_and_tails():
    made = standard_normal(np.arange(2000, dtype=np.uint64), np.zeros(2000, dtype=np.uint64), 1000).double()
    values = made.flatten().numpy()
    assert stats.kstest(values, "norm").pvalue > 1e-3
    for bound in (2, 3, 4):
        expected = 2 * stats.norm.sf(bound) * len(values)
        assert abs((abs(values) > bound).sum() - expected) < 5 * math.sqrt(expected)
    # Along a row, between rows, and within a block.
    for a, b in ((made[:, 1:], made[:, :-1]), (made[1:], made[:-1]), (made[:, :250], made[:, 250:500])):
        for f in (torch.clone, torch.square):
            left, right = f(a) - f(a).mean(), f(b) - f(b).mean()
            correlation = (left * right).mean() / (left.std() * right.std())
            assert correlation.abs() < 5 / math.sqrt(left.numel())
