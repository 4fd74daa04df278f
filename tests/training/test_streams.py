"""Training with times of several streams."""

import torch

from tests.training.tiny import DIM, assert_same_weights, data, short, weights
from windvane import Run, VPCosine
from windvane.denoiser import NetworkDenoiser
from windvane.networks import ResidualMLP, register_network
from windvane.randomness import scoped_seed
from windvane.registry import lookup
from windvane.training import Denoising, StreamTimes, UniformTimes


class Streams(ResidualMLP):
    """Looks at the times of all streams: the latest of them."""

    kind = "streams"
    streams = True

    def run(self, x, time, embedding):
        return super().run(x, time if time.ndim == 1 else time.amax(1), embedding)


def denoiser():
    with scoped_seed(3):
        network = Streams(DIM, width=16, blocks=1, vector=4)
        torch.nn.init.normal_(network.last.weight, std=0.3)
    return NetworkDenoiser(network, VPCosine(), parametrisation="v", shape=(DIM,))


class Equal(UniformTimes):
    """The same time for every stream; notes what it is told."""

    observes = True
    seen = []

    def draw(self, n, generator):
        return super().draw(n, generator)[:, None].repeat(1, DIM)

    def observe(self, t, losses):
        self.seen.append((t, losses))


def test_equal_columns_train_as_one_time_does_bit_for_bit():
    plain, columns = denoiser(), denoiser()
    one = short(plain, times=UniformTimes(VPCosine()))
    many = short(columns, times=Equal(VPCosine()))
    assert_same_weights(weights(columns), weights(plain))
    numbers = [
        [{k: v for k, v in row.items() if k != "images_per_second"} for row in r.history] for r in (one, many)
    ]
    assert str(numbers[0]) == str(numbers[1])
    t, losses = Equal.seen[-1]
    assert t.shape == (8, DIM) and losses.shape == (8,) and torch.equal(t[:, 0], t[:, -1])


def test_a_training_of_streams_is_resumed_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(lookup, "_others", {})
    register_network(Streams)
    times = StreamTimes(UniformTimes(VPCosine()), DIM)
    straight, taken_up = denoiser(), denoiser()
    short(straight, times=times)
    run = Run(tmp_path / "run")
    short(denoiser(), times=times, steps=3, run=run)
    short(taken_up, times=times, run=run)
    assert_same_weights(weights(taken_up), weights(straight))
    other = denoiser()
    short(other, times=UniformTimes(VPCosine()))
    assert not torch.equal(other.network.last.weight, straight.network.last.weight)


def test_the_loss_weighs_every_stream_at_its_own_level():
    process, x0, noise = VPCosine(), data()[:2], data(seed=1)[:2]
    t = torch.tensor([[0.2, 0.5, 0.9], [0.7, 0.3, 0.4]], dtype=torch.float64)
    model = NetworkDenoiser(torch.nn.Module(), process, parametrisation="x0")
    model.network.forward = lambda x, time, cond: 0.5 * x
    found = Denoising("eps")(model, x0, t, noise)
    x_t = process.perturb(x0, t, noise)
    weight = process.log_snr(t).exp()
    torch.testing.assert_close(found, (weight * (0.5 * x_t - x0) ** 2).mean(dim=1).float())


def test_streams_draw_times_of_the_same_law_independently():
    times = StreamTimes(UniformTimes(VPCosine()), 2)
    drawn = times.draw(4000, torch.Generator().manual_seed(0))
    first, second = drawn.T
    assert drawn.shape == (4000, 2) and abs(torch.corrcoef(drawn.T)[0, 1]) < 4 / 4000**0.5
    for column in (first, second):  # stratified: the law is met to one part in n
        even = torch.linspace(1e-3, 1, 4000, dtype=torch.float64)
        assert (column.sort().values - even).abs().max() < 1e-3
