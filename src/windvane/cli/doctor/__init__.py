"""`windvane doctor`."""
