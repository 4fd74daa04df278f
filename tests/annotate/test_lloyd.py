import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from windvane.annotate import Clusters, choose_k
from windvane.annotate.images.choice_of_k import candidates
from windvane.annotate.images.lloyd import lloyd, means, refilled, relocated
from windvane.annotate.images.nearest_centres import nearest


def groups(n, dim, k, seed=0, noise=1.0):
    numbers = torch.Generator().manual_seed(seed)
    centres = torch.randn(k, dim, generator=numbers)
    return F.normalize(centres[torch.arange(n) % k] + noise * torch.randn(n, dim, generator=numbers), dim=1)


def learnt(rows, k, seed=0, **named):
    how = {"restarts": 1, "iterations": 30} | named
    return lloyd(rows, k, generator=torch.Generator().manual_seed(seed), **how)[0]


def squares(rows, centres):
    return float(torch.cdist(rows.double(), centres.double()).amin(1).square().sum())


def exact(rows, centres):
    return (rows.double()[:, None] - centres.double()).square().sum(2)


@given(
    seed=st.integers(0, 10**6), far=st.sampled_from([0.0, 1.0, 1e4]), size=st.sampled_from([1e-3, 1.0, 1e6])
)
def test_the_nearest_is_that_of_float64_wherever_the_points_lie(seed, far, size):
    numbers = torch.Generator().manual_seed(seed)
    rows = size * (far + torch.randn(70, 7, generator=numbers))
    centres = size * (far + torch.randn(11, 7, generator=numbers))
    centres[3] = centres[8]  # an exact tie goes to the lower id
    found, distances = nearest(rows, centres), exact(rows, centres)
    least = distances.gather(1, found.ids[:, None])[:, 0]
    assert (least <= distances.min(dim=1).values * (1 + 1e-6)).all() and 8 not in found.ids
    assert torch.equal(found.ids, nearest(rows.flip(0), centres).ids.flip(0))


def test_close_calls_are_decided_in_float64():
    """Centres that differ by less than float32 resolves in a sum of squares."""
    rows = F.normalize(torch.randn(4000, 384, generator=torch.Generator().manual_seed(0)), dim=1)
    step = 1e-6 * F.normalize(torch.randn(384, generator=torch.Generator().manual_seed(1)), dim=0)
    centres = torch.stack([rows[0], rows[0] + step])
    assert torch.equal(nearest(rows, centres).ids, exact(rows, centres).argmin(dim=1))


def test_values_beyond_float32_squares_still_have_their_nearest():
    rows = torch.tensor([[1e25], [-1e25], [2e24]])
    assert nearest(rows, torch.tensor([[-2e25], [3e25], [0.0]])).ids.tolist() == [2, 0, 2]


@given(seed=st.integers(0, 10**6), moved=st.integers(0, 9))
def test_a_search_that_knows_the_last_one_finds_the_same(seed, moved):
    rows, numbers = groups(300, 6, 9, seed), torch.Generator().manual_seed(seed)
    centres = rows[:9].clone()
    before = nearest(rows, centres)
    centres[torch.randperm(9, generator=numbers)[:moved]] += 0.3 * torch.randn(moved, 6, generator=numbers)
    after, anew = nearest(rows, centres, before), nearest(rows, centres)
    assert torch.equal(after.ids, anew.ids) and torch.equal(after.seconds, anew.seconds)
    torch.testing.assert_close(after.scores, anew.scores)


def test_moved_centres_find_the_groups_that_a_random_start_misses():
    rows = groups(6000, 32, 100, noise=0.4)
    best = squares(rows, torch.stack([rows[i::100].mean(0) for i in range(100)]))
    found = [squares(rows, learnt(rows, 100, seed)) for seed in range(3)]
    assert max(found) < 1.1 * best
    # Lloyd's rounds alone leave out every third group.
    plain = rows[torch.randperm(6000, generator=torch.Generator().manual_seed(0))[:100]]
    for _ in range(30):
        plain = means(rows, nearest(rows, plain).ids, plain)[0]
    assert squares(rows, plain) > 1.3 * best


def test_a_spared_centre_moves_to_the_cluster_that_falls_into_two():
    rows = torch.tensor([[0.0], [0.1], [10.0], [10.1], [20.0], [20.1]])
    centres = torch.tensor([[0.0], [0.1], [15.0]])
    found = nearest(rows, centres)
    made, moved = relocated(rows, found, *means(rows, found.ids, centres)[:2])
    assert moved == 1
    assert sorted(means(rows, nearest(rows, made).ids, made)[0][:, 0].tolist()) == pytest.approx(
        [0.05, 10.05, 20.05], abs=1e-4
    )


def test_the_number_of_threads_plays_no_part():
    rows, threads = groups(3000, 48, 60), torch.get_num_threads()
    try:
        found = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(learnt(rows, 120))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_as_good_as_scikit_learn_and_numbered_alike():
    rows = groups(2000, 16, 20, noise=0.6)
    own, other = (Clusters(20, backend=backend, restarts=1).fit(rows) for backend in ("lloyd", "sklearn"))
    assert own.inertia(rows) <= 1.02 * other.inertia(rows)
    assert torch.equal(own.sizes, torch.bincount(own.assign(rows), minlength=20))
    assert (own.sizes.diff() <= 0).all()


def test_rows_far_from_zero_are_clustered_as_near_ones_are():
    rows = groups(1200, 8, 12, noise=0.3)
    near, far = squares(rows, learnt(rows, 12)), squares(rows + 500, learnt(rows + 500, 12))
    assert far == pytest.approx(near, rel=1e-2)


@pytest.mark.parametrize("copies", [(1, 1, 1, 1, 196), (40, 40, 40, 40, 40)])
def test_as_many_clusters_as_different_rows_even_where_most_are_copies(copies):
    kinds = torch.eye(5).repeat_interleave(torch.tensor(copies), dim=0)
    assert sorted(Clusters(5, backend="lloyd").fit(kinds).sizes.tolist()) == sorted(copies)
    with pytest.raises(ValueError, match="there are only 5 different features"):
        Clusters(6, backend="lloyd").fit(kinds)


def test_empty_clusters_go_to_different_rows():
    rows = torch.tensor([[0.0], [9.0], [9.0], [5.0]])
    centres = torch.tensor([[0.0], [50.0], [60.0]])
    made, moved = refilled(rows, torch.zeros(4, dtype=torch.int64), centres, torch.tensor([4, 0, 0]))
    assert moved == 2 and made[:, 0].tolist() == [0.0, 9.0, 5.0]


def test_of_very_many_rows_a_part_is_learnt_from(monkeypatch):
    from windvane.annotate.images import lloyd as module

    seen = []
    watched = module.nearest
    monkeypatch.setattr(
        module, "nearest", lambda rows, *rest: (seen.append(len(rows)), watched(rows, *rest))[1]
    )
    monkeypatch.setattr(module, "_LEAST", 500)
    monkeypatch.setattr(module, "_EACH", 50)
    rows = groups(4000, 8, 12, noise=0.3)
    assert Clusters(12, backend="lloyd").fit(rows).sizes.sum() == 4000
    assert max(seen) == 600


def test_candidates_stay_as_many_when_the_images_double():
    assert candidates(5) == [1] and candidates(600) == [5, 10, 20, 30, 50]
    assert candidates(2000) == candidates(100_000) == [5, 10, 20, 30, 50, 100]
    assert candidates(10**9) == [5, 10, 20, 30, 50, 100, 200, 400]


def test_k_is_chosen_on_a_part_of_the_images_and_said_of_all(monkeypatch):
    fitted = []
    fit = Clusters.fit
    monkeypatch.setattr(Clusters, "fit", lambda self, rows: (fitted.append(len(rows)), fit(self, rows))[1])
    rows = groups(3000, 8, 10, noise=0.2)
    choice = choose_k(rows, [5, 10, 100], most=400, progress=False)
    assert sorted(set(fitted)) == [400, 2000]
    assert choice.recommended in (10, 100) and choice.chosen.k == choice.recommended
    ten = next(row for row in choice.candidates if row.k == 10)
    assert ten.balance["n"] == 3000 and ten.balance["sizes"] == [300] * 10
    assert ten.inertia == pytest.approx(Clusters(10).fit(rows).inertia(rows) / 3000, rel=0.05)
    assert "Larger K than 100 were not tried" in choice.reasoning
