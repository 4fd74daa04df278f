"""Randomness: rows depend on their own seed and stream alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windvane.randomness import (
    StepNoise,
    derive_seed,
    generator,
    noise_for,
    noise_streams,
    scoped_seed,
    seed_range,
)

seeds = st.integers(0, 2**63 - 1)


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
    for bad in (
        (5, None),
        ([1, 2], 3),
        ([], None),
        ("12", None),
        (None, 2),
        (torch.zeros(2, 2).long(), None),
    ):
        with pytest.raises(ValueError, match="seed"):
            seed_range(*bad)


def test_seeds_are_integers_of_any_library():
    assert seed_range(np.int64(3), 2).tolist() == seed_range(torch.tensor(3), 2).tolist() == [3, 4]
    assert seed_range(np.array([4, 2], dtype=np.uint8)).tolist() == [4, 2]
    assert seed_range(torch.tensor([4, 2], dtype=torch.int32)).tolist() == [4, 2]
    assert seed_range(range(2)).tolist() == [0, 1]
    assert seed_range(2**63 - 2, 2).tolist() == [2**63 - 2, 2**63 - 1]


@pytest.mark.parametrize("bad", [[0.2, 0.7], [True, False], torch.tensor([0.2]), np.array([1.0]), ["1"]])
def test_what_is_no_integer_is_no_seed(bad):
    with pytest.raises(ValueError, match="a seed must be an integer"):
        seed_range(bad)


@pytest.mark.parametrize("bad", [(2**63, 1), ([2**63], None), (-1, 1), ([0, -5], None), (2**63 - 1, 2)])
def test_seeds_have_a_range(bad):
    with pytest.raises(ValueError, match=r"2\*\*63 - 1"):
        seed_range(*bad)


@pytest.mark.parametrize("pair", [(21889, 66052), (7201, 94723), (3, 3 + 2**32), (0, 2**62)])
def test_seeds_that_torch_takes_for_the_same_give_different_noise(pair):
    first, second = noise_for(pair, 0, (16,))
    assert (first - second).abs().min() > 0


def test_no_two_seeds_and_streams_share_their_first_numbers():
    # 400,000 keys: with 32 bits about 19 pairs would be the same.
    firsts = noise_streams(range(100_000), range(4), (2,)).reshape(-1, 2).double()
    keys = firsts[:, 0] * 2**20 + firsts[:, 1]
    assert len(torch.unique(keys)) == len(keys)


def test_generators_use_all_bits_of_their_key():
    found = [torch.randint(2**62, (), generator=generator(k)).item() for k in range(3000)]
    assert len(set(found)) == len(found)
    # 2**32 apart after mixing is what manual_seed cannot tell from each other.
    a, b = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5 + 2**32)
    assert torch.equal(torch.rand(3, generator=a), torch.rand(3, generator=b)), "torch's seeds have grown"
    twister = np.random.MT19937(np.random.SeedSequence(derive_seed(7, 1)))
    twister.random_raw()  # NumPy begins with a word of the state itself, torch with the ones that follow
    words = twister.random_raw(700) & 0xFFFFFF
    drawn = torch.rand(700, generator=generator(7, 1)) * 2**24
    assert torch.equal(drawn, torch.from_numpy(words.astype(np.float32)))


@given(st.integers(1, 40), st.integers(0, 30), st.integers(1, 300))
def test_steps_drawn_together_are_steps_drawn_alone(steps, first, size):
    like = torch.empty(2, size, dtype=torch.float64)
    noise = StepNoise(torch.tensor([5, 9]), first, steps, like)
    for k in range(steps):
        assert torch.equal(noise(k), noise_for([5, 9], first + k, (size,), dtype=torch.float64))


@given(st.integers(1, 70), st.integers(1, 3), st.data())
def test_numbers_do_not_depend_on_where_a_row_stands(size, rows, data):
    values = data.draw(st.lists(seeds, min_size=rows, max_size=rows))
    alone = torch.stack([noise_for([v], 1, (size,))[0] for v in values])
    assert torch.equal(noise_for([*range(50), *values], 1, (size,))[50:], alone)


def test_scoped_seed_decides_inside_and_leaves_no_trace_outside():
    before = torch.get_rng_state()
    with scoped_seed(3):
        first = torch.randn(4)
    with scoped_seed(3):
        second = torch.randn(4)
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
