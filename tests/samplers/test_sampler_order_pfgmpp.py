"""Convergence orders on PFGM++, where the flow of points on a line is known: it keeps quantiles."""

import pytest
import torch

from tests.samplers.cases import even_log_snr, name, run
from tests.samplers.test_sampler_order import ORDERS, exact_history, slope
from windvane.point_set import PointsDenoiser
from windvane.process import PFGMPP
from windvane.samplers import BoundDenoiser, EVODiff

PROCESS = PFGMPP(dof=2.0, sigma_max=80.0, sigma_min=0.002)
POINTS = torch.tensor([[-1.0], [0.2], [1.5]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)


class Line(PointsDenoiser):
    """Weighted points on a line, and their exact flow for two degrees of freedom."""

    def __init__(self):
        super().__init__(POINTS, PROCESS, weights=WEIGHTS)

    def below(self, x, t):
        """P(x_t <= x): the mean of the Student-t distribution functions 1/2 + z / (2 sqrt(2 + z^2))."""
        z = (x - POINTS.T) / float(PROCESS.sigma(t))
        return ((0.5 + z / (2 * (2 + z**2).sqrt())) * WEIGHTS).sum(1, keepdim=True)

    def flow(self, x, t, s):
        """The point at time s with as much of the law below it as x has at time t, by bisection."""
        share = self.below(x, t)
        low, high = torch.full_like(x, -1e4), torch.full_like(x, 1e4)
        for _ in range(100):
            middle = (low + high) / 2
            under = self.below(middle, s) < share
            low, high = torch.where(under, middle, low), torch.where(under, high, middle)
        return (low + high) / 2


def error(sampler, steps):
    model, times = Line(), even_log_snr(PROCESS, steps, -3.0, 1.5)
    x = torch.linspace(-9, 9, 7, dtype=torch.float64)[:, None]
    state = exact_history(sampler, model, x, times)
    end, _ = run(sampler, BoundDenoiser(model), x, times, state)
    return float((end - model.flow(x, times[0], times[-1])).norm())


@pytest.mark.parametrize(
    ("sampler", "order"), ORDERS, ids=lambda case: name(case) if case not in range(9) else ""
)
def test_the_measured_order_is_the_theoretical_one(sampler, order):
    steps = (96, 144, 216)
    assert slope(steps, [error(sampler, n) for n in steps]) == pytest.approx(order, abs=0.1)


def test_evodiff_converges():
    steps = (96, 144, 216, 324)
    found = [error(EVODiff(lower_order_final=False), n) for n in steps]
    assert 0.8 < slope(steps, found) < 1.6
    assert found[-1] < 0.02


def test_the_quantiles_of_the_prior_become_those_of_the_data():
    """The oracle itself: far down, each point holds its weight."""
    model, t = Line(), PROCESS.t_of_noise_level(torch.tensor(20.0, dtype=torch.float64))
    s = PROCESS.t_of_noise_level(torch.tensor(0.002, dtype=torch.float64))
    share = torch.linspace(0.005, 0.995, 200, dtype=torch.float64)[:, None]
    wide = torch.linspace(-3000, 3000, 2_000_001, dtype=torch.float64)[:, None]
    x = wide[torch.searchsorted(model.below(wide, t)[:, 0], share[:, 0])]
    nearest = (model.flow(x, t, s) - POINTS.T).abs().argmin(1)
    torch.testing.assert_close(torch.bincount(nearest).double() / 200, WEIGHTS, rtol=0, atol=0.011)
