import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windvane.annotate.images.contingency import contingency, normalised_information, rand_index


@given(seed=st.integers(0, 10**6), rows=st.integers(2, 60), kinds=st.integers(1, 9), others=st.integers(1, 9))
def test_agreement_is_that_of_scikit_learn(seed, rows, kinds, others):
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    numbers = torch.Generator().manual_seed(seed)
    first = 3 * torch.randint(kinds, (rows,), generator=numbers) - 4
    second = torch.randint(others, (rows,), generator=numbers)
    table = contingency(first, second)
    assert table.tolist() == contingency_matrix(first.numpy(), second.numpy()).tolist()
    wanted = normalized_mutual_info_score(first.numpy(), second.numpy())
    assert normalised_information(table) == pytest.approx(wanted, abs=1e-9)
    assert rand_index(table) == pytest.approx(adjusted_rand_score(first.numpy(), second.numpy()), abs=1e-12)


def test_values_by_hand():
    first, second = torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 5, 9])
    table = contingency(first, second)
    assert table.tolist() == [[2, 0], [1, 1]]

    import math

    information = 0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3) + 0.25 * math.log(2)
    entropies = math.log(2) + 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    assert normalised_information(table) == pytest.approx(2 * information / entropies)
    assert rand_index(table) == 0.0
    same = contingency(first, 7 - first)
    assert normalised_information(same) == rand_index(same) == 1.0
    huge = contingency(torch.arange(4_000_000) % 2, torch.arange(4_000_000) % 2)
    assert rand_index(huge) == 1.0
