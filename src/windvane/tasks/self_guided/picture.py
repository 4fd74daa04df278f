"""The picture of the demonstration: clusters found without labels, and what guidance by them draws."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.data import ImageData
from windvane.denoiser import Denoiser
from windvane.guidance import ClassifierFree
from windvane.pictures import image_grid
from windvane.samplers import DDIM, sample

if TYPE_CHECKING:
    from PIL.Image import Image


def members(data: ImageData, ids: Tensor, cluster: int, count: int) -> Tensor:
    """The first ``count`` real images of a cluster ``(count, C, H, W)``, repeated if there are fewer."""
    rows = (ids == cluster).nonzero()[:, 0]
    return data.batch(rows[torch.arange(count) % len(rows)])


def guided_row(denoiser: Denoiser, cluster: int, *, weight: float, count: int, steps: int) -> Tensor:
    """``count`` samples of one cluster; the same seeds for every cluster and weight."""
    cond = Condition.vector(torch.full((count,), cluster))
    made = sample(
        ClassifierFree(denoiser, weight),
        seeds=0,
        n=count,
        cond=cond,
        sampler=DDIM(),
        steps=steps,
        clip=1.0,
        progress=False,
    )
    return made.x


def cluster_picture(
    denoiser: Denoiser,
    data: ImageData,
    ids: Tensor,
    *,
    clusters: list[int],
    weights: tuple[float, ...] = (1.0, 2.0),
    count: int = 6,
    steps: int = 40,
) -> "Image":
    """A row per cluster: real members, then a block of samples per weight."""
    labels = [f"cluster {c}" for c in clusters]
    real = torch.cat([members(data, ids, c, count) for c in clusters])
    blocks = [image_grid(real, columns=count, row_labels=labels, title="real members", scale=5)]
    for weight in weights:
        drawn = [guided_row(denoiser, c, weight=weight, count=count, steps=steps) for c in clusters]
        title = "drawn" if weight == 1 else f"drawn, guided by {weight:g}"
        blocks.append(image_grid(torch.cat(drawn), columns=count, title=title, scale=5))
    return side_by_side(blocks)


def side_by_side(pictures: "Sequence[Image]", *, gap: int = 12) -> "Image":
    """Pictures in one row on white."""
    from PIL import Image

    width = sum(p.width for p in pictures) + gap * (len(pictures) - 1)
    page = Image.new(pictures[0].mode, (width, max(p.height for p in pictures)), "white")
    left = 0
    for part in pictures:
        page.paste(part, (left, 0))
        left += part.width + gap
    return page
