"""Autoguidance, gradient-free classifier guidance and their mixtures, against their formulas."""

import pytest
import torch

from windvane.conditions import Condition
from windvane.denoiser import Denoiser
from windvane.evaluations import count_evaluations
from windvane.exact import GaussianMixtureDenoiser
from windvane.guidance import Autoguidance, ClassifierFree, GradientFree, interval
from windvane.process import VPCosine
from windvane.samplers import DDIM, sample

MEANS, PROCESS = [[-1.0, 0.0], [1.0, 0.5], [0.0, -1.0]], VPCosine()
MAIN = GaussianMixtureDenoiser([0.4, 0.3, 0.3], MEANS, [0.15, 0.1, 0.1], PROCESS, classes=[0, 1, 2])
WEAK = GaussianMixtureDenoiser([0.4, 0.3, 0.3], MEANS, [0.5, 0.45, 0.4], PROCESS, classes=[0, 1, 2])
IDS = torch.tensor([0, 1, 2, 1, 0, 2])
COND = Condition.vector(IDS)
X = MAIN.draw(6, 3).double()
T = torch.linspace(0.2, 0.8, 6, dtype=torch.float64)
LEVEL = PROCESS.noise_level(T)


def logits(x):
    """A classifier of its own: distances to the means."""
    return -1.2 * torch.cdist(x.double(), torch.tensor(MEANS, dtype=torch.float64)) ** 2


def counted(denoiser, cond=COND):
    with count_evaluations() as count:
        return denoiser(X, T, cond), count.rows


MAIN_C, WEAK_C = MAIN(X, T, COND), WEAK(X, T, COND)
P = logits(MAIN_C).softmax(1)
RIGHT = P[torch.arange(6), IDS]
WRONG = torch.tensor([max((k for k in range(3) if k != c), key=lambda k: P[i, k]) for i, c in enumerate(IDS)])
MAIN_R = MAIN(X, T, Condition.vector(WRONG))


def column(values):
    return values[:, None]


def test_autoguidance_is_its_formula_and_neutral_weights_cost_one_evaluation():
    for weight, expected, rows in (
        (2.1, WEAK_C + 2.1 * (MAIN_C - WEAK_C), 12),
        (1.0, MAIN_C, 6),
        (0.0, WEAK_C, 6),
    ):
        out, evaluated = counted(Autoguidance(MAIN, WEAK, weight))
        assert torch.allclose(out, expected, atol=1e-12) and evaluated == rows
    free, _ = counted(Autoguidance(MAIN, WEAK, 1.7), None)
    assert torch.allclose(free, WEAK(X, T) + 1.7 * (MAIN(X, T) - WEAK(X, T)), atol=1e-12)
    assert torch.equal(counted(Autoguidance(MAIN, WEAK, 1.0))[0], MAIN_C)


def test_autoguidance_in_an_interval_and_on_top_of_classifier_free():
    low, high = float(LEVEL[1]), float(LEVEL[3])
    out, _ = counted(Autoguidance(MAIN, WEAK, interval(2.0, low, high)))
    inside = torch.tensor([False, False, True, True, False, False])
    assert torch.allclose(out[inside], (2 * MAIN_C - WEAK_C)[inside], atol=1e-12)
    assert torch.allclose(out[~inside], MAIN_C[~inside], atol=1e-12)
    both, rows = counted(Autoguidance(ClassifierFree(MAIN, 1.5), WEAK, 2.0))
    free = MAIN(X, T) + 1.5 * (MAIN_C - MAIN(X, T))
    assert torch.allclose(both, WEAK_C + 2.0 * (free - WEAK_C), atol=1e-12) and rows == 18


def test_autoguidance_recovers_the_truth_from_two_blurs():
    """Where the errors of main and weak point the same way and differ in size, extrapolation cancels them.

    Seen on spreads: the law is N(m, v); main believes v + e, weak v + 2 e; near v the shrinkage of D is
    linear in e, so weight 2 is the truth to second order.
    """
    v, e = 0.2, 0.02
    truth, main, weak = (
        GaussianMixtureDenoiser([1.0], [[0.3, -0.2]], [v + k * e], PROCESS) for k in (0, 1, 2)
    )
    error = (Autoguidance(main, weak, 2.0)(X, T) - truth(X, T)).norm()
    assert error < 0.2 * (main(X, T) - truth(X, T)).norm()


def test_gradient_free_is_its_formula():
    """v = strength (1 - p_c), r the strongest wrong class; rows that are sure are not evaluated again."""
    unsure = RIGHT <= 0.95
    assert unsure.any() and not unsure.all()
    out, rows = counted(GradientFree(MAIN, logits, 2.0))
    expected = MAIN_C + column(2.0 * (1 - RIGHT)) * (MAIN_C - MAIN_R)
    assert torch.allclose(out[unsure], expected[unsure], atol=1e-12)
    assert torch.equal(out[~unsure], MAIN_C[~unsure])
    assert rows == 6 + int(unsure.sum())
    everyone, rows = counted(GradientFree(MAIN, logits, 2.0, sure=1.0))
    assert torch.allclose(everyone, expected, atol=1e-12) and rows == 12
    off, rows = counted(GradientFree(MAIN, logits, 0.0))
    assert torch.equal(off, MAIN_C) and rows == 6


def test_gradient_free_below_a_noise_level_only():
    high = float(LEVEL[2])
    out, _ = counted(GradientFree(MAIN, logits, interval(2.0, 0.0, high, outside=0.0), sure=1.0))
    everywhere, _ = counted(GradientFree(MAIN, logits, 2.0, sure=1.0))
    assert torch.equal(out[3:], MAIN_C[3:]) and torch.allclose(out[:3], everywhere[:3], atol=1e-12)


def test_gradient_free_with_classifier_free():
    out, rows = counted(GradientFree(MAIN, logits, 2.0, sure=1.0, classifier_free=1.5))
    expected = MAIN_C + column(2.0 * (1 - RIGHT)) * (MAIN_C - MAIN_R) + 0.5 * (MAIN_C - MAIN(X, T))
    assert torch.allclose(out, expected, atol=1e-12) and rows == 18
    only, _ = counted(GradientFree(MAIN, logits, 0.0, classifier_free=1.5))
    assert torch.allclose(only, counted(ClassifierFree(MAIN, 1.5))[0], atol=1e-12)


def test_gradient_free_with_autoguidance_costs_what_autoguidance_costs():
    out, rows = counted(GradientFree(MAIN, logits, 2.1, weak=WEAK, sure=0.9))
    chosen = torch.where(RIGHT <= 0.9, WRONG, IDS)
    assert (chosen == IDS).any() and (chosen != IDS).any()
    reference = WEAK(X, T, Condition.vector(chosen))
    assert torch.allclose(out, reference + 2.1 * (MAIN_C - reference), atol=1e-12) and rows == 12
    off, rows = counted(GradientFree(MAIN, logits, 1.0, weak=WEAK))
    assert torch.equal(off, MAIN_C) and rows == 6


def test_rows_do_not_see_each_other():
    for guided in (
        GradientFree(MAIN, logits, 2.0, classifier_free=1.5),
        GradientFree(MAIN, logits, 2.0, weak=WEAK),
        Autoguidance(MAIN, WEAK, 2.0),
    ):
        alone = [guided(X[i : i + 1], T[i : i + 1], COND.index(slice(i, i + 1))) for i in range(6)]
        assert torch.allclose(guided(X, T, COND), torch.cat(alone), atol=1e-12)


def test_gradient_free_makes_samples_that_are_recognised():
    close = GaussianMixtureDenoiser(
        [0.5, 0.5], [[-0.5, 0.0], [0.5, 0.0]], [0.2, 0.2], PROCESS, classes=[0, 1]
    )
    cond = Condition.vector(torch.ones(400, dtype=torch.int64))

    def classify(x):
        return close.class_log_prob(x, 1e-3)

    def share(denoiser):
        x = sample(denoiser, seeds=0, n=400, cond=cond, sampler=DDIM(), steps=20, progress=False).x
        return (classify(x).argmax(1) == 1).double().mean()

    assert share(GradientFree(close, classify, 2.0)) > share(close) + 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradientFree(MAIN, logits, sure=0.0), "sure"),
        (lambda: GradientFree(MAIN, logits)(X, T), "class ids"),
        (lambda: GradientFree(MAIN, logits)(X, T, Condition.vector(torch.eye(3)[IDS])), "class ids"),
        (lambda: GradientFree(MAIN, logits)(X, T, COND.null()), "every row"),
        (lambda: GradientFree(MAIN, lambda x: logits(x)[:, :1])(X, T, COND), "K >= 2"),
        (lambda: GradientFree(MAIN, lambda x: logits(x)[:, :2])(X, T, COND), "class 2, the classifier knows"),
        (lambda: Autoguidance(MAIN, GaussianMixtureDenoiser([1.0], [[0.0]], [1.0], PROCESS), 2.0), "shape"),
        (
            lambda: GradientFree(
                MAIN,
                logits,
                weak=GaussianMixtureDenoiser([1.0], [[0.0, 0.0]], [1.0], VPCosine(lmbda_min=-10.0)),
            ),
            "process",
        ),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class Prompted(Denoiser):
    """The main model under texts: a prompt is a one-hot token in place of a class id."""

    def __init__(self):
        super().__init__(PROCESS, (2,))

    def forward(self, x_t, t, cond=None):
        if cond is None:
            return MAIN(x_t, t)
        ids = cond.signals["tokens"][:, 0].argmax(1)
        assert set(cond.signals) == {"tokens"}, "the candidates' numbers are for the guidance alone"
        return MAIN(x_t, t, Condition({"vector": ids}, {"vector": cond.present["tokens"]}))


def test_gradient_free_for_texts_is_the_same_with_prompts_for_classes():
    prompts = Condition({"tokens": torch.eye(3)[:, None]})
    asked = Condition({"candidate": IDS})
    for settings in ({}, {"classifier_free": 1.5}):
        texts = GradientFree(Prompted(), logits, 2.0, candidates=prompts, **settings)
        out, rows = counted(texts, asked)
        expected, expected_rows = counted(GradientFree(MAIN, logits, 2.0, **settings))
        assert torch.allclose(out, expected, atol=1e-12) and rows == expected_rows
    with pytest.raises(ValueError, match=r"signal 'candidate' holds their numbers.*\['vector'\]"):
        texts(X, T, COND)
    with pytest.raises(ValueError, match=r"candidates 0..2, got \[1, 2, 3\]"):
        texts(X, T, Condition({"candidate": IDS + 1}))
