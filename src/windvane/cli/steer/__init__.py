"""`windvane steer`."""
