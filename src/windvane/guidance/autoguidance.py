"""Autoguidance: away from a weaker denoiser."""

from torch import Tensor

from windvane.conditions import Condition
from windvane.denoiser import Denoiser, as_denoiser, as_times, like
from windvane.guidance.contrast import contrast
from windvane.guidance.data_range import Reach
from windvane.guidance.weights import Schedule, as_schedule, scheduled


class Autoguidance(Denoiser):
    """D_w = D_weak + w (D_main - D_weak), both under the same condition, or both under none.

    Karras et al. 2024, "Guiding a Diffusion Model with a Bad Version of Itself", arXiv 2406.02507. The
    weak model is trained like the main one but smaller and shorter, so that its errors are the main one's
    enlarged. Weight 1 is the main model alone and 0 the weak one alone, at one evaluation; others take one
    of each. Any weight may be an :func:`~windvane.guidance.interval`.

    Args:
        denoiser: the main model; a guided one will do.
        weak: a weaker model of the same data and the same process.
    """

    def __init__(self, denoiser: Denoiser, weak: Denoiser, weight: float | Schedule) -> None:
        super().__init__(*like(denoiser, type(self).__name__))
        require_alike(denoiser, weak)
        self.denoiser, self.weak, self.weight = denoiser, weak, as_schedule(weight)
        self._reach = Reach()

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        times = as_times(t, len(x_t))
        weight = scheduled(self.weight, self.process.noise_level(times), "the weight of Autoguidance")
        if bool((weight == 1).all()):
            return self.denoiser(x_t, times, cond)
        if bool((weight == 0).all()):
            return self.weak(x_t, times, cond)
        reference, main = self.weak(x_t, times, cond), self.denoiser(x_t, times, cond)
        guided = contrast(reference, main, weight)
        self._reach.note(main, guided)
        return guided

    def finished(self) -> None:
        """At the end of a run: warn of a weight that has left the data's range."""
        self._reach.finish(type(self).__name__)


def require_alike(main: Denoiser, weak: Denoiser) -> None:
    """Refuse a weaker model of another process or shape."""
    as_denoiser(weak, "a guidance by a weaker model")
    if main.process != weak.process:
        raise ValueError(f"main and weak model differ in process: {main.process} and {weak.process}")
    shapes = [getattr(model, "shape", None) for model in (main, weak)]
    if None not in shapes and shapes[0] != shapes[1]:
        raise ValueError(f"main and weak model differ in data shape: {shapes[0]} and {shapes[1]}")
