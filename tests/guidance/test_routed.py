"""Routed denoisers: who answers when, exactly; nothing lost at the ends; guidance inside and outside."""

import pytest
import torch

from windvane.conditions import Condition
from windvane.current_step import at_step, current_step
from windvane.denoiser import FunctionDenoiser
from windvane.evaluations import count_evaluations
from windvane.exact import GaussianMixtureDenoiser
from windvane.guidance import ClassifierFree
from windvane.guidance.routed import ByLogSNR, ByNoiseLevel, BySteps, ByTime, Routed, count_routes
from windvane.process import EDM, RectifiedFlow, VPCosine, VPLinear
from windvane.samplers import DDIM, DDPM, DPMSolverPP, DPMSolverSinglestep, Heun, UniPC, sample

QUIET = {"progress": False, "dtype": torch.float64}
HALF = BySteps((0.5, 0.5))
PROCESSES = [VPLinear(), VPCosine(), EDM(), RectifiedFlow()]


def exact(process=None, shift=0.0):
    means = [[-1.0 + shift, 0.0], [1.0, 0.5 - shift]]
    return GaussianMixtureDenoiser([0.5, 0.5], means, [0.3, 0.2], process or VPLinear(), classes=[0, 1])


def pair(process=None):
    return [exact(process), exact(process, 0.7)]


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.kind)
@pytest.mark.parametrize("route", [BySteps, ByTime, ByLogSNR])
@pytest.mark.parametrize("sampler", [DDIM(), DDPM(), Heun(), UniPC(), DPMSolverPP()], ids=repr)
def test_shares_of_zero_and_one_are_the_models_alone(sampler, route, process):
    models = pair(process)
    settings = {"seeds": 0, "n": 4, "sampler": sampler, "steps": 7, **QUIET}
    for fractions, alone in (((1.0, 0.0), models[0]), ((0.0, 1.0), models[1])):
        routed = sample(Routed(models, route(fractions)), **settings)
        assert torch.equal(routed.x, sample(alone, **settings).x)
    mixed = sample(Routed(models, route((0.5, 0.5))), **settings).x
    assert all((mixed - sample(m, **settings).x).abs().max() > 1e-9 for m in models)


@pytest.mark.parametrize(
    ("sampler", "per_step"), [(DDIM(), 1), (Heun(), 2), (DPMSolverSinglestep(order=3), 3)], ids=str
)
@pytest.mark.parametrize(("fractions", "steps"), [((0.4, 0.6), 10), ((0.35, 0.25, 0.4), 9), ((0.5, 0.5), 3)])
def test_each_model_takes_its_share_of_the_steps(fractions, steps, sampler, per_step):
    models = [exact(shift=0.1 * k) for k in range(len(fractions))]
    routed = Routed(models, BySteps(fractions))
    with count_routes(routed) as count, count_evaluations() as all_calls:
        sample(routed, seeds=0, n=5, sampler=sampler, steps=steps, **QUIET)
    ends, total = [], 0.0
    for share in fractions:
        total += share
        ends.append(int(total * steps + 0.5 + 1e-9))
    wanted = [(b - a) * per_step for a, b in zip([0, *ends], ends)]
    wanted[-1] -= per_step - 1  # the step to zero noise is one evaluation
    assert count.calls == wanted and count.rows == [5 * calls for calls in wanted]
    assert sum(count.calls) == all_calls.calls


def test_all_evaluations_of_a_step_are_by_its_model():
    """Heun's second evaluation lies at the next step's time; by steps it stays with its step."""
    seen = [[], []]
    models = [
        FunctionDenoiser(lambda x, t, cond, k=k: seen[k].append(float(t[0])) or x / 2, EDM(), shape=(1,))
        for k in range(2)
    ]
    times = sample(Routed(models, BySteps((0.5, 0.5))), seeds=0, n=1, sampler=Heun(), steps=4, **QUIET).times
    assert seen[0] == times[[0, 1, 1, 2]].tolist() and seen[1] == times[[2, 3, 3]].tolist()


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.kind)
def test_switches_lie_where_they_are_said_to(process):
    times = torch.linspace(0.0, 1.0, 401, dtype=torch.float64)
    by_time = ByTime((0.3, 0.2, 0.5))(process, times)
    assert by_time.tolist() == [0 if t >= 0.7 - 1e-9 else 1 if t >= 0.5 - 1e-9 else 2 for t in times.tolist()]
    level = float(process.noise_level(times[200]))
    assert ByNoiseLevel((level,))(process, times).tolist() == [1] * 200 + [0] * 201
    ends = process.log_snr(torch.tensor([process.t_max, process.t_min], dtype=torch.float64))
    first = float(ends[0]) if torch.isfinite(ends[0]) else -10.0
    switch = process.t_of_log_snr(torch.tensor(first + 0.3 * (float(ends[1]) - first), dtype=torch.float64))
    wanted = (times < switch).long()
    assert torch.equal(ByLogSNR((0.3, 0.7))(process, times), wanted)


def test_rows_at_unlike_times_are_split_and_put_together_again():
    models, x = pair(), torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cond = Condition.vector(torch.tensor([0, 1, 0, 1, 0, 1]))
    t = torch.tensor([0.9, 0.1, 0.8, 0.2, 0.05, 0.95], dtype=torch.float64)
    routed = Routed(models, ByTime((0.5, 0.5)))
    with count_routes(routed) as count:
        together = routed(x, t, cond)
    for row in range(6):
        part = slice(row, row + 1)
        alone = models[int(t[row] < 0.5)](x[part], t[part], cond.index(part))
        torch.testing.assert_close(together[part], alone)
    assert (count.calls, count.rows) == ([1, 1], [3, 3])


@pytest.mark.parametrize("route", [BySteps((0.4, 0.6)), ByTime((0.4, 0.6))], ids=str)
def test_guidance_inside_and_outside_are_one(route):
    models, cond = pair(), Condition.vector(torch.tensor([0, 1, 1]))
    outside = ClassifierFree(Routed(models, route), 2.0)
    inside = Routed([ClassifierFree(m, 2.0) for m in models], route)
    settings = {"seeds": 0, "cond": cond, "steps": 10, **QUIET}
    with count_routes(inside) as count:
        drawn = sample(inside, **settings)
    torch.testing.assert_close(sample(outside, **settings).x, drawn.x)
    assert count.rows == [calls * 6 for calls in count.calls] and sum(count.calls) == 10


def test_a_routed_denoiser_is_differentiable():
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    t = torch.tensor([0.9, 0.1, 0.8, 0.2], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(Routed(pair(), ByTime((0.5, 0.5)))(x, t).sum(), x)
    assert (gradient != 0).all()


def test_steps_are_known_inside_the_loop_only():
    assert current_step() is None
    with at_step(2, 5):
        assert current_step() == (2, 5)
        with at_step(0, 3):
            assert current_step() == (0, 3)
        assert current_step() == (2, 5)
    routed = Routed(pair(), BySteps((0.5, 0.5)))
    with pytest.raises(ValueError, match="needs to know the step"):
        routed(torch.zeros(1, 2), torch.tensor(0.5))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (
            lambda: Routed([exact(VPLinear()), exact(EDM())], BySteps((0.5, 0.5))),
            "one process: model 0 has VPL",
        ),
        (lambda: Routed([exact(EDM()), exact(EDM(sigma_max=40.0))], HALF), "one process"),
        (
            lambda: Routed(
                [FunctionDenoiser(lambda x, t, c: x, EDM(), shape=s) for s in ((1, 2), (2,))],
                HALF,
            ),
            "one data shape",
        ),
        (lambda: Routed(pair(), BySteps((1.0,))), "1 models, got 2"),
        (lambda: BySteps((0.5, 0.6)), "add up to 1"),
        (lambda: ByTime((-0.5, 1.5)), "between 0 and 1"),
        (lambda: ByLogSNR(()), "add up to 1"),
        (lambda: ByNoiseLevel((1.0, 2.0)), "falling"),
    ],
    ids=range(8),
)
def test_what_does_not_fit_together_is_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()
