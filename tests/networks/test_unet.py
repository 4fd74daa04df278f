"""The U-Net wrapper and its plan."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.networks.tiny import CLASSES, batch, unet
from windvane.conditions import Condition
from windvane.networks import ConditionedUNet
from windvane.networks.unet_plan import check_levels


def plain(**arguments):
    from diffusers import UNet2DModel

    settings = {
        "sample_size": 8,
        "in_channels": 2,
        "out_channels": 2,
        "block_out_channels": (8, 16),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 4,
    }
    return UNet2DModel(**{**settings, **arguments}).eval()


def test_an_unconditional_wrapper_is_the_diffusers_model():
    model, (x, time) = plain(), batch(2)
    assert torch.equal(ConditionedUNet(model)(x, time), model(x, time).sample)


def test_the_vector_is_added_to_the_time_embedding():
    network, (x, time) = unet(vector=CLASSES), batch(2)
    cond = Condition.vector(torch.tensor([1, 4]))
    added = network.embed(cond, 2).add
    assert torch.equal(network(x, time, cond), network.unet(x, time, class_labels=added).sample)
    seen = []
    handle = (
        network.unet.down_blocks[0]
        .resnets[0]
        .time_emb_proj.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    )
    network(x, time, cond)
    handle.remove()
    own = network.unet.time_embedding(network.unet.time_proj(time))
    assert torch.allclose(seen[0], torch.nn.functional.silu(own + added), atol=1e-6)


@pytest.mark.parametrize(
    "arguments, conditions, message",
    [
        ({}, {"layout": 3}, "2 channels, but 2 data channels with layout=3 make 6"),
        ({}, {"vector": 3}, "class_embed_type='identity'"),
        ({"num_class_embeds": 4}, {"vector": 3}, "embeds classes itself"),
    ],
)
def test_a_model_that_does_not_fit_its_conditions_is_refused(arguments, conditions, message):
    with pytest.raises(ValueError, match=message):
        ConditionedUNet(plain(**arguments), **conditions)


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 5))
def test_the_sizes_a_plan_accepts_are_those_that_halve_evenly(height, width, levels):
    step = 2 ** (levels - 1)
    if height % step == 0 and width % step == 0:
        check_levels((3, height, width), levels)
        return
    with pytest.raises(ValueError, match="halved evenly") as refused:
        check_levels((3, height, width), levels)
    words = str(refused.value)
    fewer = int(words.split("at most ")[1].split()[0])
    check_levels((3, height, width), fewer)
    larger = tuple(int(n) for n in words.rsplit(" ", 1)[1].split("x"))
    check_levels((3, *larger), levels)


@pytest.mark.parametrize("shape", [(1, 12, 8), (3, 28, 28), (1, 64, 64)])
@torch.no_grad()
def test_sizes_that_are_accepted_run(shape):
    network = ConditionedUNet.build(shape=shape, channels=(8, 12, 16), layers_per_block=1, attention=(0, -1))
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    network.unet.conv_out.weight.fill_(0.1)
    assert network(x, torch.ones(1)).std() > 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"shape": (1, 28, 28), "channels": (8, 8, 8, 8)},
            "at most 3 levels .* images of 32x32",
        ),
        ({"shape": (8, 8)}, r"\(C, H, W\), got \(8, 8\)"),
        ({"shape": (1, 8, 8), "channels": ()}, "at least one level"),
        ({"shape": (1, 8, 8), "channels": (8, 12), "norm_groups": 8}, "norm_groups=8 must divide"),
        ({"shape": (1, 8, 8), "attention": (2,)}, "no such levels"),
    ],
)
def test_impossible_plans_say_what_works(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConditionedUNet.build(**arguments)


def test_attention_is_where_it_is_asked_for():
    from diffusers.models.attention_processor import Attention

    def attended(levels):
        network = ConditionedUNet.build(
            shape=(1, 8, 8), channels=(8, 16), layers_per_block=1, attention=levels
        )
        return [name for name, module in network.unet.named_modules() if isinstance(module, Attention)]

    assert attended(()) == []
    assert attended((0,)) == [
        "down_blocks.0.attentions.0",
        "up_blocks.1.attentions.0",
        "up_blocks.1.attentions.1",
        "mid_block.attentions.0",
    ]
    assert len(attended((0, 1))) == 7


def test_features_are_taken_after_the_attention_and_before_resampling():
    network, (x, time) = unet(attention=(0,)), batch(2)
    seen = {}
    places = {
        "down.0.0": network.unet.down_blocks[0].downsamplers[0],
        "mid.1": network.unet.up_blocks[0].resnets[0],
        "up.0.1": network.unet.up_blocks[0].upsamplers[0],
        "up.1.1": network.unet.conv_norm_out,
    }
    handles = [
        module.register_forward_pre_hook(lambda module, args, name=name: seen.update({name: args[0]}))
        for name, module in places.items()
    ]
    features = network.features(x, time)
    for handle in handles:
        handle.remove()
    width = network.unet.mid_block.resnets[-1].out_channels
    for name in places:
        assert torch.equal(features[name], seen[name][:, :width] if name == "mid.1" else seen[name]), name
