"""What a call asks for: conditions, clipping, dtype, starts, grids, and what is refused."""

import pytest
import torch

from tests.samplers.cases import PROCESSES, SAMPLERS, gaussian, mixture, name, small
from windvane import grids
from windvane.conditions import Condition
from windvane.denoiser import FunctionDenoiser
from windvane.exact import GaussianMixtureDenoiser
from windvane.process import EDM, RectifiedFlow, VPLinear
from windvane.randomness import noise_for
from windvane.samplers import (
    DDPM,
    DPMSolverPP,
    DPMSolverSDE,
    DPMSolverSinglestep,
    Euler,
    UniPC,
    default_grid,
    sample,
    start_from,
)

QUIET = {"progress": False}


def test_one_condition_row_serves_all_and_other_numbers_are_refused():
    model = GaussianMixtureDenoiser([0.5, 0.5], [[-3.0], [3.0]], [0.1, 0.1], VPLinear(), classes=[0, 1])
    one = sample(model, seeds=0, n=4, cond=Condition.vector(torch.tensor([1])), steps=10, **QUIET)
    assert (one.x > 2).all()
    each = Condition.vector(torch.tensor([0, 1, 0, 1]))
    assert (sample(model, seeds=0, cond=each, steps=10, batch_size=3, **QUIET).x.flatten() > 0).tolist() == [
        0,
        1,
        0,
        1,
    ]
    with pytest.raises(ValueError, match="4 rows for 3 samples"):
        sample(model, seeds=0, n=3, cond=each, **QUIET)


@pytest.mark.parametrize("clip", [0.5, (-0.5, 0.25)])
def test_clipping_clamps_predictions_and_recomputes_the_noise(clip):
    low, high = (-0.5, 0.5) if clip == 0.5 else clip
    model = mixture(VPLinear())
    drawn = sample(model, seeds=0, n=6, steps=5, clip=clip, record=True, dtype=torch.float64, **QUIET)
    path = drawn.trajectory
    assert path.x0.min() == low and path.x0.max() == high
    t, s = drawn.times[:2]
    x, x0 = path.x[0], model(path.x[0], t).clamp(low, high)
    eps = (x - VPLinear().alpha(t) * x0) / VPLinear().sigma(t)
    torch.testing.assert_close(path.x[1], VPLinear().alpha(s) * x0 + VPLinear().sigma(s) * eps)


@pytest.mark.parametrize("clip", [0.0, -1.0, (1.0, 0.5)])
def test_an_empty_clipping_range_is_refused(clip):
    with pytest.raises(ValueError, match="clip needs"):
        sample(mixture(VPLinear()), seeds=0, n=1, clip=clip, **QUIET)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_state_is_kept_in_the_dtype_asked_for(dtype):
    seen = []
    drawn = sample(
        mixture(VPLinear()), seeds=0, n=64, dtype=dtype, sampler=UniPC(), steps=8,
        after_step=lambda info: seen.append((info.x.dtype, info.x0.dtype)), **QUIET,
    )  # fmt: skip
    assert set(seen) == {(dtype, dtype)} and drawn.x.dtype == dtype
    exact = sample(mixture(VPLinear()), seeds=0, n=64, sampler=UniPC(), steps=8, **QUIET).x
    near = (drawn.x.double() - exact.double()).abs().median()
    assert near < (1e-5 if dtype == torch.float64 else 0.05)


@pytest.mark.parametrize("process", PROCESSES, ids=name)
def test_a_start_below_time_one_goes_on_from_there(process):
    model, t = gaussian(process), 0.4
    settings = {"seeds": 4, "n": 3, "sampler": DPMSolverPP(), "dtype": torch.float64, **QUIET}
    begin = start_from(process, model.draw(3, 0).double(), t, 4)
    noise = noise_for([4, 5, 6], 0, (3,), dtype=torch.float64)
    assert torch.equal(
        begin[0], process.perturb(model.draw(3, 0).double(), torch.tensor(t, dtype=torch.float64), noise)
    )
    drawn = sample(model, steps=200, start=begin, **settings)
    assert float(drawn.times[0]) == t and 20 < len(drawn.times) < 200
    torch.testing.assert_close(drawn.x, model.flow(begin[0], t, 0.0), rtol=0, atol=0.01)
    one = sample(model, steps=20, start=(begin[0][:1], t), **settings)
    torch.testing.assert_close(one.x[2], one.x[0])


@pytest.mark.parametrize("t", [0.4, 0.99, 1.0])
def test_a_start_takes_its_grid_from_its_time_down(t):
    grid = grids.log_snr(RectifiedFlow(), 10)  # begins at 0.9933
    drawn = sample(
        mixture(RectifiedFlow()), seeds=0, start=(torch.ones(1, 2), t), grid=grids.log_snr, steps=10, **QUIET
    )
    kept = grid[grid < t][1 if t > grid[0] else 0 :]
    assert drawn.times.tolist() == [t, *kept.tolist()] and drawn.calls <= 10


@pytest.mark.parametrize("process", PROCESSES, ids=name)
def test_rising_times_invert_the_flow(process):
    model = gaussian(process)
    down = process.t_of_log_snr(torch.linspace(-6, 6, 81, dtype=torch.float64))
    settings = {
        "seeds": 0,
        "n": 4,
        "sampler": UniPC(order=3, lower_order_final=False),
        "dtype": torch.float64,
        **QUIET,
    }
    data = model.draw(4, 0).double()
    up = sample(model, grid=down.flip(0), start=(data, float(down[-1])), **settings).x
    torch.testing.assert_close(up, model.flow(data, down[-1], down[0]), rtol=1e-3, atol=1e-3)
    back = sample(model, grid=down, start=(up, float(down[0])), **settings).x
    torch.testing.assert_close(back, data, rtol=0, atol=1e-3)


@pytest.mark.parametrize("process", PROCESSES, ids=name)
def test_the_default_grid_is_the_documented_one(process):
    wanted = grids.uniform
    for sampler in SAMPLERS:
        multistep = isinstance(sampler, (DPMSolverPP, DPMSolverSDE, DPMSolverSinglestep, UniPC))
        if not isinstance(process, RectifiedFlow):
            wanted = grids.log_snr if multistep else grids.edm if isinstance(process, EDM) else grids.uniform
        assert default_grid(process, sampler) is wanted
        drawn = sample(mixture(process), seeds=0, n=1, sampler=sampler, steps=3, **QUIET)
        assert torch.equal(drawn.times, wanted(process, 3))
    assert torch.equal(sample(mixture(process), seeds=0, n=1, grid=grids.quadratic, steps=3, **QUIET).times,
                       grids.quadratic(process, 3))  # fmt: skip


def test_a_plain_function_with_a_process_is_a_denoiser():
    def shrink(x, t):
        return 0.5 * x

    shrink.process = VPLinear()
    x = sample(shrink, seeds=0, n=2, shape=(3,), steps=1, **QUIET).x
    torch.testing.assert_close(x, 0.5 * VPLinear().prior(noise_for([0, 1], 0, (3,))))


def line(*times):
    return torch.tensor(times, dtype=torch.float64)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"grid": line(0.5)}, "at least two times"),
        ({"grid": line(0.5, 0.7, 0.0)}, "fall strictly"),
        ({"grid": line(0.5, 0.5, 0.0)}, "fall strictly"),
        ({"grid": line(1.5, 0.5)}, "0.5 to 1.5"),
        ({"grid": line(float("nan"), 0.5)}, "nan"),
        ({"grid": line(0.1, 0.5)}, "need start"),
        ({"grid": line(0.0, 0.5), "start": (torch.zeros(2, 2), 0.0)}, "sigma"),
        ({"grid": line(0.1, 0.5), "start": (torch.zeros(2, 2), 0.1), "sampler": DDPM()}, "stochastic"),
        ({"grid": line(0.9, 0.0), "start": (torch.zeros(2, 2), 0.5)}, "begin at the start's t=0.5"),
        ({"start": (torch.zeros(3, 2), 0.5)}, "3 rows for 2 samples"),
        ({"start": (torch.zeros(2, 3), 0.5), "shape": (2,)}, r"\(3,\).*\(2,\)"),
        ({"steps": 0}, "got 0"),
        ({"seeds": [1, 2, 3]}, "n=2 does not match the 3 seeds"),
    ],
    ids=range(13),
)
def test_what_does_not_fit_is_refused_with_what_was_received(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        sample(mixture(VPLinear()), **{"seeds": 0, "n": 2, **QUIET, **settings})


def test_a_denoiser_of_unknown_shape_asks_for_one():
    with pytest.raises(ValueError, match="pass shape"):
        sample(FunctionDenoiser(lambda x, t, cond: x, VPLinear()), seeds=0, n=1, **QUIET)
    with pytest.raises(ValueError, match="one seed per row"):
        start_from(VPLinear(), torch.zeros(3, 2), 0.5, [1, 2])


def test_without_a_number_there_are_as_many_samples_as_rows():
    model = small()
    assert len(sample(model, seeds=0, steps=1, **QUIET).x) == 1
    assert len(sample(model, seeds=0, steps=1, cond=Condition.vector(torch.zeros(3)), **QUIET).x) == 3
    assert (
        len(sample(model, seeds=0, steps=1, start=(torch.zeros(2, 1, 2, 2), 0.5), sampler=Euler(), **QUIET).x)
        == 2
    )
