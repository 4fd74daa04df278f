"""What `windvane stitch` runs: every division of the steps among the models, and the last one alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windvane.cli.common.builders import build_guided, sampling_options
from windvane.cli.common.conditions.requests import Requests, requests_for
from windvane.cli.common.config import Config
from windvane.cli.common.datasets import eyes, open_parts, reference_images
from windvane.cli.common.guidance import settled
from windvane.cli.common.models import OpenedModel, clip_of, open_model
from windvane.cli.common.processes import sole_device
from windvane.cli.common.sections import SampleSection
from windvane.cli.stitch.files import StitchedPoint, show, write

if TYPE_CHECKING:
    from torch import Tensor

    from windvane.compress import Cost, Point, Sweep
    from windvane.denoiser import Denoiser
    from windvane.guidance import Routed


@dataclass(frozen=True)
class ImageFeatures:
    """ImageFeatures as their features, and the extractor of those."""

    extractor: Any
    features: "Tensor"


class Draws:
    """Pictures of any denoiser by the command's sampler, what one costs, and how far they are from images."""

    def __init__(self, model: OpenedModel, section: SampleSection, asked: Requests | None) -> None:
        self.model, self.section, self.asked = model, section, asked

    def _sample(self, denoiser: "Denoiser", n: int, steps: int) -> "Tensor":
        from windvane.samplers import sample

        section = self.section
        asked = None if self.asked is None else self.asked.take(range(n))
        own = {"steps": steps, "clip": clip_of(self.model.denoiser, section)}
        return sample(
            build_guided(denoiser, section),
            seeds=section.seed,
            n=n,
            cond=None if asked is None else asked.condition(),
            **{**sampling_options(denoiser, section), **own},
            progress=False,
        ).x

    def cost(self, routed: "Routed", steps: int) -> "Cost":
        """What one picture takes."""
        from windvane.compress import measure_cost

        return measure_cost(lambda: self._sample(routed, 1, steps), routed)

    def distance(self, denoiser: "Denoiser", steps: int, images: "ImageFeatures") -> float:
        """The Fréchet distance of pictures to images."""
        from windvane.metrics import extract_features, frechet

        pictures = self.model.decode(self._sample(denoiser, self.section.n, steps)).clamp(-1, 1)
        features = extract_features(pictures, images.extractor)
        try:
            return frechet(features, images.features, resamples=0, bias=False).value
        except ValueError as error:  # the library speaks of arguments, a user of this room of flags
            few = "use more than that with --n, or --features pca:N"
            raise ValueError(str(error).partition("; use more than")[0] + f"; {few}") from None


def stitch_models(
    paths: Sequence[Path],
    config: Config,
    *,
    out: Path,
    budget: float | None,
    parts: int,
    by: str,
    reference: str | None,
    known: bool,
    weight_given: bool,
) -> "Sweep":
    """Open the models, measure every division of the steps, print the table and write the files."""
    from windvane.compress import lattice, stitched, sweep
    from windvane.metrics import extract_features

    device = sole_device("windvane stitch")
    opened = [
        open_model(path, weights=config.sample.weights, device=device, precision=config.sample.precision)
        for path in paths
    ]
    large = opened[-1]
    denoisers = [model.denoiser for model in opened]
    shares = lattice(len(opened), parts)
    # Refused before any work, and processes and shapes before conditions: what differs most is told first.
    divided = [stitched(denoisers, share, by=by) for share in shares]
    _check_conditions(opened)
    section = settled(config.sample, large.asked, weight_given=weight_given)
    known_parts = open_parts(config.data, beside=large.folder, name_damaged=False) if known else None
    reference_of = reference_images(config.data, reference, known_parts, _shape(large))
    seeds = list(range(section.seed, section.seed + section.n))
    draws = Draws(large, section, requests_for(section, large.asked, seeds, model=large.folder))
    costs = [draws.cost(routed, section.steps) for routed in divided]
    _check_budget(budget, costs)
    _, extractor = eyes(known_parts, reference_of, config.evaluate)
    images = ImageFeatures(extractor, extract_features(reference_of.batch(slice(None)), extractor))
    counted = iter(costs)
    found = sweep(
        denoisers,
        lambda routed: draws.distance(routed, section.steps, images),
        costs=lambda routed: float(next(counted).flops),
        fractions=shares,
        by=by,
    )
    rows = [_row(p, c, section.steps, found.points[-1].cost) for p, c in zip(found.points, costs)]
    alone = _alone(draws, denoisers, rows, by, images)
    chosen = None if budget is None else found.best(budget * found.points[-1].cost)
    settings = {
        "models": [model.folder.as_posix() for model in opened],
        "sha256": [model.sha256 for model in opened],
        "features": extractor.name, "reference": len(reference_of), "by": by, "budget": budget,
        "n": section.n, "seed": section.seed, "sampler": section.sampler, "steps": section.steps,
        "grid": section.grid, "weight": section.weight, "cluster": section.cluster,
        "weights": section.weights,
    }  # fmt: skip
    best = None if chosen is None else rows[found.points.index(chosen)]
    frontier = [rows[found.points.index(point)] for point in found.frontier()]
    write(out, settings, rows, alone, frontier, best)
    show(out, paths, rows, alone, frontier, best, budget)
    return found


def _check_budget(budget: float | None, costs: Sequence["Cost"]) -> None:
    """Refuse a share of the last model's operations that no division keeps to."""
    whole = max(costs[-1].flops, 1)
    cheapest = min(cost.flops for cost in costs) / whole
    if budget is not None and budget * (1 + 1e-9) < cheapest:
        raise ValueError(
            f"--budget {budget:g}: the cheapest division of the steps takes {cheapest:.3g} of the operations "
            f"of LARGE; give --budget {math.ceil(1000 * cheapest) / 1000:g} or more"
        )


def _check_conditions(opened: Sequence[OpenedModel]) -> None:
    """Refuse models that are asked for different things."""
    known = [None if m.asked is None else (m.asked.kind, m.asked.count, m.asked.layout) for m in opened]
    for model, condition in zip(opened, known):
        if condition != known[-1]:
            told = ["no condition" if c is None else f"{c[1] or c[2]} {c[0]}" for c in (condition, known[-1])]
            raise ValueError(
                f"stitched models are asked for the same: {model.folder} knows {told[0]}, "
                f"{opened[-1].folder} knows {told[1]}"
            )


def _shape(model: OpenedModel) -> tuple[int, ...]:
    """The size of the model's pictures (C, H, W)."""
    from windvane.codec import data_shape

    shape = model.denoiser.shape
    if shape is None:
        raise ValueError(f"{model.folder} does not know the size of its pictures")
    device = next((p.device for p in model.denoiser.parameters()), "cpu")
    return data_shape(model.denoiser.codec, shape, device)


def _row(point: "Point", cost: "Cost", steps: int, whole: float) -> StitchedPoint:
    calls = tuple(count for count, _ in cost.per_model)
    return StitchedPoint(point.fractions, steps, calls, cost.flops, cost.flops / max(whole, 1), point.error)


def _alone(
    draws: Draws,
    denoisers: Sequence["Denoiser"],
    rows: Sequence[StitchedPoint],
    by: str,
    images: ImageFeatures,
) -> list[StitchedPoint]:
    """The last model with fewer steps, at about the cost of each division: the other way to save."""
    from windvane.compress import Point, stitched

    only = (*[0.0] * (len(denoisers) - 1), 1.0)
    routed, whole = stitched(denoisers, only, by=by), rows[-1]
    found = []
    for steps in sorted({max(1, round(whole.steps * row.share)) for row in rows} - {whole.steps}):
        cost = draws.cost(routed, steps)
        point = Point(only, cost.flops, draws.distance(routed, steps, images))
        found.append(_row(point, cost, steps, whole.flops))
    return found
