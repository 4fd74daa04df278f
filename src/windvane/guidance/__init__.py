"""Guidance: wrappers that steer denoisers and samplers, with weights as schedules in noise level."""

from windvane.guidance import presets
from windvane.guidance.autoencoder import Autoencoder, OnManifold
from windvane.guidance.autoguidance import Autoguidance
from windvane.guidance.composer import Composer
from windvane.guidance.contrast import ClassifierFree, contrast
from windvane.guidance.energy_checks import GuidanceWarning
from windvane.guidance.gradient import GradientGuidance, Guided
from windvane.guidance.gradient_free import GradientFree
from windvane.guidance.guide import Guide
from windvane.guidance.guided_sampler import GuidedSampler, Recurrence
from windvane.guidance.kicked_sampler import KickedSampler
from windvane.guidance.projection import Projected
from windvane.guidance.pushes import Move
from windvane.guidance.routed import ByLogSNR, ByNoiseLevel, BySteps, ByTime, Routed, count_routes
from windvane.guidance.step_weights import PerSignal, Shaped, Step, StepWeight, Variance, VarianceAndSine
from windvane.guidance.weight_search import Search, Trial, beam_search, grid_search
from windvane.guidance.weights import Schedule, as_schedule, constant, interval

__all__ = [
    "Autoencoder",
    "Autoguidance",
    "ByLogSNR",
    "ByNoiseLevel",
    "BySteps",
    "ByTime",
    "ClassifierFree",
    "Composer",
    "GradientGuidance",
    "GradientFree",
    "Guide",
    "GuidanceWarning",
    "Guided",
    "GuidedSampler",
    "KickedSampler",
    "Move",
    "OnManifold",
    "PerSignal",
    "Projected",
    "Recurrence",
    "Routed",
    "Schedule",
    "Search",
    "Shaped",
    "Step",
    "StepWeight",
    "Trial",
    "Variance",
    "VarianceAndSine",
    "as_schedule",
    "beam_search",
    "constant",
    "contrast",
    "count_routes",
    "grid_search",
    "interval",
    "presets",
]
