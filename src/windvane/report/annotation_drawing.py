"""Boxes and masks drawn on images, and bars of sizes: arrays and SVG, ready for a page."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from windvane.pictures import to_uint8
from windvane.report.text import plain

#: Colours of found boxes and of true ones.
FOUND, TRUE = (255, 140, 40), (60, 200, 235)
#: Colours of mask ids, in turn; told apart by most colour-blind readers too.
PALETTE = (
    (0, 158, 195), (230, 120, 30), (80, 170, 70), (190, 70, 150), (120, 110, 220),
    (225, 190, 40), (140, 90, 60), (235, 105, 105), (60, 190, 165), (150, 150, 150),
)  # fmt: skip
_OPACITY = 0.5
#: More bars than this get a plot as wide as the page.
_FEW = 12


def enlargement(height: int, width: int, least: int = 96) -> int:
    """The whole number by which images are enlarged so that lines of one pixel do not hide them."""
    return max(1, round(least / min(height, width)))


def coloured(images: Any, scale: int = 1) -> np.ndarray:
    """Images (B, C, H, W) as uint8 (B, 3, H * scale, W * scale), each pixel repeated."""
    levels = to_uint8(images)
    levels = np.broadcast_to(
        levels[:, :1] if levels.shape[1] != 3 else levels, (len(levels), 3, *levels.shape[2:])
    )
    return levels.repeat(scale, axis=2).repeat(scale, axis=3)


def draw_boxes(
    image: np.ndarray, boxes: Sequence[Sequence[int]], colour: tuple[int, int, int], scale: int
) -> None:
    """Outline boxes (left, top, right, bottom) of the small image on the enlarged one (3, H, W), in place.

    The line lies on the box's own outermost pixels.
    """
    thick = max(1, scale // 4)
    paint = np.array(colour, dtype=np.uint8)[:, None, None]
    for left, top, right, bottom in boxes:
        x0, y0, x1, y1 = (edge * scale for edge in (left, top, right, bottom))
        for part in (
            np.s_[:, y0 : y0 + thick, x0:x1],
            np.s_[:, y1 - thick : y1, x0:x1],
            np.s_[:, y0:y1, x0 : x0 + thick],
            np.s_[:, y0:y1, x1 - thick : x1],
        ):
            image[part] = paint


def paint_masks(images: np.ndarray, masks: Any, scale: int) -> np.ndarray:
    """Enlarged images (B, 3, H, W) under half transparent colours of the ids of their masks (B, h, w)."""
    ids = np.asarray(masks).astype(np.int64).repeat(scale, axis=1).repeat(scale, axis=2)
    colours = np.array(PALETTE, dtype=np.float64)[ids % len(PALETTE)].transpose(0, 3, 1, 2)
    return np.rint((1 - _OPACITY) * images + _OPACITY * colours).astype(np.uint8)


def swatches(names: Sequence[str], shares: Sequence[float], colours: Sequence[tuple[int, int, int]]) -> str:
    """A legend: a coloured square, a name and a share each."""
    made = [
        f"<span><i style='background:rgb{colour}'></i>{plain(name)}"
        f"{f' {share:.0%}' if share >= 0 else ''}</span>"
        for name, share, colour in zip(names, shares, colours)
    ]
    return f"<div class='legend'>{''.join(made)}</div>"


def bars(
    values: Sequence[float],
    *,
    labels: Sequence[str],
    title: str,
    x_label: str,
    y_label: str,
    line: float | None = None,
    line_label: str = "",
) -> str:
    """Upright bars as an SVG element, with a tip for each, some ten labels, and a dashed line."""
    width, height, left, top, floor = 520 if len(values) <= _FEW else 1040, 240, 52, 34, 196
    most = max([*values, line or 0, 1e-12])
    step = (width - left - 12) / max(len(values), 1)

    def level(value: float) -> float:
        return floor - (floor - top) * value / most

    parts = [f"<text x='{left}' y='16' font-size='14'>{plain(title)}</text>"]
    for share in (0, 0.5, 1):
        y = level(share * most)
        parts.append(f"<line x1='{left}' x2='{width - 12}' y1='{y:.1f}' y2='{y:.1f}' stroke='var(--line)'/>")
        parts.append(_words(left - 6, y + 4, f"{share * most:.3g}", "end"))
    every = max(1, -(-len(values) * 520 // (12 * width)))
    for place, (value, label) in enumerate(zip(values, labels, strict=True)):
        x = left + place * step
        gap = min(2.0, step * 0.15)
        y = level(value)
        parts.append(
            f"<rect x='{x + gap / 2:.2f}' y='{y:.2f}' width='{step - gap:.2f}' height='{floor - y:.2f}' "
            f"fill='var(--c0)'><title>{plain(label)}: {value:g}</title></rect>"
        )
        if place % every == 0:
            parts.append(_words(x + step / 2, floor + 15, label, "middle"))
    if line is not None:
        y = level(line)
        parts.append(
            f"<line x1='{left}' x2='{width - 12}' y1='{y:.1f}' y2='{y:.1f}' stroke='var(--c1)' "
            "stroke-dasharray='5 4'/>"
        )
        parts.append(_words(width - 12, 16, f"- - {line_label}", "end", "var(--c1)"))
    parts.append(_words((left + width) / 2, height - 8, x_label, "middle"))
    parts.append(
        f"<text x='12' y='{(top + floor) / 2}' font-size='12' fill='var(--soft)' text-anchor='middle' "
        f"transform='rotate(-90 12 {(top + floor) / 2})'>{plain(y_label)}</text>"
    )
    return (
        f"<svg viewBox='0 0 {width} {height}' width='{width}' height='{height}' role='img' "
        f"aria-label='{plain(title)}' fill='var(--ink)'>{''.join(parts)}</svg>"
    )


def _words(x: float, y: float, text: str, anchor: str, colour: str = "var(--soft)") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='12' fill='{colour}' text-anchor='{anchor}'>"
        f"{plain(text)}</text>"
    )
