"""A picture or a page that a command made, once more."""
