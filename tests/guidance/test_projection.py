"""Projection of the prediction onto a measurement, alone, kept in a range, repeated, and mixed."""

import warnings

import pytest
import torch

from windvane.conditions import Condition
from windvane.energies import Reward
from windvane.exact import GaussianDenoiser
from windvane.guidance import Projected, presets
from windvane.guidance.guided_sampler import derived_noise
from windvane.operators import FunctionOperator, Inpainting, Matrix, Stacked
from windvane.samplers import DDIM, sample

from .guided_cases import A_S, A_T, MODEL, PROCESS, S_S, S_T, T, X, Z, ddim, eps_of, normal, step

OPERATOR = Matrix(normal(2, 3, seed=5))
Y = OPERATOR(normal(1, 3, seed=6))


def draw(sampler, model=MODEL, n=3, steps=6, **settings):
    return sample(
        model, seeds=3, n=n, sampler=sampler, steps=steps, dtype=torch.float64, progress=False, **settings
    )


def test_projection_puts_the_measured_part():
    with torch.no_grad():
        out, plain = Projected(MODEL, OPERATOR, Y)(X, T.expand(4)), MODEL(X, T.expand(4))
        assert torch.allclose(OPERATOR(out), Y.expand(4, -1), atol=1e-9)
        half = Projected(MODEL, OPERATOR, Y, 0.5)(X, T.expand(4))
        assert torch.allclose(half, (out + plain) / 2, atol=1e-9)
        assert torch.equal(Projected(MODEL, OPERATOR, Y, 0.0)(X, T.expand(4)), plain)
    drawn = draw(DDIM(), Projected(MODEL, OPERATOR, Y))
    assert torch.allclose(OPERATOR(drawn.x), Y.expand(3, -1), atol=1e-9) and drawn.calls == 6
    ahead = Reward(lambda x: -(x - 1).square().sum(1))
    both = draw(presets.steered(ahead, 0.2).sampler(DDIM()), Projected(MODEL, OPERATOR, Y))
    assert torch.allclose(OPERATOR(drawn.x), Y.expand(3, -1), atol=1e-9)
    assert ahead(both.x).mean() > ahead(drawn.x).mean()


def test_inpainting_is_written_out():
    """Inpainting as Steered Diffusion writes it: D m + y (1 - m), eps recomputed."""
    known = torch.tensor([1, 0, 1])
    y = normal(1, 3, seed=4) * known
    d = MODEL(X, T.expand(4))
    steered = d * (1 - known) + y
    mean, std = ddim(X, steered, eps_of(X, steered), eta=1.0)
    out = step(presets.repeated(1), DDIM(eta=1.0), model=Projected(MODEL, Inpainting(known), y))
    assert torch.allclose(out, mean + std * Z, atol=1e-12)


@pytest.mark.parametrize("link", [0.0, 0.2], ids=["independent", "correlated"])
def test_gaussian_data_are_restored_exactly_or_with_the_documented_bias(link):
    """x0 ~ N(m, C), the first value known as y: the others are then N(m_u + C_uk (y - m_k) / C_kk,
    C_uu - C_uk C_ku / C_kk). The projection is their denoiser where known and unknown are independent;
    else it leaves the unknown ones to what x_t says of them, without y."""
    m = torch.tensor([0.2, -0.4, 0.1], dtype=torch.float64)
    c = torch.diag(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))
    c[0, 1:] = c[1:, 0] = link
    y = torch.tensor([[0.9, 0.0, 0.0]], dtype=torch.float64)
    prior = GaussianDenoiser(m, c, PROCESS)
    shifted = m[1:] + c[1:, 0] * (y[0, 0] - m[0]) / c[0, 0]
    rest = GaussianDenoiser(shifted, c[1:, 1:] - torch.outer(c[1:, 0], c[0, 1:]) / c[0, 0], PROCESS)
    times = T.expand(4)
    out = Projected(prior, Inpainting(torch.tensor([1, 0, 0])), y)(X, times)
    assert torch.allclose(out[:, 0], y[:, 0].expand(4))
    assert torch.allclose(out[:, 1:], prior(X, times)[:, 1:])
    assert torch.allclose(out[:, 1:], rest(X[:, 1:], times), atol=1e-9) == (link == 0)


def test_repeated_steps_are_renoised_in_between():
    """N = 3 of Steered Diffusion with the renoising that keeps the marginal, written out."""
    model, x = Projected(MODEL, OPERATOR, Y), X
    for k in range(3):
        d = MODEL(x, T.expand(4))
        d = d + OPERATOR.pinv(Y - OPERATOR(d))
        mean, std = ddim(x, d, eps_of(x, d), eta=1.0)
        x_s = mean + std * (Z if k == 0 else derived_noise(Z, 2 * k))
        ratio = A_T / A_S
        x = ratio * x_s + (S_T**2 - ratio**2 * S_S**2) ** 0.5 * derived_noise(Z, 2 * k + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.allclose(step(presets.repeated(3), DDIM(eta=1.0), model=model), x_s, atol=1e-12)
        out = draw(presets.repeated(3).sampler(DDIM(eta=1.0)), model)
    assert out.calls == 3 * 6 and torch.allclose(OPERATOR(out.x), Y.expand(3, -1), atol=1e-9)
    plain = draw(presets.repeated(1).sampler(DDIM()), MODEL)
    assert torch.equal(plain.x, draw(DDIM()).x)


def test_within_a_range_both_are_met():
    """A truth in the range exists, so the alternating projections find a point that is in it and measured."""
    truth = normal(4, 3, seed=7).clamp(-1, 1)
    y = OPERATOR(truth)
    with torch.no_grad():
        plain = Projected(MODEL, OPERATOR, y)(3 * X, T.expand(4))
        kept = Projected(MODEL, OPERATOR, y, within=(-1.0, 1.0), rounds=500)(3 * X, T.expand(4))
    assert plain.abs().max() > 1.05
    assert kept.abs().max() < 1 + 1e-6
    assert torch.allclose(OPERATOR(kept), y, atol=1e-9)


def test_a_range_and_a_weight_are_written_out():
    """Two rounds by hand: clamp, then measure, so that the last word is the measurement's; w of the way."""
    with torch.no_grad():
        d = MODEL(3 * X, T.expand(4))
        found = d
        for _ in range(2):
            inside = found.clamp(-0.2, 0.3)
            found = inside + OPERATOR.pinv(Y - OPERATOR(inside))
        for weight in (1.0, 0.25):
            made = Projected(MODEL, OPERATOR, Y, weight, within=(-0.2, 0.3), rounds=2)(3 * X, T.expand(4))
            assert torch.allclose(made, d + weight * (found - d), atol=1e-12)
        assert (found - found.clamp(-0.2, 0.3)).abs().max() > 0.01, "the range alone would be another point"


def test_measurements_of_each_sample_travel_in_the_condition():
    y = OPERATOR(normal(5, 3, seed=8))
    whole = draw(DDIM(), Projected(MODEL, OPERATOR, y), n=5).x
    cond = Condition({"measured": y})
    assert torch.allclose(
        draw(DDIM(), Projected(MODEL, OPERATOR, "measured"), n=5, cond=cond, batch_size=2).x, whole
    )


def test_stacked_conditions_are_met_together():
    both = Stacked([OPERATOR, Inpainting(torch.tensor([0, 1, 0]))], (3,))
    truth = normal(1, 3, seed=9)
    out = draw(DDIM(), Projected(MODEL, both, both(truth))).x
    assert torch.allclose(out, truth.expand(3, -1), atol=1e-7)  # three equations for three numbers


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Projected(MODEL, FunctionOperator(torch.sin, linear=False), Y), "linear operator"),
        (lambda: Projected(MODEL, OPERATOR, Y / 0), "NaN or infinity"),
        (lambda: Projected(MODEL, OPERATOR, Y, within=(1.0, 0.0)), "low < high"),
        (lambda: Projected(MODEL, OPERATOR, Y, rounds=0), "at least 1"),
        (lambda: Projected(MODEL, OPERATOR, Y[:, :1])(X, T.expand(4)), r"shape \(1,\) a row.*gives \(2,\)"),
        (lambda: Projected(MODEL, OPERATOR, Y.expand(3, -1))(X, T.expand(4)), "3 target rows for 4"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
