"""The loop: seeds against batch sizes, callbacks, recording, finite values, gradients, modes."""

import pytest
import torch

from tests.samplers.cases import DETERMINISTIC, SAMPLERS, mixture, name, normal, small
from windvane.conditions import Condition
from windvane.denoiser import FunctionDenoiser
from windvane.process import VPLinear
from windvane.randomness import noise_for
from windvane.samplers import (
    DDIM,
    DDPM,
    Heun,
    StopSampling,
    UniPC,
    sample,
    sample_batches,
)

QUIET = {"progress": False}


@pytest.mark.parametrize("sampler", SAMPLERS, ids=name)
def test_the_batch_size_changes_no_sample(sampler):
    model, cond = small(), Condition.vector(normal(64, seed=8, dtype=torch.float32))
    settings = {"sampler": sampler, "steps": 5, "cond": cond, "seeds": 100, "n": 64, **QUIET}
    whole = sample(model, **settings)
    assert whole.x.std(0).min() > 0.01
    for size in (1, 2, 7):
        parts = sample(model, batch_size=size, **settings)
        torch.testing.assert_close(parts.x, whole.x, rtol=1e-4, atol=1e-5)
        assert torch.equal(parts.seeds, whole.seeds) and parts.calls == whole.calls * -(-64 // size)
        assert parts.rows_per_sample == whole.rows_per_sample


@pytest.mark.parametrize("sampler", [DDIM(), DDPM(), Heun(churn=5.0), UniPC()], ids=name)
def test_a_sample_depends_on_its_own_seed_alone(sampler):
    model = small()
    many = sample(model, seeds=10, n=6, sampler=sampler, steps=4, **QUIET)
    few = sample(model, seeds=[15, 11], sampler=sampler, steps=4, **QUIET)
    torch.testing.assert_close(few.x, many.x[[5, 1]], rtol=1e-4, atol=1e-5)
    assert few.seeds.tolist() == [15, 11]
    other = sample(model, seeds=torch.tensor([16]), sampler=sampler, steps=4, **QUIET)
    assert (other.x - few.x[:1]).abs().max() > 1e-3


def test_step_k_draws_from_stream_k_plus_one():
    drawn = []

    class Spy(DDPM):
        def step(self, denoise, x, t, s, state, noise=None):
            drawn.append(noise)
            return super().step(denoise, x, t, s, state, noise)

    sample(small(), seeds=[3, 8], sampler=Spy(), steps=3, **QUIET)
    # Stream 0 made the start.
    assert all(torch.equal(noise, noise_for([3, 8], k + 1, (1, 2, 2))) for k, noise in enumerate(drawn))
    assert len(drawn) == 3


def test_the_global_generator_is_neither_read_nor_moved():
    model, before = small(), torch.random.get_rng_state()
    sample(model, seeds=0, n=3, sampler=DDPM(), steps=3, **QUIET)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_batches_come_one_at_a_time_and_arguments_are_checked_at_once():
    calls = []
    model = FunctionDenoiser(lambda x, t, cond: calls.append(len(x)) or x * 0, VPLinear(), shape=(2,))
    batches = sample_batches(model, seeds=0, n=5, batch_size=2, steps=3, **QUIET)
    assert calls == []
    first = next(batches)
    assert calls == [2, 2, 2] and first.seeds.tolist() == [0, 1]
    assert [batch.seeds.tolist() for batch in batches] == [[2, 3], [4]]
    with pytest.raises(ValueError, match="batch_size"):
        sample_batches(model, seeds=0, n=5, batch_size=0)


@pytest.mark.parametrize("batch_size", [None, 2])
def test_the_trajectory_runs_from_the_start_to_the_sample(batch_size):
    model = mixture(VPLinear())
    drawn = sample(
        model, seeds=0, n=5, steps=4, record=True, batch_size=batch_size, dtype=torch.float64, **QUIET
    )
    path = drawn.trajectory
    assert torch.equal(path.x[-1], drawn.x) and len(path.x) == len(drawn.times) == len(path.x0) + 1
    noise = noise_for(drawn.seeds, 0, (2,), dtype=torch.float64)
    assert torch.equal(path.x[0], VPLinear().prior(noise, drawn.times[0]))
    for k in range(4):
        torch.testing.assert_close(path.x0[k], model(path.x[k], drawn.times[k]))


def test_callbacks_see_each_step_and_may_replace_x():
    seen, model = [], mixture(VPLinear())

    def before(info):
        seen.append(("before", info.index, float(info.t), float(info.s), info.x.clone(), info.x0))
        return torch.zeros_like(info.x) if info.index == 2 else None

    def after(info):
        seen.append(("after", info.index, float(info.t), float(info.s), info.x.clone(), info.x0))
        return info.x + 1 if info.index == 3 else None

    drawn = sample(
        model, seeds=7, n=2, steps=4, before_step=before, after_step=after, dtype=torch.float64, **QUIET
    )
    assert [entry[:2] for entry in seen] == [(when, k) for k in range(4) for when in ("before", "after")]
    times = drawn.times.tolist()
    assert [entry[2:4] for entry in seen[::2]] == list(zip(times[:-1], times[1:]))
    assert seen[0][5] is None and torch.equal(seen[2][4], seen[1][4])
    zero = torch.zeros(2, 2, dtype=torch.float64)
    torch.testing.assert_close(seen[5][5], model(zero, drawn.times[2]))
    torch.testing.assert_close(drawn.x, seen[7][4] + 1)


def test_a_callback_knows_the_rows_it_sees():
    rows = []
    sample(
        small(),
        seeds=5,
        n=3,
        batch_size=2,
        steps=1,
        after_step=lambda info: rows.append(info.seeds.tolist()),
        **QUIET,
    )
    assert rows == [[5, 6], [7]]


@pytest.mark.parametrize("when", ["before_step", "after_step"])
def test_a_callback_may_stop_and_keeps_what_there_is(when):
    def stop(info):
        if info.index == 2 and (info.seeds[0] < 2):
            raise StopSampling

    settings = {"seeds": 0, "n": 4, "steps": 5, "record": True, "dtype": torch.float64, **QUIET}
    whole = sample(mixture(VPLinear()), **settings)
    stopped = sample(mixture(VPLinear()), batch_size=2, **{when: stop}, **settings)
    at = 2 if when == "before_step" else 3
    torch.testing.assert_close(stopped.x[:2], whole.trajectory.x[at, :2])
    torch.testing.assert_close(stopped.x[2:], whole.x[2:])
    assert stopped.calls == at + 5
    # The rows that stopped stay where they are in the record of the others.
    assert torch.equal(stopped.trajectory.x[-1], stopped.x) and len(stopped.trajectory.x) == 6


def test_stopping_at_once_returns_the_start():
    def stop(info):
        raise StopSampling

    drawn = sample(mixture(VPLinear()), seeds=0, n=2, steps=3, record=True, before_step=stop, **QUIET)
    assert torch.equal(drawn.x, drawn.trajectory.x[0]) and len(drawn.trajectory.x0) == drawn.calls == 0


def test_a_replacement_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 2\) to replace x of shape \(3, 2\)"):
        sample(mixture(VPLinear()), seeds=0, n=3, after_step=lambda info: info.x[:1], **QUIET)


def test_a_cached_prediction_is_dropped_when_a_callback_moves_x():
    settings = {"seeds": 0, "n": 2, "steps": 6, "sampler": UniPC(), **QUIET}
    untouched = sample(mixture(VPLinear()), **settings)
    touched = sample(
        mixture(VPLinear()), after_step=lambda info: info.x + 0 if info.index == 2 else None, **settings
    )
    assert (untouched.calls, touched.calls) == (6, 7)


def test_values_that_are_not_finite_are_refused_and_the_step_is_named():
    calls = []

    def breaks(x, t, cond):
        calls.append(1)
        return torch.where(torch.arange(len(x))[:, None] == 1, torch.nan, 0.0) * x if len(calls) == 3 else x

    model = FunctionDenoiser(breaks, VPLinear(), shape=(2,))
    with pytest.raises(FloatingPointError, match=r"DDIM.*step 2 of 5, from t=0.6 .*1 of 3 samples.*\[41\]"):
        sample(model, seeds=40, n=3, steps=5, **QUIET)
    calls.clear()
    assert sample(model, seeds=40, n=3, steps=5, check_finite=False, **QUIET).x.isnan().any()


def test_no_gradient_is_kept_unless_asked_for_and_the_mode_outside_is_untouched():
    model = small()
    drawn = sample(model, seeds=0, n=2, steps=2, **QUIET)
    assert not drawn.x.requires_grad and torch.is_grad_enabled()
    for _ in sample_batches(model, seeds=0, n=4, batch_size=2, steps=2, **QUIET):
        assert torch.is_grad_enabled() and model.training
    with torch.no_grad():
        assert sample(model, seeds=0, n=2, steps=2, grad=True, **QUIET).x.requires_grad
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("sampler", SAMPLERS, ids=name)
def test_gradients_reach_condition_start_and_weights(sampler):
    model = small()
    signal = normal(3, seed=1, dtype=torch.float32).requires_grad_(True)
    begin = normal(3, 1, 2, 2, seed=2, dtype=torch.float32).requires_grad_(True)
    drawn = sample(
        model, seeds=0, n=3, sampler=sampler, steps=4, cond=Condition.vector(signal), start=(begin, 0.8),
        grad=True, batch_size=2, **QUIET,
    )  # fmt: skip
    gradients = torch.autograd.grad(drawn.x.square().sum(), [signal, begin, *model.parameters()])
    assert all(torch.isfinite(g).all() and g.abs().sum() > 0 for g in gradients)


@pytest.mark.parametrize("sampler", DETERMINISTIC, ids=name)
def test_the_gradient_through_all_steps_is_right(sampler):
    model = mixture(VPLinear())

    def end(x):
        return sample(
            model,
            seeds=0,
            n=1,
            sampler=sampler,
            steps=4,
            start=(x, 0.6),
            dtype=torch.float64,
            grad=True,
            **QUIET,
        ).x

    x = normal(1, 2).requires_grad_(True)
    assert torch.autograd.gradcheck(end, (x,), atol=1e-5, rtol=1e-4)


def test_the_network_is_in_evaluation_mode_meanwhile_and_put_back_as_it_was():
    model = small()
    model.network.enter.eval()
    modes = []

    def look(info):
        modes.append([module.training for module in model.modules()])

    before = [module.training for module in model.modules()]
    sample(model, seeds=0, n=1, steps=1, after_step=look, **QUIET)
    assert not any(modes[0]) and any(before)
    assert [module.training for module in model.modules()] == before

    def fail(info):
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError):
        sample(model, seeds=0, n=1, steps=1, after_step=fail, **QUIET)
    assert [module.training for module in model.modules()] == before
