import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from sklearn.cluster import KMeans

from tests.annotate.stand_ins import Projection, noise_images
from windvane.annotate import Clusters, annotate, choose_k, stability
from windvane.annotate.images.id_draws import draw_ids, inverse_law
from windvane.annotate.images.nearest_centres import nearest


def blobs(n=240, dim=5, groups=4, seed=0, spread=0.3):
    numbers = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(groups, dim, generator=numbers)
    which = torch.arange(n) % groups
    return centres[which] + spread * torch.randn(n, dim, generator=numbers), which


def brute_force(rows, centres):
    return torch.tensor(
        [min(range(len(centres)), key=lambda c: float((row - centres[c]).square().sum())) for row in rows]
    )


def test_assignment_is_the_nearest_centre_of_the_normalised_features():
    features, _ = blobs(spread=1.5)
    lengths = torch.rand(len(features), 1, generator=torch.Generator().manual_seed(1)) * 10 + 0.1
    clusters = Clusters(7).fit(features * lengths)
    unit = F.normalize(features, dim=1)
    assert torch.equal(clusters.assign(features * lengths), brute_force(unit, clusters.centres))
    assert torch.equal(clusters.assign(features), clusters.assign(features * lengths))


def test_fit_and_assign_normalise_alike_where_the_published_code_does_not():
    # A wide cluster has a short centre, so the nearest centre of a long feature is the tight cluster's.
    numbers = torch.Generator().manual_seed(0)
    wide, tight = torch.eye(5)[0].repeat(300, 1), torch.eye(5)[1].repeat(300, 1)
    wide = wide + 0.67 * torch.randn(300, 5, generator=numbers)
    tight = tight + 0.02 * torch.randn(300, 5, generator=numbers)
    features = 8 * F.normalize(torch.cat([wide, tight]), dim=1)
    clusters = Clusters(2).fit(features)
    ids = clusters.assign(features)
    slipped = brute_force(features, clusters.centres)
    assert torch.equal(ids, brute_force(features / 8, clusters.centres))
    assert (ids != slipped).sum() >= 10
    assert torch.equal(torch.bincount(ids, minlength=2), clusters.sizes)


def test_without_normalisation_it_is_plain_kmeans():
    features, which = blobs()
    clusters = Clusters(4, normalise=False, restarts=3).fit(features)
    reference = KMeans(4, n_init=10, random_state=0).fit(features.numpy())
    assert clusters.inertia(features) == pytest.approx(reference.inertia_, rel=1e-5)
    means = torch.stack([features[clusters.assign(features) == c].mean(dim=0) for c in range(4)])
    torch.testing.assert_close(clusters.centres, means, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("n", "named", "expected"),
    [
        (50_000, {"k": 200}, (4, 100)),
        (50_001, {"k": 200}, (1, 30)),
        (1_000_000, {"k": 30, "restarts": 2}, (2, 30)),
        (1_000_000, {"k": 30, "iterations": 7}, (1, 7)),
        (100, {"k": 3, "restarts": 1, "iterations": 5}, (1, 5)),
    ],
)
def test_the_effort_follows_the_size_unless_it_is_given(n, named, expected):
    assert Clusters(**named).effort(n) == expected


@pytest.mark.parametrize(("much", "expected"), [(10_000_000, (4, 100)), (100, (1, 30))])
def test_kmeans_is_asked_for_that_effort(much, expected, monkeypatch):
    import sklearn.cluster

    from windvane.annotate.images import clusters as module

    asked = []

    def watched(k, *, n_init, max_iter, random_state):
        asked.append((n_init, max_iter))
        return KMeans(k, n_init=n_init, max_iter=max_iter, random_state=random_state)

    monkeypatch.setattr(sklearn.cluster, "KMeans", watched)
    monkeypatch.setattr(module, "MUCH", much)
    features, _ = blobs()
    fitted = Clusters(4, backend="sklearn").fit(features)
    assert asked == [expected]
    again = Clusters(**fitted.settings()).restored(fitted.centres, fitted.sizes)
    assert again.settings() == fitted.settings() and again.restarts is None


def test_the_same_seed_gives_the_same_clusters_and_sizes_fall():
    features, _ = blobs(spread=2.0)
    first, second = (Clusters(9, seed=3, restarts=1).fit(features) for _ in range(2))
    other = Clusters(9, seed=4, restarts=1).fit(features)
    assert torch.equal(first.centres, second.centres)
    assert not torch.equal(first.centres, other.centres)
    assert first.sizes.tolist() == sorted(first.sizes.tolist(), reverse=True)
    assert first.sizes.sum() == len(features)


def test_fitting_leaves_the_global_generators_alone():
    import numpy as np

    features, _ = blobs()
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    Clusters(4).fit(features).draw(5)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_faiss_finds_clusters_as_good_as_scikit_learn_and_repeats_itself():
    pytest.importorskip("faiss")
    features, which = blobs()
    first, second = (Clusters(4, backend="faiss", seed=1).fit(features) for _ in range(2))
    assert torch.equal(first.centres, second.centres)
    assert first.inertia(features) == pytest.approx(Clusters(4).fit(features).inertia(features), rel=1e-3)


def test_the_backend_goes_by_the_number_of_distances_and_not_by_what_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert [Clusters(1000).used_backend(n) for n in (10_000, 10_001)] == ["sklearn", "lloyd"]
    assert [Clusters(10).used_backend(n) for n in (1_000_000, 1_000_001)] == ["sklearn", "lloyd"]
    for backend in ("sklearn", "lloyd", "faiss"):
        assert {Clusters(9, backend=backend).used_backend(n) for n in (10, 10**8)} == {backend}
    features, _ = blobs()
    monkeypatch.setattr("windvane.annotate.images.clusters.MUCH", 100)
    made = [Clusters(4, seed=1, backend=backend).fit(features).centres for backend in ("auto", "lloyd")]
    assert torch.equal(*made)


def test_without_faiss_it_is_said_before_any_work_is_done(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match=r"backend='faiss' needs the extra: pip install 'windvane\[faiss\]'"):
        Clusters(2, backend="faiss").fit(blobs()[0])
    data, extractor = noise_images(60), Projection()
    with pytest.raises(ValueError, match="needs the extra"):
        annotate(data, features=extractor, k=3, backend="faiss", progress=False)
    assert extractor.seen == 0
    assert annotate(data, features=extractor, k=3, progress=False).k == 3
    features, _ = blobs()
    for call in (
        lambda backend: stability(features, 3, seeds=(0, 1), backend=backend),
        lambda backend: choose_k(features, [3], seeds=(0, 1), backend=backend, progress=False),
    ):
        call("auto")
        with pytest.raises(ValueError, match="needs the extra"):
            call("faiss")


def test_assignment_does_not_depend_on_the_batch():
    features, _ = blobs(spread=3.0)
    clusters = Clusters(11).fit(features)
    whole = clusters.assign(features)
    for size in (1, 7, 100):
        assert torch.equal(torch.cat([clusters.assign(part) for part in features.split(size)]), whole)


def test_empirical_draws_have_the_frequencies_of_the_training_images():
    sizes = torch.tensor([50, 0, 30, 20])
    drawn = torch.bincount(draw_ids(sizes, range(4000)), minlength=4)
    assert drawn[1] == 0
    expected = sizes[sizes > 0] / 100 * 4000
    assert chisquare(drawn[sizes > 0].numpy(), expected.numpy()).pvalue > 1e-3
    uniform = torch.bincount(draw_ids(sizes, range(4000), "uniform"), minlength=4)
    assert uniform[1] == 0
    assert chisquare(uniform[sizes > 0].numpy()).pvalue > 1e-3
    # The two laws differ, so a draw that ignored its source would be seen.
    assert chisquare(uniform[sizes > 0].numpy(), expected.numpy()).pvalue < 1e-6


def test_numbers_on_the_borders_never_give_an_id_without_images():
    weights = torch.tensor([0.0, 2, 0, 2, 0], dtype=torch.float64)
    numbers = torch.tensor([0.0, 0.2, 0.5, 0.7, 1.0], dtype=torch.float64)
    assert inverse_law(weights, numbers).tolist() == [1, 1, 3, 3, 3]


@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), cut=st.integers(0, 30))
def test_a_draw_depends_on_its_own_seed_alone(seed, n, cut):
    sizes = torch.tensor([5, 9, 1, 40])
    whole = draw_ids(sizes, range(seed, seed + n))
    cut = min(cut, n)
    parts = [draw_ids(sizes, range(seed, seed + cut)), draw_ids(sizes, range(seed + cut, seed + n))]
    assert torch.equal(whole, torch.cat(parts))
    assert all(sizes[i] > 0 for i in whole)


def test_draw_of_clusters_counts_seeds_upwards():
    features, _ = blobs()
    clusters = Clusters(5).fit(features)
    assert torch.equal(
        clusters.draw(20, seed=4), torch.cat([clusters.draw(8, seed=4), clusters.draw(12, seed=12)])
    )


def test_conditions_carry_ids_and_out_of_range_ids_are_refused():
    clusters = Clusters(3)
    assert clusters.dim == 3
    assert torch.equal(clusters.condition(torch.tensor([2, 0])).signals["vector"], torch.tensor([2, 0]))
    with pytest.raises(ValueError, match=r"0\.\.2, got 1\.\.3"):
        clusters.condition(torch.tensor([1, 3]))
    with pytest.raises(ValueError, match="integers"):
        clusters.condition(torch.tensor([0.5]))


def test_a_zero_feature_has_a_cluster_and_stays_zero():
    features = torch.cat([torch.zeros(3, 4), torch.eye(4).repeat(3, 1)])
    clusters = Clusters(5).fit(features)
    assert torch.equal(clusters.prepared(torch.zeros(1, 4)), torch.zeros(1, 4))
    assert (clusters.assign(features)[:3] == clusters.assign(torch.zeros(1, 4))).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: Clusters(0), "at least 1"),
        (lambda f: Clusters(2, backend="annoy"), "sklearn, lloyd, faiss"),
        (lambda f: Clusters(len(f) + 1).fit(f), "k=241 clusters need at least as many images, got 240"),
        (lambda f: Clusters(5).fit(f[:2].repeat(10, 1)), "only 2 different features"),
        (lambda f: Clusters(2).fit(f * float("nan")), "not finite"),
        (lambda f: Clusters(2).fit(f[0]), r"shape \(n, D\)"),
        (lambda f: Clusters(2).assign(f), "call .fit"),
        (lambda f: Clusters(2).fit(f).assign(f[:, :3]), "3 dimensions, the centres 5"),
        (lambda f: Clusters(2).fit(f).draw(3, source="even"), "empirical, uniform"),
    ],
)
def test_wrong_requests_are_refused_with_the_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call(blobs()[0])


def test_draws_are_independent_of_the_noise_of_the_same_seed():
    # The condition of a sample and its prior noise come from one seed; different streams keep them apart.
    from windvane.randomness import noise_for

    ids = draw_ids(torch.tensor([1, 1]), range(2000)).double()
    noise = noise_for(range(2000), 0, (1,))[:, 0].double()
    assert abs(torch.corrcoef(torch.stack([ids, noise]))[0, 1]) < 0.08


def test_sizes_are_those_of_the_assignment_also_with_ties():
    # A row half way between two centres goes to the lower id, which the order by size may change.
    features = torch.tensor(
        [[0.0], [0.0], [0.0], [4.0], [4.0], [2.0], [9.0], [9.0], [9.0], [9.0], [9.0], [9.0]]
    )
    for k in (2, 3):
        made = Clusters(k, normalise=False, seed=0).fit(features)
        assert torch.equal(made.sizes, torch.bincount(made.assign(features), minlength=k))
        assert (made.sizes.diff() <= 0).all()
    close = nearest(torch.tensor([[2.0], [0.5]]), torch.tensor([[0.0], [4.0]]))
    assert close.ids.tolist() == [0, 0] and close.ties
    assert not nearest(torch.tensor([[2.1], [0.5]]), torch.tensor([[0.0], [4.0]])).ties
