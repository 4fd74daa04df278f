"""Tasks: short compositions of the library's parts."""
