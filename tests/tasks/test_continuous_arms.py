"""Real vectors as the condition of an arm, from annotation through training to samples."""

import pytest
import torch

from windvane.annotate import Clusters, centroid_vectors, label_and_cluster, neighbour_vectors
from windvane.cli.common.conditions.vocabulary import KnownConditions
from windvane.cli.common.guidance import settled
from windvane.cli.common.sections import SampleSection
from windvane.data import digits, train_and_held_out
from windvane.tasks.self_guided import Budget, Variant, fit, generate


def test_arms_of_real_vectors_train_and_sample():
    train, _ = train_and_held_out(digits(), seed=0)
    train = train.subset(slice(0, 200))
    features = train.batch(slice(None)).flatten(1)
    clusters = Clusters(5, restarts=1).fit(features)
    ids = clusters.assign(features)
    for vectors in (
        centroid_vectors(ids, clusters),
        neighbour_vectors(features, neighbours=4),
        label_and_cluster(train.labels, ids, classes=10, k=5),
    ):
        arm = Variant("continuous", vectors, vectors.shape[1])
        denoiser = fit(arm, train, Budget(steps=60, batch_size=64, warmup=5), progress=False)
        made, asked = generate(denoiser, arm, n=6, seed=0, weight=1.5, steps=4)
        assert made.shape == (6, 1, 8, 8) and bool(torch.isfinite(made).all())
        rows = {tuple(row) for row in vectors.tolist()}
        assert asked.shape == (6, vectors.shape[1]) and all(tuple(row) in rows for row in asked.tolist())
        # Another vector makes another sample of the same seed: the network listens.
        other = generate(denoiser, Variant("moved", vectors.flip(0), vectors.shape[1]), n=6, seed=0, steps=4)[
            0
        ]
        same = generate(denoiser, arm, n=6, seed=0, steps=4)[0]
        assert float((other - same).abs().max()) > 1e-3
        assert arm.asked()["condition"] == {
            "kind": "vectors",
            "count": vectors.shape[1],
            "sizes": None,
            "names": None,
        }


def test_one_hot_vectors_are_ids():
    train, _ = train_and_held_out(digits(), seed=0)
    train = train.subset(slice(0, 64))
    ids = torch.arange(64) % 3
    arms = Variant("ids", ids, 3), Variant("vectors", torch.eye(3)[ids], 3)
    first, second = (
        generate(fit(arm, train, Budget(steps=3, batch_size=16), progress=False), arm, n=4, seed=0, steps=3)[
            0
        ]
        for arm in arms
    )
    torch.testing.assert_close(first, second)


def test_the_command_line_has_no_vectors_and_says_so():
    asked = KnownConditions(5, "vectors")
    with pytest.raises(ValueError, match="vectors of 5 numbers"):
        settled(SampleSection(), asked, weight_given=False)
    plain = settled(SampleSection(condition="none"), asked, weight_given=False)
    assert plain.weight == 0 and plain.condition == "none"
