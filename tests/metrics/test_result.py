import json
from dataclasses import replace

import pytest

from windvane.metrics import Metric, across_seeds, format_table, over_seeds, to_rows

METRIC = Metric(
    name="frechet",
    value=1.23456,
    better="lower",
    low=1.1,
    high=1.4,
    extractor="judge-mlp-1a2b3c4d",
    resize="none (8x8)",
    n_samples=1000,
    n_reference=397,
    settings={"dimension": 64},
    details={"bias": 0.5, "interval": "linearised bootstrap, 1000 draws"},
)


def test_it_survives_json():
    assert Metric.from_dict(json.loads(json.dumps(METRIC.to_dict()))) == METRIC
    bare = Metric(name="x", value=0.0, better="higher")
    assert Metric.from_dict(bare.to_dict()) == bare


def test_the_text_carries_what_a_comparison_needs():
    text = str(METRIC)
    for part in ("frechet", "1.235", "[1.1, 1.4]", "lower", "N=1000", "397", "judge-mlp-1a2b3c4d", "8x8"):
        assert part in text


def test_the_table_is_aligned_and_complete():
    second = Metric(name="density", value=0.5, better="higher", n_samples=7)
    rows = to_rows([METRIC, second])
    assert rows[1][:6] == ["frechet", "1.235", "[1.1, 1.4]", "lower", "1000", "397"]
    assert rows[2][:6] == ["density", "0.5", "-", "higher", "7", "-"]
    lines = format_table([METRIC, second]).splitlines()
    starts = [line.index(cell) for line, cell in zip((lines[0], *lines[2:]), ("value", "1.235", "0.5"))]
    assert len(set(starts)) == 1 and len(lines) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"n_samples": 999},
        {"n_reference": 10},
        {"extractor": "pixels"},
        {"resize": "299"},
        {"settings": {"dimension": 32}},
        {"name": "kid"},
        {"dtype": "float32"},
    ],
)
def test_unlike_measurements_are_not_compared(change):
    assert METRIC.comparable_with(replace(METRIC, value=9.0, low=8.0, high=10.0, details={}))
    other = replace(METRIC, **change)
    assert not METRIC.comparable_with(other)
    with pytest.raises(ValueError, match="cannot average different measurements"):
        across_seeds([METRIC, other])


def test_across_seeds_averages_with_students_interval():
    values = [1.0, 1.2, 1.7]
    made = across_seeds([replace(METRIC, value=value, low=None, high=None) for value in values])
    assert (made.value, made.low, made.high) == tuple(over_seeds(values))
    assert made.details["values"] == values and made.comparable_with(METRIC)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="'lower' or 'higher', got 'best'"):
        Metric(name="x", value=1.0, better="best")
    with pytest.raises(ValueError, match="both ends"):
        Metric(name="x", value=1.0, better="lower", low=0.0)
    with pytest.raises(ValueError, match="reversed"):
        Metric(name="x", value=1.0, better="lower", low=2.0, high=0.0)
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        Metric(name="x", value=1.0, better="lower", level=95)
    with pytest.raises(ValueError, match=r"unknown metric fields \['colour'\]"):
        Metric.from_dict({"name": "x", "value": 1.0, "better": "lower", "colour": 1})
    with pytest.raises(ValueError, match=r"needs the fields \['better', 'value'\]"):
        Metric.from_dict({"name": "x"})
    with pytest.raises(ValueError, match="got none"):
        across_seeds([])
