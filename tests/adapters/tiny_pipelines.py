"""Pipelines of every kind with tiny random networks, made on the spot."""

import torch

from windvane.randomness import scoped_seed

SIDE = 8


def filled(module, seed=0):
    """The module with weights that let nothing vanish: fresh ones make many branches zero."""
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
            base = 1.0 if parameter.ndim == 1 and bool((parameter == 1).all()) else 0.0
            parameter.copy_(base + scale * torch.randn(parameter.shape, generator=numbers))
    return module.eval()


def unet(**settings):
    from diffusers import UNet2DModel

    usual = {
        "sample_size": SIDE,
        "in_channels": 3,
        "out_channels": 3,
        "layers_per_block": 1,
        "block_out_channels": (8, 8),
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4,
        "add_attention": False,
    }
    with scoped_seed(0):
        return filled(UNet2DModel(**{**usual, **settings}))


def dit(classes=5):
    """Four-channel latents, a learned variance."""
    from diffusers import DiTTransformer2DModel

    with scoped_seed(0):
        made = DiTTransformer2DModel(
            num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=1,
            sample_size=4, num_embeds_ada_norm=classes,
        )  # fmt: skip
        return filled(made)


def _autoencoder_settings():
    return {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
    }


def vae():
    from diffusers import AutoencoderKL

    with scoped_seed(0):
        return filled(AutoencoderKL(**_autoencoder_settings(), latent_channels=4, scaling_factor=0.5))


def vqvae():
    from diffusers import VQModel

    with scoped_seed(0):
        made = VQModel(**_autoencoder_settings(), latent_channels=3, num_vq_embeddings=16, scaling_factor=0.7)
        return filled(made)


def ddim(**settings):
    from diffusers import DDIMPipeline, DDIMScheduler

    return DDIMPipeline(unet(), DDIMScheduler(**{"clip_sample": False, **settings}))


def dit_pipeline(classes=5, **settings):
    from diffusers import DDIMScheduler, DiTPipeline

    names = {0: "cat", 1: "dog, hound", 2: "fish", 3: "bird", 4: "snail"}
    return DiTPipeline(dit(classes), vae(), DDIMScheduler(clip_sample=False, **settings), id2label=names)


def ldm():
    from diffusers import DDIMScheduler, LDMPipeline

    return LDMPipeline(vqvae(), unet(sample_size=4), DDIMScheduler(clip_sample=False))


def quiet(pipeline):
    """The pipeline without its progress bar."""
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
