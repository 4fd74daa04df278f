"""Calibration: its formula, the ideal classifier, and the order along a trajectory."""

import pytest
import torch

from windvane.exact import GaussianMixtureDenoiser
from windvane.metrics import calibration_error, trajectory_calibration
from windvane.process import VPCosine


def test_the_error_is_its_formula():
    p = torch.tensor([[0.95, 0.05], [0.92, 0.08], [0.45, 0.55], [0.59, 0.41], [0.58, 0.42]])
    labels = torch.tensor([0, 1, 1, 0, 1])
    # Bins (0.5, 0.6] with 0.55 right, 0.59 right, 0.58 wrong, and (0.9, 1] with 0.95 right, 0.92 wrong.
    expected = (abs(2 - 0.55 - 0.59 - 0.58) + abs(1 - 0.95 - 0.92)) / 5
    assert calibration_error(p, labels, bins=10) == pytest.approx(expected, abs=1e-6)
    assert calibration_error(p, labels, bins=1) == pytest.approx(abs(3 - 3.59) / 5, abs=1e-6)


def test_a_posterior_is_calibrated_and_a_sharpened_one_is_not(generator):
    logits = torch.randn(20000, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    assert calibration_error(logits.softmax(1), labels) < 0.015
    assert calibration_error((3 * logits).softmax(1), labels) > 0.2


PROCESS = VPCosine()
MODEL = GaussianMixtureDenoiser(
    [0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [0.1, 0.1], PROCESS, classes=[0, 1], shape=(2,)
)


def clean(x):
    """The posterior of clean data, which knows no noise."""
    return MODEL.class_log_prob(x, 1e-3)


def test_along_a_trajectory_the_exact_noisy_posterior_is_calibrated_and_the_clean_one_at_x_t_is_not():
    x = MODEL.draw(2000, 0)
    labels = (x[:, 0] > 0).long()
    exact = trajectory_calibration(MODEL.class_log_prob, MODEL, x, labels, input="x_t", timed=True, times=5)
    naive = trajectory_calibration(clean, MODEL, x, labels, input="x_t", times=5)
    assert exact.error < 0.03 < 0.15 < naive.error
    assert exact.times == (0.1, 0.3, 0.5, 0.7, 0.9) and exact.accuracy == pytest.approx(
        sum(exact.accuracies) / 5
    )
    assert list(exact.accuracies) == sorted(exact.accuracies, reverse=True)
    chosen = trajectory_calibration(
        clean, MODEL, x, labels, times=torch.tensor([0.3, 0.5], dtype=torch.float64), batch_size=300
    )
    whole = trajectory_calibration(
        clean, MODEL, x, labels, times=torch.tensor([0.3, 0.5], dtype=torch.float64)
    )
    assert chosen.errors == pytest.approx(whole.errors, abs=1e-9) and chosen.times == (0.3, 0.5)


def test_refusals():
    x, labels = MODEL.draw(4, 0), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="apply softmax"):
        calibration_error(torch.ones(4, 2), labels)
    with pytest.raises(ValueError, match="at least one bin"):
        calibration_error(torch.full((4, 2), 0.5), labels, bins=0)
    with pytest.raises(ValueError, match=r"\(4, 2\) and \(3,\)"):
        calibration_error(torch.full((4, 2), 0.5), labels[:3])
    with pytest.raises(ValueError, match="'x0' or 'x_t', got 'eps'"):
        trajectory_calibration(clean, MODEL, x, labels, input="eps")
    with pytest.raises(ValueError, match="as many labels"):
        trajectory_calibration(clean, MODEL, x, labels[:2])
    with pytest.raises(ValueError, match="at least one time"):
        trajectory_calibration(clean, MODEL, x, labels, times=0)
