"""Times (B, K): a column for each of K streams, which split the first axis of a sample."""

import pytest
import torch

from tests.test_process import IDS, PROCESSES
from windvane import VPCosine
from windvane.convert import prediction_from_x0, velocity_from_x0, x0_from_prediction
from windvane.denoiser import PARAMETRISATIONS, FunctionDenoiser, NetworkDenoiser
from windvane.exact import GaussianDenoiser, GaussianMixtureDenoiser
from windvane.guidance import ClassifierFree
from windvane.networks import ResidualMLP
from windvane.process import expand

T = torch.tensor([[0.2, 0.7, 0.5], [0.9, 0.4, 0.3]], dtype=torch.float64)
EVERY = pytest.mark.parametrize("process", PROCESSES, ids=IDS)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def apart(call, *tensors):
    """``call(*parts, t)`` of every stream with times (B,), put together again."""
    size = tensors[0].shape[1] // 3
    parts = [[x[:, k * size : (k + 1) * size] for x in tensors] for k in range(3)]
    return torch.cat([call(*part, T[:, k]) for k, part in enumerate(parts)], dim=1)


@EVERY
@pytest.mark.parametrize("shape", [(6,), (3, 4), (6, 2, 2)])
def test_a_perturbed_sample_is_its_streams_perturbed_one_by_one(process, shape):
    x0, noise = draw(2, *shape), draw(2, *shape, seed=1)
    expected = apart(lambda x, n, t: process.perturb(x, t, n), x0, noise)
    assert torch.equal(process.perturb(x0, T, noise), expected)
    one = process.perturb(x0, T[:, :1], noise)
    assert torch.equal(one, process.perturb(x0, T[:, 0], noise))
    same = T[:, :1].expand(2, 3)
    assert torch.equal(process.perturb(x0, same, noise), one)


@EVERY
def test_conversions_of_streams_are_those_of_each(process):
    x_t, x0 = draw(2, 6), draw(2, 6, seed=1)
    kinds = ("eps", "v", "flow", *(("score",) if process.gaussian else ()))
    for kind in kinds:
        made = prediction_from_x0(process, kind, x_t, x0, T)
        assert torch.equal(
            made, apart(lambda x, y, t, kind=kind: prediction_from_x0(process, kind, x, y, t), x_t, x0)
        )
        torch.testing.assert_close(x0_from_prediction(process, kind, x_t, made, T), x0)
    expected = apart(lambda x, y, t: velocity_from_x0(process, x, y, t), x_t, x0)
    torch.testing.assert_close(velocity_from_x0(process, x_t, x0, T), expected)


class Linear(torch.nn.Module):
    """F = x w, whatever the times; remembers them."""

    def forward(self, x, time, cond=None):
        self.time = time
        return 0.3 * x


@EVERY
@pytest.mark.parametrize("kind", PARAMETRISATIONS)
def test_a_network_gets_the_times_of_its_streams(process, kind):
    denoiser, x = NetworkDenoiser(Linear(), process, parametrisation=kind), draw(2, 6)
    torch.testing.assert_close(denoiser(x, T), apart(lambda part, t: denoiser(part, t), x))
    denoiser(x, T)
    torch.testing.assert_close(denoiser.network.time, denoiser.network_time(T).float())
    assert torch.equal(denoiser(x, T[:, :1]), denoiser(x, T[:, 0]))
    assert denoiser.network.time.shape == (2,)


@pytest.mark.parametrize("full", [False, True])
def test_independent_streams_have_the_gaussian_denoisers_of_each(full):
    process = VPCosine()
    roots = [draw(2, 2, seed=k) for k in range(3)]
    blocks = [root @ root.T + 0.1 * torch.eye(2) if full else root[0].square() for root in roots]
    whole = torch.block_diag(*blocks) if full else torch.cat(blocks)
    mean, x = draw(6), draw(2, 6, seed=4)
    joint = GaussianDenoiser(mean, whole, process)
    each = [GaussianDenoiser(mean[2 * k : 2 * k + 2], blocks[k], process) for k in range(3)]
    found = torch.cat([each[k](x[:, 2 * k : 2 * k + 2], T[:, k]) for k in range(3)], dim=1)
    torch.testing.assert_close(joint(x, T), found)
    density = sum(each[k].log_prob(x[:, 2 * k : 2 * k + 2], T[:, k]) for k in range(3))
    torch.testing.assert_close(joint.log_prob(x, T), density)
    torch.testing.assert_close(joint(x, T[:, :1].expand(2, 3)), joint(x, T[:, 0]))
    images = GaussianDenoiser(mean, whole, process, shape=(3, 1, 2))
    assert torch.equal(images(x.reshape(2, 3, 1, 2), T).flatten(1), joint(x, T))


def test_a_stream_without_noise_conditions_the_others():
    root = draw(2, 2, seed=7)
    covariance, mean = root @ root.T + 0.2 * torch.eye(2), draw(2)
    denoiser, x = GaussianDenoiser(mean, covariance, VPCosine()), draw(3, 2, seed=2)
    clean = torch.tensor([0.0, 1.0], dtype=torch.float64).expand(3, 2)
    slope = covariance[0, 1] / covariance[0, 0]
    expected = torch.stack([x[:, 0], mean[1] + slope * (x[:, 0] - mean[0])], dim=1)
    torch.testing.assert_close(denoiser(x, clean), expected, atol=2e-3, rtol=0)  # alpha at t = 1 is 5e-4


def test_a_mixture_of_correlated_streams_is_its_own_score():
    covariances = torch.stack([root @ root.T + 0.2 * torch.eye(6) for root in draw(2, 6, 6, seed=3)])
    mixture = GaussianMixtureDenoiser([1.0, 2.0], draw(2, 6), covariances, VPCosine())
    x = draw(2, 6, seed=5)
    alpha, sigma = (expand(c, x) for c in VPCosine().scales(T))
    torch.testing.assert_close(mixture(x, T), (x + sigma**2 * mixture.score(x, T)) / alpha)


def test_what_streams_do_not_fit_is_refused():
    x = draw(2, 4)
    with pytest.raises(ValueError, match=r"first axis splits in 3 equal parts, got \(2, 4\)"):
        VPCosine().perturb(x, T, x)
    with pytest.raises(ValueError, match="first axis splits"):
        VPCosine().perturb(draw(3, 6), T, draw(3, 6))
    mlp = NetworkDenoiser(ResidualMLP.build(shape=(6,), width=8, blocks=1), VPCosine())
    with pytest.raises(ValueError, match=r"ResidualMLP takes one time a row \(B,\), got \(2, 3\)"):
        mlp(draw(2, 6).float(), T)
    with pytest.raises(ValueError, match=r"of shape \(2,\), got \(2, 3\)"):
        ClassifierFree(mlp, 1.0)(draw(2, 6).float(), T)
    seen = []
    FunctionDenoiser(lambda x, t, cond: seen.append(t) or x, VPCosine())(draw(2, 6), T)
    assert torch.equal(seen[0], T)
