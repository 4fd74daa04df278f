"""Weights at the edges: where alpha = 0, and where a maximum is taken so far."""

import math

import pytest
import torch

from windvane.energies import Reward
from windvane.guidance import Guide, Shaped, VarianceAndSine
from windvane.guidance.step_weights import Step
from windvane.process import VPCosine

from .guided_cases import scalar

GOOD = Reward(lambda x: -x.square().sum(1), name="good")


class Ending(VPCosine):
    """A process whose alpha reaches 0 at t = 1."""

    def alpha(self, t):
        return torch.where(torch.as_tensor(t) == 1, 0.0, super().alpha(t))


def step_of(k, variances, process=VPCosine()):  # noqa: B008 (frozen)
    """Step k of an even grid whose steps have these variances."""
    times = torch.linspace(1, 0, len(variances) + 1, dtype=torch.float64).tolist()
    stds = {t: v**0.5 for t, v in zip(times, variances)}
    t, s = scalar(times[k]), scalar(times[k + 1])
    return Step(process, t, s, tuple(times), lambda t, s: stds[float(t)])


@pytest.mark.parametrize(
    ("k", "largest"), [(0, 0.04), (1, 0.25), (2, 0.25), (3, 0.36)], ids=lambda value: str(value)
)
def test_elucds_maximum_is_over_the_steps_so_far(k, largest):
    """Their loop keeps the largest variance that it has met, from noise to data."""
    variances = [0.04, 0.25, 0.09, 0.36]
    found = VarianceAndSine(2.0, 0.3)(step_of(k, variances))
    expected = 2 * (variances[k] + 0.3 * largest * math.sin(math.pi * (1 - k / 4)))
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("push", ["score", "x0", "state"])
@pytest.mark.parametrize(
    "weight", [0.5, lambda level: 0.5 + 0 * level.clamp(max=1)], ids=["number", "schedule"]
)
def test_no_weight_where_nothing_of_the_data_is_in_x(push, weight):
    times = torch.tensor([1.0, 0.5], dtype=torch.float64)
    guide = Guide(GOOD, weight, push=push)
    found = guide.weights(Ending(), times, None)
    assert found.tolist() == [0.0, 0.5]
    assert guide.factors(Ending(), times, found)[0] == 0


def test_a_schedule_may_be_undefined_where_no_guide_acts():
    times = torch.tensor([1.0, 0.5, 0.1], dtype=torch.float64)
    undefined = Guide(
        GOOD, lambda level: torch.where(level < 0.5, torch.nan, level - level + 1), window=(0.5, 9)
    )
    assert undefined.weights(Ending(), times, None).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("carried", [False, True])
def test_tfgs_weight_is_zero_where_alpha_is_and_hides_no_other_nan(carried):
    shaped = Shaped(0.5, "increase", carried)
    assert shaped(step_of(0, [1.0] * 4, Ending())) == 0
    assert shaped(step_of(1, [1.0] * 4, Ending())) > 0
    with pytest.raises(ValueError, match="finite, got Shaped"):
        Guide(GOOD, Shaped(math.nan), push="state")
    assert math.isnan(Shaped(math.nan)(step_of(1, [1.0] * 4)))
