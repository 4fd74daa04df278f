"""The oracle itself: closed forms checked against quadrature, autograd and Monte Carlo."""

import pytest
import torch

from tests.test_process import IDS, PROCESSES
from windvane.conditions import Condition
from windvane.convert import score_from_x0, velocity_from_x0
from windvane.exact import GaussianDenoiser, GaussianMixtureDenoiser
from windvane.process import VPCosine, VPLinear

COVARIANCES = [[[1.0, 0.5], [0.5, 1.0]], [[0.1, 0.0], [0.0, 0.2]], [[0.3, -0.1], [-0.1, 0.2]]]
MEANS = [[0.0, 1.0], [2.0, -1.0], [-1.0, -1.0]]


def mixture(process, covariances=COVARIANCES):
    return GaussianMixtureDenoiser([0.3, 0.5, 0.2], MEANS, covariances, process, classes=[0, 1, 1])


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
def test_tweedie_the_score_of_the_density_is_the_score_of_the_mean(process):
    exact = mixture(process)
    x, t = exact.draw(6, 0).double() * 1.5, torch.linspace(0.05, 0.95, 6, dtype=torch.float64)
    cond = Condition.vector(torch.tensor([0, 1, 0, 1, 0, 1])).drop(torch.tensor([0, 0, 0, 0, 1, 1]).bool())
    for c in (None, cond):
        assert torch.allclose(score_from_x0(process, x, exact(x, t, c), t), exact.score(x, t, c), atol=1e-8)


def test_density_and_mean_against_quadrature():
    """One dimension: p_t and E[x0 | x_t] from Bayes' rule on a fine grid."""
    exact = GaussianMixtureDenoiser([0.4, 0.6], [[-1.0], [1.5]], [0.2, 0.05], VPLinear())
    t = torch.tensor(0.35, dtype=torch.float64)
    alpha, sigma = exact.process.alpha(t), exact.process.sigma(t)
    grid = torch.linspace(-6, 6, 200_001, dtype=torch.float64)
    normal = torch.distributions.Normal
    prior = (
        0.4 * normal(-1.0, 0.2**0.5).log_prob(grid).exp() + 0.6 * normal(1.5, 0.05**0.5).log_prob(grid).exp()
    )
    for x in (-1.3, 0.1, 0.9):
        joint = prior * normal(alpha * grid, sigma).log_prob(torch.tensor(x, dtype=torch.float64)).exp()
        evidence = torch.trapezoid(joint, grid)
        mean = torch.trapezoid(joint * grid, grid) / evidence
        x_t = torch.tensor([[x]], dtype=torch.float64)
        assert exact.log_prob(x_t, t).item() == pytest.approx(evidence.log().item(), abs=1e-7)
        assert exact(x_t, t).item() == pytest.approx(mean.item(), abs=1e-7)


def test_classes_are_the_mixture_of_their_components():
    """p(x) = sum_c p(c) p(x | c) and p(c | x) by Bayes' rule."""
    exact = mixture(VPCosine())
    x, t = exact.draw(5, 3).double(), 0.4
    per_class = torch.stack(
        [exact.log_prob(x, t, Condition.vector(torch.full((5,), c))) for c in range(2)], dim=1
    )
    joint = per_class + torch.tensor([0.3, 0.7], dtype=torch.float64).log()
    assert torch.allclose(joint.logsumexp(1), exact.log_prob(x, t))
    assert torch.allclose(joint.log_softmax(1), exact.class_log_prob(x, t))


def test_ids_and_one_hot_and_soft_weights():
    exact = mixture(VPLinear())
    x, t = exact.draw(4, 0), torch.full((4,), 0.3)
    ids = torch.tensor([0, 1, 1, 0])
    one_hot = torch.nn.functional.one_hot(ids, 2).float()
    assert torch.equal(exact(x, t, Condition.vector(ids)), exact(x, t, Condition.vector(one_hot)))
    everything = torch.ones(4, 2)
    assert torch.allclose(exact(x, t, Condition.vector(everything)), exact(x, t))


def test_draws_have_the_laws_moments_and_do_not_depend_on_the_batch():
    exact = mixture(VPLinear())
    x = exact.draw(40_000, 7).double()
    weights = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
    means, covariances = torch.tensor(MEANS).double(), torch.tensor(COVARIANCES).double()
    mean = weights @ means
    second = torch.einsum("k,kij->ij", weights, covariances + means[:, :, None] * means[:, None, :])
    assert torch.allclose(x.mean(0), mean, atol=0.03)
    assert torch.allclose(x.T @ x / len(x), second, atol=0.06)
    assert torch.equal(exact.draw(5, 7), exact.draw(9, 7)[:5])
    share = torch.bincount(exact.draw_components(40_000, 7)).double() / 40_000
    assert torch.allclose(share, weights, atol=0.01)


@pytest.mark.parametrize("form", ["isotropic", "diagonal"])
def test_short_covariances_equal_full_ones(form):
    short = [0.5, 0.1, 0.2] if form == "isotropic" else [[0.5, 0.2], [0.1, 0.3], [0.2, 0.2]]
    full = [torch.diag(torch.tensor(v).double().expand(2)) for v in short]
    a, b = mixture(VPLinear(), short), mixture(VPLinear(), torch.stack(full))
    x, t = a.draw(5, 0), torch.linspace(0.1, 0.9, 5)
    assert torch.allclose(a(x, t), b(x, t), atol=1e-6)


@pytest.mark.parametrize("process", PROCESSES[:4], ids=IDS[:4])
def test_flow_solves_the_probability_flow_equation(process):
    exact = GaussianDenoiser([0.5, -1.0], COVARIANCES[0], process)
    x, t = torch.tensor([[0.4, 1.1]], dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    h = 1e-5
    slope = (exact.flow(x, t, t + h) - exact.flow(x, t, t - h)) / (2 * h)
    velocity = velocity_from_x0(process, x, exact(x, t), t)
    assert torch.allclose(slope, velocity, rtol=1e-5, atol=1e-5)
    there = exact.flow(x, t, 0.1)
    assert torch.allclose(exact.flow(there, 0.1, t), x)


def test_gradients_reach_the_state():
    exact = mixture(VPLinear())
    x = exact.draw(3, 0).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda v: exact(v, torch.full((3,), 0.4)), x)


def test_refusals():
    exact = mixture(VPLinear())
    x, t = exact.draw(2, 0), torch.full((2,), 0.3)
    with pytest.raises(ValueError, match="0..1"):
        exact(x, t, Condition.vector(torch.tensor([0, 2])))
    with pytest.raises(ValueError, match="classes"):
        GaussianDenoiser([0.0, 0.0], 1.0, VPLinear())(x, t, Condition.vector(torch.tensor([0, 0])))
    with pytest.raises(ValueError, match="semi-definite"):
        GaussianDenoiser([0.0, 0.0], [1.0, -1.0], VPLinear())
    with pytest.raises(ValueError, match="dimensions"):
        GaussianDenoiser([0.0, 0.0], 1.0, VPLinear(), shape=(3,))
