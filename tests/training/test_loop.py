import random

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.tiny import (
    DIM,
    assert_same_weights,
    conditions,
    data,
    largest_difference,
    mlp,
    short,
    weights,
)
from windvane.denoiser import Denoiser, FunctionDenoiser
from windvane.evaluations import count_evaluations
from windvane.exact import GaussianDenoiser
from windvane.process import EDM, VPCosine
from windvane.training import Denoising, default_times, train
from windvane.training.batches import Batches, TensorData
from windvane.training.schedules import learning_rate


class Noisy(Denoiser):
    """A denoiser with a dropout layer, which draws from torch's global generator."""

    def __init__(self):
        super().__init__(VPCosine(), (DIM,))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.net = nn.Sequential(nn.Linear(DIM, 16), nn.Dropout(0.5), nn.Linear(16, DIM))

    def forward(self, x_t, t, cond=None):
        return self.net(x_t)


def by_hand(denoiser, *, steps, batch_size, lr, warmup, clip_norm, ema_decay):
    """The training written out: returns the raw and averaged weights."""
    times = default_times(denoiser.process)
    source = Batches(
        TensorData(data()), conditions(), batch_size=batch_size, seed=0, times=times, dropout=0.1, flip=False
    )
    names, parameters = zip(*denoiser.named_parameters())
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.01)
    averaged = None
    for step in range(steps):
        batch = source.load(step)
        x_t = denoiser.process.perturb(batch.x0, batch.t, batch.noise)
        error = (denoiser(x_t, batch.t, batch.cond) - batch.x0).square().mean(1)
        snr = torch.exp(denoiser.process.log_snr(batch.t)).float()
        gradients = torch.autograd.grad(((snr + 1) * error).mean(), parameters)
        norm = torch.sqrt(sum(g.square().sum() for g in gradients))
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient * min(1.0, clip_norm / float(norm))
        optimizer.param_groups[0]["lr"] = lr * min(1.0, (step + 1) / warmup)
        optimizer.step()
        decay = 0.0 if step == 0 else min(ema_decay, (1 + step) / (10 + step))
        current = [p.detach().clone() for p in parameters]
        averaged = [decay * a + (1 - decay) * c for a, c in zip(averaged or current, current)]
    return dict(zip(names, current)), dict(zip(names, averaged))


@pytest.mark.parametrize("clip_norm", [0.2, 1e6])
def test_equal_to_the_training_written_out(clip_norm):
    settings = dict(steps=7, batch_size=8, lr=1e-2, warmup=4, clip_norm=clip_norm, ema_decay=0.3)
    raw, averaged = by_hand(mlp(), **settings)
    result = short(mlp(), **settings)
    assert_same_weights(weights(result.raw), raw, tolerance=1e-5)
    assert_same_weights(weights(result.ema), averaged, tolerance=1e-5)


def test_clipping_changes_the_result_and_is_reported():
    free, tight = short(mlp(), clip_norm=None), short(mlp(), clip_norm=0.01)
    assert largest_difference(weights(free.raw), weights(tight.raw)) > 1e-4
    assert free.history[0]["grad_norm"] == pytest.approx(tight.history[0]["grad_norm"], rel=0.2)
    assert tight.history[0]["grad_norm"] > 0.01


@pytest.mark.parametrize("accumulate", [2, 3, 8])
def test_accumulation_does_not_change_the_gradient(accumulate):
    whole, cut = short(mlp()), short(mlp(), accumulate=accumulate)
    assert_same_weights(weights(whole.raw), weights(cut.raw), tolerance=2e-5)
    assert whole.history[-1]["loss"] == pytest.approx(cut.history[-1]["loss"], rel=1e-5)


def test_warmup_is_linear_then_constant():
    rates = [learning_rate(step, 0.5, 4) for step in range(6)]
    assert rates == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    assert learning_rate(0, 0.5, 0) == learning_rate(0, 0.5, 1) == 0.5
    history = short(mlp(), warmup=4, log_every=1).history
    assert [row["lr"] for row in history] == [0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01]


def test_global_generators_are_left_alone():
    torch.rand(3), np.random.rand(3), random.random()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    short(Noisy())
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all() and before[2] == random.getstate()


def test_the_seed_decides_everything_also_dropout_layers():
    torch.manual_seed(1)
    first = short(Noisy(), seed=7)
    torch.manual_seed(2)
    again, other = short(Noisy(), seed=7), short(Noisy(), seed=8)
    assert_same_weights(weights(first.raw), weights(again.raw))
    assert first.history[-1]["loss"] == again.history[-1]["loss"]
    assert largest_difference(weights(first.raw), weights(other.raw)) > 1e-4


def test_bf16_runs_the_network_low_and_keeps_float32_weights():
    seen = set()
    low, full = mlp(), mlp()
    low.network.first.register_forward_hook(lambda module, given, out: seen.add(out.dtype))
    result = short(low, mixed_precision="bf16")
    assert seen == {torch.bfloat16}
    assert {p.dtype for p in [*result.raw.parameters(), *result.ema.parameters()]} == {torch.float32}
    expected = short(full)
    assert result.history[-1]["loss"] == pytest.approx(expected.history[-1]["loss"], rel=0.05)
    assert 0 < largest_difference(weights(result.raw), weights(expected.raw)) < 0.05


def test_a_small_network_reaches_the_bayes_loss_of_a_gaussian():
    mean, covariance = torch.tensor([0.4, -0.8]), torch.tensor([[0.5, 0.3], [0.3, 0.4]])
    process = EDM(sigma_max=10)
    exact = GaussianDenoiser(mean, covariance, process)
    denoiser = mlp("edm", process, vector=None, dim=2, width=32)
    result = train(
        denoiser,
        exact.draw(4000, seed=1),
        steps=700,
        batch_size=256,
        lr=4e-3,
        warmup=20,
        ema_decay=0.98,
        progress=False,
    )
    times = default_times(process).quantile((torch.arange(4000, dtype=torch.float64) + 0.5) / 4000)
    x0 = exact.draw(4000, seed=50_000)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        losses = [
            Denoising("edm")(d, x0, times, noise).mean()
            for d in (exact, result.ema, mlp("edm", process, vector=None, dim=2))
        ]
    bayes, trained, untrained = (float(loss) for loss in losses)
    assert trained < 1.04 * bayes
    assert untrained > 1.5 * bayes
    assert result.history[-1]["loss"] == pytest.approx(bayes, rel=0.15)


def test_one_network_call_a_step_or_part():
    with count_evaluations() as count:
        short(mlp(), steps=5, batch_size=8, accumulate=2)
    assert count.calls == 10 and count.rows == 40


def test_the_compiled_network_trains_to_the_same_weights(monkeypatch):
    compiled = []
    original = torch.compile

    def eager(module):
        compiled.append(module)
        return original(module, backend="eager")

    monkeypatch.setattr(torch, "compile", eager)
    denoiser = mlp()
    result = short(denoiser, compile=True, steps=3)
    assert compiled == [denoiser] and result.raw is denoiser
    assert_same_weights(weights(result.raw), weights(short(mlp(), steps=3).raw), tolerance=1e-5)


def test_the_mode_of_the_denoiser_is_kept():
    for training in (True, False):
        result = short(mlp().train(training), steps=2)
        assert result.raw.training is training and not result.ema.training


def test_frozen_weights_stay():
    denoiser = mlp()
    denoiser.network.first.requires_grad_(False)
    before = weights(denoiser)
    after = weights(short(denoiser).raw)
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith("network.first."), name


REFUSED = {
    "steps": (dict(steps=0), "steps must be at least 1, got 0"),
    "lr": (dict(lr=-1.0), "lr must be positive"),
    "warmup": (dict(warmup=-1), "warmup"),
    "clip_norm": (dict(clip_norm=0.0), "clip_norm must be positive, or None"),
    "betas": (dict(betas=(0.9, 1.0)), "betas"),
    "weight_decay": (dict(weight_decay=-0.1), "weight_decay"),
    "dropout": (dict(dropout=1.1), "dropout"),
    "ema_decay": (dict(ema_decay=1.0), "ema_decay"),
    "precision": (dict(mixed_precision="fp16"), "'no' or 'bf16', got 'fp16'"),
    "sample": (dict(sample_every=3), "needs sample="),
    "sample_every": (dict(sample_every=-3), "sample_every"),
    "accumulate": (dict(batch_size=4, accumulate=5), "cannot be cut"),
    "tracker string": (dict(trackers="wandb"), r"\['wandb'\]"),
    "unknown tracker": (dict(trackers=["wandbb"]), "known: .*wandb"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_settings_are_refused_by_name(name):
    changed, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        short(mlp(), **changed)


def test_data_of_another_shape_and_denoisers_without_weights_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\), the data has \(4,\)"):
        train(mlp(), torch.zeros(5, 4), steps=1, batch_size=2, progress=False)
    fixed = FunctionDenoiser(lambda x, t, c: x, VPCosine())
    with pytest.raises(ValueError, match="no weights to train"):
        train(fixed, torch.zeros(5, 4), steps=1, batch_size=2, progress=False)


def test_unconditional_training_and_rows_without_a_condition_agree():
    # Everything dropped is the unconditional network, which is what guidance relies on.
    dropped = short(mlp(), dropout=1.0)
    plain = train(
        mlp(), data(), steps=6, batch_size=8, lr=1e-2, warmup=3, log_every=2, dropout=1.0, progress=False
    )
    assert_same_weights(weights(dropped.raw), weights(plain.raw), tolerance=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_weights_in_half_precision_are_refused_by_name(dtype):
    with pytest.raises(ValueError, match=r"the denoiser has \d+ weights in half precision .*call .float\(\)"):
        train(mlp().to(dtype), torch.zeros(8, 3), steps=1, batch_size=4, progress=False)
