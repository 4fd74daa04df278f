"""The training loop of STEGO on frozen dense features."""

import math
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from windvane.annotate.dense.dense_extractor import DenseExtractor, dense_maps
from windvane.annotate.dense.position_samples import at_most
from windvane.annotate.features.contrastive import epochs
from windvane.annotate.features.extractor import Images
from windvane.annotate.images.clusters import Clusters
from windvane.annotate.patch_grid import patch_counts
from windvane.annotate.regions.masks.correspondence import ClusterProbe, CodeHead, Pairs, stego_loss
from windvane.annotate.regions.masks.feature_lift import Lift
from windvane.annotate.work import Work
from windvane.randomness import generator
from windvane.training.descent import descend

_PROBE_CODES = 20_000


def held_maps(
    extractor: DenseExtractor, data: Images, work: Work, *, memory: int, least: int, seed: int
) -> Tensor:
    """Frozen features ``(n, D, h, w)`` of the images, or of as many of them as ``memory`` bytes hold.

    Computed once; ``least`` images are held whatever they take.
    """
    count = math.prod(patch_counts(extractor.grid, (data.shape[-2], data.shape[-1])))
    chosen = at_most(data, max(least, memory // (4 * extractor.dim * count)), seed=seed)
    return torch.cat([maps for _, maps in dense_maps(extractor, chosen, work)])


def nearest_images(means: Tensor, count: int) -> Tensor:
    """The ``count`` other images with the most similar mean feature by cosine: ``(n, count)``."""
    units = F.normalize(means, dim=1)
    found = []
    for start in range(0, len(units), 1024):
        cosines = units[start : start + 1024] @ units.T
        own = torch.arange(len(cosines), device=cosines.device)
        cosines[own, own + start] = -torch.inf
        found.append(cosines.topk(count, dim=1).indices)
    return torch.cat(found)


def derangement(rows: int, numbers: torch.Generator) -> Tensor:
    """A random order of 0..rows-1 that leaves no row in its place, for pairing images with others."""
    order = torch.randperm(rows, generator=numbers)
    paired = torch.empty_like(order)
    # Each row is followed by the next one on a random circle through all of them.
    paired[order] = order.roll(-1)
    return paired


def train_stego(
    maps: Tensor,
    lift: Lift,
    parts: tuple[CodeHead, ClusterProbe],
    *,
    steps: int,
    probe_steps: int,
    batch: int,
    learning_rate: float,
    probe_rate: float,
    neighbours: int,
    partners: int,
    points: int,
    kinds: tuple[Pairs, Pairs, Pairs],
    seed: int,
    progress: bool = True,
) -> tuple[CodeHead, ClusterProbe, list[float]]:
    """Train the head by the three kinds of pairs, then the probe; returns both and the losses.

    Args:
        maps: the frozen features, ``(n, D, h, w)``, where training shall take place.
        lift: what is done to them first.
        parts: head and probe to train.
        steps, probe_steps, batch, learning_rate, probe_rate, neighbours, partners, points, seed: see
            :class:`.Stego`.
        kinds: weights and shifts.
        progress: show a bar.
    """

    def frozen(rows: Tensor) -> Tensor:
        return lift(maps[rows.to(maps.device)])

    n, where = len(maps), maps.device
    head, probe = parts[0].to(where), parts[1].to(where)
    means = torch.cat([lift(part).mean(dim=(2, 3)) for part in maps.split(256)])
    near = nearest_images(means, neighbours).cpu()
    same, neighbouring, random = kinds
    numbers, batches = generator(seed, 1), epochs(n, min(batch, n), seed)

    def loss(step: int) -> Tensor:
        rows = next(batches)
        chosen = near[rows, torch.randint(neighbours, (len(rows),), generator=numbers)]
        features, neighbour = frozen(rows), frozen(chosen)
        others = [derangement(len(rows), numbers).to(where) for _ in range(partners)]
        here, there = (
            (2 * torch.rand(len(rows), points**2, 2, generator=numbers) - 1).to(where) for _ in range(2)
        )
        return stego_loss(
            features,
            head(features),
            (neighbour, head(neighbour)),
            others,
            (here, there),
            same_pair=same,
            near_pair=neighbouring,
            random_pair=random,
        )

    losses = descend(
        loss, head.parameters(), steps=steps, lr=learning_rate, weight_decay=None, name="segmentation head",
        progress=progress, error=ValueError,
    )  # fmt: skip
    _train_probe(head, probe, frozen, n, probe_steps, probe_rate, seed)
    return head, probe, losses


def _train_probe(
    head: CodeHead,
    probe: ClusterProbe,
    frozen: Callable[[Tensor], Tensor],
    n: int,
    steps: int,
    rate: float,
    seed: int,
) -> None:
    """Start the probe from k-means on unit codes, then follow its own loss; number clusters by size."""
    numbers = generator(seed, 2)
    images = torch.randperm(n, generator=numbers)[: min(n, 1000)]
    drawn = []
    with torch.no_grad():
        for rows in images.split(64):
            flat = head(frozen(rows)).flatten(2)
            each = max(1, _PROBE_CODES // len(images))
            picked = torch.randint(flat.shape[2], (len(rows), each), generator=numbers).to(flat.device)
            drawn.append(
                flat.gather(2, picked[:, None].expand(-1, flat.shape[1], -1)).movedim(1, 2).flatten(0, 1)
            )
    codes = torch.cat(drawn)
    clusters = Clusters(len(probe.centres), seed=seed, restarts=1).fit(codes)
    probe.centres.data.copy_(F.normalize(clusters.centres, dim=1))

    def loss(step: int) -> Tensor:
        rows = torch.randint(len(codes), (min(4096, len(codes)),), generator=numbers).to(codes.device)
        return probe.loss(codes[rows])

    descend(
        loss, probe.parameters(), steps=steps, lr=rate, weight_decay=None, name="cluster probe",
        progress=False, error=ValueError,
    )  # fmt: skip
    with torch.no_grad():
        sizes = torch.bincount(probe(codes).argmax(dim=1), minlength=len(probe.centres))
        if int(sizes.max()) > 0.998 * len(codes) and len(sizes) > 1:
            warnings.warn(
                f"{int(sizes.max())} of {len(codes)} codes fall into one cluster: the codes have collapsed; "
                "try shifts='balanced', other features or more steps",
                stacklevel=2,
            )
        probe.centres.data.copy_(probe.centres[sizes.argsort(descending=True, stable=True)])
