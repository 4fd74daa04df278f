"""`windvane report`."""
