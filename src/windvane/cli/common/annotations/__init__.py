"""Annotations of images by the settings of a configuration."""
