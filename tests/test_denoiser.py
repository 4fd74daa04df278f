"""Network denoisers: every parametrisation gives the one answer its equation says."""

import pytest
import torch
from torch import nn

from tests.test_process import IDS, PROCESSES
from windvane.convert import prediction_from_x0
from windvane.denoiser import FunctionDenoiser, NetworkDenoiser, as_times
from windvane.evaluations import count_evaluations
from windvane.exact import GaussianDenoiser
from windvane.process import EDM, VPLinear


class Oracle(nn.Module):
    """A network that answers with the exact prediction, undoing the input scaling."""

    def __init__(self, exact, kind, t, c_in):
        super().__init__()
        self.exact, self.kind, self.t, self.c_in = exact, kind, t, c_in

    def forward(self, x, time, cond):
        x_t = x / self.c_in
        return prediction_from_x0(self.exact.process, self.kind, x_t, self.exact(x_t, self.t), self.t)


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
@pytest.mark.parametrize("kind", ["eps", "x0", "v", "flow"])
def test_all_parametrisations_give_one_answer(process, kind):
    exact = GaussianDenoiser([0.5, -1.0], [0.5, 2.0], process)
    x, t = torch.randn(3, 2, dtype=torch.float64), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    scale = torch.sqrt(process.alpha(t) ** 2 + process.sigma(t) ** 2).clamp(min=1)
    network = Oracle(exact, kind, t, (1 / scale)[:, None])
    assert torch.allclose(
        NetworkDenoiser(network, process, parametrisation=kind)(x, t), exact(x, t), atol=1e-9
    )


class Constant(nn.Module):
    def forward(self, x, time, cond):
        self.seen = (x, time)
        return torch.full_like(x, 2.0)


@pytest.mark.parametrize("process", [EDM(), VPLinear()], ids=["edm", "vp"])
def test_edm_preconditioning(process):
    """Karras et al. 2022, table 1, written out on x_t / alpha and noise level sigma / alpha."""
    network, d = Constant(), 0.5
    x, t = torch.randn(2, 3, dtype=torch.float64), torch.tensor([0.1, 0.6], dtype=torch.float64)
    k, scaled = process.noise_level(t)[:, None], x / process.alpha(t)[:, None]
    skip, out, c_in = d**2 / (k**2 + d**2), k * d / (k**2 + d**2).sqrt(), 1 / (k**2 + d**2).sqrt()
    result = NetworkDenoiser(network, process, parametrisation="edm", sigma_data=d)(x, t)
    assert torch.allclose(result, skip * scaled + out * 2.0)
    assert torch.allclose(network.seen[0], c_in * scaled)
    assert torch.allclose(network.seen[1].double(), 100 * k[:, 0].log(), rtol=1e-6)


def test_time_coordinate_is_the_index_for_noise_prediction():
    network = Constant()
    NetworkDenoiser(network, VPLinear())(torch.zeros(2, 1), torch.tensor([0.25, 1.0]))
    assert network.seen[1].tolist() == [250, 1000]
    assert network.seen[1].dtype == torch.float32


def test_autocast_runs_the_network_low_and_returns_the_state_dtype():
    class Linear(nn.Linear):
        def forward(self, x, time, cond):
            out = super().forward(x)
            self.dtype_seen = out.dtype
            return out

    network = Linear(4, 4)
    out = NetworkDenoiser(network, VPLinear(), autocast=torch.bfloat16)(torch.zeros(2, 4), torch.tensor(0.5))
    assert network.dtype_seen == torch.bfloat16
    assert out.dtype == torch.float32


def test_evaluations_are_counted_in_calls_and_rows_also_when_nested():
    denoiser = FunctionDenoiser(lambda x, t, cond: x, VPLinear())
    with count_evaluations() as outer:
        denoiser(torch.zeros(3, 2), torch.tensor(0.5))
        with count_evaluations() as inner:
            denoiser(torch.zeros(5, 2), torch.tensor(0.5))
    denoiser(torch.zeros(5, 2), torch.tensor(0.5))
    assert (outer.calls, outer.rows, inner.calls, inner.rows) == (2, 8, 1, 5)


def test_refusals():
    with pytest.raises(ValueError, match="flow"):
        NetworkDenoiser(Constant(), VPLinear(), parametrisation="epsilon")
    with pytest.raises(ValueError, match="log_snr"):
        NetworkDenoiser(Constant(), VPLinear(), time="sigma")
    with pytest.raises(ValueError, match="sigma_data"):
        NetworkDenoiser(Constant(), VPLinear(), sigma_data=0)
    with pytest.raises(ValueError, match=r"\(3,\)"):
        as_times(torch.zeros(2), 3)
