"""Guiders of diffusers by name, each a function of a denoiser and its weight."""

from typing import Any

from windvane.adapters.guider import GuidedByDiffusers
from windvane.denoiser import Denoiser


def adaptive_projected(
    denoiser: Denoiser, weight: float, *, eta: float = 1.0, rescale: float = 15.0
) -> GuidedByDiffusers:
    """Adaptive projected guidance (Sadat et al. 2024, arXiv 2410.02416), by diffusers.

    The difference of the conditional and the unconditional prediction is cut to the norm ``rescale``, and
    its part along the conditional prediction is multiplied by ``eta``; 0 leaves that out, as the paper does,
    and eta = 1 with a large ``rescale`` is classifier-free guidance. No momentum, which would remember.
    """
    return _by(
        "AdaptiveProjectedGuidance",
        denoiser,
        guidance_scale=weight,
        eta=eta,
        adaptive_projected_guidance_rescale=rescale,
    )


def zero_star(denoiser: Denoiser, weight: float, *, steps: int = 1) -> GuidedByDiffusers:
    """CFG-Zero* (Fan et al. 2025, arXiv 2503.18886), by diffusers.

    The unconditional prediction gets the scale that brings it nearest to the conditional one, and in the
    first ``steps`` steps the prediction is zero.
    """
    return _by("ClassifierFreeZeroStarGuidance", denoiser, guidance_scale=weight, zero_init_steps=steps)


def tangential(denoiser: Denoiser, weight: float) -> GuidedByDiffusers:
    """Tangential classifier-free guidance (Kwon et al. 2025, arXiv 2503.18137), by diffusers."""
    return _by("TangentialClassifierFreeGuidance", denoiser, guidance_scale=weight)


def _by(name: str, denoiser: Denoiser, **settings: Any) -> GuidedByDiffusers:
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # each says that its interface may change
    try:
        from diffusers import guiders

        return GuidedByDiffusers(denoiser, getattr(guiders, name)(**settings))
    finally:
        logging.set_verbosity(before)
