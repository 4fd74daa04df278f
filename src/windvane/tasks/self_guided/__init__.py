"""From unlabelled images to a self-guided generator, with its controls.

Self-Guided Diffusion Models, Hu et al. 2023, arXiv 2210.06462: annotate by clustering, train on the
annotation as if it were labels, guide by it; beside it no condition, true labels and random ids.
"""

from windvane.tasks.self_guided.demo import demo
from windvane.tasks.self_guided.experiment import Budget, Variant, fit, generate
from windvane.tasks.self_guided.measure import Row, Yardstick, format_rows

__all__ = ["Budget", "Row", "Variant", "Yardstick", "demo", "fit", "format_rows", "generate"]
