"""What `benchmarks/unchanged.py` looks at has every registered solver and process."""

import sys
from pathlib import Path

import pytest

from windvane.registry import entries

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def lists():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import unchanged_samples

        return unchanged_samples
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.parametrize(
    "row", [r for r in entries("sampler") if r.target.startswith("windvane.")], ids=lambda row: row.name
)
def test_every_registered_solver_is_among_them_as_it_is_named(lists, row):
    assert row.make() in lists.SAMPLERS.values()


@pytest.mark.parametrize(
    "row", [r for r in entries("process") if r.target.startswith("windvane.")], ids=lambda row: row.name
)
def test_every_registered_process_is_among_them(lists, row):
    assert row.load() in {type(process) for process in lists.PROCESSES.values()}
