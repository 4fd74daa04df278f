"""Features without learning a network: the pixels themselves, and their principal components."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from windvane.annotate.features.components import leading, leading_of_rows
from windvane.annotate.features.extractor import Images, version
from windvane.arguments import attributes
from windvane.progress import track

Centre = Literal["data", "image", "none"]

_HELD = 1 << 26  # numbers of all images that are kept at once: 256 MB
_FEW = 512  # up to so many pixels their covariance is cheap in float64, for any number of images


def flatten(images: Tensor, *, size: int | None, centre: bool, normalise: bool) -> Tensor:
    """Pixels ``(B, C*h*w)``: reduced so that no side exceeds ``size``, then centred and scaled per image."""
    side = max(images.shape[-2:])
    if size is not None and side > size and images.ndim == 4:
        shape = [max(1, round(s * size / side)) for s in images.shape[-2:]]
        images = F.interpolate(images, size=shape, mode="bilinear", antialias=True, align_corners=False)
    rows = images.flatten(1)
    if centre:
        rows = rows - rows.mean(dim=1, keepdim=True)
    return F.normalize(rows, dim=1) if normalise else rows


def _batches(data: Images, size: int) -> list[slice]:
    return [slice(start, min(start + size, len(data))) for start in range(0, len(data), size)]


class Pixels:
    """The pixels of an image as its features.

    Args:
        size: reduce larger images (antialiased) until the longer side is this; None keeps them.
        centre: subtract each image's own mean.
        normalise: scale each image to unit L2 norm.
    """

    kind = "pixels"

    def __init__(self, *, size: int | None = None, centre: bool = False, normalise: bool = False) -> None:
        self.size, self.centre, self.normalise = size, centre, normalise
        self._dim: int | None = None

    @property
    def recipe(self) -> str:
        """Kind and settings, without what was learnt from the data."""
        settings = {"size": self.size, "centre": self.centre, "normalise": self.normalise}
        return version(self.kind, settings)

    @property
    def name(self) -> str:
        """The version of these features."""
        return self.recipe

    @property
    def fitted(self) -> bool:
        """Whether the size of the images is known."""
        return self._dim is not None

    @property
    def dim(self) -> int:
        """The number of features, known after ``fit``."""
        if self._dim is None:
            raise ValueError("the number of pixels is not known yet: call .fit(data) first")
        return self._dim

    def fit(self, data: Images, *, progress: bool = True, device: str | torch.device = "cpu") -> Self:
        """Note the size of the images; nothing else is learnt."""
        self._dim = self(data.batch(slice(0, 1))).shape[1]
        return self

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, dim)`` of images ``(B, C, H, W)``."""
        return flatten(images, size=self.size, centre=self.centre, normalise=self.normalise)

    def settings(self) -> dict[str, Any]:
        """What rebuilds this extractor, besides its state."""
        return {"size": self.size, "centre": self.centre, "normalise": self.normalise, "dim": self.dim}

    def state(self) -> dict[str, Tensor]:
        """Learnt tensors: none."""
        return {}

    @classmethod
    def restore(cls, settings: Mapping[str, Any], state: Mapping[str, Tensor]) -> Self:
        """The extractor that ``settings`` and ``state`` came from."""
        made = cls(**{key: settings[key] for key in ("size", "centre", "normalise")})
        made._dim = settings["dim"]
        return made


class PCA:
    """Principal components of the pixels: y = V^T (x - m), divided by the standard deviations if whitened.

    V holds the leading eigenvectors of the covariance (divisor n - 1) of all images, which are read once:
    summed up in float64, or, while they fit into 256 MB, found from the smaller of the products of the images
    and of the pixels, without random numbers. The sign of each is chosen so that its entry of largest
    magnitude is positive.

    Args:
        components: how many.
        whiten: divide each component by its standard deviation over the data.
        centre: "data" subtracts the mean image; "image" first subtracts each image's own mean as well;
            "none" subtracts nothing (eigenvectors of the second moments).
        size: reduce larger images (antialiased) until the longer side is this, which bounds the cost.
        normalise: scale each image to unit L2 norm before anything is fitted.
    """

    kind = "pca"

    def __init__(
        self,
        components: int = 20,
        *,
        whiten: bool = False,
        centre: Centre = "data",
        size: int | None = 32,
        normalise: bool = False,
    ) -> None:
        if components < 1:
            raise ValueError(f"components must be at least 1, got {components}")
        if centre not in ("data", "image", "none"):
            raise ValueError(f"centre must be 'data', 'image' or 'none', got {centre!r}")
        self.components, self.whiten, self.centre = components, whiten, centre
        self.size, self.normalise = size, normalise
        self._state: dict[str, Tensor] | None = None

    @property
    def recipe(self) -> str:
        """Kind and settings, without what was learnt from the data."""
        return version(self.kind, self.settings())

    @property
    def name(self) -> str:
        """The version of these features: settings and a hash of the components."""
        return version(self.kind, self.settings(), self.state())

    @property
    def fitted(self) -> bool:
        """Whether ``fit`` was called."""
        return self._state is not None

    @property
    def dim(self) -> int:
        """The number of features."""
        return self.components

    def _rows(self, images: Tensor) -> Tensor:
        return flatten(images, size=self.size, centre=self.centre == "image", normalise=self.normalise)

    def fit(self, data: Images, *, progress: bool = True, device: str | torch.device = "cpu") -> Self:
        """Find the components of a data set, reading it once.

        Raises:
            ValueError: more components than images or pixels.
        """
        n, pixels = len(data), self._rows(data.batch(slice(0, 1))).shape[1] if len(data) else 0
        if self.components > min(n, pixels):
            raise ValueError(
                f"{self.components} components need at least that many images and pixels; got {n} images "
                f"of {pixels} pixels"
            )
        batches = (
            self._rows(data.batch(rows).to(device))
            for rows in track(_batches(data, 1024), "principal components", enabled=progress)
        )
        held = pixels > _FEW and n * pixels <= _HELD
        mean, values, vectors = (self._held if held else self._summed)(batches, n)
        largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
        vectors = vectors * largest.sign()
        # A constant direction has no deviation to divide by; it stays at zero.
        scale = values.clamp(min=1e-12).rsqrt() if self.whiten else torch.ones_like(values)
        self._state = {
            "mean": mean.float().cpu(),
            "components": vectors.float().contiguous(),
            "scale": scale.float(),
        }
        return self

    def _held(self, batches: Iterator[Tensor], n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, variances and components of rows that are all in memory."""
        rows = torch.cat([rows.float() for rows in batches])  # a copy, which is centred in place
        mean = rows.new_zeros(rows.shape[1])
        if self.centre != "none":
            # The mean of what a float32 mean leaves has the digits that it lacks.
            rough = rows.mean(0)
            rows -= rough
            left = rows.mean(0)
            rows -= left
            mean = rough.double() + left
        values, vectors = leading_of_rows(rows, self.components)
        return mean, values / max(n - 1, 1), vectors

    def _summed(self, batches: Iterator[Tensor], n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, variances and components from sums over the batches, which need not be kept."""
        totals: Tensor | float = 0.0
        products: Tensor | float = 0.0
        for rows in batches:
            x = rows.double()
            totals, products = totals + x.sum(0), products + x.T @ x
        assert isinstance(totals, Tensor)
        mean = torch.zeros_like(totals) if self.centre == "none" else totals / n
        covariance = (products - n * torch.outer(mean, mean)) / max(n - 1, 1)
        return mean, *leading(covariance.cpu(), self.components)

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, components)`` of images ``(B, C, H, W)``; differentiable.

        Raises:
            ValueError: images of another size than the ones it was fitted on.
        """
        rows, state = self._rows(images), self.state()
        if rows.shape[1] != len(state["mean"]):
            raise ValueError(
                f"images of shape {tuple(images.shape[1:])} have {rows.shape[1]} pixels here; the components "
                f"were fitted on {len(state['mean'])}"
            )
        mean, components, scale = (state[key].to(rows) for key in ("mean", "components", "scale"))
        return (rows - mean) @ components * scale

    def settings(self) -> dict[str, Any]:
        """What rebuilds this extractor, besides its state."""
        return attributes(self, "components", "whiten", "centre", "size", "normalise")

    def state(self) -> dict[str, Tensor]:
        """Mean ``(P,)``, components ``(P, dim)`` and scale ``(dim,)``.

        Raises:
            ValueError: nothing was fitted yet.
        """
        if self._state is None:
            raise ValueError("the principal components are not known yet: call .fit(data) first")
        return self._state

    @classmethod
    def restore(cls, settings: Mapping[str, Any], state: Mapping[str, Tensor]) -> Self:
        """The extractor that ``settings`` and ``state`` came from."""
        made = cls(**settings)
        if state["components"].shape != (len(state["mean"]), made.components):
            raise ValueError(
                f"components of shape {tuple(state['components'].shape)} do not fit a mean of "
                f"{len(state['mean'])} pixels and {made.components} components"
            )
        made._state = {key: state[key] for key in ("mean", "components", "scale")}
        return made
