"""`windvane train`."""
