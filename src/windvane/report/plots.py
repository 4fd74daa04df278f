"""Curves as inline SVG that follows the page's light or dark colours."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

_MOST_POINTS = 400
# matplotlib wants real colours; these stand for the page's variables and are replaced in the SVG text.
_STAND_INS = {"#010203": "var(--ink)", "#010204": "var(--soft)", "#010205": "var(--line)"}
_SERIES = [f"#0102{16 + number:02x}" for number in range(10)]


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log_y: bool = False,
    markers: bool = False,
) -> str:
    """Lines name -> (x, y) as an SVG element; long ones are thinned to the means of equal stretches."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    ink, soft, line = _STAND_INS
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "windvane",
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": ink,
        "axes.edgecolor": line,
        "axes.labelcolor": soft,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": soft,
        "ytick.color": soft,
        "axes.grid": True,
        "grid.color": line,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
    }
    with rc_context(settings):
        made = Figure(figsize=(5.2, 3.0), layout="constrained")
        axes = made.subplots()
        for number, (name, (x, y)) in enumerate(series.items()):
            colour = _SERIES[number % len(_SERIES)]
            axes.plot(
                *_thinned(x, y), label=name, color=colour, lw=1.6, marker="o" if markers else None, ms=4
            )
        if log_y:
            axes.set_yscale("log")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.set_title(title, fontsize=11, loc="left", color=ink)
        if len(series) > 1:
            axes.legend(fontsize=9, labelcolor=ink)
        buffer = io.StringIO()
        made.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue())


def _inline(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\sxmlns(:\w+)?=\"[^\"]*\"", "", svg)  # implied inside HTML
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font: \1 system-ui, sans-serif", svg)
    for stand_in, variable in _STAND_INS.items():
        svg = svg.replace(stand_in, variable)
    for number, stand_in in enumerate(_SERIES):
        svg = svg.replace(stand_in, f"var(--c{number})")
    return svg


def _thinned(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    if len(x) <= _MOST_POINTS:
        return list(x), list(y)
    edges = [round(number * len(x) / _MOST_POINTS) for number in range(_MOST_POINTS + 1)]
    stretches = [slice(low, high) for low, high in zip(edges, edges[1:])]
    return ([_mean(x[s]) for s in stretches], [_mean(y[s]) for s in stretches])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
