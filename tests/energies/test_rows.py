"""Encoders, operators, targets and decoders of another shape: refused, where they were broadcast."""

import numpy as np
import pytest
import torch

import windvane as wv
from tests.guidance.guided_cases import normal
from windvane.energies import (
    ClassLogProb,
    Decoded,
    FeatureMatch,
    GramStyle,
    ImageSimilarity,
    Measurement,
    MeasurementNorm,
    Reward,
    TextSimilarity,
)
from windvane.guidance import Projected
from windvane.operators import FunctionOperator

X = normal(3, 3, 4, 4)
SAME = torch.nn.Identity()
FLAT = torch.nn.Flatten()


def averaged(x):
    return x.mean(0, keepdim=True)


@pytest.mark.parametrize(
    ("energy", "message"),
    [
        (
            Measurement(averaged, X),
            r"averaged measured x of shape \(3, 3, 4, 4\) as .*one row for each sample",
        ),
        (MeasurementNorm(averaged, X), "one row for each sample"),
        (Measurement(lambda x: [1.0], X), "one row for each sample"),
        (
            FeatureMatch(SAME, normal(1, 3, 1, 1)),
            r"shapes \[\(3, 4, 4\)\] of the samples with \[\(3, 1, 1\)\]",
        ),
        (FeatureMatch(SAME, normal(1, 1, 4, 4)), "the samples' size and channels"),
        (GramStyle(SAME, normal(1, 1, 4, 4)), "the samples' size and channels"),
        (FeatureMatch(lambda x: [x, x] if len(x) > 1 else [x], X[:1]), "the samples' size and channels"),
        (FeatureMatch(averaged, X), "one row for each sample"),
        (ImageSimilarity(lambda x: averaged(x.flatten(1)), X), "one row for each sample"),
        (TextSimilarity(lambda x: x.flatten(1)[:1], normal(3, 48)), "one row for each sample"),
        (ImageSimilarity(lambda x: x.flatten(1).sum(1), X), r"embeddings \(B, D\)"),
        (ClassLogProb(lambda x: x.flatten(1)[:1], 1), "one row for each sample"),
        (ClassLogProb(lambda x: {"logits": x.flatten(1)}, 1), r"its \.logits"),
        (Decoded(Reward(lambda x: x.flatten(1).sum(1)), lambda z: None), "made None pictures of 3 latents"),
    ],
    ids=range(14),
)
def test_other_shapes_are_refused(energy, message):
    with pytest.raises(ValueError, match=message):
        energy(X)


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (3, 1, 4, 4), (3, 3, 1, 1)])
def test_a_pseudo_inverse_of_another_shape_is_refused(shape):
    operator = FunctionOperator(SAME, (3, 4, 4), pinv=lambda y: torch.zeros(shape))
    model = wv.FunctionDenoiser(lambda x, t, cond: x, wv.VPCosine(), shape=(3, 4, 4))
    guided = Projected(model, operator, torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"pseudo-inverse of FunctionOperator gave .*\(3, 3, 4, 4\)"):
        guided(X, torch.tensor(0.5))
    with pytest.raises(ValueError, match="pseudo-inverse"):
        operator.project(X, torch.zeros(1, 3, 4, 4))


def test_an_operator_that_mixes_the_batch_is_refused_by_a_projection():
    operator = FunctionOperator(averaged, (3, 4, 4), adjoint=SAME, pinv=SAME)
    model = wv.FunctionDenoiser(lambda x, t, cond: x, wv.VPCosine(), shape=(3, 4, 4))
    with pytest.raises(ValueError, match="one row for each sample"):
        Projected(model, operator, torch.zeros(1, 3, 4, 4))(X, torch.tensor(0.5))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ImageSimilarity(FLAT, torch.zeros(1, 3, 4, 4, dtype=torch.uint8)),
        lambda: FeatureMatch(SAME, torch.zeros(1, 3, 4, 4, dtype=torch.uint8)),
        lambda: Measurement(SAME, torch.zeros(1, 3, 4, 4, dtype=torch.uint8)),
        lambda: TextSimilarity(FLAT, torch.tensor(1.0)),
        lambda: ClassLogProb(FLAT, True),
        lambda: ClassLogProb(FLAT, 1.0),
        lambda: ClassLogProb(FLAT, None),
        lambda: ClassLogProb(FLAT, torch.tensor([True, False, True])),
        lambda: ClassLogProb(FLAT, torch.eye(3)),
        lambda: ClassLogProb(FLAT, 1, tau_joint="1"),
        lambda: Reward(3),
        lambda: Reward(torch.nn.Flatten),
        lambda: Measurement(3, X),
        lambda: Measurement(SAME, X, std="1"),
        lambda: True * Reward(FLAT),
    ],
)
def test_wrong_targets_are_one_line(make):
    with pytest.raises(ValueError, match=r"^[^\n]*(8-bit pictures|must be|is a class)[^\n]*$"):
        make()


def test_targets_of_other_libraries_mean_what_they_say():
    array = X[:1].numpy()
    assert torch.equal(Measurement(SAME, array)(X), Measurement(SAME, X[:1])(X))
    assert torch.equal(ImageSimilarity(FLAT, array)(X), ImageSimilarity(FLAT, X[:1])(X))
    expected = ClassLogProb(FLAT, 2)(X)
    for target in (np.int64(2), torch.tensor(2), [2], np.array([2, 2, 2]), torch.tensor([[2], [2], [2]])):
        assert torch.equal(ClassLogProb(FLAT, target)(X), expected)
    reward = Reward(lambda x: x.flatten(1).sum(1))
    assert torch.equal((torch.tensor(2.0) * reward)(X), (reward * 2)(X))
    assert torch.equal((np.float32(2) * reward)(X), (reward * 2)(X))
