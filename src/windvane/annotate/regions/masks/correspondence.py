"""The correspondence distillation loss of STEGO, and the networks it trains."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Pairs:
    """Weight and shift b of one kind of image pairs; None is the mean correlation of the batch's pairs."""

    weight: float
    shift: float | None = None


#: Same image, a near neighbour, random images: the published values, found for the keys of DINO.
SAME, NEAR, RANDOM = Pairs(0.67, 0.18), Pairs(0.25, 0.12), Pairs(0.63, 0.46)
PUBLISHED = (SAME, NEAR, RANDOM)
#: The published weights with shifts that fit any features: as much is drawn together as is pushed apart.
BALANCED = (Pairs(0.67), Pairs(0.25), Pairs(0.63))


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Cosines between all positions of two sets of maps ``(B, D, P)`` and ``(B, D, Q)``: ``(B, P, Q)``."""
    return torch.einsum("bdp,bdq->bpq", F.normalize(first, dim=1), F.normalize(second, dim=1))


def centred(correlations: Tensor) -> Tensor:
    """F~: the mean over the second image's positions removed, and the mean of everything put back.

    F~_bpq = F_bpq - mean_q F_bpq + mean_bpq F
    """
    return correlations - correlations.mean(dim=2, keepdim=True) + correlations.mean()


def pair_loss(features: tuple[Tensor, Tensor], codes: tuple[Tensor, Tensor], shift: float | None) -> Tensor:
    """-mean_{b,p,q} (F~_bpq - b) max(C_bpq, 0), a scalar; no gradient goes to the features.

    The mean stands for the paper's sum, so that the weights do not depend on how many positions are drawn.
    Source: Hamilton et al. 2022 (STEGO, arXiv 2203.08414), equations 3 to 5.

    Args:
        features: frozen features of the two images at P and Q positions, ``(B, D, P)`` and ``(B, D, Q)``.
        codes: the head's codes at the same positions, ``(B, E, P)`` and ``(B, E, Q)``.
        shift: b; correlations above it pull codes together, those below push them apart. None takes the mean
            of F~, with which both weigh the same.
    """
    f, c = (tuple(F.normalize(maps, dim=1) for maps in pair) for pair in (features, codes))
    return _unit_loss((f[0], f[1]), (c[0], c[1]), shift)


def _unit_loss(features: tuple[Tensor, Tensor], codes: tuple[Tensor, Tensor], shift: float | None) -> Tensor:
    """:func:`pair_loss` of unit vectors, with as few passes over all pairs of positions as it takes."""
    first, second = codes
    with torch.no_grad():
        target = features[0].transpose(1, 2) @ features[1]
        overall = target.mean()
        target -= target.mean(dim=2, keepdim=True)
        if shift is not None:
            target += overall - shift
        # Where codes correlate negatively the clamp lets nothing through, neither value nor gradient; what is
        # left is linear in the correlations, so that they need not be kept for the backward pass.
        target *= first.transpose(1, 2) @ second > 0
    return -(first * (second @ target.transpose(1, 2))).sum() / target.numel()


def sample_at(maps: Tensor, places: Tensor) -> Tensor:
    """Maps ``(B, D, h, w)`` read bilinearly at places ``(B, P, 2)`` in [-1, 1], x first: ``(B, D, P)``.

    -1 and 1 are the centres of the outermost patches.
    """
    return F.grid_sample(maps, places[:, :, None], padding_mode="border", align_corners=True)[..., 0]


def stego_loss(
    features: Tensor,
    codes: Tensor,
    near: tuple[Tensor, Tensor],
    others: list[Tensor],
    places: tuple[Tensor, Tensor],
    *,
    same_pair: Pairs = SAME,
    near_pair: Pairs = NEAR,
    random_pair: Pairs = RANDOM,
) -> Tensor:
    """The three kinds of pairs together: each image with itself, with a neighbour, with random images.

    Args:
        features: of a batch, ``(B, D, h, w)``.
        codes: of the batch, ``(B, E, h, w)``.
        near: features and codes of one near neighbour of each image.
        others: rows of the batch to pair each image with, one int64 ``(B,)`` per random partner.
        places: positions in each image of the batch, ``(B, P, 2)`` each: the first where it stands alone or
            leads a pair, as published twice in the pair with itself; the second where it is a partner, and in
            its neighbour.
    """
    here, there = places
    f, c = (F.normalize(sample_at(maps, here), dim=1) for maps in (features, codes))
    f_near, c_near = (F.normalize(sample_at(maps, there), dim=1) for maps in near)
    f_there, c_there = (F.normalize(sample_at(maps, there), dim=1) for maps in (features, codes))
    total = same_pair.weight * _unit_loss((f, f), (c, c), same_pair.shift)
    total = total + near_pair.weight * _unit_loss((f, f_near), (c, c_near), near_pair.shift)
    for rows in others:
        loss = _unit_loss((f, f_there[rows]), (c, c_there[rows]), random_pair.shift)
        total = total + random_pair.weight * loss / len(others)
    return total


class CodeHead(nn.Module):
    """code(F) = A F + C relu(B F), 1 x 1 convolutions on frozen features ``(B, D, h, w)``."""

    def __init__(self, dim: int, codes: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(dim, codes, 1)
        self.curved = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.ReLU(), nn.Conv2d(dim, codes, 1))

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features) + self.curved(features)


class ClusterProbe(nn.Module):
    """K learnt unit vectors m_c, compared with unit codes by their cosine.

    Args:
        codes: length of the codes.
        k: the number of clusters.
    """

    def __init__(self, codes: int, k: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.empty(k, codes))

    def forward(self, codes: Tensor) -> Tensor:
        """Cosines ``(B, k, *)`` of codes ``(B, E, *)``."""
        units, centres = F.normalize(codes, dim=1), F.normalize(self.centres, dim=1)
        return torch.einsum("be...,ke->bk...", units, centres)

    def loss(self, codes: Tensor) -> Tensor:
        """-mean max_c cos(code, m_c): the codes, which get no gradient, pull their nearest centre."""
        return -self(codes.detach()).amax(dim=1).mean()

    def log_probabilities(self, codes: Tensor, *, sharpness: float = 2.0) -> Tensor:
        """log softmax(2 cos) over the clusters, ``(B, k, *)``."""
        return F.log_softmax(sharpness * self(codes), dim=1)
