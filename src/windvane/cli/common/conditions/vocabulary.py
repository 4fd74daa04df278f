"""What a trained model may be asked for: how many ids it knows, how often each occurred, their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from windvane.cli.common.errors import say
from windvane.cli.common.sections import SampleSection

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["clusters", "labels", "boxes", "masks", "vectors"]
#: The key under which a model folder's `extra` keeps this.
KEY = "condition"


@dataclass(frozen=True)
class KnownConditions:
    """The ids of a model: `count` of them, with training images per id and names where they are known.

    A model of boxes or masks also has `layout`, the channels of its maps, and `size`, (height, width) of its
    pictures; `count` is then the number of ids beside the boxes, or 0. `shape` is that of a picture, where it
    is known.
    """

    count: int
    kind: Kind = "clusters"
    sizes: Sequence[int] | None = None
    names: Sequence[str] | None = None
    layout: int | None = None
    size: tuple[int, int] | None = None
    shape: tuple[int, ...] | None = None

    def to_extra(self) -> dict[str, Any]:
        """As JSON values, for the model folder."""
        sizes = None if self.sizes is None else [int(size) for size in self.sizes]
        return {KEY: {"kind": self.kind, "count": self.count, "sizes": sizes, "names": self.names}}


def asked_of(description: Mapping[str, Any]) -> KnownConditions | None:
    """What the description of a model folder says, or None for an unconditional model."""
    config = description["network"]["config"]
    count, layout = config.get("vector"), config.get("layout")
    known = description.get("extra", {}).get(KEY) or {}
    shape = None if description.get("shape") is None else tuple(description["shape"])
    if layout is not None:
        height, width = description["shape"][-2:]
        kind = known.get("kind", "boxes" if layout == 1 else "masks")
        return KnownConditions(count or 0, kind, known.get("sizes"), None, layout, (height, width), shape)
    if count is None:
        return None
    return KnownConditions(
        count, known.get("kind", "clusters"), known.get("sizes"), known.get("names"), shape=shape
    )


def draw(section: SampleSection, asked: KnownConditions | None, seeds: Sequence[int]) -> "Tensor | None":
    """The ids of the seeds, int64 (n,): each depends on its own seed alone. None: no condition."""
    if asked is None or (section.condition == "none" and section.cluster is None):
        return None
    import torch

    from windvane.annotate.images.id_draws import draw_ids

    if section.cluster is not None:
        return torch.full((len(seeds),), section.cluster, dtype=torch.int64)
    if asked.sizes is None:
        if section.condition != "uniform":
            say(
                f"the model does not say how often each of its {asked.count} ids occurred in training: all "
                "are equally likely here; --cluster K asks for one"
            )
        return draw_ids(torch.ones(asked.count), list(seeds), "uniform")
    source: Literal["empirical", "uniform"] = "uniform" if section.condition == "uniform" else "empirical"
    return draw_ids(torch.tensor(asked.sizes), list(seeds), source)
