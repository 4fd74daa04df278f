"""A self-supervised encoder that is trained on the user's own images, on the spot."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from windvane.annotate.features.augmentation import Augment
from windvane.annotate.features.contrastive import train_contrastive
from windvane.annotate.features.extractor import Images, beside
from windvane.annotate.features.learnt_network import LearntNetwork, initialised

#: Images with no side of this many pixels get a narrower encoder that keeps their resolution at first.
SMALL = 16


class _Block(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), at one resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class ConvEncoder(nn.Module):
    """A small convolutional encoder: stem, then halvings with a residual block each, down to about 4 x 4.

    Group normalisation only: the features of an image do not depend on its batch.

    Args:
        shape: of the images, ``(C, H, W)``.
        width: channels of the stem, a multiple of 8; doubled at each halving up to four times.
        dim: features.
    """

    def __init__(self, shape: Sequence[int], *, width: int, dim: int) -> None:
        super().__init__()
        # Larger images are halved at once by the stem, where most of the cost would be.
        stride = 1 if max(shape[-2:]) < SMALL else 2
        halvings = max(1, round(math.log2(max(shape[-2:]) / (4 * stride))))
        layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 3, stride=stride, padding=1)]
        for level in range(halvings):
            before, after = (width * 2 ** min(i, 2) for i in (level, level + 1))
            layers += [nn.GroupNorm(8, before), nn.SiLU(), nn.Conv2d(before, after, 3, stride=2, padding=1)]
            layers.append(_Block(after))
        last = width * 2 ** min(halvings, 2)
        self.trunk = nn.Sequential(*layers, nn.GroupNorm(8, last), nn.SiLU(), nn.Conv2d(last, dim, 1))

    def maps(self, images: Tensor) -> Tensor:
        """Feature maps ``(B, dim, h, w)``."""
        return self.trunk(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images).mean(dim=(2, 3))


class SelfSup(LearntNetwork[ConvEncoder]):
    """SimCLR (Chen et al. 2020, arXiv 2002.05709) on the user's images; features before the projection.

    Deviations from the paper: a small group-normalised encoder sized to the images, AdamW, and gentler
    crops for images below 16 pixels. It needs no network access and no labels.

    Args:
        dim: features.
        width: channels of the encoder's stem, a multiple of 8; None takes 16 below 16 pixels, else 32.
        steps: training steps.
        batch: images a step (two views each).
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        temperature: T of the loss.
        flip: let mirror images count as the same; leave it off for digits, letters, road signs.
        augment: the random views; None chooses by the size of the images.
        seed: of initialisation, order and views.
    """

    kind = "selfsup"
    options = "dim width steps batch learning_rate weight_decay temperature flip augment seed"
    what = "a self-supervised encoder"
    missing = "the self-supervised encoder is not trained"

    def __init__(
        self,
        *,
        dim: int = 128,
        width: int | None = None,
        steps: int = 500,
        batch: int = 128,
        learning_rate: float = 4e-3,
        weight_decay: float = 1e-4,
        temperature: float = 0.5,
        flip: bool = False,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        if min(dim, steps) < 1 or batch < 2 or (width is not None and (width < 8 or width % 8)):
            raise ValueError(
                f"need dim and steps >= 1, batch >= 2 and width a multiple of 8; "
                f"got dim={dim}, steps={steps}, batch={batch}, width={width}"
            )
        if min(learning_rate, temperature) <= 0:
            raise ValueError(
                f"learning_rate and temperature must be positive, got {learning_rate}, {temperature}"
            )
        super().__init__()
        self._dim, self.width, self.steps, self.batch = dim, width, steps, batch
        self.learning_rate, self.weight_decay, self.temperature = learning_rate, weight_decay, temperature
        self.flip, self.augment, self.seed = flip, augment, seed

    def recipe_settings(self) -> dict[str, Any]:
        """The settings as JSON values."""
        augment = None if self.augment is None else asdict(self.augment)
        return {**super().recipe_settings(), "augment": augment}

    @classmethod
    def read_settings(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that :meth:`recipe_settings` gave as JSON values."""
        augment = settings["augment"]
        if augment is not None:
            augment = Augment(**{**augment, "area": tuple(augment["area"])})
        return {**settings, "augment": augment}

    @property
    def encoder(self) -> ConvEncoder | None:
        """The network; None before the fit."""
        return self.network

    @property
    def dim(self) -> int:
        """The number of features."""
        return self._dim

    def fit(self, data: Images, *, progress: bool = True, device: str | torch.device = "cpu") -> Self:
        """Train the encoder on a data set, from scratch.

        Raises:
            ValueError: no images, or fewer than two.
        """
        if len(data.shape) != 3:
            raise ValueError(
                f"a self-supervised encoder needs images (C, H, W), got shape {tuple(data.shape)}"
            )
        if len(data) < 2:
            raise ValueError(f"a contrastive encoder needs at least 2 images, got {len(data)}")
        shape = tuple(data.shape)
        encoder = self.untrained(shape, self.seed)
        head = initialised(
            lambda: nn.Sequential(nn.Linear(self._dim, self._dim), nn.SiLU(), nn.Linear(self._dim, 64)),
            self.seed + 1,
        )
        self.losses = train_contrastive(
            encoder.to(device),
            head.to(device),
            data,
            Augment.suited_to(shape, flip=self.flip) if self.augment is None else self.augment,
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            temperature=self.temperature,
            seed=self.seed,
            device=device,
            progress=progress,
        )
        self.take(encoder, shape)
        return self

    def untrained(self, shape: tuple[int, ...], seed: int) -> ConvEncoder:
        """The encoder for images of a shape."""
        width = (16 if max(shape[-2:]) < SMALL else 32) if self.width is None else self.width
        return initialised(lambda: ConvEncoder(shape, width=width, dim=self._dim), seed)

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, dim)`` of images ``(B, C, H, W)``; differentiable.

        Raises:
            ValueError: images with another number of channels than those it was trained on.
        """
        encoder = self.suited(images)
        return encoder(beside(images, encoder))
