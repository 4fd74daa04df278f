"""Controls: conditions that carry less than self-labels do, to show where a gain comes from.

All depend on their seed alone. Those of this file map ids to ids, and boxes or masks to boxes or masks
(Self-Guided Diffusion Models, arXiv 2210.06462); real-valued ones are in :mod:`.images.vectors`.
"""

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from windvane.annotate.features.extractor import Images, text_key
from windvane.annotate.images.clusters import checked_ids
from windvane.annotate.regions import RegionAnnotation
from windvane.randomness import generator

Regions = TypeVar("Regions", bound=RegionAnnotation)

#: How much each channel counts in a grey image: luma of ITU-R BT.601, as Pillow's mode "L" has it.
_LUMA = (0.299, 0.587, 0.114)


def random_ids(ids: Tensor, *, seed: int) -> Tensor:
    """The same ids dealt to other images at random: equal sizes, no information. ``(n,)`` to ``(n,)``."""
    return ids[torch.randperm(len(ids), generator=generator(seed, 1))]


def noisy_ids(ids: Tensor, *, ratio: float, k: int, seed: int) -> Tensor:
    """Label noise: round(ratio n) ids, chosen at random, become one of the other k - 1, uniformly.

    Args:
        ids: ``(n,)`` in 0..k-1.
        ratio: the share of wrong ids, in [0, 1].
        k: the number of ids.
        seed: of the choice.
    """
    ids = checked_ids(ids, k)
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio must lie in [0, 1], got {ratio}")
    if k < 2 and ratio > 0:
        raise ValueError(f"label noise needs at least two ids to choose from, got k={k}")
    numbers = generator(seed, 2)
    chosen = torch.randperm(len(ids), generator=numbers)[: round(ratio * len(ids))]
    noisy = ids.clone()
    if len(chosen):
        noisy[chosen] = (ids[chosen] + torch.randint(1, k, (len(chosen),), generator=numbers)) % k
    return noisy


def split_ids(ids: Tensor, *, parts: int, seed: int) -> Tensor:
    """Each id split at random into ``parts`` groups of (nearly) equal size: id * parts + group.

    As many conditions as parts times the classes, and no more information than the classes.

    Args:
        ids: ``(n,)``, not negative.
        parts: groups a class.
        seed: of the dealing.
    """
    if parts < 1:
        raise ValueError(f"parts must be at least 1, got {parts}")
    checked_ids(ids, int(ids.max()) + 1 if len(ids) else 1)
    numbers = generator(seed, 3)
    groups = torch.empty_like(ids)
    for value in torch.unique(ids).tolist():
        members = (ids == value).nonzero()[:, 0]
        order = torch.randperm(len(members), generator=numbers)
        groups[members[order]] = torch.arange(len(members)) % parts
    return ids * parts + groups


def shuffled_regions(annotation: Regions, *, seed: int) -> Regions:
    """The same boxes or masks dealt to other images at random: equal marginals, nothing about the image.

    Image-level ids beside boxes stay with their images, so that the boxes alone are wrong; the ids of a mask
    are what lies in it and move with it.
    """
    order = torch.randperm(len(annotation), generator=generator(seed, 4))
    return _control(annotation.dealt(order), "dealt to other images")


def moved_regions(annotation: Regions, *, seed: int) -> Regions:
    """Every box or mask somewhere else in its own image: what is there stays known, where it is does not.

    A box keeps its size and goes to a place drawn uniformly among those within the image. A mask is rolled
    round the image by a shift drawn uniformly for each image, so every id keeps its number of pixels.
    """
    return _control(annotation.moved(generator(seed, 5)), "moved within the image")


def _control(made: Regions, what: str) -> Regions:
    """Said to be a control; there is no rule that would make it of new images, so none is kept."""
    made.origin = replace(made.origin, source=f"{made.origin.source}, {what}", rule=None)
    return made


class GreyImages:
    """A data set as seen without colour: three equal channels, the luma of the image.

    Features of it show what colour adds to self-labels. Images of one channel stay as they are.

    Args:
        data: images of one or three channels.

    Raises:
        ValueError: another number of channels.
    """

    def __init__(self, data: Images) -> None:
        if len(data.shape) != 3 or data.shape[0] not in (1, 3):
            raise ValueError(f"grey images are made of 1 or 3 channels, got shape {tuple(data.shape)}")
        self._data, self.shape = data, tuple(data.shape)

    @property
    def fingerprint(self) -> str:
        """Of the grey images: another one than that of the coloured ones."""
        return self._data.fingerprint if self.shape[0] == 1 else text_key("grey", self._data.fingerprint)

    def __len__(self) -> int:
        return len(self._data)

    def batch(self, indices: Tensor | slice) -> Tensor:
        """Images ``(B, C, H, W)``, float32 in [-1, 1], all channels equal."""
        return grey(self._data.batch(indices))


def grey(images: Tensor) -> Tensor:
    """Images ``(B, 3, H, W)`` without colour, still of three channels; those of one channel unchanged."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device)
    return torch.einsum("bchw,c->bhw", images, weights)[:, None].expand_as(images).contiguous()
