"""`windvane sample`."""
