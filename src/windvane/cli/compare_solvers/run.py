"""What `windvane compare-solvers` runs, prints and leaves in its folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common import folders
from windvane.cli.common.builders import build_guided, build_sampler
from windvane.cli.common.comparison_files import write_comparison
from windvane.cli.common.conditions.requests import requests_for
from windvane.cli.common.console import print_table, tell
from windvane.cli.common.errors import say
from windvane.cli.common.guidance import settled
from windvane.cli.common.models import clip_of, open_model
from windvane.cli.common.processes import sole_device
from windvane.cli.common.sections import SampleSection
from windvane.cli.common.suggestions import suggestion
from windvane.registry import known_names

if TYPE_CHECKING:
    from windvane.tasks.solvers import Comparison, SolverPoint

#: Euler is DDIM, and the others add noise.
SOLVERS = ("ddim", "heun", "dpm++2s", "dpm++3s", "dpm++2m", "dpm++3m", "unipc2", "unipc3", "evodiff")
TABLE, NUMBERS, PLOT = folders.SOLVERS.files
_COLUMNS = ("solver", "budget", "calls", "steps", "rows", "error", "median", "seconds")


def names_of(text: str | None) -> tuple[str, ...]:
    """`ddim,heun` as names of solvers, each once; all that add no noise by default."""
    if text is None:
        return SOLVERS
    names = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for name in names:
        if name not in known_names("sampler"):
            raise ValueError(f"--solvers: unknown solver {name!r}{suggestion(name, known_names('sampler'))}")
    if not names:
        raise ValueError(f"--solvers needs names such as {','.join(SOLVERS[:3])}, got {text!r}")
    return names


def numbers_of(text: str) -> tuple[int, ...]:
    """`5,8,12` as budgets, each once, the smallest first."""
    try:
        numbers = tuple(sorted({int(word) for word in text.split(",")}))
    except ValueError:
        raise ValueError(f"--calls needs whole numbers such as 5,8,12, got {text!r}") from None
    if numbers[0] < 1:
        raise ValueError(f"--calls needs numbers of at least 1, got {text!r}")
    return numbers


def compare(
    run: Path,
    section: SampleSection,
    *,
    solvers: Sequence[str],
    calls: Sequence[int],
    reference_steps: int,
    out: Path,
    weight_given: bool,
) -> "Comparison":
    """Open the model, run every solver at every budget, print the table and write the files."""
    from windvane.grids import grid_named
    from windvane.tasks.solvers import compare_solvers

    device = sole_device("compare-solvers")
    model = open_model(run, weights=section.weights, device=device, precision=section.precision)
    section = settled(section, model.asked, weight_given=weight_given)
    seeds = list(range(section.seed, section.seed + section.n))
    asked = requests_for(section, model.asked, seeds, model=model.folder)
    found = compare_solvers(
        build_guided(model.denoiser, section),
        {
            name: build_sampler(section.model_copy(update={"sampler": name, "eta": 0.0}), model.denoiser)
            for name in solvers
        },
        calls=calls,
        seeds=section.seed,
        n=section.n,
        cond=None if asked is None else asked.condition(),
        grid=None if section.grid is None else grid_named(section.grid),
        clip=clip_of(model.denoiser, section),
        reference_steps=reference_steps,
        decode=model.decode,
        batch_size=section.batch_size,
    )
    if not found.points:
        raise ValueError("nothing to compare: " + "; ".join(f"{s.solver} {s.reason}" for s in found.skipped))
    settings = {
        "model": model.folder.as_posix(), "sha256": model.sha256, "seed": section.seed, "n": section.n,
        "weight": section.weight, "interval": section.interval, "condition": section.condition,
        "cluster": section.cluster, "grid": section.grid, "clip": clip_of(model.denoiser, section),
        "weights": section.weights,
    }  # fmt: skip
    _write(found, out, settings)
    show(found, calls)
    tell(f"\n{out / PLOT}, {out / TABLE}, {out / NUMBERS}")
    return found


def _write(found: "Comparison", out: Path, settings: dict[str, Any]) -> None:
    points = [{name: getattr(point, name) for name in _COLUMNS} for point in found.points]

    def curves(axes: Any) -> None:
        for name, (x, y) in found.curves().items():
            axes.plot(x, y, marker="o", ms=4, lw=1.5, label=name)
        axes.axhline(found.drift, color="0.6", lw=1, ls=":", label="the reference's own error")
        axes.set_yscale("log")
        axes.set_xlabel("network calls")
        axes.set_ylabel("error per pixel, root mean square")

    write_comparison(
        out,
        folders.SOLVERS,
        columns=_COLUMNS,
        rows=[list(point.values()) for point in points],
        numbers={
            "reference": {"steps": found.reference_steps, "drift": found.drift, "spread": found.spread},
            "points": points,
            "skipped": [vars(line) for line in found.skipped],
        },
        curves=curves,
        settings=settings,
    )


def show(found: "Comparison", calls: Sequence[int]) -> None:
    """Errors by solver and budget, the best of a budget marked; and what they are to be compared with."""
    by = {(point.solver, point.budget): point for point in found.points}
    names = list(dict.fromkeys(point.solver for point in found.points))
    best: dict[int, float] = {}
    for point in found.points:
        best[point.budget] = min(point.error, best.get(point.budget, point.error))
    rows = [[name, *(_cell(by.get((name, budget)), best.get(budget)) for budget in calls)] for name in names]
    print_table(["solver", *(f"{budget} calls" for budget in calls)], rows, right=range(1, len(calls) + 1))
    tell(
        f"\nDistance per pixel to {found.reference_steps} steps of DPM-Solver++ 3M from the same seeds; * is "
        f"the least of a budget. Pixels lie in [-1, 1]: one of 255 levels is {2 / 255:.4f}, and the samples "
        f"spread by {found.spread:.3g}. With half its steps the reference moves by {found.drift:.2g}."
    )
    fewer = {point.solver for point in found.points if point.calls < point.budget}
    if fewer:
        tell(f"({', '.join(sorted(fewer))}: the calls that its steps allow, up to the budget.)")
    for line in found.skipped:
        at = "" if line.budget is None else f" at {line.budget} calls"
        say(f"skipped {line.solver}{at}: {line.reason}")


def _cell(point: "SolverPoint | None", best: float | None) -> str:
    if point is None:
        return "-"
    return f"{point.error:.4f}{'*' if point.error == best else ' '}"
