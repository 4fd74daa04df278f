"""Guidance: denoisers that wrap denoisers, with weights as schedules in noise level."""

from windvane.guidance.contrast import ClassifierFree, contrast
from windvane.guidance.weights import Schedule, as_schedule, constant, interval

__all__ = ["ClassifierFree", "Schedule", "as_schedule", "constant", "contrast", "interval"]
