"""Extreme values tell whether every number is finite."""

import math

import pytest
import torch

from windvane.finite import all_finite, extremes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
def test_one_bad_number_anywhere_is_seen(bad, dtype):
    for place in range(0, 70, 23):
        x = torch.linspace(-3, 3, 70).to(dtype).reshape(2, 5, 7)
        if bad is not None:
            x.view(-1)[place] = bad
        assert all_finite(x) == bool(torch.isfinite(x).all()) == (bad is None)


def test_nothing_at_all_is_finite():
    assert all_finite(torch.zeros(0, 3))


def test_what_wants_a_gradient_keeps_it():
    x = torch.ones(3, requires_grad=True)
    assert not any(part.requires_grad for part in extremes(x))
    assert not all_finite(x / 0)


def test_large_numbers_are_finite():
    assert all_finite(torch.full((1000,), torch.finfo(torch.float32).max))
