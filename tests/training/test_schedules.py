"""Learning-rate schedules in closed form."""

import math

import pytest

from windvane.training.schedules import check_schedule, learning_rate


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_the_warm_up_is_a_line_and_ends_at_the_rate(schedule):
    rates = [learning_rate(k, 2.0, 4, schedule, 20) for k in range(4)]
    assert rates == [0.5, 1.0, 1.5, 2.0]


def test_a_constant_rate_stays():
    assert {learning_rate(k, 0.3, 0) for k in range(50)} == {0.3}


@pytest.mark.parametrize("warmup", [0, 1])
def test_a_line_ends_one_step_before_zero(warmup):
    rates = [learning_rate(k, 1.0, warmup, "linear", 10) for k in range(10)]
    assert rates == pytest.approx([1 - k / 10 for k in range(10)])


def test_a_cosine_is_half_in_the_middle():
    rates = [learning_rate(k, 1.0, 5, "cosine", 20) for k in range(4, 20)]
    assert rates == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 16)) for k in range(16)])
    assert rates[8] == pytest.approx(0.5)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_training_within_its_warm_up_only_warms_up(schedule):
    assert [learning_rate(k, 1.0, 10, schedule, 4) for k in range(4)] == [0.1, 0.2, 0.3, 0.4]


def test_an_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="unknown learning-rate schedule 'exponential'; known: constant"):
        check_schedule("exponential")
