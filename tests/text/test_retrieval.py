"""Retrieval by hand: ranks by the cosine, ties against the row, and what guessing would reach."""

from itertools import combinations

import pytest
import torch

from windvane.text import chance, top_k
from windvane.text.sentences import describe


def test_the_lengths_of_candidates_do_not_matter():
    angles = torch.tensor([0.0, 0.4, 0.8, 1.2])
    candidates = torch.stack([angles.cos(), angles.sin()], 1)
    rows, own = candidates[[1, 2]] + 0.01, torch.tensor([1, 2])
    for lengths in (torch.ones(4), torch.tensor([9.0, 1.0, 0.5, 30.0])):
        assert top_k(7 * rows, candidates * lengths[:, None], own, (1, 2)) == {1: 1.0, 2: 1.0}


def test_a_row_ranks_behind_all_that_are_as_similar():
    candidates = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    row = torch.tensor([[1.0, 0.0]])
    assert top_k(row, candidates, torch.tensor([1]), (1, 2, 3)) == {1: 0.0, 2: 0.0, 3: 1.0}
    # Of several right ones the best counts, and they are not each other's rivals.
    assert top_k(row, candidates, torch.tensor([[True, True, False, False]]), (1, 2)) == {1: 0.0, 2: 1.0}


def test_chance_is_the_share_of_draws_that_hold_a_true_sentence(halves):
    few = halves[1].subset(torch.arange(6))
    told = describe(few)
    true = told.true_of(told.candidates()[1]).T
    draws = list(combinations(range(true.shape[1]), 2))
    wanted = sum(float(true[:, list(drawn)].any(1).double().mean()) for drawn in draws) / len(draws)
    found = chance(few, (1, 2, true.shape[1]))
    assert found[1] == pytest.approx(float(true.double().mean()))
    assert found[2] == pytest.approx(wanted)
    assert found[true.shape[1]] == 1.0
