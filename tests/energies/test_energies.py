"""Energies: their definitions, their algebra, their targets, and what they refuse."""

import pytest
import torch
from torch import nn

from tests.guidance.guided_cases import normal
from windvane.conditions import Condition
from windvane.energies import (
    ClassLogProb,
    FeatureMatch,
    GramStyle,
    ImageSimilarity,
    Measurement,
    MeasurementNorm,
    Reference,
    Reward,
    TextSimilarity,
    gram,
    smooth,
)
from windvane.operators import BlockMean
from windvane.process import VPCosine

X, Y = normal(5, 2, 4, 4), normal(1, 2, 4, 4, seed=1)
WEIGHT = normal(3, 32, seed=2)


def logits(x):
    return x.flatten(1) @ WEIGHT.to(x).T


def timed_logits(x, t):
    return logits(x) * (1 - t.to(x))[:, None]


def maps(x):
    return {"pixels": x, "squares": torch.cat([x**2, x], dim=1)[:, :, ::2]}


CONDITION = Condition({"picture": normal(5, 2, 4, 4, seed=3), "kind": torch.tensor([0, 1, 2, 0, 1])})
ENERGIES = {
    "class": ClassLogProb(logits, 1),
    "class rows": ClassLogProb(logits, "kind"),
    "joint": ClassLogProb(logits, 1, tau_marginal=0.5),
    "timed": ClassLogProb(timed_logits, 2, timed=True),
    "image": ImageSimilarity(logits, Y),
    "image rows": ImageSimilarity(logits, "picture"),
    "noised image": ImageSimilarity(timed_logits, Reference(Y, VPCosine()), timed=True),
    "text": TextSimilarity(logits, normal(3, seed=4)),
    "features": FeatureMatch(maps, Y),
    "style": GramStyle(maps, Y),
    "reward": Reward(lambda x: x.mean((1, 2, 3))),
    "measurement": Measurement(BlockMean(2), BlockMean(2)(Y), std=0.3),
    "norm": MeasurementNorm(BlockMean(2), BlockMean(2)(Y)),
    "sum": Measurement(BlockMean(2), BlockMean(2)(Y)) + 2 * ClassLogProb(logits, "kind"),
}
every = pytest.mark.parametrize("energy", ENERGIES.values(), ids=ENERGIES)


@every
def test_rows_do_not_see_each_other(energy):
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    alone = [energy(X[i : i + 1], t[i : i + 1], CONDITION.index(slice(i, i + 1))) for i in range(5)]
    assert torch.allclose(energy(X, t, CONDITION), torch.cat(alone), atol=1e-12)


@every
def test_gradients_are_those_of_finite_differences(energy):
    x = X.clone().requires_grad_(True)
    t = torch.full((5,), 0.3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: energy(z, t, CONDITION), (x,), atol=1e-5)


def test_class_is_the_log_probability():
    assert torch.allclose(ENERGIES["class"](X), logits(X).log_softmax(1)[:, 1])
    assert torch.allclose(ENERGIES["class rows"](X, cond=CONDITION)[2], logits(X).log_softmax(1)[2, 2])
    f = logits(X)
    expected = 2 * f[:, 0] - (0.5 * f).exp().sum(1).log()
    assert torch.allclose(ClassLogProb(logits, 0, tau_joint=2.0, tau_marginal=0.5)(X), expected)
    joint = ClassLogProb(logits, 0, tau_marginal=0.0)(X)
    assert torch.allclose(joint - joint[0], f[:, 0] - f[0, 0])


def test_large_logits_do_not_overflow():
    assert torch.isfinite(ClassLogProb(lambda x: 1e4 * logits(x).float(), 1, tau_marginal=0.5)(X)).all()


def test_similarity_is_the_cosine():
    a, b = logits(X), logits(Y)
    assert torch.allclose(ENERGIES["image"](X), (a @ b[0]) / (a.norm(dim=1) * b.norm()))
    e = normal(3, seed=4)
    assert torch.allclose(ENERGIES["text"](X), (a @ e) / (a.norm(dim=1) * e.norm()))


def test_text_is_encoded_once():
    asked = []

    def encode(texts):
        asked.append(texts)
        return torch.stack([normal(3, seed=len(text)) for text in texts])

    energy = TextSimilarity.of(logits, encode, "seven")
    assert torch.allclose(energy(X), TextSimilarity(logits, normal(3, seed=5))(X))
    energy(X)
    assert asked == [["seven"]] and "seven" in energy.name


def test_feature_match_keeps_layout_and_style_does_not():
    moved = Y.roll(1, dims=-1)
    pixels = {"layout": FeatureMatch(lambda x: x, Y), "style": GramStyle(lambda x: x, Y)}
    assert torch.allclose(pixels["layout"](moved), -(moved - Y).square().mean().reshape(1))
    assert pixels["layout"](moved) < -0.1
    assert pixels["style"](moved).abs() < 1e-20
    f = X[0].flatten(1)
    assert torch.allclose(gram(X)[0], f @ f.T / 32)
    expected = -(gram(X) - gram(Y)).square().sum((1, 2))
    assert torch.allclose(pixels["style"](X), expected)


def test_measurement_is_the_gaussian_and_the_norm():
    residual = (BlockMean(2)(Y) - BlockMean(2)(X)).flatten(1)
    law = torch.distributions.Normal(BlockMean(2)(X).flatten(1), 0.3)
    full = law.log_prob(BlockMean(2)(Y).flatten(1).expand(5, -1)).sum(1)
    ours = ENERGIES["measurement"](X)
    assert torch.allclose(ours - ours[0], full - full[0])
    assert torch.allclose(ENERGIES["norm"](X), -residual.square().sum(1).sqrt())


def test_a_perfect_fit_has_a_finite_gradient():
    for energy in (ENERGIES["norm"], ENERGIES["style"], ENERGIES["image"]):
        x = Y.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(energy(x).sum(), x)
        assert torch.isfinite(gradient).all()


def test_energies_add():
    a, b, c = ENERGIES["class"], ENERGIES["image"], ENERGIES["norm"]
    total = a + 2 * b - 0.5 * (c + a)
    assert torch.allclose(total(X), 0.5 * a(X) + 2 * b(X) - 0.5 * c(X))
    assert [w for w, _ in total.terms()] == [1.0, 2.0, -0.5, -0.5]
    assert total.name == "class + 2 * image similarity + -0.5 * measurement norm + -0.5 * class"
    assert (a + ENERGIES["class rows"]).signals == {"kind"}
    with pytest.raises(TypeError):
        a + 1.0
    with pytest.raises(ValueError, match="inf"):
        float("inf") * a


def test_a_reference_is_noised_to_the_level_afresh_each_time():
    process = VPCosine()
    reference = Reference(Y, process, seed=7)
    t = torch.tensor([0.2, 0.2, 0.7, 0.2, 0.0], dtype=torch.float64)
    rows = reference.at(X, t, None, "image")
    assert torch.equal(rows[0], rows[1]) and torch.equal(rows[0], rows[3])
    assert torch.equal(rows[4], Y[0])
    noise = [(rows[i] - process.alpha(t[i]) * Y[0]) / process.sigma(t[i]) for i in (0, 2)]
    assert not torch.allclose(noise[0], noise[1])
    assert abs(torch.cat(noise).std() - 1) < 0.35
    fixed = Reference(Y, process, seed=7, fresh=False).at(X, t, None, "image")
    kept = [(fixed[i] - process.alpha(t[i]) * Y[0]) / process.sigma(t[i]) for i in (0, 2)]
    assert torch.allclose(kept[0], kept[1])
    assert not torch.equal(Reference(Y, process, seed=8).at(X, t, None, "")[0], rows[0])


def test_a_fixed_reference_is_seen_once_and_a_signal_each_time():
    seen = []

    def encoder(x):
        seen.append(len(x))
        return logits(x)

    energy = ImageSimilarity(encoder, Y)
    energy(X), energy(X)
    assert seen == [5, 1, 5]
    assert torch.allclose(energy(X.float()).double(), energy(X), atol=1e-5)


def test_preprocessing_comes_first():
    shifted = Reward(lambda x: x.mean((1, 2, 3)), preprocess=lambda x: (x + 1) / 2)
    assert torch.allclose(shifted(X), (X.mean((1, 2, 3)) + 1) / 2)


def test_smooth_replaces_every_relu_and_leaves_the_original():
    shared = nn.ReLU()
    network = nn.Sequential(nn.Linear(4, 8), shared, nn.Sequential(nn.Linear(8, 8), shared), nn.Linear(8, 2))
    x = normal(3, 4).float()
    before = network(x)
    soft = smooth(network, beta=3.0)
    assert torch.equal(network(x), before)
    assert not [m for m in soft.modules() if isinstance(m, nn.ReLU)]
    assert torch.allclose(smooth(network, beta=1e4)(x), before, atol=1e-3)
    assert not torch.allclose(soft(x), before, atol=1e-3)
    with pytest.raises(ValueError, match="no nn.ReLU"):
        smooth(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x.sum(), ValueError, r"'judge'.*shape \(5,\), got \(\)"),
        (lambda x: x.mean((2, 3)), ValueError, r"got \(5, 2\)"),
        (lambda x: 3.0, ValueError, "got float"),
        (lambda x: x.mean((1, 2, 3)) / 0, FloatingPointError, r"'judge' is -?inf in 5 of 5 rows"),
        (lambda x: torch.where(torch.arange(5) == 2, float("nan"), 0.0), FloatingPointError, "row 2, t=0.25"),
    ],
)
def test_a_wrong_value_names_the_energy(function, error, message):
    energy = Reward(function, name="judge")
    with pytest.raises(error, match=message):
        energy(X, 0.25)
    with pytest.raises(error, match=message):
        (ENERGIES["class"] + energy)(X, 0.25)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClassLogProb(logits, 3), r"classes in 0..2, got \[3\]"),
        (lambda: ClassLogProb(lambda x: logits(x)[:, 0], 0), r"logits \(5, K\)"),
        (lambda: ClassLogProb(logits, torch.tensor([0, 1])), "2 target rows for 5"),
        (lambda: ClassLogProb(logits, "kind"), r"signal 'kind'; signals there: \[\]"),
        (lambda: TextSimilarity(logits, normal(4)), "3 and 4 numbers"),
        (lambda: Measurement(BlockMean(2), Y), r"\(2, 4, 4\) a row, the operator gives \(2, 2, 2\)"),
        (lambda: Measurement(BlockMean(2), Y, std=0.0), "std, .* must be a number > 0"),
        (lambda: ClassLogProb(nn.Sequential(nn.Flatten(), nn.Dropout()), 0), "training mode"),
        (lambda: smooth(nn.Sequential(nn.ReLU()), beta=0.0), "beta"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()(X)
