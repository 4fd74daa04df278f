"""The contrastive objective of SimCLR and the loop that trains an encoder with it."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from windvane.annotate.features.augmentation import Augment
from windvane.annotate.features.extractor import Images
from windvane.randomness import generator
from windvane.training.descent import descend

#: Data sets up to this many bytes are held in memory while the encoder trains.
HELD_BYTES = 1 << 29


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross entropy, per view, of two views ``(B, D)`` each: ``(2B,)``.

    With z the 2B unit vectors and j the other view of i,

        l_i = -log( exp(z_i.z_j / T) / sum_{k != i} exp(z_i.z_k / T) ).

    Source: Chen et al. 2020 (SimCLR, arXiv 2002.05709), equation 1.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(
            f"two views must have one shape (B, D), got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    rows = len(first)
    z = F.normalize(torch.cat([first, second]), dim=1)
    logits = z @ z.T / temperature
    logits = logits.masked_fill(torch.eye(2 * rows, dtype=torch.bool, device=z.device), -torch.inf)
    partner = torch.arange(2 * rows, device=z.device).roll(rows)
    return F.cross_entropy(logits, partner, reduction="none")


def epochs(n: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Endless batches of indices: each pass visits every image once, in an order of its own."""
    passes = 0
    while True:
        order = torch.randperm(n, generator=generator(seed, 1, passes))
        for start in range(0, n - batch + 1, batch):
            yield order[start : start + batch]
        passes += 1


def train_contrastive(
    encoder: nn.Module,
    head: nn.Module,
    data: Images,
    augment: Augment,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    weight_decay: float,
    temperature: float,
    seed: int,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> list[float]:
    """Train encoder and projection head in place with AdamW; returns the loss of every step.

    The learning rate rises linearly over the first twentieth of the steps and then follows a cosine to
    zero. All randomness comes from ``seed``; the same seed on the same machine gives the same weights.
    """
    bytes_needed = 4 * len(data) * math.prod(data.shape)
    held = data.batch(slice(0, len(data))).to(device) if bytes_needed <= HELD_BYTES else None
    parameters = [*encoder.parameters(), *head.parameters()]
    warm, views = max(1, steps // 20), generator(seed, 2)
    batches = epochs(len(data), min(batch, len(data)), seed)

    def rate(step: int) -> float:
        falling = 0.5 * (1 + math.cos(math.pi * max(0, step - warm) / (steps - warm + 1)))
        return min((step + 1) / warm, falling)

    def loss(step: int) -> Tensor:
        rows = next(batches)
        images = data.batch(rows).to(device) if held is None else held[rows.to(device)]
        both = torch.cat([augment(images, views), augment(images, views)])
        first, second = head(encoder(both)).chunk(2)
        return nt_xent(first, second, temperature).mean()

    return descend(
        loss, parameters, steps=steps, lr=learning_rate, rate=rate, weight_decay=weight_decay,
        name="self-supervised encoder", progress=progress, error=ValueError,
    )  # fmt: skip
