"""The pieces of a page: functions from data to a string of HTML. All text given to them is escaped."""

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from windvane.pictures import png_bytes, to_picture, to_uint8
from windvane.report.text import plain

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = 10


def note(text: str) -> str:
    """A sentence that stands out."""
    return f"<p class='note'>{plain(text)}</p>"


def facts(values: Mapping[str, Any]) -> str:
    """Key numbers as tiles: name -> value."""
    tiles = [
        f"<div class='fact'><b>{plain(value)}</b><span>{plain(name)}</span></div>"
        for name, value in values.items()
    ]
    return f"<div class='facts'>{''.join(tiles)}</div>"


class Html(str):
    """HTML made by these functions, for the places that otherwise take text."""


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, numbers: Sequence[int] = ()) -> str:
    """A table; the columns whose positions are in `numbers` are right-aligned. Cells may be `Html`."""
    kind = [" class='number'" if position in numbers else "" for position in range(len(columns))]
    head = "".join(f"<th{k}>{plain(name)}</th>" for k, name in zip(kind, columns))
    head = f"<thead><tr>{head}</tr></thead>" if any(columns) else ""
    body = "".join(
        "<tr>" + "".join(f"<td{k}>{_cell(cell)}</td>" for k, cell in zip(kind, row)) + "</tr>" for row in rows
    )
    return f"<div class='scroll'><table>{head}<tbody>{body}</tbody></table></div>"


def _cell(value: Any) -> str:
    return value if isinstance(value, Html) else plain(value)


def value_cell(value: float, low: float | None = None, high: float | None = None) -> Html:
    """A number with its interval under it in small type."""
    interval = "" if low is None or high is None else f"<br><small>{low:.3g} – {high:.3g}</small>"
    return Html(f"{value:.4g}{interval}")


def image(values: Any, *, side: int = 64, title: str = "") -> str:
    """One image (C, H, W), values in [-1, 1] or uint8, shown with a shorter side of about `side` pixels.

    Small images are enlarged by a whole number of times without smoothing, so that pixels stay visible.
    """
    levels = to_uint8(values)
    height, width = levels.shape[-2:]
    scale = max(1, round(side / min(height, width)))
    tip = f" title='{plain(title)}'" if title else ""
    size = f"width='{width * scale}' height='{height * scale}'"
    data = _embedded(png_bytes(to_picture(levels)))
    return f"<img class='pixels' alt='{plain(title)}'{tip} {size} src='{data}'>"


def images_row(images: Any, *, captions: Sequence[str] | None = None, side: int = 48) -> str:
    """Images (B, C, H, W) in a row that wraps, each with an optional caption under it."""
    levels = to_uint8(images)
    if captions is not None and len(captions) != len(levels):
        raise ValueError(f"{len(levels)} images need {len(levels)} captions, got {len(captions)}")
    cells = []
    for position, one in enumerate(levels):
        caption = captions[position] if captions is not None else ""
        shown = image(one, side=side, title=caption)
        cells.append(
            f"<figure>{shown}<figcaption>{plain(caption)}</figcaption></figure>" if caption else shown
        )
    return f"<div class='row'>{''.join(cells)}</div>"


def picture(made: "Image", *, caption: str = "") -> str:
    """A Pillow picture, such as a grid, with a caption under it."""
    return figure(f"<img alt='{plain(caption)}' src='{_embedded(png_bytes(made))}'>", caption)


def figure(content: str, caption: str = "") -> str:
    """HTML or SVG in a frame, with a caption under it."""
    under = f"<figcaption>{plain(caption)}</figcaption>" if caption else ""
    return f"<figure class='figure'>{content}{under}</figure>"


def cards(contents: Sequence[tuple[str, str, str]]) -> str:
    """Cards of (heading, line under it, HTML)."""
    made = [
        f"<div class='card'><h3>{plain(head)}</h3><p class='sub'>{plain(under)}</p>{body}</div>"
        for head, under, body in contents
    ]
    return f"<div class='cards'>{''.join(made)}</div>"


def bar(shares: Mapping[str, float], *, colours: Mapping[str, int] | None = None, named: int = 3) -> str:
    """A bar of shares that sum to at most 1, largest first, with a legend of the `named` largest ones."""
    order = sorted(shares, key=lambda name: -shares[name])
    numbers = colours or {name: position for position, name in enumerate(order)}

    def paint(name: str) -> str:
        return f"background:var(--c{numbers[name] % COLOURS})"

    parts = "".join(f"<i style='width:{shares[name] * 100:.1f}%;{paint(name)}'></i>" for name in order)
    legend = "".join(
        f"<span><i style='{paint(name)}'></i>{plain(name)} {shares[name]:.0%}</span>"
        for name in order[:named]
    )
    return f"<div class='bar'>{parts}</div><div class='legend'>{legend}</div>"


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
