"""The DiT wrapper: what reaches which block."""

import pytest
import torch

from tests.networks.tiny import CLASSES, SHAPE, batch, dit, randomised
from windvane.conditions import Condition
from windvane.networks import ConditionedDiT


def modulations(network, x, time, cond):
    """The six shifts, scales and gates of each block, and those of the output layer."""
    seen = []
    layers = [block.norm1.linear for block in network.transformer.transformer_blocks]
    handles = [
        layer.register_forward_hook(lambda module, args, output: seen.append(output))
        for layer in [*layers, network.transformer.proj_out_1]
    ]
    network(x, time, cond)
    for handle in handles:
        handle.remove()
    return seen


def test_every_block_and_the_output_layer_depend_on_vector_and_time():
    network, (x, time) = dit(vector=CLASSES), batch(2)
    first = modulations(network, x, time, Condition.vector(torch.tensor([1, 3])))
    other = modulations(network, x, time, Condition.vector(torch.tensor([2, 4])))
    later = modulations(network, x, time + 20, Condition.vector(torch.tensor([1, 3])))
    assert len(first) == 3
    for a, b, c in zip(first, other, later, strict=True):
        assert (a - b).abs().amax(dim=1).min() > 1e-3
        assert (a - c).abs().amax(dim=1).min() > 1e-3


def test_a_block_gets_its_time_embedding_plus_the_vector():
    network, (x, time) = dit(vector=CLASSES), batch(2)
    cond = Condition.vector(torch.tensor([1, 3]))
    seen = modulations(network, x, time, cond)
    for block, modulation in zip(network.transformer.transformer_blocks, seen, strict=False):
        own = block.norm1.emb.timestep_embedder(block.norm1.emb.time_proj(time))
        expected = block.norm1.linear(torch.nn.functional.silu(own + network.embed(cond, 2).add))
        assert torch.allclose(modulation, expected, atol=1e-5)


def test_a_diffusers_label_equals_its_row_given_as_an_embedding():
    from diffusers import DiTTransformer2DModel

    model = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=2,
        num_layers=1,
        sample_size=8,
        num_embeds_ada_norm=4,
    )
    randomised(model)
    x, time = batch(2)
    labels = torch.tensor([3, 1])
    expected = model(x, timestep=time, class_labels=labels).sample
    rows = model.transformer_blocks[0].norm1.emb.class_embedder.embedding_table(labels)
    network = ConditionedDiT(model)
    embedding = network.embed(None, 2)._replace(add=rows)
    assert torch.allclose(network.run(x, time, embedding), expected, atol=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"shape": (2, 8, 6)}, "square"),
        ({"shape": (2, 9, 9)}, "divisible by 2"),
        ({"shape": SHAPE, "width": 30, "heads": 4}, "divisible by the heads"),
    ],
)
def test_impossible_sizes_say_what_works(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConditionedDiT.build(**arguments)


def test_features_are_maps_of_patches_in_place():
    network, (x, time) = dit(), batch(1)
    with torch.no_grad():
        for block in network.transformer.transformer_blocks:
            block.norm1.linear.weight.zero_()
            block.norm1.linear.bias.zero_()
    changed = x.clone()
    changed[..., 4:6, 2:4] += 1  # the patch in row 2, column 1
    before, after = (network.features(v, time, layer="block.1")["block.1"] for v in (x, changed))
    touched = (before - after).abs().amax(dim=1)[0] > 0
    assert touched.nonzero().tolist() == [[2, 1]]
