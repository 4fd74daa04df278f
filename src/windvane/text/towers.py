"""The networks: one looks at images at any noise level, one reads bags of words, one embedded sentences."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Log-SNR beyond which an image counts as clean, or as nothing but noise.
CLEAN = 10.0
_FREQUENCIES = 16


class _Modulated(nn.Module):
    """A normalisation followed by h (1 + a(level)) + b(level), as SDG does to every norm (2112.05744)."""

    def __init__(self, norm: nn.Module, channels: int, context: int) -> None:
        super().__init__()
        self.norm, self.to_pair = norm, nn.Linear(context, 2 * channels)
        nn.init.zeros_(self.to_pair.weight)
        nn.init.zeros_(self.to_pair.bias)

    def forward(self, h: Tensor, context: Tensor) -> Tensor:
        scale, shift = self.to_pair(context).chunk(2, dim=1)
        shape = (len(h), -1, *([1] * (h.ndim - 2)))
        return self.norm(h) * (1 + scale.reshape(shape)) + shift.reshape(shape)


class ImageTower(nn.Module):
    """``(x, log_snr) -> (B, dim)``: a small convolutional network that is told the noise level.

    Stages of two 3x3 convolutions, halving the side until it is at most 4; then a linear layer over what is
    left, so that where things are is not forgotten. Every normalisation is shifted and scaled by the level.

    Args:
        shape: (C, H, W) of the images.
        dim: numbers an image.
        width: channels of the first stage; later ones have twice as many.
    """

    def __init__(self, shape: Sequence[int], dim: int = 64, width: int = 32) -> None:
        super().__init__()
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self.dim, self.width = dim, width
        context = 64
        self.level = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, context), nn.SiLU(), nn.Linear(context, context), nn.SiLU()
        )
        before, side = self.shape[0], min(self.shape[1:])
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        sizes = [(width, 1)] + [(2 * width, 2)] * max(1, math.ceil(math.log2(max(side, 5) / 4)))
        for after, stride in sizes:
            self.convolutions.append(nn.Conv2d(before, after, 3, stride=stride, padding=1))
            self.norms.append(_Modulated(nn.GroupNorm(4, after, affine=False), after, context))
            before = after
        with torch.no_grad():
            flat = self._maps(torch.zeros(1, *self.shape), torch.zeros(1, context))[-1].numel()
        self.hidden = nn.Linear(flat, 128)
        self.hidden_norm = _Modulated(nn.LayerNorm(128, elementwise_affine=False), 128, context)
        self.out = nn.Linear(128, dim)

    def _context(self, log_snr: Tensor, x: Tensor) -> Tensor:
        level = (log_snr.to(x) / CLEAN).clamp(-1, 1)
        waves = (
            level[:, None] * math.pi * torch.linspace(0.25, 4, _FREQUENCIES, device=x.device, dtype=x.dtype)
        )
        return self.level(torch.cat([waves.sin(), waves.cos()], dim=1))

    def _maps(self, x: Tensor, context: Tensor) -> list[Tensor]:
        maps = []
        for convolution, norm in zip(self.convolutions, self.norms):
            x = F.silu(norm(convolution(x), context))
            maps.append(x)
        return maps

    def _checked(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"this encoder looks at images {self.shape}, got {tuple(x.shape[1:])}")
        return x

    def maps(self, x: Tensor, log_snr: Tensor) -> list[Tensor]:
        """The feature maps of every stage."""
        return self._maps(self._checked(x), self._context(log_snr, x))

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        context = self._context(log_snr, x)
        h = self._maps(self._checked(x), context)[-1].flatten(1)
        return self.out(F.silu(self.hidden_norm(self.hidden(h), context)))


class TextTower(nn.Module):
    """``(places, begins) -> (S, dim)``: the mean of the words' vectors, through two linear layers."""

    def __init__(self, words: int, dim: int = 64, width: int = 64) -> None:
        super().__init__()
        self.words, self.dim, self.width = words, dim, width
        self.vectors = nn.EmbeddingBag(words, width, mode="mean")
        self.layers = nn.Sequential(nn.Linear(width, 128), nn.SiLU(), nn.Linear(128, dim))

    def forward(self, places: Tensor, begins: Tensor) -> Tensor:
        return self.layers(self.vectors(places, begins))


class SentenceTower(nn.Module):
    """``(S, size) -> (S, dim)``: embeddings of a sentence encoder, through two linear layers.

    Embeddings of one model lie close to each other (their mean is most of each), so they are centred and
    scaled first, as :meth:`fit` found them.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, size: int, dim: int = 64) -> None:
        super().__init__()
        self.size, self.dim = size, dim
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("spread", torch.ones(()))
        self.layers = nn.Sequential(nn.Linear(size, 128), nn.SiLU(), nn.Linear(128, dim))

    def fit(self, embeddings: Tensor) -> None:
        """Take the mean of ``(n, size)``, and the root of their mean variance."""
        self.centre.copy_(embeddings.mean(0))
        self.spread.copy_((embeddings - self.centre).square().mean().sqrt().clamp(min=1e-6))

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.layers((embeddings - self.centre) / self.spread)
