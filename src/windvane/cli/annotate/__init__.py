"""`windvane annotate`."""
