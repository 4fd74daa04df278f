"""Randomness: rows depend on their own seed and stream alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windvane.randomness import derive_seed, generator, noise_for, scoped_seed, seed_range

seeds = st.integers(0, 2**62)


@given(st.lists(seeds, min_size=2, max_size=5), st.integers(0, 1000))
def test_rows_do_not_depend_on_their_neighbours(values, stream):
    together = noise_for(values, stream, (3, 2))
    alone = torch.cat([noise_for([v], stream, (3, 2)) for v in values])
    assert torch.equal(together, alone)


@given(seeds, seeds)
def test_different_keys_give_different_seeds(a, b):
    if a != b:
        assert derive_seed(a, 0) != derive_seed(b, 0)
        assert derive_seed(0, a) != derive_seed(0, b)
    assert derive_seed(a, b, 1) != derive_seed(a, b)
    assert 0 <= derive_seed(a, b) < 2**63


def test_noise_is_standard_normal_and_streams_are_independent():
    first, second = noise_for(range(2000), 0, (8,)), noise_for(range(2000), 1, (8,))
    assert first.mean().abs() < 0.03
    assert (first.std() - 1).abs() < 0.03
    assert (first * second).mean().abs() < 0.03
    neighbours = (first[1:] * first[:-1]).mean()
    assert neighbours.abs() < 0.03


def test_float64_starts_from_the_same_numbers():
    assert torch.equal(noise_for([1, 2], 3, (4,), dtype=torch.float64).float(), noise_for([1, 2], 3, (4,)))


def test_the_global_generator_is_not_touched():
    before = torch.get_rng_state()
    noise_for([1, 2, 3], 0, (4,))
    torch.randn(3, generator=generator(0, 1))
    assert torch.equal(before, torch.get_rng_state())


def test_seed_range():
    assert seed_range(5, 3).tolist() == [5, 6, 7]
    assert seed_range([3, 1]).tolist() == [3, 1]
    for bad in ((5, None), ([1, 2], 3), ([], None)):
        with pytest.raises(ValueError, match="seed"):
            seed_range(*bad)


def test_scoped_seed_decides_inside_and_leaves_no_trace_outside():
    before = torch.get_rng_state()
    with scoped_seed(3):
        first = torch.randn(4)
    with scoped_seed(3):
        second = torch.randn(4)
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
