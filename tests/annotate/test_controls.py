import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windvane.annotate import noisy_ids, random_ids, split_ids
from windvane.annotate.report import similarity

lists = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(torch.tensor)


@given(ids=lists, seed=st.integers(0, 99))
def test_random_ids_keep_the_sizes_and_depend_on_the_seed_alone(ids, seed):
    dealt = random_ids(ids, seed=seed)
    assert torch.equal(dealt.sort().values, ids.sort().values)
    assert torch.equal(dealt, random_ids(ids, seed=seed))


def test_random_ids_carry_no_information():
    ids = torch.arange(1000) % 10
    assert abs(similarity(ids, random_ids(ids, seed=0))["ami"]) < 0.03


@given(ids=lists, ratio=st.floats(0, 1), seed=st.integers(0, 99))
def test_label_noise_changes_exactly_the_ratio(ids, ratio, seed):
    noisy = noisy_ids(ids, ratio=ratio, k=5, seed=seed)
    assert int((noisy != ids).sum()) == round(ratio * len(ids))
    assert int(noisy.min()) >= 0 and int(noisy.max()) < 5


def test_wrong_ids_are_uniform_over_the_others():
    noisy = noisy_ids(torch.full((4000,), 2), ratio=1.0, k=5, seed=0)
    counts = torch.bincount(noisy, minlength=5)
    assert counts[2] == 0
    assert (counts[[0, 1, 3, 4]] - 1000).abs().max() < 120


@given(ids=lists, parts=st.integers(1, 4), seed=st.integers(0, 99))
def test_split_classes_keep_the_class_and_are_even(ids, parts, seed):
    split = split_ids(ids, parts=parts, seed=seed)
    assert torch.equal(split // parts, ids)
    for value in torch.unique(ids).tolist():
        sizes = torch.bincount((split % parts)[ids == value], minlength=parts)
        assert sizes.max() - sizes.min() <= 1


def test_splitting_is_random_within_a_class():
    halves, turns = (torch.arange(2000) >= 1000).long(), torch.arange(2000) % 2
    groups = split_ids(torch.zeros(2000, dtype=torch.int64), parts=2, seed=0)
    assert abs(similarity(groups, halves)["ami"]) < 0.02
    assert abs(similarity(groups, turns)["ami"]) < 0.02


def test_ranges_are_checked():
    ids = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        noisy_ids(ids, ratio=1.5, k=2, seed=0)
    with pytest.raises(ValueError, match="at least two ids"):
        noisy_ids(torch.tensor([0]), ratio=0.5, k=1, seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        split_ids(ids, parts=0, seed=0)
