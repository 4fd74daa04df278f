"""What `windvane stitch` prints and leaves in its folder."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from windvane.cli.common.comparison_files import write_comparison
from windvane.cli.common.console import print_table, tell
from windvane.cli.common.folders import STITCHED

TABLE, NUMBERS, PLOT = STITCHED.files


@dataclass(frozen=True)
class StitchedPoint:
    """One division of the steps, or the last model alone with fewer.

    Args:
        calls: network calls of each model; flops: operations of one picture, a multiply-add counting as two.
        share: of the last model's operations with all steps.
        distance: the Fréchet distance, less is better.
    """

    fractions: tuple[float, ...]
    steps: int
    calls: tuple[int, ...]
    flops: int
    share: float
    distance: float


def write(
    out: Path,
    settings: dict[str, Any],
    rows: Sequence[StitchedPoint],
    alone: Sequence[StitchedPoint],
    frontier: Sequence[StitchedPoint],
    best: StitchedPoint | None,
) -> None:
    """The table as CSV, everything as JSON, and the curve as a picture."""
    shorter = [*alone, rows[-1]]

    def curves(axes: Any) -> None:
        axes.plot([r.share for r in frontier], [r.distance for r in frontier], lw=1.5, label="best of a cost")
        axes.plot(
            [r.share for r in rows], [r.distance for r in rows], ls="", marker="o", ms=4, label="stitched"
        )
        axes.plot(
            [r.share for r in shorter], [r.distance for r in shorter], lw=1, ls=":", marker="s", ms=4,
            color="0.5", label="the last model alone, fewer steps",
        )  # fmt: skip
        if best is not None:
            axes.plot(
                [best.share], [best.distance], ls="", marker="o", ms=11, mfc="none", color="k", label="chosen"
            )
        axes.set_xlabel("operations of a picture, share of the last model's")
        axes.set_ylabel("Fréchet distance")

    write_comparison(
        out,
        STITCHED,
        columns=["fractions", "steps", "calls", "flops", "share", "distance"],
        rows=[
            [_name(row), row.steps, "+".join(map(str, row.calls)), row.flops, row.share, row.distance]
            for row in (*rows, *alone)
        ],
        numbers={
            "points": [{**asdict(row), "frontier": row in frontier} for row in rows],
            "alone": [asdict(row) for row in alone],
            "chosen": None if best is None else asdict(best),
        },
        curves=curves,
        settings=settings,
    )


def _name(row: StitchedPoint) -> str:
    return "/".join(f"{100 * f:.0f}" for f in row.fractions)


def show(
    out: Path,
    paths: Sequence[Path],
    rows: Sequence[StitchedPoint],
    alone: Sequence[StitchedPoint],
    frontier: Sequence[StitchedPoint],
    best: StitchedPoint | None,
    budget: float | None,
) -> None:
    """The curve, the cheapest first; what no other point beats is marked."""

    def cells(row: StitchedPoint, name: str, mark: str) -> list[str]:
        calls = "+".join(map(str, row.calls))
        return [name, calls, f"{row.flops / 1e9:.4g}", f"{row.share:.0%}", f"{row.distance:.4g}{mark}"]

    order = sorted(rows, key=lambda row: (row.flops, row.distance))
    table = [cells(row, _name(row), "*" if row in frontier else " ") for row in order]
    table += [cells(row, f"alone, {row.steps} steps", " ") for row in alone]
    print_table(["% of the steps", "calls", "GFLOPs", "cost", "Fréchet"], table, right=range(1, 5))
    names = ", ".join(path.name for path in paths)
    tell(f"\n% of the steps of {names}; * no other point is both cheaper and better.")
    if best is not None:
        fractions = ", ".join(f"{f:g}" for f in best.fractions)
        tell(
            f"At most {budget:.0%} of the cost: {_name(best)}, Fréchet {best.distance:.4g} at "
            f"{best.share:.0%}. In Python: stitched(models, [{fractions}])"
        )
    tell(f"\n{out / PLOT}, {out / TABLE}, {out / NUMBERS}")
