import math

import pytest
import torch

from tests.annotate.stand_ins import digit_images
from windvane.annotate import agreement, balance, choose_k, stability
from windvane.annotate.images.statistics import mean_similarity, similarity


def test_balance_by_hand():
    told = balance(torch.tensor([0] * 40 + [1] * 20 + [3] * 20), 5)
    assert told["sizes"] == [40, 20, 0, 20, 0]
    entropy = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25))
    assert told["entropy"] == pytest.approx(entropy / math.log(5))
    assert told["effective"] == pytest.approx(2**1.5)
    assert (told["smallest"], told["largest"], told["empty"], told["small"]) == (0, 40, 2, 2)
    assert told["images_in_small"] == 0
    assert balance(torch.tensor([0] * 60 + [1] * 15), 2)["images_in_small"] == pytest.approx(0.2)


def test_agreement_by_hand():
    # Cluster 0 holds labels 0,0,0,1; cluster 1 holds 1,1; the last image has no label.
    ids, labels = torch.tensor([0, 0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 0, 1, 1, 1, -1])
    told = agreement(ids, labels)
    assert told["purity"] == pytest.approx(5 / 6)
    table = {(0, 0): 3, (0, 1): 1, (1, 1): 2}
    p = {key: value / 6 for key, value in table.items()}
    rows, columns = {0: 4 / 6, 1: 2 / 6}, {0: 3 / 6, 1: 3 / 6}
    mutual = sum(v * math.log(v / (rows[a] * columns[b])) for (a, b), v in p.items())
    mean = -sum(v * math.log(v) for v in [*rows.values(), *columns.values()]) / 2
    assert told["nmi"] == pytest.approx(mutual / mean)
    assert told["rows"] == 6


def test_similarity_ignores_the_numbering():
    ids = torch.arange(60) % 3
    assert similarity(ids, 2 - ids) == {"ami": pytest.approx(1), "ari": pytest.approx(1)}
    assert mean_similarity([ids, 2 - ids, ids])["ami_lowest"] == pytest.approx(1)


def test_the_mean_is_over_all_pairs():
    numbers = torch.Generator().manual_seed(0)
    a, b, c = torch.randint(0, 3, (3, 50), generator=numbers)
    pairs = [similarity(a, b), similarity(a, c), similarity(b, c)]
    told = mean_similarity([a, b, c])
    for key in ("ami", "ari"):
        assert told[key] == pytest.approx(sum(pair[key] for pair in pairs) / 3)
    assert told["ami_lowest"] == min(pair["ami"] for pair in pairs)


def test_clear_clusters_are_stable_and_noise_is_not():
    numbers = torch.Generator().manual_seed(0)
    clear = 5 * torch.eye(4).repeat(60, 1) + 0.1 * torch.randn(240, 4, generator=numbers)
    vague = torch.randn(240, 30, generator=numbers)
    assert stability(clear, 4, restarts=3)["ami"] > 0.99
    assert stability(vague, 20)["ami"] < 0.4


def test_stability_of_many_vectors_looks_at_some_of_them(monkeypatch):
    from windvane.annotate import Clusters

    seen, plain = [], Clusters.fit
    monkeypatch.setattr(Clusters, "fit", lambda self, rows: (seen.append(rows), plain(self, rows))[1])
    features = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    told = stability(features, 3, most=100)
    assert [len(rows) for rows in seen] == [100] * 3
    assert torch.equal(seen[0], seen[2]) and len(torch.unique(seen[0], dim=0)) == 100
    assert all((features == row).all(dim=1).any() for row in seen[0])
    assert 0 < told["ami"] <= 1
    seen.clear()
    # Enough for every cluster.
    stability(features, 8, most=100, seeds=(0, 1))
    assert [len(rows) for rows in seen] == [160] * 2


def test_choice_of_k_takes_the_largest_safe_candidate_and_says_why():
    data = digit_images(600)
    choice = choose_k(data.images.flatten(1) - data.images.flatten(1).mean(0), [5, 10, 60], progress=False)
    by_k = {row.k: row for row in choice.candidates}
    assert choice.recommended == 10
    assert by_k[60].warnings and "10 images a cluster" in by_k[60].warnings[0]
    assert not by_k[10].warnings
    assert by_k[5].inertia > by_k[10].inertia > by_k[60].inertia
    assert "K = 10 is the largest" in choice.reasoning and "K = 60: 10 images a cluster" in choice.reasoning
    assert choice.to_dict()["candidates"][0]["balance"]["n"] == 600


@pytest.mark.parametrize(("small", "told"), [(7, None), (12, "16% of the images"), (15, "20% of the images")])
def test_more_than_a_tenth_of_the_images_in_small_clusters_are_too_many(small, told):
    """Six kinds far apart, four of them with fewer than 20 images; on average there are enough."""
    sizes = [150 - 2 * small, 150 - 2 * small, *[small] * 4]
    centres = 100 * torch.eye(6)[torch.repeat_interleave(torch.arange(6), torch.tensor(sizes))]
    features = centres + torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    choice = choose_k(features, [2, 6], progress=False)
    (six,) = [row for row in choice.candidates if row.k == 6]
    share = 4 * small / 300
    assert six.balance["images_in_small"] == pytest.approx(share) and six.stability["ami"] == pytest.approx(1)
    assert (share > 0.1) == bool(six.warnings) == (told is not None)
    if told is not None:
        assert six.warnings[0].startswith(told)
    assert choice.recommended == (6 if told is None else 2)


def test_when_nothing_is_safe_the_smallest_is_taken_with_a_warning():
    vague = torch.randn(60, 20, generator=torch.Generator().manual_seed(0))
    choice = choose_k(vague, [30, 10], progress=False)
    assert choice.recommended == 10
    assert choice.reasoning.startswith("No candidate is safe")


def test_impossible_candidates_are_refused():
    features = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"1\.\.20"):
        choose_k(features, [5, 21])
    with pytest.raises(ValueError, match="two different seeds"):
        choose_k(features, [5], seeds=(1, 1))
