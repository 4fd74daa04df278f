"""A denoiser of latents and its autoencoder as one model folder."""

from collections.abc import Mapping
from typing import Any

from windvane.adapters.latent import Latent
from windvane.checkpoint.kinds import DenoiserKind, Module, others
from windvane.denoiser import NetworkDenoiser


class LatentKind(DenoiserKind):
    """A ``NetworkDenoiser`` whose codec is a :class:`~windvane.adapters.latent.Latent`.

    The autoencoder lies in ``modules/codec`` as diffusers saves it.
    """

    name = "latent"

    def holds(self, model: Any) -> bool:
        plain = type(model) is NetworkDenoiser and isinstance(model.codec, Latent)
        return plain and not others(model, ("network", "codec"))

    def modules(self, model: NetworkDenoiser) -> dict[str, Module]:
        assert isinstance(model.codec, Latent)
        return {**super().modules(model), "codec": model.codec.autoencoder}

    def build(self, settings: Mapping[str, Any], modules: Mapping[str, Any]) -> NetworkDenoiser:
        made = super().build(settings, modules)
        made.codec = Latent(modules["codec"]).requires_grad_(False).eval()
        return made
