"""What a network puts out beside its prediction, and which coordinate of time it expects."""

import json

import pytest
import torch

from windvane import (
    EDM,
    NetworkDenoiser,
    RectifiedFlow,
    VPCosine,
    VPTable,
    count_evaluations,
    load,
    save_model,
)
from windvane.denoiser import NetworkOutput
from windvane.networks import ConditionInput, Network, register_network
from windvane.registry import lookup
from windvane.time_coordinate import TIME_COORDINATES


class FunctionNetwork(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, time, cond=None):
        return self.function(x, time, cond)


class Heads(Network):
    """A network with a second output, which expects the noise level as its time."""

    kind = "heads"
    time_coordinate = "noise_level"

    def __init__(self):
        super().__init__()
        self.conditions = ConditionInput(2)
        self.scale = torch.nn.Parameter(torch.full((), 0.3))

    config = property(lambda self: {})

    @classmethod
    def from_config(cls, config):
        return cls()

    def layers(self):
        return {}

    def run(self, x, time, embedding):
        return NetworkOutput(self.scale * x, {"level": time, "twice": 2 * x})


@pytest.mark.parametrize("kind", ["x0", "v", "edm"])
def test_what_a_network_puts_out_beside_its_prediction_is_seen_with_it(kind):
    denoiser = NetworkDenoiser(Heads(), EDM(), parametrisation=kind)
    plain = FunctionNetwork(lambda x, time, cond: 0.3 * x)
    alone = NetworkDenoiser(plain, EDM(), parametrisation=kind)
    x, t = torch.randn(3, 4), torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    with count_evaluations() as count:
        output = denoiser.outputs(x, t)
    assert count.calls == 1 and set(output.aux) == {"level", "twice"}
    assert torch.equal(output.prediction, alone(x, t)) and torch.equal(denoiser(x, t), alone(x, t))
    torch.testing.assert_close(output.aux["level"], (80 * t).float())
    assert alone.outputs(x, t).aux == {}
    (output.prediction.sum() + output.aux["level"].sum()).backward()
    assert denoiser.network.scale.grad.abs() > 0
    half = NetworkDenoiser(Heads(), EDM(), parametrisation=kind, autocast=torch.bfloat16)
    assert half(x, t).dtype == torch.float32 and set(half.outputs(x, t).aux) == {"level", "twice"}


def test_a_prediction_of_another_shape_is_refused_beside_aux_too():
    wrong = FunctionNetwork(lambda x, time, cond: NetworkOutput(x[:, :1], {"more": x}))
    with pytest.raises(ValueError, match=r"returned shape \(3, 1\) for x_t of shape \(3, 4\)"):
        NetworkDenoiser(wrong, VPCosine())(torch.zeros(3, 4), 0.5)


def test_time_coordinates_in_closed_form():
    t = torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64)
    table = VPTable(torch.linspace(0.99, 0.01, 4).tolist())
    expected = {
        "index": 1000 * t,
        "t": t,
        "noise_level": table.sigma(t) / table.alpha(t),
        "log_snr": 100 * (table.sigma(t) / table.alpha(t)).log(),
        "table_index": torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64),
    }
    for name in TIME_COORDINATES:
        network = FunctionNetwork(lambda x, time, cond: x)
        torch.testing.assert_close(NetworkDenoiser(network, table, time=name).network_time(t), expected[name])
    flow = NetworkDenoiser(FunctionNetwork(lambda x, time, cond: x), RectifiedFlow(), time="noise_level")
    assert flow.network_time(torch.ones(1, dtype=torch.float64)).isfinite().all()


def test_a_network_gets_the_time_it_expects_and_no_other(tmp_path, monkeypatch):
    assert NetworkDenoiser(Heads(), EDM()).time == "noise_level"
    with pytest.raises(ValueError, match="Heads expects the time coordinate 'noise_level', but time='index'"):
        NetworkDenoiser(Heads(), EDM(), time="index")
    with pytest.raises(ValueError, match="'table_index' needs a VPTable, got VPCosine"):
        NetworkDenoiser(torch.nn.Identity(), VPCosine(), time="table_index")
    monkeypatch.setattr(lookup, "_others", {})
    register_network(Heads)
    save_model(tmp_path / "model", NetworkDenoiser(Heads(), EDM(), shape=(4,)))
    assert json.loads((tmp_path / "model" / "windvane.json").read_text())["settings"]["time"] == "noise_level"
    assert load(tmp_path / "model", "raw").time == "noise_level"
    monkeypatch.setattr(Heads, "time_coordinate", "t")
    with pytest.raises(ValueError, match="expects the time coordinate 't', but time='noise_level'"):
        load(tmp_path / "model", "raw")
