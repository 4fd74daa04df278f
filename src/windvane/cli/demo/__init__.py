"""`windvane demo`."""
