import math

import pytest
import torch

from windvane.training.meter import LEVELS, Meter

CPU = torch.device("cpu")


def same(values):
    return values


def filled(steps, meter=None, begin=0):
    meter = meter or Meter(CPU)
    for step in range(begin, begin + steps):
        keyed = torch.Generator().manual_seed(step)
        log_snr = 12 * torch.randn(5, generator=keyed).double()
        meter.add(step, torch.rand(5, generator=keyed), log_snr, torch.rand((), generator=keyed))
    return meter


def summing(meters):
    """The sum over processes, each with its own meter."""
    totals = torch.stack([torch.stack([m._sums, m._counts]) for m in meters]).sum(0)
    return lambda values: totals


def test_losses_are_averaged_overall_and_by_noise_level():
    meter = Meter(CPU)
    meter.add(0, torch.tensor([1.0, 2.0]), torch.tensor([-7.0, 0.5], dtype=torch.float64), torch.tensor(3.0))
    meter.add(1, torch.tensor([4.0, 9.0]), torch.tensor([1.5, 100.0], dtype=torch.float64), torch.tensor(5.0))
    row = meter.report(same)
    assert row["loss"] == 4.0 and row["grad_norm"] == 4.0 and row["grad_norm_max"] == 5.0
    levels = [row[f"loss_log_snr_{level}"] for level in LEVELS]
    assert levels[0] == 1.0 and levels[2] == 3.0 and levels[4] == 9.0
    assert math.isnan(levels[1]) and math.isnan(levels[3])


def test_a_report_starts_afresh():
    meter = filled(3)
    meter.report(same)
    meter.add(9, torch.tensor([2.0]), torch.zeros(1, dtype=torch.float64), torch.tensor(1.0))
    assert meter.report(same)["loss"] == 2.0


def test_infinite_log_snr_has_a_bin():
    meter = Meter(CPU)
    ends = torch.tensor([math.inf, -math.inf], dtype=torch.float64)
    meter.add(0, torch.tensor([1.0, 2.0]), ends, torch.tensor(1.0))
    row = meter.report(same)
    assert row[f"loss_log_snr_{LEVELS[-1]}"] == 1.0 and row[f"loss_log_snr_{LEVELS[0]}"] == 2.0


@pytest.mark.parametrize("cut", [1, 4, 6])
def test_saving_in_between_changes_no_digit(cut):
    whole = filled(7).report(same)
    state = filled(cut).state_dict(same)
    restored = Meter(CPU)
    restored.load_state_dict(state, main=True)
    assert filled(7 - cut, restored, begin=cut).report(same) == whole


def test_sums_of_all_processes_count_once_after_a_resume():
    before = [filled(2), filled(3, begin=10)]
    state = before[0].state_dict(summing(before))
    after = [Meter(CPU), Meter(CPU)]
    for rank, meter in enumerate(after):
        meter.load_state_dict(state, main=rank == 0)
    for meters in (before, after):
        filled(2, meters[0], begin=20)
        filled(1, meters[1], begin=30)
    expected = before[0].report(summing(before))["loss"]
    assert after[0].report(summing(after))["loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss, norm", [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_the_first_bad_step_is_remembered(loss, norm):
    meter = filled(2)
    assert meter.bad_step() is None
    level = torch.zeros(1, dtype=torch.float64)
    meter.add(2, torch.tensor([loss]), level, torch.tensor(norm))
    assert meter.bad_step() == 2
