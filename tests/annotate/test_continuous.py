"""Real-valued conditions and the way between them, against their definitions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.networks.answering import answering
from windvane.annotate import (
    Clusters,
    centroid_vectors,
    feature_vectors,
    interpolate,
    label_and_cluster,
    neighbour_vectors,
    sample_path,
    slerp,
)
from windvane.conditions import Condition
from windvane.samplers import DDIM, sample


def rows(n, dim=5, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def test_the_feature_and_the_centroid_are_those_of_k_means():
    features = rows(40)
    clusters = Clusters(4).fit(features)
    ids = clusters.assign(features)
    unit = features / features.norm(dim=1, keepdim=True)
    torch.testing.assert_close(feature_vectors(features, clusters), unit)
    torch.testing.assert_close(feature_vectors(features), unit)
    plain = Clusters(4, normalise=False)
    torch.testing.assert_close(feature_vectors(features, plain), features)
    vectors = centroid_vectors(ids, clusters)
    for cluster in range(4):
        mean = unit[ids == cluster].mean(dim=0)
        torch.testing.assert_close(vectors[ids == cluster], mean.expand(int((ids == cluster).sum()), -1))


def test_the_neighbours_are_the_nearest_others():
    features = rows(25)
    unit = features / features.norm(dim=1, keepdim=True)
    gaps = (unit[:, None] - unit[None]).norm(dim=2).fill_diagonal_(math.inf)
    wanted = torch.stack([unit[gap.argsort()[:3]].mean(dim=0) for gap in gaps])
    torch.testing.assert_close(neighbour_vectors(features, neighbours=3), wanted)
    with pytest.raises(ValueError, match=r"1\.\.24"):
        neighbour_vectors(features, neighbours=25)


def test_label_and_cluster_stand_side_by_side():
    made = label_and_cluster(torch.tensor([1, -1, 0]), torch.tensor([2, 0, 1]), classes=2, k=3)
    assert made.tolist() == [[0, 1, 0, 0, 1], [0, 0, 1, 0, 0], [1, 0, 0, 1, 0]]
    with pytest.raises(ValueError, match="3 ids, but 2 labels"):
        label_and_cluster(torch.tensor([1, 0]), torch.tensor([2, 0, 1]), classes=2, k=3)


@given(seed=st.integers(0, 999), u=st.floats(0, 1))
def test_slerp_is_the_rotation_of_the_plane_of_both(seed, u):
    a, b = rows(2, seed=seed).double()
    made = slerp(a, b, u)
    assert float(made.norm()) == pytest.approx(float((1 - u) * a.norm() + u * b.norm()), rel=1e-9)
    # The angles to both ends are the shares of the angle between them, so it lies in their plane.
    angles = [
        math.acos(max(-1, min(1, float(torch.cosine_similarity(x, y, 0)))))
        for x, y in ((a, b), (a, made), (made, b))
    ]
    assert angles[1] == pytest.approx(u * angles[0], abs=1e-6)
    assert angles[2] == pytest.approx((1 - u) * angles[0], abs=1e-6)


def test_slerp_ends_where_it_should_and_middles_are_known():
    a, b = rows(2)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    first, second = torch.eye(3)[0], torch.eye(3)[1]
    torch.testing.assert_close(slerp(first, second, 0.5), torch.tensor([1.0, 1.0, 0.0]) / math.sqrt(2))
    torch.testing.assert_close(slerp(a, a, 0.3), a)
    torch.testing.assert_close(slerp(a, a + 1e-7, 0.3), a)
    many = slerp(rows(4), rows(4, seed=1), torch.tensor([0.0, 0.2, 0.7, 1.0]))
    one = torch.stack([slerp(x, y, u) for x, y, u in zip(rows(4), rows(4, seed=1), (0.0, 0.2, 0.7, 1.0))])
    torch.testing.assert_close(many, one)


def test_slerp_refuses_what_has_no_way():
    a = rows(1)[0]
    with pytest.raises(ValueError, match="opposite"):
        slerp(a, -2 * a, 0.5)
    with pytest.raises(ValueError, match="zero vector"):
        slerp(a, torch.zeros(5), 0.5)
    with pytest.raises(ValueError, match="one-hot"):
        slerp(torch.tensor([1]), torch.tensor([2]), 0.5)


def test_a_path_has_equal_steps():
    cond = interpolate(0, 2, 5, k=4)
    vectors = cond.signals["vector"]
    assert vectors.shape == (5, 4)
    torch.testing.assert_close(vectors[[0, 4]], torch.eye(4)[[0, 2]])
    angles = torch.cosine_similarity(vectors[:-1], vectors[1:]).acos()
    torch.testing.assert_close(angles, torch.full((4,), math.pi / 8), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="two ends"):
        interpolate(0, 2, 1, k=4)
    with pytest.raises(ValueError, match=r"0\.\.k-1"):
        interpolate(0, 4, 3, k=4)


def test_samples_of_a_path_are_those_of_its_conditions():
    denoiser = answering()
    options = {"sampler": DDIM(), "steps": 3, "progress": False}
    made = sample_path(denoiser, 0, 2, 4, k=3, seed=7, **options)
    ends = [
        sample(denoiser, seeds=[7], cond=Condition.vector(torch.tensor([i])), **options).x for i in (0, 2)
    ]
    torch.testing.assert_close(made[[0, 3]], torch.cat(ends))
    assert not torch.allclose(made[1], made[0])
    steps = (made[1:] - made[:-1]).flatten(1).norm(dim=1)
    assert bool((steps > 1e-4).all()), "the path stands still"
