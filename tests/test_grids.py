"""Grids: ends, order and the law each one is named for."""

import pytest
import torch

from tests.test_process import IDS, PROCESSES
from windvane.grids import edm, grid_named, log_snr, quadratic, uniform
from windvane.process import EDM, RectifiedFlow, VPLinear
from windvane.registry import known_names


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
@pytest.mark.parametrize("name", known_names("grid"))
@pytest.mark.parametrize("steps", [1, 2, 13])
def test_descends_to_zero_in_as_many_steps_as_asked(process, name, steps):
    times = grid_named(name)(process, steps)
    assert times.dtype == torch.float64
    assert len(times) == steps + 1
    assert times[-1] == 0
    assert (times[1:] < times[:-1]).all()
    assert times[0] <= 1


def test_uniform_and_quadratic():
    assert torch.allclose(uniform(VPLinear(), 4), torch.tensor([1, 0.75, 0.5, 0.25, 0], dtype=torch.float64))
    assert torch.allclose(quadratic(VPLinear(), 4), uniform(VPLinear(), 4) ** 2)


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
def test_log_snr_grid_is_uniform_in_log_snr(process):
    gaps = process.log_snr(log_snr(process, 9)[:-1]).diff()
    assert torch.allclose(gaps, gaps[0].expand(8), rtol=1e-6)


def test_edm_grid_is_the_papers():
    steps, low, high, rho = 18, 0.002, 80.0, 7
    i = torch.arange(steps, dtype=torch.float64)
    ends = (high ** (1 / rho), low ** (1 / rho))
    expected = (ends[0] + i / (steps - 1) * (ends[1] - ends[0])) ** rho
    process = EDM()
    assert torch.allclose(process.sigma(edm(process, steps))[:-1], expected, rtol=1e-9)


def test_infinite_noise_at_the_start_is_replaced():
    process = RectifiedFlow()
    assert process.noise_level(edm(process, 5)[0]).item() == pytest.approx(80)
    assert process.log_snr(log_snr(process, 5)[0]).item() == pytest.approx(-10)


def test_no_steps_is_refused():
    with pytest.raises(ValueError, match="got 0"):
        uniform(VPLinear(), 0)


@pytest.mark.parametrize("sigma_max", [20.0, 30.0, 47.0, 80.0])
def test_no_rounding_leads_above_the_process(sigma_max):
    process = EDM(sigma_max=sigma_max, sigma_min=0.02)
    grids = [grid_named(name) for name in known_names("grid")]
    assert all(float(grid(process, steps)[0]) <= 1 for grid in grids for steps in (1, 7, 40))
