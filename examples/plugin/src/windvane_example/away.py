"""A guidance."""

from windvane.denoiser import Denoiser, as_times
from windvane.guidance import Schedule, as_schedule, contrast


class Away(Denoiser):
    """D_w = D_weak + w (D_main - D_weak): away from a weaker model. Two evaluations a step."""

    def __init__(self, main: Denoiser, weak: Denoiser, weight: float | Schedule):
        super().__init__(main.process, main.shape)
        self.main, self.weak, self.weight = main, weak, as_schedule(weight)

    def forward(self, x_t, t, cond=None):
        times = as_times(t, len(x_t))
        weight = self.weight(self.process.noise_level(times))
        return contrast(self.weak(x_t, times, cond), self.main(x_t, times, cond), weight)
