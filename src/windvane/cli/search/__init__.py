"""`windvane search`."""
