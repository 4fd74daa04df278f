"""`windvane stitch`."""
