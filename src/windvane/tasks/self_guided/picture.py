"""The picture of the demonstration: clusters found without labels, and what guidance by them draws."""

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
    """A row per cluster: real members, then samples at each weight."""
    rows = []
    for cluster in clusters:
        rows.append(members(data, ids, cluster, count))
        rows += [guided_row(denoiser, cluster, weight=w, count=count, steps=steps) for w in weights]
    labels = ["real members", *(f"weight {w:g}" for w in weights)]
    columns = [labels[i // count] if i % count == 0 else "" for i in range(count * len(labels))]
    return image_grid(
        torch.cat(rows),
        columns=count * len(labels),
        row_labels=[f"cluster {c}" for c in clusters],
        column_labels=columns,
        scale=4,
    )
