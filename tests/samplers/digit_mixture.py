"""The exact denoiser of the bars: the mixture of digits that the reproductions use, fitted once."""

import functools
import importlib.util
from pathlib import Path

_FILE = Path(__file__).parents[2] / "reproductions" / "digit_mixture.py"


@functools.cache
def digit_mixture(components=3):
    """Gaussians with full covariances for each class, on alpha = 1, sigma 20 to 0.02."""
    spec = importlib.util.spec_from_file_location("digit_mixture_of_the_reproductions", _FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.digit_mixture(components)
