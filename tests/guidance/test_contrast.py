"""Classifier-free guidance: neutral weights, cost, and the guided law in closed form."""

import pytest
import torch

from windvane.conditions import Condition
from windvane.denoiser import FunctionDenoiser
from windvane.evaluations import count_evaluations
from windvane.exact import GaussianMixtureDenoiser
from windvane.guidance import ClassifierFree, constant, interval
from windvane.process import EDM, VPLinear

EXACT = GaussianMixtureDenoiser([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.5]], [0.3, 0.2], VPLinear(), classes=[0, 1])
X, T = EXACT.draw(6, 0).double(), torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
COND = Condition.vector(torch.tensor([0, 1, 0, 1, 0, 1]))


def evaluate(weight, cond=COND, x=X, t=T):
    with count_evaluations() as count:
        out = ClassifierFree(EXACT, weight)(x, t, cond)
    return out, count


def test_weight_one_is_the_conditional_model_at_one_evaluation():
    out, count = evaluate(1.0)
    assert torch.equal(out, EXACT(X, T, COND))
    assert (count.calls, count.rows) == (1, 6)


def test_weight_zero_is_the_unconditional_model_at_one_evaluation():
    out, count = evaluate(0.0)
    assert torch.equal(out, EXACT(X, T))
    assert (count.calls, count.rows) == (1, 6)


def test_other_weights_take_one_call_of_twice_the_rows():
    out, count = evaluate(3.0)
    expected = EXACT(X, T) + 3.0 * (EXACT(X, T, COND) - EXACT(X, T))
    assert torch.allclose(out, expected, atol=1e-12)
    assert (count.calls, count.rows) == (1, 12)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_without_a_condition_a_weight_that_does_not_guide_is_the_plain_denoiser(weight):
    out, count = evaluate(weight, cond=None)
    assert torch.equal(out, EXACT(X, T))
    assert count.rows == 6


def test_without_a_condition_a_weight_that_guides_is_refused():
    with pytest.raises(ValueError, match="of weight 3 needs a condition"):
        evaluate(3.0, cond=None)


def test_rows_do_not_see_each_other():
    together, _ = evaluate(2.5)
    alone = torch.cat(
        [evaluate(2.5, COND.index(slice(i, i + 1)), X[i : i + 1], T[i : i + 1])[0] for i in range(6)]
    )
    assert torch.allclose(together, alone, atol=1e-12)


def test_a_changed_condition_is_not_answered_from_the_last_one():
    guided, other = ClassifierFree(EXACT, 2.0), Condition.vector(1 - COND.signals["vector"])
    first = guided(X, T, COND)
    assert not torch.allclose(first, guided(X, T, other))
    assert torch.equal(first, guided(X, T, COND))


def test_interval_is_plain_outside_and_costs_nothing_there():
    level = EXACT.process.noise_level(T)
    low, high = float(level[1]), float(level[3])
    out, _ = evaluate(interval(4.0, low, high))
    inside = torch.tensor([False, False, True, True, False, False])  # low < level <= high
    guided, plain = evaluate(4.0)[0], EXACT(X, T, COND)
    assert torch.allclose(out[inside], guided[inside], atol=1e-12)
    assert torch.allclose(out[~inside], plain[~inside], atol=1e-12)
    _, count = evaluate(interval(4.0, 1e4, 2e4))
    assert count.rows == 6


def test_a_schedule_sees_noise_levels_not_steps():
    seen = []

    def schedule(level):
        seen.append(level)
        return 1 + level

    out, _ = evaluate(schedule)
    level = EXACT.process.noise_level(T)
    expected = EXACT(X, T) + (1 + level)[:, None] * (EXACT(X, T, COND) - EXACT(X, T))
    assert torch.allclose(out, expected, atol=1e-12)
    assert torch.equal(seen[0], level)


def test_the_guided_score_is_the_tilted_density():
    """grad log p(x) + w (grad log p(x|c) - grad log p(x)) = grad log p(x) p(c|x)^w."""
    from windvane.convert import score_from_x0

    weight = 2.7
    x = X.clone().requires_grad_(True)
    chosen = EXACT.class_log_prob(x, T).gather(1, COND.signals["vector"][:, None])[:, 0]
    (tilted,) = torch.autograd.grad((EXACT.log_prob(x, T) + weight * chosen).sum(), x)
    assert torch.allclose(score_from_x0(EXACT.process, X, evaluate(weight)[0], T), tilted, atol=1e-9)


def test_the_guided_law_on_gaussians():
    """p(x) = N(0, a), p(x|c) = N(m, b): the tilted law p(x)^(1-w) p(x|c)^w is Gaussian again.

    At the noise level of the tilt itself the guided score must be that Gaussian's score.
    """
    a, b, m, w = 2.0, 0.5, 1.5, 3.0
    process = EDM(sigma_max=10)
    t = torch.full((5,), 0.04, dtype=torch.float64)
    s2 = float(process.sigma(t[0]) ** 2)
    x = torch.linspace(-3, 3, 5, dtype=torch.float64)[:, None]

    def two(x_t, times, cond):
        plain = x_t * a / (a + s2)
        conditional = m + (x_t - m) * b / (b + s2)
        return torch.where(cond.present["vector"][:, None], conditional, plain)

    guided = ClassifierFree(FunctionDenoiser(two, process), w)(x, t, Condition.vector(torch.zeros(5).long()))
    precision = (1 - w) / (a + s2) + w / (b + s2)
    mean = w * m / (b + s2) / precision
    assert torch.allclose((guided - x) / s2, -precision * (x - mean), atol=1e-9)


def test_refusals():
    with pytest.raises(ValueError, match="nan"):
        constant(float("nan"))
    with pytest.raises(ValueError, match="high of a guidance interval must be a number > 2, got 1.0"):
        interval(3.0, 2.0, 1.0)
