"""The cells of a grid of samples, as settings inside the picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from windvane.cli.common.recipe import batch_of

TRAINING_GRID = "training grid"
#: Of the conditions inside a grid; masks of large pictures are longer, and their grids name the command only.
_LONGEST = 500_000
_MOST_CELLS = 100


@dataclass(frozen=True)
class GridCell:
    """One picture of a grid.

    Args:
        condition: its JSON value, see `Requests.value`.
        batch: ``rows`` of the batch that it was made in, and its ``row`` there.
    """

    seed: int
    condition: Any
    batch: Mapping[str, int]


def grid_settings(cells: Sequence[GridCell]) -> dict[str, Any]:
    """What makes the cells, as JSON values; the seeds alone where conditions are too long for a picture."""
    seeds, conditions = [cell.seed for cell in cells], [cell.condition for cell in cells]
    if len(json.dumps(conditions)) > _LONGEST:
        return {"seeds": seeds}
    batches = [[cell.batch["rows"], cell.batch["row"]] for cell in cells]
    return {"seeds": seeds, "conditions": conditions, "batches": batches}


def cells_of(settings: Mapping[str, Any]) -> list[GridCell]:
    """The cells of a grid's settings.

    Raises:
        ValueError, TypeError: settings that no grid has.
    """
    seeds, conditions, batches = settings["seeds"], settings["conditions"], settings["batches"]
    whole = all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds)
    if not (whole and 0 < len(seeds) <= _MOST_CELLS):
        raise ValueError(f"its seeds are {str(seeds):.60}")
    return [
        GridCell(seed, condition, batch_of({"batch": {"rows": rows, "row": row}}))
        for seed, condition, (rows, row) in zip(seeds, conditions, batches, strict=True)
    ]
