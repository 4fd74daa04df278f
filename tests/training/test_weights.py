import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from windvane.convert import eps_from_x0, flow_from_x0, v_from_x0
from windvane.denoiser import FunctionDenoiser, NetworkDenoiser
from windvane.process import EDM, RectifiedFlow, VPCosine, VPLinear, expand
from windvane.training import Denoising, EDMWeight, MinSNR, SigmoidWeight, default_objective
from windvane.training.weights import WEIGHTS

PROCESSES = {"vp_linear": VPLinear(), "vp_cosine": VPCosine(), "edm": EDM(), "flow": RectifiedFlow()}
PREDICTIONS = {"eps": eps_from_x0, "v": v_from_x0, "flow": flow_from_x0, "x0": lambda process, x_t, x0, t: x0}


def batch(rows=6, dim=5):
    keyed = torch.Generator().manual_seed(1)
    x0, noise, guess = torch.randn(3, rows, dim, generator=keyed, dtype=torch.float64)
    return x0, noise, guess


def losses(process, weight, t):
    """The objective's loss of a denoiser that always answers ``guess``."""
    x0, noise, guess = batch()
    return Denoising(weight)(FunctionDenoiser(lambda x, t, c: guess, process), x0, t, noise)


def plain(process, kind, t, scale=1.0):
    """Mean squared error of the prediction ``kind`` itself."""
    x0, noise, guess = batch()
    x_t = process.perturb(x0, t, noise)
    to = PREDICTIONS[kind]
    error = (to(process, x_t, guess, t) - to(process, x_t, x0, t)) * scale
    return error.square().mean(dim=1).float()


def times(process, u):
    return process.t_min + (0.999 * process.t_max - process.t_min) * torch.tensor(u, dtype=torch.float64)


six = st.lists(st.floats(0, 1), min_size=6, max_size=6)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("kind", ["x0", "eps", "flow"])
@given(u=six)
def test_weighted_x0_loss_is_the_plain_loss_of_the_prediction(process, kind, u):
    t = times(process, u)
    torch.testing.assert_close(losses(process, kind, t), plain(process, kind, t), rtol=2e-5, atol=0)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@given(u=six)
def test_v_weight_is_the_plain_v_loss_of_the_unit_variance_state(process, u):
    t = times(process, u)
    # v is linear in the scales, so normalising the state divides the error of v by its size.
    size = torch.sqrt(process.alpha(t) ** 2 + process.sigma(t) ** 2)[:, None]
    expected = plain(process, "v", t, scale=1 / size)
    torch.testing.assert_close(losses(process, "v", t), expected, rtol=2e-5, atol=0)


@pytest.mark.parametrize("sigma_data", [0.5, 1.3])
@given(u=six)
def test_edm_weight_is_the_plain_loss_of_the_preconditioned_output(sigma_data, u):
    process = EDM()
    t = times(process, u)
    x0, noise, _ = batch()
    outputs = []

    def network(x, time, cond):
        outputs.append(torch.sin(x))
        return outputs[-1]

    net = NetworkDenoiser(torch.nn.Identity(), process, parametrisation="edm", sigma_data=sigma_data)
    net.network.forward = network
    found = Denoising(EDMWeight(sigma_data))(net, x0, t, noise)
    sigma = process.sigma(t)
    total = sigma**2 + sigma_data**2
    skip, out = sigma_data**2 / total, sigma * sigma_data / total.sqrt()
    target = (x0 - expand(skip, x0) * (x0 + expand(sigma, x0) * noise)) / expand(out, x0)
    torch.testing.assert_close(found, (outputs[0] - target).square().mean(1).float(), rtol=1e-4, atol=1e-6)


@given(u=six, gamma=st.floats(0.1, 50))
def test_min_snr_in_its_eps_and_v_forms(u, gamma):
    process = VPCosine()
    t = times(process, u)
    snr = torch.exp(process.log_snr(t))
    clipped = torch.minimum(snr, torch.tensor(gamma, dtype=torch.float64))
    found = losses(process, MinSNR(gamma), t)
    torch.testing.assert_close(found, (clipped / snr * plain(process, "eps", t)).float(), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        found, (clipped / (snr + 1) * plain(process, "v", t)).float(), rtol=1e-4, atol=0
    )


def test_min_snr_limits_the_clean_end_and_leaves_the_noisy_one():
    noisy, clean = torch.tensor([math.log(0.1)]), torch.tensor([math.log(1000.0)])
    torch.testing.assert_close(MinSNR(5)(noisy), torch.tensor([0.1]))
    torch.testing.assert_close(MinSNR(5)(clean), torch.tensor([5.0]))


@given(u=six, bias=st.floats(-3, 3))
def test_sigmoid_weight_in_its_eps_form(u, bias):
    process = VPCosine()
    t = times(process, u)
    expected = torch.sigmoid(bias - process.log_snr(t)) * plain(process, "eps", t)
    torch.testing.assert_close(losses(process, SigmoidWeight(bias), t), expected.float(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_losses_are_finite_at_both_ends_and_beyond_the_schedule(process, weight):
    x0, noise, _ = batch(rows=4)
    t = torch.tensor([0.0, process.t_min, 1e-12, 1.0], dtype=torch.float64)
    perfect = FunctionDenoiser(lambda x, t, c: x0, process)
    loss = Denoising(weight)(perfect, x0.float(), t, noise.float())
    assert torch.isfinite(loss).all() and (loss < 1e-4).all()
    off = FunctionDenoiser(lambda x, t, c: x0 + 1, process)
    assert torch.isfinite(Denoising(weight)(off, x0.float(), t, noise.float())).all()


def test_a_huge_x0_error_with_a_tiny_weight_does_not_overflow():
    # As of an eps network near alpha = 0: D is 1 / alpha in size, and its square leaves float32.
    t = torch.tensor([0.5], dtype=torch.float64)
    huge = FunctionDenoiser(lambda x, t, c: torch.full_like(x, 1e20), RectifiedFlow())
    loss = Denoising(lambda lmbda: torch.full_like(lmbda, 1e-38))(
        huge, torch.zeros(1, 4), t, torch.ones(1, 4)
    )
    torch.testing.assert_close(loss, torch.tensor([100.0]), rtol=1e-3, atol=0)


def test_loss_is_float32_under_autocast():
    x0, noise, guess = (value.float() for value in batch())
    t = torch.full((6,), 0.3, dtype=torch.float64)
    low = FunctionDenoiser(lambda x, t, c: guess.bfloat16(), VPLinear())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = Denoising("eps")(low, x0, t, noise)
    same = FunctionDenoiser(lambda x, t, c: guess.bfloat16().double(), VPLinear())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, Denoising("eps")(same, x0, t, noise), rtol=1e-5, atol=0)


def test_a_sample_does_not_feel_its_neighbours():
    process = VPCosine()
    keyed = torch.Generator().manual_seed(4)
    x0, noise = torch.randn(2, 3, 5, generator=keyed)
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    denoiser = FunctionDenoiser(lambda x, t, c: torch.tanh(x), process)
    together = Denoising("v")(denoiser, x0, t, noise)
    alone = torch.cat(
        [Denoising("v")(denoiser, x0[i : i + 1], t[i : i + 1], noise[i : i + 1]) for i in range(3)]
    )
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("kind", ["eps", "x0", "v", "flow", "edm"])
def test_the_default_is_the_plain_loss_of_the_network_itself(kind):
    process = EDM() if kind == "edm" else VPLinear()
    net = NetworkDenoiser(torch.nn.Identity(), process, parametrisation=kind, sigma_data=0.7)
    lmbda = torch.linspace(-5, 5, 7, dtype=torch.float64)
    expected = EDMWeight(0.7) if kind == "edm" else WEIGHTS[kind]
    torch.testing.assert_close(default_objective(net).weight(lmbda), expected(lmbda))


def test_bad_weights_are_refused():
    with pytest.raises(ValueError, match="min-snr"):
        Denoising("snr")
    for make in (lambda: MinSNR(0), lambda: EDMWeight(-1)):
        with pytest.raises(ValueError, match="> 0"):
            make()
