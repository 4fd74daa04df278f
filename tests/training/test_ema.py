import copy

import pytest
import torch
from torch import nn

from tests.training.tiny import assert_same_weights, mlp, weights
from windvane.denoiser import Denoiser, FunctionDenoiser
from windvane.process import VPCosine
from windvane.training import EMA


class Counting(Denoiser):
    """A denoiser with one weight, a running mean and an integer counter."""

    def __init__(self):
        super().__init__(VPCosine(), (1,))
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x_t, t, cond=None):
        return x_t * self.weight


def move(denoiser, seed):
    keyed = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=keyed))


@pytest.mark.parametrize("decay", [0.9999, 0.5, 0.0])
def test_closed_form(decay):
    denoiser = Counting()
    ema = EMA(denoiser, decay)
    values = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0, 5.0, 3.5, 8.0, 9.0, 7.0]
    for value in values:
        denoiser.weight.data.fill_(value)
        ema.update()
    decays = [0.0] + [min(decay, (1 + n) / (10 + n)) for n in range(1, len(values))]
    expected = 0.0
    for k, value in enumerate(values):
        share = 1 - decays[k]
        for later in decays[k + 1 :]:
            share *= later
        expected += share * value
    assert float(ema.denoiser.weight) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_average_of_half_precision_weights_does_not_stand_still(dtype):
    denoiser = Counting().to(dtype)
    ema = EMA(denoiser, 0.9999)
    denoiser.weight.data.fill_(1.0)
    ema.update()
    ema.updates = 10**6  # the decay's ramp is over
    denoiser.weight.data.fill_(2.0)
    for _ in range(20_000):
        ema.update()
    assert ema.denoiser.weight.dtype == ema.denoiser.mean.dtype == torch.float32
    assert denoiser.weight.dtype == dtype
    # 2 - 0.9999^20000; each of the updates rounds.
    assert float(ema.denoiser.weight) == pytest.approx(1.864678, abs=2e-4)
    assert float(ema.gap()) == pytest.approx((2 - 1.864678) / 2, abs=1e-4)


def test_the_ramp_ends_at_the_decay():
    ema = EMA(Counting(), 0.99)
    assert [ema.decay_at(n) for n in (0, 1, 8)] == [0.0, 2 / 11, 0.5]
    assert ema.decay_at(889) < 0.99 and ema.decay_at(892) == 0.99


def test_same_numbers_as_torchs_averaged_model():
    denoiser = mlp()
    ema = EMA(denoiser, 0.4)

    def blend(averaged, current, count):
        torch._foreach_lerp_(averaged, current, 1 - min(0.4, (1 + int(count)) / (10 + int(count))))

    reference = torch.optim.swa_utils.AveragedModel(denoiser, multi_avg_fn=blend)
    for seed in range(8):
        move(denoiser, seed)
        ema.update()
        reference.update_parameters(denoiser)
    assert_same_weights(weights(ema.denoiser), weights(reference.module))
    assert ema.decay_at(7) == 0.4


def test_buffers_follow_whatever_their_type():
    denoiser = Counting()
    ema = EMA(denoiser, 0.9)
    for step in range(1, 4):
        denoiser.mean.fill_(0.5 * step)
        denoiser.seen.fill_(step)
        ema.update()
        assert float(ema.denoiser.mean) == 0.5 * step and int(ema.denoiser.seen) == step


def test_the_average_has_no_gradient_and_leaves_the_original_alone():
    denoiser = mlp().train()
    before = weights(denoiser)
    ema = EMA(denoiser, 0.9)
    ema.update()
    assert not any(p.requires_grad for p in ema.denoiser.parameters())
    assert all(p.requires_grad for p in denoiser.parameters())
    assert denoiser.training and not ema.denoiser.training
    assert_same_weights(weights(denoiser), before)


def test_it_keeps_following_after_the_original_moved_to_other_storage():
    denoiser = Counting()
    ema = EMA(denoiser, 0.0)
    denoiser.weight.data = torch.full((1,), 7.0, dtype=torch.float64)
    ema.update()
    assert float(ema.denoiser.weight) == 7.0


def test_gap_is_the_relative_distance():
    denoiser = mlp()
    ema = EMA(denoiser, 0.9)
    ema.update()
    assert float(ema.gap()) == 0.0
    move(denoiser, 1)
    flat = torch.cat([p.detach().flatten() for p in denoiser.parameters()])
    averaged = torch.cat([p.detach().flatten() for p in ema.denoiser.parameters()])
    assert float(ema.gap()) == pytest.approx(float((averaged - flat).norm() / flat.norm()), rel=1e-5)


def test_a_restored_average_goes_on_bit_for_bit():
    denoiser = mlp()
    ema = EMA(denoiser, 0.9)
    for seed in range(3):
        move(denoiser, seed)
        ema.update()
    state = copy.deepcopy(ema.state_dict())
    restored = EMA(mlp(seed=9), 0.9)
    restored.load_state_dict(state)
    restored._raw = ema._raw
    for seed in range(3, 6):
        move(denoiser, seed)
        ema.update()
        restored.update()
    assert_same_weights(weights(restored.denoiser), weights(ema.denoiser))


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5])
def test_bad_decays_are_refused(decay):
    with pytest.raises(ValueError, match="ema_decay"):
        EMA(FunctionDenoiser(lambda x, t, c: x, VPCosine()), decay)
