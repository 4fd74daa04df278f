"""Blocks that are computed twice, in a network of another library."""

import pytest
import torch

import windvane as wv
from windvane.energies import Reward
from windvane.guidance import presets

diffusers = pytest.importorskip("diffusers")


@pytest.mark.parametrize("attention", [True, False])
def test_a_unet_of_diffusers_with_and_without_attention_in_its_middle(attention):
    """Without, its list of attentions there holds None."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, attention_head_dim=4,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, add_attention=attention,
    )  # fmt: skip
    assert (list(unet.mid_block.attentions) == [None]) != attention
    model = wv.from_pipeline(diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()))
    guidance = presets.dps(Reward(lambda x: x.mean((1, 2, 3)), name="bright"), 0.1)

    def draw(**settings):
        sampler = guidance.sampler(wv.DDIM(), **settings)
        return wv.sample(model, seeds=0, n=2, sampler=sampler, steps=2, progress=False).x

    assert torch.equal(draw(low_memory=True), draw())
    assert not any("forward" in module.__dict__ for module in unet.modules()), "blocks are left as they were"
