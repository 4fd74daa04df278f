"""`windvane settings`."""
