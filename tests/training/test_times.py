import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from windvane.process import EDM, RectifiedFlow, VPCosine, VPLinear
from windvane.training import LogitNormalTimes, LogNormalTimes, UniformTimes, default_times, times_named
from windvane.training.times import TIMES


def keyed(seed=0):
    return torch.Generator().manual_seed(seed)


LAWS = {
    "uniform": (
        UniformTimes(VPLinear(), stratified=False),
        lambda t: stats.uniform(1e-3, 1 - 1e-3).cdf(t),
    ),
    # The range is clipped at 3.4 standard deviations, which these 4000 draws cannot tell from the full law.
    "log-normal": (
        LogNormalTimes(EDM(), stratified=False),
        lambda t: stats.norm(-1.2, 1.2).cdf((80 * t).log()),
    ),
    "log-normal on a VP process": (
        LogNormalTimes(VPCosine(), -0.4, 1.0, stratified=False),
        lambda t: stats.norm(-0.4, 1.0).cdf(VPCosine().noise_level(t).log()),
    ),
    "logit-normal": (
        LogitNormalTimes(RectifiedFlow(), 0.3, 1.1, stratified=False),
        lambda t: stats.norm(0.3, 1.1).cdf(torch.logit(t)),
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_draws_follow_the_law(name):
    sampler, cdf = LAWS[name]
    t = sampler.draw(4000, keyed())
    assert t.dtype == torch.float64 and t.device.type == "cpu"
    assert stats.kstest(torch.as_tensor(cdf(t)).numpy(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("process", [VPLinear(), EDM(), RectifiedFlow()], ids=lambda p: p.kind)
@given(n=st.integers(1, 70), seed=st.integers(0, 2**40))
def test_draws_stay_in_range_and_depend_on_the_generator_only(name, process, n, seed):
    sampler = times_named(name, process)
    before = torch.get_rng_state()
    t = sampler.draw(n, keyed(seed))
    assert torch.equal(before, torch.get_rng_state())
    assert t.shape == (n,) and process.t_min <= t.min() and t.max() <= process.t_max
    assert torch.equal(t, sampler.draw(n, keyed(seed)))


@pytest.mark.parametrize("n", [1, 7, 64])
def test_stratified_draws_hit_every_stratum_once(n):
    process = VPLinear()
    t = times_named("stratified", process).draw(n, keyed(3))
    strata = ((t - process.t_min) / (process.t_max - process.t_min) * n).floor().long()
    assert strata.tolist() == list(range(n))
    # All strata share one offset.
    gaps = t.diff()
    torch.testing.assert_close(gaps, gaps[:1].expand(n - 1), rtol=1e-9, atol=0)


def test_a_stratified_row_chosen_at_random_keeps_the_law():
    sampler = LogNormalTimes(EDM())
    keyed_rows, source = keyed(1), keyed(2)
    t = torch.stack(
        [sampler.draw(8, source)[torch.randint(8, (), generator=keyed_rows)] for _ in range(3000)]
    )
    assert stats.kstest(stats.norm(-1.2, 1.2).cdf((80 * t).log().numpy()), "uniform").pvalue > 0.01


def test_stratified_batches_have_less_variance():
    process = VPCosine()

    def spread(name):
        source, sampler = keyed(4), times_named(name, process)
        means = torch.stack([sampler.draw(64, source).square().mean() for _ in range(200)])
        return float(means.std())

    assert spread("stratified") < spread("uniform") / 7


def test_defaults_by_process():
    assert isinstance(default_times(EDM()), LogNormalTimes)
    assert isinstance(default_times(RectifiedFlow()), LogitNormalTimes)
    assert isinstance(default_times(VPCosine()), UniformTimes)
    median = default_times(EDM()).quantile(torch.tensor([0.5], dtype=torch.float64))
    assert math.isclose(float(80 * median), math.exp(-1.2), rel_tol=1e-9)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="log-normal"):
        times_named("lognormal", EDM())
    for law in (LogNormalTimes, LogitNormalTimes):
        with pytest.raises(ValueError, match="std > 0"):
            law(EDM(), std=0.0)
    with pytest.raises(ValueError, match="no state"):
        UniformTimes(EDM()).load_state_dict({"mean": 1})
