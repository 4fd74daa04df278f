"""Features from inside a trained denoiser: self-guidance with no second network."""

from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from windvane.annotate.features.extractor import beside, content_hash, version
from windvane.conditions import Condition
from windvane.denoiser import NetworkDenoiser
from windvane.randomness import derive_seed


class _Tap(nn.Module):
    """Stands in for the network, keeps one layer's maps and gives its input back as the prediction."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        super().__init__()
        self.network, self.layer = network, layer
        self.maps: Tensor | None = None

    def forward(self, x: Tensor, time: Tensor, cond: Condition | None) -> Tensor:
        self.maps = self.network.features(x, time, cond, layer=self.layer)[self.layer]  # type: ignore[operator]
        return x


class DenoiserFeatures:
    """Maps h of one layer of a denoiser's network at one noise level, averaged over positions and noises:

        g(x) = 1/M sum_m mean_positions h(alpha(t) x + sigma(t) eps_m, t), without a condition.

    The M noises are drawn once from ``seed`` and are the same for every image, so that g is a function of
    the image alone: it does not depend on the batch or on the image's place in the data. Gradients reach
    the images. One feature costs M network calls a row.

    Args:
        denoiser: a denoiser around one of the library's networks; it is used as it is, on its device.
        t: time in (0, 1], the noise level at which the network looks at the images.
        layer: a name in ``network.layers()``; None takes the middle one (a UNet's bottleneck).
        pool: "mean" over positions, or "flat" (every position's values side by side).
        draws: M.
        seed: of the noises.

    Raises:
        ValueError: a denoiser without a network that gives features, an unknown layer, t out of range.
    """

    kind = "denoiser"

    def __init__(
        self,
        denoiser: NetworkDenoiser,
        *,
        t: float = 0.2,
        layer: str | None = None,
        pool: Literal["mean", "flat"] = "mean",
        draws: int = 4,
        seed: int = 0,
    ) -> None:
        network: Any = getattr(denoiser, "network", None)
        if not hasattr(network, "features") or not hasattr(network, "layers"):
            raise ValueError(
                f"{type(denoiser).__name__} has no network that gives features; use a NetworkDenoiser around "
                "one of windvane.networks"
            )
        if not 0 < t <= 1 or draws < 1 or pool not in ("mean", "flat"):
            raise ValueError(
                f"need 0 < t <= 1, draws >= 1, pool mean or flat; got t={t}, draws={draws}, {pool=}"
            )
        names = list(network.layers())
        chosen = default_layer(names) if layer is None else layer
        if chosen not in names:
            raise ValueError(f"unknown layer {layer!r}; this network has {', '.join(names)}")
        self.t, self.layer, self.pool, self.draws, self.seed = float(t), chosen, pool, draws, seed
        self.process = denoiser.process
        self._tap = _Tap(network, chosen)
        # The same preconditioning and time coordinate as in sampling, around the tap instead of the network.
        self._tapped = NetworkDenoiser(
            self._tap,
            denoiser.process,
            parametrisation=denoiser.parametrisation,
            shape=denoiser.shape,
            sigma_data=denoiser.sigma_data,
            time=denoiser.time,
            autocast=denoiser.autocast,
        )
        settings = {
            **self.settings(),
            "process": denoiser.process.to_config(),
            "parametrisation": denoiser.parametrisation,
            "time": denoiser.time,
            "sigma_data": denoiser.sigma_data,
        }
        self._name = f"{version(self.kind, settings)}#{content_hash(network.state_dict())[:12]}"
        self._shape = denoiser.shape
        self._dim: int | None = None

    @property
    def name(self) -> str:
        """The version of these features: settings, the denoiser's own and a hash of its weights."""
        return self._name

    @property
    def dim(self) -> int:
        """The number of features.

        Raises:
            ValueError: the denoiser does not say the shape of its data and no image was seen yet.
        """
        if self._dim is None:
            if self._shape is None:
                raise ValueError(
                    "the denoiser does not say the shape of its data; build it with shape=(C, H, W)"
                )
            with torch.no_grad():
                self._dim = self(torch.zeros(1, *self._shape, device=self._device())).shape[1]
        return self._dim

    def _device(self) -> torch.device:
        return next(self._tap.network.parameters()).device

    def to(self, device: str | torch.device) -> Self:
        """Move the network, the denoiser's own."""
        self._tap.network.to(device)
        return self

    def maps(self, images: Tensor) -> Tensor:
        """The layer's output averaged over the noises: ``(B, C, h, w)`` or ``(B, C)``."""
        times = torch.full((len(images),), self.t, dtype=torch.float64)
        seeds = [derive_seed(self.seed, draw) for draw in range(self.draws)]
        noises = self.process.law.draw(seeds, 0, images.shape[1:], dtype=images.dtype).to(images.device)
        total: Tensor | float = 0.0
        was_training = self._tap.network.training
        self._tap.network.eval()
        try:
            for noise in noises:
                self._tapped(self.process.perturb(images, times, noise.expand_as(images)), times)
                maps, self._tap.maps = self._tap.maps, None
                if maps is None:
                    raise ValueError(f"the layer {self.layer!r} gave no output")
                total = total + maps
        finally:
            self._tap.network.train(was_training)
        return torch.as_tensor(total / self.draws)

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, dim)`` of images ``(B, *shape)`` in [-1, 1]; differentiable."""
        maps = self.maps(beside(images, self._tap)).float()
        return maps.flatten(1) if self.pool == "flat" or maps.ndim == 2 else maps.flatten(2).mean(dim=2)

    def settings(self) -> dict[str, Any]:
        """The settings of these features, without the denoiser."""
        return {"t": self.t, "layer": self.layer, "pool": self.pool, "draws": self.draws, "seed": self.seed}


def default_layer(names: list[str]) -> str:
    """The bottleneck: the last layer of the middle block where there is one, else the middle layer."""
    middle = [name for name in names if name.startswith("mid")]
    return middle[-1] if middle else names[(len(names) - 1) // 2]
