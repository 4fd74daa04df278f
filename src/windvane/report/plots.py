"""Curves as inline SVG that follows the page's light or dark colours."""

from collections.abc import Mapping, Sequence

from windvane.report.scales import Scale, shows, written
from windvane.report.text import plain

_MOST_POINTS = 400
_COLOURS = 10
_WIDTH, _HEIGHT = 374, 216
#: Of the plot from the edges: room for the title, ticks and labels; and the height and width of letters.
_TOP, _RIGHT, _LETTER, _LETTER_WIDTH = 24, 10, 10, 5.6


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log_y: bool = False,
    markers: bool = False,
) -> str:
    """Lines name -> (x, y) as an SVG element; long ones are thinned to the means of equal stretches.

    Points that are not finite, or not above zero on a logarithmic axis, leave a gap.
    """
    lines = {name: _thinned(x, y) for name, (x, y) in series.items()}
    horizontal = Scale.of(value for pairs in lines.values() for value in pairs[0])
    vertical = Scale.of((value for pairs in lines.values() for value in pairs[1]), log=log_y)
    ticks = [written(tick) for tick in vertical.ticks()]
    left = 14 + _LETTER_WIDTH * max(map(len, ticks), default=1) + (16 if y_label else 0)
    bottom = 24 + (14 if x_label else 0)
    across, down = _WIDTH - left - _RIGHT, _HEIGHT - _TOP - bottom

    def at(x: float, y: float) -> tuple[float, float]:
        return left + across * horizontal.place(x), _TOP + down * (1 - vertical.place(y))

    parts = [_text(left, 14, title, size=11, colour="ink")] if title else []
    for tick in horizontal.ticks():
        x = left + across * horizontal.place(tick)
        parts.append(_line(x, _TOP, x, _TOP + down))
        parts.append(_text(x, _TOP + down + 14, written(tick), anchor="middle"))
    for tick, label in zip(vertical.ticks(), ticks):
        y = _TOP + down * (1 - vertical.place(tick))
        parts.append(_line(left, y, left + across, y))
        parts.append(_text(left - 6, y + 3.5, label, anchor="end"))
    parts.append(_line(left, _TOP, left, _TOP + down, width=1))
    parts.append(_line(left, _TOP + down, left + across, _TOP + down, width=1))
    if x_label:
        parts.append(_text(left + across / 2, _HEIGHT - 5, x_label, anchor="middle"))
    if y_label:
        parts.append(_text(11, _TOP + down / 2, y_label, anchor="middle", turned=True))
    for number, pairs in enumerate(lines.values()):
        points = [at(x, y) if _shown(x, y, log_y) else None for x, y in zip(*pairs)]
        parts.append(_curve(points, f"var(--c{number % _COLOURS})", markers=markers))
    if len(lines) > 1:
        parts += _legend(list(lines), left + across)
    return (
        f'<svg width="{_WIDTH}pt" height="{_HEIGHT}pt" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="{_LETTER}">{"".join(parts)}</svg>'
    )


def _shown(x: float, y: float, log_y: bool) -> bool:
    return shows(x, log=False) and shows(y, log=log_y)


def _curve(points: Sequence[tuple[float, float] | None], colour: str, *, markers: bool) -> str:
    """One line with its gaps; a point between two gaps is a dot, as no line would show it."""
    path, dots, before = [], [], None
    for number, point in enumerate(points):
        after = points[number + 1] if number + 1 < len(points) else None
        if point is not None:
            path.append(f"{'L' if before else 'M'}{point[0]:.1f} {point[1]:.1f}")
            if markers or (before is None and after is None):
                dots.append(f'<circle cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="2.5" fill="{colour}"/>')
        before = point
    drawn = f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="1.6"/>' if path else ""
    return drawn + "".join(dots)


def _legend(names: Sequence[str], right: float) -> list[str]:
    """Names in their colours, one under the other in the upper right corner, on a ground that curves pass."""
    wide, high = 32 + _LETTER_WIDTH * max(map(len, names)), 13 * len(names) + 2
    parts = [
        f'<rect x="{right - wide:.1f}" y="{_TOP}" width="{wide:.1f}" height="{high}" fill="var(--card)" '
        'fill-opacity="0.8"/>'
    ]
    for number, name in enumerate(names):
        y = _TOP + 10 + 13 * number
        colour = f"var(--c{number % _COLOURS})"
        parts.append(_text(right - 4, y, name, anchor="end", colour="ink", size=9))
        start = right - 12 - _LETTER_WIDTH * len(name)
        parts.append(_line(start - 14, y - 3, start, y - 3, width=1.6, colour=colour))
    return parts


def _line(
    x: float, y: float, to_x: float, to_y: float, *, width: float = 0.6, colour: str = "var(--line)"
) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"/>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    colour: str = "soft",
    size: int = _LETTER,
    turned: bool = False,
) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="var(--{colour})"{turn}>{plain(text)}</text>'
    )


def _thinned(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    if len(x) <= _MOST_POINTS:
        return list(x), list(y)
    edges = [round(number * len(x) / _MOST_POINTS) for number in range(_MOST_POINTS + 1)]
    stretches = [slice(low, high) for low, high in zip(edges, edges[1:])]
    return ([_mean(x[s]) for s in stretches], [_mean(y[s]) for s in stretches])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
