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
from windvane.annotate.features.extractor import Images, beside, version
from windvane.randomness import generator

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


def _initialised(build: Any, seed: int) -> nn.Module:
    """A module with weights drawn from ``seed`` alone: He-normal weights, zero biases, unit norms."""
    # Made without memory first: the layers' own initialisation would draw from torch's global generator.
    with torch.device("meta"):
        module = build()
    module = module.to_empty(device="cpu")
    numbers = generator(seed, 0)
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            fan = part.weight[0].numel()
            part.weight.data.normal_(0, math.sqrt(2 / fan), generator=numbers)
            part.bias.data.zero_()  # type: ignore[union-attr]
        elif isinstance(part, nn.GroupNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
    return module


class SelfSup:
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
        self._dim, self.width, self.steps, self.batch = dim, width, steps, batch
        self.learning_rate, self.weight_decay, self.temperature = learning_rate, weight_decay, temperature
        self.flip, self.augment, self.seed = flip, augment, seed
        self.encoder: ConvEncoder | None = None
        self.shape: tuple[int, ...] | None = None
        self.losses: list[float] = []
        self._name = ""

    def _recipe_settings(self) -> dict[str, Any]:
        return {
            "dim": self._dim,
            "width": self.width,
            "steps": self.steps,
            "batch": self.batch,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "temperature": self.temperature,
            "flip": self.flip,
            "augment": None if self.augment is None else asdict(self.augment),
            "seed": self.seed,
        }

    @property
    def recipe(self) -> str:
        """Kind and settings, without what was learnt from the data."""
        return version(self.kind, self._recipe_settings())

    @property
    def name(self) -> str:
        """The version of these features: settings and a hash of the weights."""
        self._trained()
        return self._name

    @property
    def fitted(self) -> bool:
        """Whether ``fit`` was called."""
        return self.encoder is not None

    @property
    def dim(self) -> int:
        """The number of features."""
        return self._dim

    def _trained(self) -> ConvEncoder:
        if self.encoder is None:
            raise ValueError("the self-supervised encoder is not trained yet: call .fit(data) first")
        return self.encoder

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
        encoder = self._untrained(shape, self.seed)
        head = _initialised(
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
        self._take(encoder, shape)
        return self

    def _untrained(self, shape: tuple[int, ...], seed: int) -> nn.Module:
        width = (16 if max(shape[-2:]) < SMALL else 32) if self.width is None else self.width
        return _initialised(lambda: ConvEncoder(shape, width=width, dim=self._dim), seed)

    def _take(self, encoder: nn.Module, shape: tuple[int, ...]) -> None:
        self.encoder, self.shape = encoder.eval().requires_grad_(False), shape  # type: ignore[assignment]
        self._name = version(self.kind, self._recipe_settings(), encoder.state_dict())

    def to(self, device: str | torch.device) -> Self:
        """Move the encoder."""
        self._trained().to(device)
        return self

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, dim)`` of images ``(B, C, H, W)``; differentiable.

        Raises:
            ValueError: images with another number of channels than those it was trained on.
        """
        encoder = self._trained()
        if self.shape is None or images.shape[1] != self.shape[0]:
            raise ValueError(f"trained on images of shape {self.shape}, got {tuple(images.shape[1:])}")
        return encoder(beside(images, encoder))

    def settings(self) -> dict[str, Any]:
        """What rebuilds this extractor, besides its state."""
        self._trained()
        return {**self._recipe_settings(), "shape": list(self.shape or ())}

    def state(self) -> dict[str, Tensor]:
        """The encoder's weights."""
        return {key: value.detach().cpu() for key, value in self._trained().state_dict().items()}

    @classmethod
    def restore(cls, settings: Mapping[str, Any], state: Mapping[str, Tensor]) -> Self:
        """The extractor that ``settings`` and ``state`` came from.

        Raises:
            ValueError: weights that do not fit the settings.
        """
        named = {key: value for key, value in settings.items() if key != "shape"}
        if named["augment"] is not None:
            named["augment"] = Augment(**{**named["augment"], "area": tuple(named["augment"]["area"])})
        made, shape = cls(**named), tuple(settings["shape"])
        encoder = made._untrained(shape, 0)
        try:
            encoder.load_state_dict(dict(state))
        except RuntimeError as error:
            raise ValueError(
                f"the weights do not fit a self-supervised encoder of {settings}: {error}"
            ) from error
        made._take(encoder, shape)
        return made
