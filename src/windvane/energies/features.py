"""Feature maps: matched in place (layout kept), or by their correlations (style)."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from windvane.conditions import Condition
from windvane.energies.base import Energy
from windvane.energies.targets import Eye, Reference, Sight


def _maps(features: Any) -> list[Tensor]:
    """One map, a sequence or a dictionary of maps, as a list."""
    if isinstance(features, Tensor):
        return [features]
    return list(features.values()) if isinstance(features, Mapping) else list(features)


def gram(features: Tensor) -> Tensor:
    """f f^T / (C P) of each sample, ``(B, C, C)``, for maps ``(B, C, *)`` with P positions."""
    flat = features.flatten(2) if features.ndim > 2 else features[:, :, None]
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


class _OfMaps(Energy):
    """Minus a distance between x's and the reference's maps, summed over the maps."""

    def __init__(
        self,
        features: Callable[..., Any],
        target: Tensor | str | Reference,
        *,
        timed: bool = False,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        name: str | None = None,
    ) -> None:
        self.name = type(self).name if name is None else name
        self.eye = Eye(features, timed=timed, preprocess=preprocess)
        self.sight = Sight(self.eye, target)
        self.signals = self.sight.signals

    @abstractmethod
    def distance(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """``(B,)`` for one pair of maps."""

    def log_likelihood(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        seen, wanted = _maps(self.eye(x, t, self.name)), _maps(self.sight(x, t, cond, self.name))
        shapes = [[tuple(one.shape[1:]) for one in maps] for maps in (seen, wanted)]
        if shapes[0] != shapes[1] or not all(one.ndim >= 2 for one in seen):
            raise ValueError(
                f"the energy {self.name!r} compares maps (B, C, *) of shapes {shapes[0]} of the samples with "
                f"{shapes[1]} of its target; give a target of the samples' size and channels"
            )
        first, *others = (self.distance(ours, theirs.to(ours)) for ours, theirs in zip(seen, wanted))
        return -sum(others, start=first)


class FeatureMatch(_OfMaps):
    """-sum_j ||f_j(x) - f_j(reference)||^2 / (C_j H_j W_j): content with its layout (SDG, section 3.3).

    Args:
        features: ``(B, *)`` to one map ``(B, C, *)`` or several; with ``timed`` also given t.
        target: as for :class:`~windvane.energies.ImageSimilarity`.
    """

    name = "feature match"

    def distance(self, ours: Tensor, theirs: Tensor) -> Tensor:
        return (ours - theirs).square().flatten(1).mean(1)


class GramStyle(_OfMaps):
    """-sum_j ||G(f_j(x)) - G(f_j(reference))||_F^2 with G = f f^T / (C P) per sample: style.

    Gatys et al. 2016; SDG, section 3.3. Deviation: the released code lets the samples of a batch share
    one Gram matrix; here each has its own.
    """

    name = "style"

    def distance(self, ours: Tensor, theirs: Tensor) -> Tensor:
        return (gram(ours) - gram(theirs)).square().flatten(1).sum(1)
