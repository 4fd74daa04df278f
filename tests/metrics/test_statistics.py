import multiprocessing

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.draws import normal
from windvane.metrics import GaussianStatistics, Pixels, frechet_between, image_statistics


def close(one, two, tolerance=1e-12):
    assert one.count == two.count
    torch.testing.assert_close(one.mean, two.mean, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(one.covariance, two.covariance, rtol=tolerance, atol=tolerance)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(0, 100))
def test_any_cutting_and_any_order_of_merging_give_the_whole(sizes, seed):
    rows = normal(sum(sizes) + 2, 3, seed)
    parts = [GaussianStatistics.of(part) for part in rows.split([*sizes, 2])]
    forwards = backwards = GaussianStatistics.empty(3)
    for part in parts:
        forwards = forwards.merge(part)
    for part in reversed(parts):
        backwards = part.merge(backwards)
    whole = GaussianStatistics.of(rows)
    torch.testing.assert_close(whole.covariance, torch.cov(rows.T), rtol=1e-12, atol=1e-12)
    close(forwards, whole)
    close(backwards, whole)


def test_features_far_from_the_origin_lose_no_digits():
    near = normal(300, 4, 0)
    total = GaussianStatistics.empty(4)
    for part in (near + 1e7).split(7):
        total = total.update(part)
    # Sums of squares would be 1e16 here, with an error of order one in the covariance.
    torch.testing.assert_close(total.covariance, torch.cov(near.T), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 300])
def test_the_distance_of_streams_does_not_depend_on_the_batch_size(batch_size):
    images, others = normal(60, 12, 0).reshape(60, 3, 2, 2) / 4, normal(50, 12, 1).reshape(50, 3, 2, 2) / 5
    streams = [image_statistics(part.float(), Pixels(), batch_size=batch_size) for part in (images, others)]
    whole = [
        GaussianStatistics.of(part.float().clamp(-1, 1).flatten(1).double()) for part in (images, others)
    ]
    assert frechet_between(*streams) == pytest.approx(frechet_between(*whole), abs=1e-10)


def share(rank, store, rows, results):
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    mine = GaussianStatistics.of(rows[rank::2] if rank == 0 else rows[rank::2])
    merged = mine.merge_processes()
    results.put((merged.count, merged.mean.tolist(), merged.covariance.tolist()))
    torch.distributed.destroy_process_group()


def test_processes_end_with_the_same_statistics_of_all_rows(tmp_path):
    rows = normal(41, 3, 0)
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    workers = [fork.Process(target=share, args=(rank, tmp_path / "store", rows, results)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    whole = GaussianStatistics.of(rows)
    for count, mean, covariance in found:
        assert count == 41
        torch.testing.assert_close(torch.tensor(mean, dtype=torch.float64), whole.mean)
        torch.testing.assert_close(torch.tensor(covariance, dtype=torch.float64), whole.covariance)


def test_a_single_process_is_left_alone():
    alone = GaussianStatistics.of(normal(5, 2, 0))
    assert alone.merge_processes() is alone


def test_mismatches_are_refused():
    two, three = GaussianStatistics.of(normal(5, 2, 0)), GaussianStatistics.of(normal(5, 3, 0))
    with pytest.raises(ValueError, match="cannot merge 2 features with 3"):
        two.merge(three)
    with pytest.raises(ValueError, match="at least two rows, got 1"):
        _ = GaussianStatistics.of(normal(1, 2, 0)).covariance
