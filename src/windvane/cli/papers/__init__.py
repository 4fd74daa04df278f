"""`windvane papers`."""
