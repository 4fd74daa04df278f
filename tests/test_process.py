"""Processes: schedules against their definitions, inverse maps, re-noising."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windvane.process import (
    EDM,
    PFGMPP,
    RectifiedFlow,
    VPCosine,
    VPLinear,
    VPTable,
    expand,
    process_from_config,
    require_gaussian,
)

TABLE = VPTable([math.exp(-0.01 * (k + 1) ** 1.5) for k in range(100)])
PROCESSES = [VPLinear(), VPCosine(), EDM(), RectifiedFlow(), TABLE]
IDS = [p.kind for p in PROCESSES]
times = st.floats(1e-3, 1 - 1e-3).map(lambda t: torch.tensor(t, dtype=torch.float64))


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
def test_no_noise_on_data(process):
    zero = torch.zeros(1, dtype=torch.float64)
    assert process.sigma(zero).item() == 0
    assert process.alpha(zero).item() == 1


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
@given(t=times)
def test_time_noise_and_log_snr_are_inverse_maps(process, t):
    for back in (
        process.t_of_log_snr(process.log_snr(t)),
        process.t_of_sigma(process.sigma(t)),
        process.t_of_noise_level(process.noise_level(t)),
    ):
        assert abs(back.item() - t.item()) < 1e-9


@pytest.mark.parametrize("process", [VPLinear(), VPCosine(), TABLE], ids=lambda p: p.kind)
@given(t=times)
def test_variance_preserving(process, t):
    assert (process.alpha(t) ** 2 + process.sigma(t) ** 2).item() == pytest.approx(1, abs=1e-12)


def test_linear_schedule_is_the_integral_of_its_rate():
    process, steps = VPLinear(), 100_000
    t = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps * 0.7
    integral = (0.1 + t * (20 - 0.1)).mean() * 0.7
    assert process.alpha(torch.tensor(0.7, dtype=torch.float64)).item() == pytest.approx(
        math.exp(-0.5 * integral.item()), rel=1e-9
    )


def test_linear_schedule_is_the_limit_of_ddpm():
    from diffusers import DDPMScheduler

    table = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear").alphas_cumprod.double()
    t = (torch.arange(1000, dtype=torch.float64) + 1) / 1000
    assert (VPLinear().alpha(t) ** 2 - table).abs().max() < 3e-3


def test_cosine_schedule_ends_at_its_log_snr():
    one = torch.ones(1, dtype=torch.float64)
    assert VPCosine(lmbda_min=-12.0).log_snr(one).item() == pytest.approx(-12.0, abs=1e-9)


def test_table_holds_its_entries_and_counts_indices():
    t = (torch.arange(100, dtype=torch.float64) + 1) / 100
    expected = torch.tensor(TABLE.alphas_cumprod, dtype=torch.float64)
    assert torch.allclose(TABLE.alpha(t) ** 2, expected, rtol=1e-12)
    assert torch.allclose(TABLE.index(t), torch.arange(100, dtype=torch.float64))


@pytest.mark.parametrize("bad", [[], [1.0, 0.5], [0.5, 0.6], [0.5, 0.0]])
def test_table_refuses_what_is_not_a_schedule(bad):
    with pytest.raises(ValueError, match="alphas_cumprod"):
        VPTable(bad)


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
def test_renoising_has_the_law_of_the_later_time(process):
    """x_t drawn through x_s has the mean and variance of x_t drawn from x0 directly."""
    generator = torch.Generator().manual_seed(0)
    n = 200_000
    x0 = torch.full((n, 1), 0.8, dtype=torch.float64)
    s, t = torch.tensor(0.2, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    first, second = (torch.randn(n, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    x_t = process.renoise(process.perturb(x0, s, first), s, t, second)
    sigma = process.sigma(t).item()
    assert x_t.mean().item() == pytest.approx((process.alpha(t) * 0.8).item(), abs=5 * sigma / n**0.5)
    assert x_t.std().item() == pytest.approx(sigma, rel=0.01)


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
def test_configuration_round_trip(process):
    assert process_from_config(process.to_config()) == process


def test_unknown_configuration_names_the_known():
    with pytest.raises(ValueError, match="vp_linear"):
        process_from_config({"type": "vp_quartic"})


def test_bad_noise_range():
    with pytest.raises(ValueError, match="sigma_max must be a number > 3"):
        EDM(sigma_max=2, sigma_min=3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: VPCosine(lmbda_min=-1e300),
            "lmbda_min of VPCosine must be a number >= -70 and <= 0, got -1e+300",
        ),
        (lambda: VPCosine(lmbda_min=1.0), "<= 0, got 1.0"),
        (lambda: EDM(sigma_max=1e300), "sigma_max must be a number > 0.002 and <= 1e+09, got 1e+300"),
        (lambda: EDM(sigma_min=1e-300), "sigma_min must be a number >= 1e-09"),
        (lambda: PFGMPP(sigma_max=1e300), "<= 1e+09, got 1e+300"),
    ],
)
def test_levels_that_numbers_cannot_tell_apart_are_refused_before_a_training(make, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


def test_perturb_uses_each_rows_time():
    x0, noise = torch.ones(2, 1, 2, 2), torch.full((2, 1, 2, 2), 2.0)
    t = torch.tensor([0.25, 0.5], dtype=torch.float64)
    out = RectifiedFlow().perturb(x0, t, noise)
    assert out.dtype == torch.float32
    assert torch.allclose(out[:, 0, 0, 0], torch.tensor([0.75 + 0.5, 0.5 + 1.0]))


def test_expand_keeps_scalars_scalar():
    x = torch.ones(3, 2, 2)
    assert expand(torch.tensor(2.0, dtype=torch.float64), x).ndim == 0
    assert (expand(torch.arange(3.0), x) * x)[:, 1, 1].tolist() == [0, 1, 2]


def test_gaussian_methods_refuse_other_noise():
    class StudentT(RectifiedFlow):
        gaussian = False

    with pytest.raises(ValueError, match="StudentT"):
        require_gaussian(StudentT(), "renoising")


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
def test_scales_of_one_shared_time_are_the_scales_of_each_row(process):
    """The remembered 0-dim pair and the row-wise pair are the same numbers, also when asked again."""
    one = torch.tensor(0.37, dtype=torch.float64)
    rows = torch.full((4,), 0.37, dtype=torch.float64)
    for t in (one, one.expand(4), one.expand(4), rows[:1]):
        for scalar, each in zip(process.scales(t), (process.alpha(rows), process.sigma(rows))):
            assert scalar.ndim == 0
            assert torch.equal(scalar.expand(4), each)
    mixed = torch.tensor([0.2, 0.8], dtype=torch.float64)
    assert torch.equal(process.scales(mixed)[0], process.alpha(mixed))
    assert process.noise_level(one.expand(4)).shape == process.log_snr(rows[:1].expand(4)).shape == (4,)
    assert process.scales(one.float())[0].dtype == torch.float32


def test_coefficients_of_a_shared_time_are_those_of_rows():
    process = VPCosine()
    x = torch.zeros(3, 2, 2)
    for t in (0.0, 0.3, 1.0):
        shared = torch.tensor(t, dtype=torch.float64)
        rows = torch.tensor([t, 0.5, t], dtype=torch.float64)
        one = process.coefficients("scales", (shared,), x, process.scales)
        many = process.coefficients("scales", (rows,), x, process.scales)
        for alone, together in zip(one, many):
            assert alone.shape == () and together.shape == (3, 1, 1)
            assert alone.dtype == together.dtype == torch.float32
            assert float(alone) == float(together[0]) == float(together[2])
        again = process.coefficients("scales", (shared.expand(3),), x, process.scales)
        assert all(a is b for a, b in zip(one, again))


def test_what_inference_mode_made_serves_no_later_gradient():
    process = VPCosine()
    t, x = torch.tensor(0.3, dtype=torch.float64), torch.ones(2, 2)
    with torch.inference_mode():
        process.coefficients("scales", (t,), x, process.scales)
    x.requires_grad_(True)
    alpha, _ = process.coefficients("scales", (t,), x, process.scales)
    (alpha * x).sum().backward()
    assert torch.equal(x.grad, alpha.expand(2, 2))
