"""Conversions: round trips on every process, and the definitions themselves."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.test_process import IDS, PROCESSES
from windvane.convert import (
    prediction_from_x0,
    score_from_x0,
    velocity_from_x0,
    x0_from_prediction,
)
from windvane.process import RectifiedFlow

X0 = torch.tensor([[0.3, -1.2], [2.0, 0.1]], dtype=torch.float64)
EPS = torch.tensor([[-0.7, 0.4], [0.2, 1.5]], dtype=torch.float64)


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
@pytest.mark.parametrize("kind", ["x0", "eps", "v", "flow", "score"])
@given(t=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)))
def test_round_trip(process, kind, t):
    t = torch.tensor(t, dtype=torch.float64)
    x_t = process.perturb(X0, t, EPS)
    prediction = prediction_from_x0(process, kind, x_t, X0, t)
    assert torch.allclose(x0_from_prediction(process, kind, x_t, prediction, t), X0, atol=1e-7)


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
def test_definitions(process):
    t = torch.tensor([0.3, 0.8], dtype=torch.float64)
    x_t = process.perturb(X0, t, EPS)
    alpha, sigma = process.alpha(t)[:, None], process.sigma(t)[:, None]
    expected = {"eps": EPS, "v": alpha * EPS - sigma * X0, "flow": EPS - X0, "score": -EPS / sigma}
    for kind, value in expected.items():
        assert torch.allclose(prediction_from_x0(process, kind, x_t, X0, t), value, atol=1e-9), kind


@pytest.mark.parametrize("process", PROCESSES[:4], ids=IDS[:4])
def test_velocity_is_the_derivative_of_the_path(process):
    t, h = torch.tensor([0.3, 0.6], dtype=torch.float64), 1e-6
    slope = (process.perturb(X0, t + h, EPS) - process.perturb(X0, t - h, EPS)) / (2 * h)
    velocity = velocity_from_x0(process, process.perturb(X0, t, EPS), X0, t)
    assert torch.allclose(velocity, slope, rtol=1e-6, atol=1e-6)


def test_unknown_kind_lists_the_known():
    with pytest.raises(ValueError, match="flow"):
        x0_from_prediction(RectifiedFlow(), "noise", X0, X0, torch.tensor(0.5))


def test_score_needs_gaussian_noise():
    class StudentT(RectifiedFlow):
        gaussian = False

    with pytest.raises(ValueError, match="score"):
        score_from_x0(StudentT(), X0, X0, torch.tensor(0.5))
