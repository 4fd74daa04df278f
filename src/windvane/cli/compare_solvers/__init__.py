"""`windvane compare-solvers`."""
