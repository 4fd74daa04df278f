"""Pictures and the report of steered samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from windvane import report as html
from windvane.pictures import image_grid
from windvane.tasks.steering.experiment import Arm
from windvane.tasks.steering.goals import Wish
from windvane.tasks.steering.measure import ARROWS, OPERATOR, PIXELS, Score

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST = 12
_PICTURES = ("like", "content", "style")


def before_and_after(unguided: Tensor, guided: Tensor, *, most: int = _MOST) -> "Image":
    """The same seeds without guidance above and with it below; pictures ``(n, C, H, W)`` in [-1, 1]."""
    count = min(most, len(unguided))
    both = torch.cat([unguided[:count], guided[:count]]).clamp(-1, 1)
    return image_grid(both, columns=count, row_labels=["unguided", "guided"])


def sweep_grid(arms: Sequence[tuple[float, Tensor]], *, most: int = _MOST) -> "Image":
    """A row for every strength, a column for every seed."""
    count = min(most, len(arms[0][1]))
    rows = torch.cat([images[:count] for _, images in arms]).clamp(-1, 1)
    return image_grid(rows, columns=count, row_labels=[f"x {factor:g}" for factor, _ in arms])


def score_rows(
    arms: Sequence[Arm], scores: Mapping[float, Sequence[Score]]
) -> tuple[list[str], list[list[str]]]:
    """Measured quantities downwards, strengths to the right."""
    heads = ["measured", *("unguided" if arm.factor == 0 else f"x {arm.factor:g}" for arm in arms)]
    rows = []
    for score in scores[arms[0].factor]:
        cells = []
        for arm in arms:
            found = next((s for s in scores[arm.factor] if s.name == score.name), None)
            cells.append("–" if found is None else f"{found.value:.3g}")
        rows.append([f"{score.name} {ARROWS[score.better]}", *cells])
    rows.append(["network evaluations a sample", *(f"{arm.evaluations:g}" for arm in arms)])
    return heads, rows


def write_page(
    path: Path,
    *,
    wishes: Sequence[Wish],
    arms: Sequence[Arm],
    pictures: Mapping[float, Tensor],
    scores: Mapping[float, Sequence[Score]],
    settings: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> Path:
    """Write the report.

    Args:
        arms: unguided first.
        pictures: of every strength, ``(n, C, H, W)`` in [-1, 1].
        settings: for the table at the end.
        notes: what a reader must not miss.
    """
    heads, rows = score_rows(arms, scores)
    page = html.Report(
        "Steered samples", subtitle="; ".join(f"{wish.title} (weight {wish.weight:g})" for wish in wishes)
    )
    strongest = next((arm for arm in arms if arm.factor == 1), arms[-1])
    page.section(
        "Result",
        *(html.note(text) for text in notes),
        html.table(heads, rows, numbers=range(1, len(heads))),
        intro=_intro(scores),
    )
    page.section(
        "Before and after",
        html.picture(before_and_after(pictures[arms[0].factor], pictures[strongest.factor])),
        intro="Each column has one seed.",
    )
    if len(arms) > 2:
        grid = sweep_grid([(arm.factor, pictures[arm.factor]) for arm in arms])
        page.section("Sweep", html.picture(grid), *_curves(arms, scores))
    shown = [wish for wish in wishes if wish.kind in _PICTURES and wish.image is not None]
    if shown:
        given = torch.cat([wish.image for wish in shown if wish.image is not None])
        page.section("Given pictures", html.images_row(given, captions=[wish.title for wish in shown]))
    page.section("Samples", html.images_row(pictures[strongest.factor].clamp(-1, 1)[:100]))
    page.section("Settings", html.table(["", ""], [[key, value] for key, value in settings.items()]))
    return page.write(path)


def _intro(scores: Mapping[float, Sequence[Score]]) -> str:
    """Who measured; no network may have done so."""
    if all(score.by in (OPERATOR, PIXELS) for found in scores.values() for score in found):
        return "Measured without networks: no images were known that judges could learn from."
    return "Measured by networks that did not steer: of other seeds, trained on other images."


def _curves(arms: Sequence[Arm], scores: Mapping[float, Sequence[Score]]) -> list[str]:
    factors = [arm.factor for arm in arms]
    made = []
    for score in scores[factors[0]]:
        values = [next((s.value for s in scores[f] if s.name == score.name), None) for f in factors]
        if all(value is not None for value in values):
            line = {score.name: (factors, values)}
            made.append(html.figure(html.curves(line, title=score.name, x_label="strength", markers=True)))  # type: ignore[arg-type]
    return [f"<div class='plots'>{''.join(made)}</div>"] if made else []
