"""One measured number with everything needed to compare it with another one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

from windvane.metrics.bootstrap import over_seeds

Direction = Literal["lower", "higher"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A measured value, its interval and the circumstances of the measurement.

    Two values may be compared when `comparable_with` says so: same name, extractor, resize, settings and
    numbers of images. Fréchet distances in particular depend on the number of images.

    Attributes:
        name: what was measured, for example ``"frechet"``.
        value: the number.
        better: whether ``"lower"`` or ``"higher"`` values are better.
        low, high: ends of the interval at `level`, or None where there is none.
        level: coverage of the interval.
        extractor: version string of the feature space (``"pixels"``, ``"judge-mlp-1a2b3c4d"``, ...).
        resize: how the pictures were brought to the extractor's size.
        n_samples, n_reference: numbers of rows behind the value; 0 where no reference is used.
        dtype: precision of the statistics.
        settings: the choices that define the number (k, kernel, clipping, ...), JSON values only.
        details: by-products that do not define it (kind of interval, bias, what was left out), JSON values
            only.
    """

    name: str
    value: float
    better: Direction
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    extractor: str = "features as given"
    resize: str = "none"
    n_samples: int = 0
    n_reference: int = 0
    dtype: str = "float64"
    settings: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.better not in ("lower", "higher"):
            raise ValueError(f"better must be 'lower' or 'higher', got {self.better!r}")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"{self.name}: give both ends of the interval or neither")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"{self.name}: the interval [{self.low}, {self.high}] is reversed")
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {self.level}")

    def __str__(self) -> str:
        text = f"{self.name} {_number(self.value)}"
        if self.low is not None:
            text += f" {_interval(self)}"
        text += f" ({self.better} is better; N={self.n_samples}"
        if self.n_reference:
            text += f" against {self.n_reference}"
        return f"{text}; {self.extractor}, resize {self.resize})"

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; unknown keys are refused."""
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"unknown metric fields {unknown}; known: {sorted(cls.__dataclass_fields__)}")
        missing = sorted({"name", "value", "better"} - set(values))
        if missing:
            raise ValueError(f"a metric needs the fields {missing}, got {sorted(values)}")
        return cls(**values)

    def annotated(self, *, extractor: str, resize: str) -> Self:
        """The same measurement with the feature space named."""
        return replace(self, extractor=extractor, resize=resize)

    def comparable_with(self, other: Self) -> bool:
        """Whether the two values measure the same thing in the same way on equally many rows."""
        return _circumstances(self) == _circumstances(other)


def _circumstances(metric: Metric) -> tuple[Any, ...]:
    space = (metric.name, metric.extractor, metric.resize, metric.dtype)
    return (*space, metric.n_samples, metric.n_reference, metric.settings)


def across_seeds(metrics: Sequence[Metric], *, level: float = 0.95) -> Metric:
    """One metric from the same measurement repeated on independently drawn samples.

    The value is the mean and the interval Student's, so it says how much the *sampling* moves the number; the
    reference, if there is one, is the same each time. Raises ValueError when the measurements differ in kind.
    """
    if not metrics:
        raise ValueError("across_seeds needs at least two metrics, got none")
    for other in metrics[1:]:
        if not metrics[0].comparable_with(other):
            raise ValueError(f"cannot average different measurements: {metrics[0]} and {other}")
    values = [metric.value for metric in metrics]
    mean, low, high = over_seeds(values, level=level)
    details = {"interval": f"Student's, over {len(values)} sampling seeds", "values": values}
    return replace(metrics[0], value=mean, low=low, high=high, level=level, details=details)


def to_rows(metrics: Sequence[Metric]) -> list[list[str]]:
    """Header and one row of text per metric: for a terminal, CSV or HTML."""
    head = ["metric", "value", "interval", "better", "N", "reference", "feature space", "resize"]
    rows = [
        [
            metric.name,
            "unfit" if "unfit" in metric.details else _number(metric.value),
            "-" if metric.low is None or "unfit" in metric.details else _interval(metric),
            metric.better,
            str(metric.n_samples),
            str(metric.n_reference) if metric.n_reference else "-",
            metric.extractor,
            metric.resize,
        ]
        for metric in metrics
    ]
    return [head, *rows]


def format_table(metrics: Sequence[Metric]) -> str:
    """A plain-text table, columns aligned by spaces."""
    rows = to_rows(metrics)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _interval(metric: Metric) -> str:
    return f"[{_number(metric.low or 0.0)}, {_number(metric.high or 0.0)}]"
