"""What is asked of each picture of a command: an id, boxes, or a mask; as a condition and as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from windvane.cli.common.conditions.vocabulary import KnownConditions, draw
from windvane.cli.common.sections import SampleSection

if TYPE_CHECKING:
    from torch import Tensor

    from windvane.annotate import MaskAnnotation
    from windvane.annotate.regions import RegionAnnotation
    from windvane.conditions import Condition

#: Beside the model in the folder of a run.
ANNOTATIONS = "annotations"


class Requests(Protocol):
    """Conditions of n pictures."""

    def __len__(self) -> int: ...

    def value(self, position: int) -> Any:
        """The condition of one picture as a JSON value, from which :func:`requests_again` makes it anew."""
        ...

    def take(self, positions: Sequence[int]) -> Self:
        """The conditions of some pictures."""
        ...

    def condition(self) -> "Condition":
        """All of them for the network."""
        ...


class Ids:
    """One id a picture, int64 ``(n,)``."""

    def __init__(self, ids: "Tensor") -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def value(self, position: int) -> int:
        return int(self.ids[position])

    def take(self, positions: Sequence[int]) -> "Ids":
        return Ids(self.ids[list(positions)])

    def condition(self) -> "Condition":
        from windvane.conditions import Condition

        return Condition.vector(self.ids)


class Layouts:
    """Boxes (with or without ids) or a mask a picture."""

    def __init__(self, regions: "RegionAnnotation") -> None:
        self.regions = regions

    def __len__(self) -> int:
        return len(self.regions)

    def value(self, position: int) -> dict[str, Any]:
        return self.regions.value(position)

    def take(self, positions: Sequence[int]) -> "Layouts":
        import torch

        return Layouts(self.regions.take(torch.tensor(list(positions), dtype=torch.int64)))

    def condition(self) -> "Condition":
        return self.regions.condition()


def requests_for(
    section: SampleSection, asked: KnownConditions | None, seeds: Sequence[int], *, model: Path | None
) -> Requests | None:
    """What is asked of the pictures of ``seeds``; None for the unconditional model.

    Args:
        model: the model folder, beside which the annotations of its run are looked for.

    Raises:
        ValueError: boxes for a model of masks or the like, or no annotation to draw from.
    """
    for flag, kind, given in (("--boxes", "boxes", section.boxes), ("--mask", "masks", section.mask)):
        if given is not None and (asked is None or asked.kind != kind):
            trained = "no condition" if asked is None else asked.kind
            raise ValueError(f"{flag}: this model was trained on {trained}, not on {kind}")
    if section.like is not None:
        return _like(section, asked, seeds, model)
    if asked is None or asked.size is None:
        ids = draw(section, asked, seeds)
        return None if ids is None else Ids(ids)
    if section.boxes is not None:
        return Layouts(_drawn_boxes(Path(section.boxes), section, asked, seeds))
    if section.mask is not None:
        return Layouts(_drawn_masks(Path(section.mask), asked, seeds))
    if section.condition == "none" and section.cluster is None:
        return None
    return Layouts(_of_training(section, asked, seeds, model))


def _like(
    section: SampleSection, asked: KnownConditions | None, seeds: Sequence[int], model: Path | None
) -> Requests:
    """What is found in the user's pictures, dealt to the seeds in turn."""
    import torch

    from windvane.cli.common.conditions.pictures import ids_in, regions_in

    other = [name for name in ("boxes", "mask") if getattr(section, name) is not None]
    if asked is None or other:
        why = f"not beside --{other[0]}" if other else "this model was trained without a condition"
        raise ValueError(f"--like asks for what is found in a picture; {why}")
    if section.cluster is not None and asked.kind != "boxes":
        raise ValueError("--like finds the cluster or the mask itself; leave out --cluster")
    assert section.like is not None
    path, folder = Path(section.like), None if model is None else model.parent / ANNOTATIONS
    if asked.size is None:
        ids = ids_in(path, asked, folder)
        return Ids(ids[torch.arange(len(seeds)) % len(ids)])
    found = regions_in(path, asked, folder)
    dealt = found.take(torch.arange(len(seeds)) % len(found))
    return Layouts(dealt if dealt.named else _with_ids(dealt, section, asked, seeds))


def _of_training(
    section: SampleSection, asked: KnownConditions, seeds: Sequence[int], model: Path | None
) -> "RegionAnnotation":
    """Those of training images drawn at random, each by its own seed."""
    import torch

    from windvane.annotate import draw_ids, load_regions

    folder = None if model is None else model.parent / ANNOTATIONS
    if folder is None or not (folder / "regions.json").is_file():
        flag = "--boxes FILE" if asked.kind == "boxes" else "--mask FILE"
        raise ValueError(
            f"the {asked.kind} of the training images are not beside the model; draw your own: {flag}"
        )
    if section.condition == "uniform":
        raise ValueError(f"--condition uniform is for ids; {asked.kind} are drawn from the training images")
    regions = load_regions(folder)
    chosen = regions.take(draw_ids(torch.ones(len(regions)), list(seeds)))
    if section.cluster is not None and chosen.ids is not None:
        return chosen.with_ids(torch.full((len(chosen),), section.cluster), chosen.k)
    return chosen


def _drawn_boxes(
    path: Path, section: SampleSection, asked: KnownConditions, seeds: Sequence[int]
) -> "RegionAnnotation":
    import torch

    from windvane.cli.common.conditions.files import read_boxes

    assert asked.size is not None
    found = read_boxes(path, asked.size)
    return _with_ids(found.take(torch.arange(len(seeds)) % len(found)), section, asked, seeds)


def _with_ids(
    dealt: "RegionAnnotation", section: SampleSection, asked: KnownConditions, seeds: Sequence[int]
) -> "RegionAnnotation":
    """Boxes beside the ids that the model wants there: their own, the one that was chosen, or drawn ones.

    Raises:
        ValueError: no ids are asked for; boxes alone were never seen in training.
    """
    if not asked.count:
        return dealt.with_ids(None, None)
    if section.cluster is None and section.condition == "none":
        raise ValueError(
            "--condition none: this model has seen boxes beside clusters only; leave it out to draw clusters "
            "as in training, or name one by --cluster"
        )
    if section.cluster is None and dealt.k == asked.count:
        return dealt  # a COCO-style file brought the clusters along, or they were found in a picture
    ids = draw(section, asked, seeds)
    assert ids is not None
    return dealt.with_ids(ids, asked.count)


def _drawn_masks(path: Path, asked: KnownConditions, seeds: Sequence[int]) -> "MaskAnnotation":
    import torch

    from windvane.cli.common.conditions.files import read_masks

    assert asked.size is not None and asked.layout is not None
    found = read_masks(path, asked.size, asked.layout)
    return found.take(torch.arange(len(seeds)) % len(found))


def requests_again(value: Any, asked: KnownConditions | None, rows: int) -> Requests | None:
    """The condition that :meth:`Requests.value` told, for ``rows`` pictures.

    Raises:
        ValueError: a condition that the model does not know.
    """
    import torch

    from windvane.annotate import BoxAnnotation, MaskAnnotation, Origin
    from windvane.annotate.regions.boxes.outlines import from_run_lengths

    if value is None:
        return None
    if not isinstance(value, dict):
        return Ids(torch.full((rows,), int(value)))
    if asked is None or asked.size is None or asked.layout is None:
        raise ValueError("the picture was made from boxes or a mask, and this model takes none")
    first = torch.zeros(rows, dtype=torch.int64)
    if "boxes" in value:
        made = BoxAnnotation(
            torch.tensor(value["boxes"], dtype=torch.int64).reshape(-1, 4),
            owner=torch.zeros(len(value["boxes"]), dtype=torch.int64),
            n=1,
            size=asked.size,
            origin=Origin("drawn"),
            ids=torch.tensor([value["id"]]) if "id" in value else None,
            k=asked.count if "id" in value else None,
        )
        return Layouts(made.take(first))
    mask = torch.zeros(1, *asked.size, dtype=torch.uint8)
    for number, counts in value["mask"].items():
        mask[0][from_run_lengths(counts, asked.size)] = int(number)
    return Layouts(MaskAnnotation(mask, asked.layout, origin=Origin("drawn")).take(first))
