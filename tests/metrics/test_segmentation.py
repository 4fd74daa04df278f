"""Masks against masks: counts by hand, the best matching of all, IoU and its interval."""

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windvane.metrics.segmentation import confusion, match_clusters, mean_iou, pixel_accuracy


def masks(n, k, seed, shape=(6, 5)):
    return torch.randint(k, (n, *shape), generator=torch.Generator().manual_seed(seed))


def test_confusion_counts_pixels_of_each_image():
    predicted, true = masks(4, 3, 0), masks(4, 2, 1)
    true[0, 0] = 255
    counts = confusion(predicted, true)
    for i in range(4):
        for a in range(3):
            for b in range(2):
                assert counts[i, a, b] == ((predicted[i] == a) & (true[i] == b)).sum()
    assert counts[0].sum() == 25


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10**6))
def test_no_other_matching_agrees_on_more_pixels(k, classes, seed):
    counts = torch.randint(50, (k, classes), generator=torch.Generator().manual_seed(seed))
    found = match_clusters(counts)
    kept = [c for c in found.tolist() if c >= 0]
    assert len(kept) == len(set(kept)) == min(k, classes)
    agreed = sum(int(counts[a, b]) for a, b in enumerate(found.tolist()) if b >= 0)
    padded = torch.nn.functional.pad(counts, (0, max(0, k - classes)))
    best = max(sum(int(padded[a, p[a]]) for a in range(k)) for p in permutations(range(padded.shape[1]), k))
    assert agreed == best


def test_iou_by_hand():
    true = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 2]]])
    predicted = torch.tensor([[[2, 2, 0, 0], [2, 0, 0, 0]]])
    # Cluster 2 -> class 0 (3 of 4), cluster 0 -> class 1 (3 of 5 in either), nothing for class 2.
    found = mean_iou(predicted, true)
    assert found.details["class_of_cluster"][0] == 1 and found.details["class_of_cluster"][2] == 0
    assert found.details["iou"] == pytest.approx({"0": 3 / 4, "1": 3 / 5, "2": 0.0})
    assert found.value == pytest.approx((3 / 4 + 3 / 5) / 3)
    assert pixel_accuracy(predicted, true).value == pytest.approx(6 / 8)


@given(st.integers(2, 5), st.integers(0, 1000))
def test_names_of_clusters_do_not_matter(k, seed):
    predicted, true = masks(3, k, seed), masks(3, k, seed + 1)
    renamed = torch.randperm(k, generator=torch.Generator().manual_seed(seed))[predicted]
    assert pixel_accuracy(renamed, true, k=k).value == pixel_accuracy(predicted, true, k=k).value
    relabelled = torch.randperm(k, generator=torch.Generator().manual_seed(seed))[true]
    assert mean_iou(relabelled, true, k=k, classes=k).value == 1
    assert mean_iou(true, true, matched=True).value == pixel_accuracy(true, true, matched=True).value == 1


def test_spare_clusters_and_ignored_pixels():
    true = torch.zeros(2, 4, 4, dtype=torch.int64)
    predicted = true.clone()
    predicted[:, 0] = 1
    assert pixel_accuracy(predicted, true).value == mean_iou(predicted, true).value == 0.75
    true[:, 0] = 255
    assert pixel_accuracy(predicted, true).value == mean_iou(predicted, true).value == 1
    # A class that never occurs does not count as missed.
    assert mean_iou(predicted, true, classes=3).value == 1


def test_matched_ids_are_taken_as_they_are():
    true = masks(2, 2, 3)
    assert pixel_accuracy(1 - true, true, matched=True).value == 0
    assert pixel_accuracy(1 - true, true).value == 1
    assert pixel_accuracy(torch.full_like(true, 4), true, matched=True).value == 0


def test_the_interval_covers_the_value_of_all_images():
    """Of intervals from 60 images each, about 95 % hold the IoU of the 6,000 images they come from."""
    numbers = torch.Generator().manual_seed(0)
    true = masks(6000, 2, 5, (4, 4))
    wrong = torch.rand(6000, 1, 1, generator=numbers) * 0.5
    predicted = torch.where(torch.rand(true.shape, generator=numbers) < wrong, 1 - true, true)
    whole = mean_iou(predicted, true).value
    held = 0
    for part in torch.arange(6000).split(60):
        found = mean_iou(predicted[part], true[part], resamples=200)
        held += found.low <= whole <= found.high
    assert 88 <= held <= 100


def test_refusals():
    with pytest.raises(ValueError, match="one shape"):
        mean_iou(masks(2, 2, 0), masks(3, 2, 0))
    with pytest.raises(ValueError, match=r"clusters must lie in 0\.\.1"):
        confusion(masks(2, 3, 0), masks(2, 2, 0), k=2)
    with pytest.raises(ValueError, match="classes"):
        confusion(masks(2, 3, 0), masks(2, 5, 0) - 1)
    with pytest.raises(ValueError, match="no true pixel"):
        mean_iou(masks(2, 3, 0), torch.full((2, 6, 5), 255))
