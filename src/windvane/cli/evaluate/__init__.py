"""`windvane evaluate`."""
