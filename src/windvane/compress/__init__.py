"""Spending less per sample: trajectory stitching."""

from windvane.compress.cost import Cost, measure_cost, row_flops
from windvane.compress.stitching import Point, Sweep, lattice, similarity, stitched, sweep, within_budget

__all__ = [
    "Cost",
    "Point",
    "Sweep",
    "lattice",
    "measure_cost",
    "row_flops",
    "similarity",
    "stitched",
    "sweep",
    "within_budget",
]
