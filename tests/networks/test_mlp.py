"""The MLP and the time embedding."""

import pytest
import torch

from tests.networks.tiny import draw, mlp
from windvane.networks import ResidualMLP, time_embedding
from windvane.networks.mlp import FiLMBlock


@pytest.mark.parametrize("width", [2, 64, 128])
def test_the_time_embedding_equals_diffusers(width):
    from diffusers.models.embeddings import get_timestep_embedding

    time = torch.tensor([-600.0, 0.0, 0.5, 37.25, 999.0])
    expected = get_timestep_embedding(time, width, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert torch.allclose(time_embedding(time, width), expected, atol=2e-4)
    assert time_embedding(time.half(), width).dtype == torch.float32


def test_neighbouring_times_stay_apart_in_half_precision():
    near = time_embedding(torch.tensor([998.0, 999.0]), 64).bfloat16()
    assert (near[0] - near[1]).abs().max() > 0.5


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match="even and at least 2, got 7"):
        time_embedding(torch.zeros(1), 7)


def test_a_block_is_its_formula():
    block, h, embedding = FiLMBlock(6), draw(2, 6), draw(2, 6, seed=2)
    scale, shift = block.film(embedding).chunk(2, dim=1)
    normed = (h - h.mean(1, keepdim=True)) / (h.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    inner = torch.nn.functional.silu(block.first(normed * (1 + scale) + shift))
    assert torch.allclose(block(h, embedding), h + block.second(inner), atol=1e-5)


def test_the_shape_of_a_sample_does_not_matter():
    network, x, time = mlp(), draw(2, 2, 8, 8), torch.tensor([5.0, 600.0])
    flat = ResidualMLP(128, width=16, blocks=2)
    flat.load_state_dict(network.state_dict())
    assert torch.equal(flat(x.flatten(1), time), network(x, time).flatten(1))


@pytest.mark.parametrize(
    "arguments, message",
    [({"dim": 5, "shape": (2, 3)}, "has 6 values, dim is 5"), ({"dim": 4, "width": 7}, "must be even")],
)
def test_impossible_sizes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResidualMLP(**arguments)
    with pytest.raises(ValueError, match=r"shape \(2, 8, 8\), got \(2, 8, 4\)"):
        mlp()(draw(1, 2, 8, 4), torch.zeros(1))
    with pytest.raises(ValueError, match="no gradient checkpointing"):
        mlp().set_gradient_checkpointing()
