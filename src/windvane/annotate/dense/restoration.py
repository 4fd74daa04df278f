"""Dense features learnt on the user's own images by restoring them: one vector a pixel, no labels."""

import math
from collections.abc import Mapping
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from windvane.annotate.dense.dense_net import DenseNet
from windvane.annotate.dense.pasted_pieces import paste
from windvane.annotate.features.contrastive import HELD_BYTES, epochs
from windvane.annotate.features.extractor import Images, beside
from windvane.annotate.features.learnt_network import LearntNetwork, initialised
from windvane.annotate.patch_grid import PatchGrid
from windvane.randomness import generator
from windvane.training.descent import descend, warm_cosine


class Restoration(LearntNetwork[DenseNet]):
    """Features of a network that learnt to take pasted pieces out of the user's images.

    Training: pieces of other images are pasted in, noise is added, and the network r gives the image back,

        min E || r(paste(x) + noise) - x ||^2.

    Whole objects recur and can be told from pieces only by their context, so the network must know at every
    pixel what it belongs to. Features: with h the network's last maps, x_0 = x and x_{i+1} = r(x_i),

        g_p(x) = c_p(x) h_p(x_rounds),   c_p = |x_p - median(x)| / 2 over the channels (1 without ``gate``).

    Each round fades what looks pasted; the contrast c, from the untouched image, keeps features sharp where
    context alone would blur them. A denoising autoencoder (Vincent et al. 2008) whose noise are the patches
    of CutMix (Yun et al. 2019, arXiv 1905.04899); the combination and the rounds are ours.

    Args:
        width: channels of the network's stem; the features have twice as many.
        pieces: pasted rectangles per image.
        piece: their least and largest side, as shares of the image's short side.
        noise: standard deviation of added noise (images span [-1, 1]).
        rounds: how often an image is restored before its features are taken.
        gate: multiply by the contrast.
        steps: training steps.
        batch: images a step.
        learning_rate: of AdamW, after a warm-up of a twentieth and along a cosine to zero.
        seed: of initialisation, order and corruption.
    """

    kind = "restoration"
    options = "width pieces piece noise rounds gate steps batch learning_rate seed"
    what = "dense features"
    missing = "the dense features are not learnt"

    def __init__(
        self,
        *,
        width: int = 16,
        pieces: int = 8,
        piece: tuple[float, float] = (0.1, 0.3),
        noise: float = 0.1,
        rounds: int = 2,
        gate: bool = True,
        steps: int = 500,
        batch: int = 48,
        learning_rate: float = 4e-3,
        seed: int = 0,
    ) -> None:
        if min(width, steps) < 1 or batch < 2 or min(pieces, rounds, noise) < 0 or learning_rate <= 0:
            raise ValueError(
                f"need width and steps >= 1, batch >= 2, learning_rate > 0 and no negative number; got "
                f"{width=}, {steps=}, {batch=}, {learning_rate=}, {pieces=}, {rounds=}, {noise=}"
            )
        if not 0 < piece[0] <= piece[1] <= 1:
            raise ValueError(
                f"the sides of pieces are shares of the image, 0 < least <= largest <= 1: {piece}"
            )
        super().__init__()
        self.width, self.pieces, self.piece, self.noise = width, pieces, (piece[0], piece[1]), noise
        self.rounds, self.gate, self.steps, self.batch = rounds, gate, steps, batch
        self.learning_rate, self.seed = learning_rate, seed

    def recipe_settings(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {**super().recipe_settings(), "piece": list(self.piece)}

    @classmethod
    def read_settings(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that :meth:`recipe_settings` gave as JSON values."""
        return {**settings, "piece": tuple(settings["piece"])}

    @property
    def dim(self) -> int:
        """The number of features per pixel."""
        return 2 * self.width

    @property
    def grid(self) -> PatchGrid:
        """One patch a pixel."""
        return PatchGrid(1, 1)

    def fit(self, data: Images, *, progress: bool = True, device: str | torch.device = "cpu") -> Self:
        """Train the network on a data set, from scratch; the same seed gives the same features.

        Raises:
            ValueError: fewer than two images, or data that are no images.
        """
        if len(data.shape) != 3 or len(data) < 2:
            raise ValueError(
                f"dense features need at least 2 images (C, H, W), got {len(data)} of shape "
                f"{tuple(data.shape)}"
            )
        shape = tuple(data.shape)
        network = self.untrained(shape, self.seed).to(device)
        side = min(shape[-2:])
        sizes = (max(1, round(self.piece[0] * side)), max(1, round(self.piece[1] * side)))
        held = data.batch(slice(0, len(data))) if 4 * len(data) * math.prod(shape) <= HELD_BYTES else None
        numbers, order = generator(self.seed, 2), epochs(len(data), min(self.batch, len(data)), self.seed)

        def loss(step: int) -> Tensor:
            rows = next(order)
            images = data.batch(rows) if held is None else held[rows]
            seen, _ = paste(images, numbers, pieces=self.pieces, sizes=sizes)
            seen = seen + self.noise * torch.randn(seen.shape, generator=numbers)
            return F.mse_loss(network(seen.to(device)), images.to(device))

        self.losses = descend(
            loss, network.parameters(), steps=self.steps, lr=self.learning_rate, rate=warm_cosine(self.steps),
            weight_decay=1e-4, name="dense features", progress=progress, error=ValueError,
        )  # fmt: skip
        self.take(network, shape)
        return self

    def untrained(self, shape: tuple[int, ...], seed: int) -> DenseNet:
        """The network for images of a shape."""
        # Halved until about ten positions a side are left, where the convolutions see whole objects.
        levels = max(1, round(math.log2(max(shape[-2:]) / 10)))
        return initialised(lambda: DenseNet(shape[0], width=self.width, levels=levels), seed)

    def restored(self, images: Tensor, rounds: int | None = None) -> Tensor:
        """Images ``(B, C, H, W)`` after ``rounds`` rounds, by default those of the features; in [-1, 1]."""
        network = self.trained()
        x = beside(images, network)
        for _ in range(self.rounds if rounds is None else rounds):
            x = network(x).clamp(-1, 1)
        return x

    def __call__(self, images: Tensor) -> Tensor:
        """Features ``(B, 2 * width, H, W)`` of images ``(B, C, H, W)``.

        Raises:
            ValueError: images with another number of channels than those it was trained on.
        """
        network = self.suited(images)
        maps = network.maps(self.restored(images))
        return maps * contrast(images).to(maps) if self.gate else maps


def contrast(images: Tensor) -> Tensor:
    """How far each pixel is from the image's median, root mean square over channels: ``(B, 1, H, W)``.

    The median, channel by channel, stands for the background, whether it is bright or dark; 1 is the
    distance from white to black.
    """
    middle = images.flatten(2).median(dim=2).values[:, :, None, None]
    return ((images - middle) / 2).square().mean(dim=1, keepdim=True).sqrt()
