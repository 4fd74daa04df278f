"""The published methods, each a setting of one family. Weights are the papers' own.

``l`` is the energy, larger is better; g its gradient; D the prediction of x0. Every preset gives a
:class:`~windvane.guidance.GradientGuidance`; ``+`` mixes them.
"""

import math
from dataclasses import dataclass, replace

from torch import Tensor

from windvane.energies import Energy
from windvane.guidance.autoencoder import Autoencoder, OnManifold
from windvane.guidance.gradient import GradientGuidance
from windvane.guidance.guide import Guide
from windvane.guidance.guided_sampler import Recurrence
from windvane.guidance.step_weights import PerSignal, Shaped, StepWeight, Variance, VarianceAndSine
from windvane.guidance.weights import Elementwise, Schedule

Window = tuple[float, float] | None


def repeated(times: int, *, window: Window = None) -> GradientGuidance:
    """Every step ``times`` over, from x_s renoised to t, and no guide of its own (RePaint; the N of Steered
    Diffusion, section 3): for denoisers steered without a gradient, such as
    :class:`~windvane.guidance.Projected`. Added to other guidance with ``+`` it repeats the steps that this
    guides, and no others.
    """
    return GradientGuidance((), Recurrence(times, window))


@dataclass(frozen=True)
class _VPSigma(Elementwise):
    """scale k / sqrt(1 + k^2) for k = sigma / alpha: scale sigma_t where the process is VP."""

    scale: float

    def __call__(self, level: Tensor) -> Tensor:
        return self.scale * (1 + level.clamp(min=1e-12) ** -2) ** -0.5


def _mean_or_score(scale: float | Schedule, mean_shift: bool) -> tuple[float | Schedule | StepWeight, str]:
    if not mean_shift:
        return scale, "score"
    if callable(scale):
        raise ValueError(
            "a mean shift has the weight scale Sigma_t with a number as scale; or mean_shift=False"
        )
    return Variance(scale), "state"


def adm(
    energy: Energy, scale: float | Schedule = 1.0, *, mean_shift: bool = True, window: Window = None
) -> GradientGuidance:
    """Classifier guidance (Dhariwal and Nichol 2021, arXiv 2105.05233), for a noise-aware energy at x_t.

    Mean shift, algorithm 1: x_s ~ N(mu + scale Sigma_t g, Sigma_t), for ancestral samplers. Otherwise
    algorithm 2: eps <- eps - sigma_t scale g, for any sampler. The two scales differ in meaning.
    """
    weight, push = _mean_or_score(scale, mean_shift)
    return GradientGuidance((Guide(energy, weight, where="x_t", push=push, window=window),))


def sdg(
    energy: Energy, scale: float | Schedule = 100.0, *, mean_shift: bool = True, window: Window = None
) -> GradientGuidance:
    """Semantic Diffusion Guidance (Liu et al. 2023, arXiv 2112.05744, algorithm 1).

    x_s ~ N(mu + scale Sigma_t g, Sigma_t), g the gradient at x_t of a sum of similarities from noise-aware
    encoders, references noised to x_t's level. Deviation, as in the released code: the paper expands at
    mu. Quoted scales (100 to 160) are for learned variances; tune them for others.
    """
    return adm(energy, scale, mean_shift=mean_shift, window=window)


def dps(energy: Energy, zeta: float | Schedule = 1.0, *, window: Window = None) -> GradientGuidance:
    """Diffusion Posterior Sampling (Chung et al. 2023, arXiv 2209.14687, algorithm 1).

    x_s <- x_s + zeta grad_{x_t} l(D(x_t)), with l = :class:`~windvane.energies.MeasurementNorm`, not
    squared as in the released code, and zeta 0.3 to 0.5 for 1000 ancestral steps; fewer steps want more.

    Bias: the likelihood of D in place of x0 leaves out Cov(x0 | x_t), and zeta does not follow the step.
    Of unit normal data measured with noise, samples with the zeta that has the posterior's mean are too
    sure, and a larger one goes past it (tests/guidance/test_bias.py).
    """
    return GradientGuidance((Guide(energy, zeta, push="state", window=window),))


def lgd(
    energy: Energy,
    rho: float | Schedule = 1.0,
    *,
    draws: int = 10,
    radius: float | Schedule | None = None,
    seed: int = 0,
    window: Window = None,
) -> GradientGuidance:
    """Loss-Guided Diffusion (Song et al., ICML 2023): x_s <- x_s + rho grad_{x_t} log mean exp l(D + r d).

    ``radius`` r is by default sigma / sqrt(alpha^2 + sigma^2). The draws d depend on seed and time alone,
    so that a sample does not depend on its neighbours.

    Bias: in the limit of many draws the gradient is that of N(y; A D, r^2 A A^T + std^2), exact for unit
    normal data, whose spread given x_t is the default radius. What remains is a rho that does not follow
    the step: where it has the posterior's mean, samples are too sure (tests/guidance/test_bias.py).
    """
    r = _VPSigma(1.0) if radius is None else radius
    guide = Guide(energy, rho, where="noised", push="state", radius=r, draws=draws, seed=seed, window=window)
    return GradientGuidance((guide,))


def freedom(
    energy: Energy,
    rho: float | Schedule = 1.0,
    *,
    relative: bool = False,
    window: Window = None,
    recurrences: int = 1,
    recurrence_window: Window = None,
) -> GradientGuidance:
    """FreeDoM (Yu et al. 2023, arXiv 2303.09833, algorithm 2): x_s <- x_s + rho_t grad_{x_t} l(D(x_t)).

    Steps in ``recurrence_window`` are made ``recurrences`` times. With ``relative`` the push has RMS rho
    times the step's length; the paper measures some of its weights against other parts of the step. Bias: as
    of :func:`dps`, whose push it is.
    """
    guide = Guide(energy, rho, push="state", relative=relative, window=window)
    return GradientGuidance((guide,), Recurrence(recurrences, recurrence_window))


def universal(
    energy: Energy,
    forward: float | Schedule = 1.0,
    *,
    backward: float | Schedule = 0.0,
    backward_iterations: int = 1,
    recurrences: int = 1,
    window: Window = None,
) -> GradientGuidance:
    """Universal Guidance (Bansal et al. 2023, arXiv 2302.07121, algorithm 1).

    Forward: eps <- eps - forward sigma_t grad_{x_t} l(D). Backward: delta, from D unguided, is
    ``backward_iterations`` gradient steps of size ``backward`` raising l(D + delta), then
    eps <- eps - (alpha_t / sigma_t) delta. Each step is made ``recurrences`` times. Deviation: the released
    code's backward steps are Adam's.

    Bias: forward = 1 is the score of the likelihood of D in place of x0, without Cov(x0 | x_t). Of unit
    normal data measured with noise it goes past the posterior, and the scale that has its mean is not
    sure enough (tests/guidance/test_bias.py).
    """
    guides = [Guide(energy, forward, push="score", window=window)]
    if callable(backward) or backward != 0 or backward_iterations > 1:
        guides.append(
            Guide(energy, backward, through=False, push="x0", iterations=backward_iterations, window=window)
        )
    return GradientGuidance(tuple(guides), Recurrence(recurrences))


def mpgd(
    energy: Energy,
    kappa: float = 1.0,
    *,
    autoencoder: Autoencoder | None = None,
    project: str = "gradient",
    share: float | None = None,
    project_window: tuple[float, float] = (1.23, 3.41),
    window: Window = None,
) -> GradientGuidance:
    """Manifold Preserving Guided Diffusion (He et al. 2024, arXiv 2311.16424, algorithm 1).

    D <- D + (kappa / alpha_s) grad_D l(D), eps kept: no backward pass through the denoiser. kappa 4 to 17.5
    for 100 to 20 DDIM steps with eta 0.5; with an autoencoder 5 to 20.

    With an ``autoencoder`` (E, G), where the noise level lies in ``project_window`` (by default
    0.3 < t < 0.5 of DDPM's linear schedule), and with c = share kappa / alpha_s instead:
    "gradient" (MPGD-AE): D <- D + c grad_D l(G(E(D))), share 0.0075;
    "latent" (MPGD-Z): D <- G(z + c grad_z l(G(z))) with z = E(D), share 0.01.
    The shares are the authors' for their autoencoder's latent; tune them for others.

    Bias: the Jacobian of D, which is Cov(x0 | x_t) alpha / sigma^2, is taken for 1. Of unit normal data
    measured with noise, samples with the kappa that has the posterior's mean are too sure
    (tests/guidance/test_bias.py).
    """
    plain = Guide(energy, PerSignal(kappa), through=False, push="x0_keep_eps", window=window)
    if autoencoder is None:
        return GradientGuidance((plain,))
    if project not in ("gradient", "latent"):
        raise ValueError(f"project is 'gradient' or 'latent', got {project!r}")
    low, high = project_window
    kept = PerSignal(kappa * ((0.0075 if project == "gradient" else 0.01) if share is None else share))
    if project == "gradient":
        projected = replace(plain, energy=OnManifold(energy, autoencoder), weight=kept)
    else:
        projected = replace(plain, latent=autoencoder, weight=kept)
    whole = (0.0, math.inf) if window is None else window
    parts = ((plain, (0.0, low)), (projected, (low, high)), (plain, (high, math.inf)))
    met = [(g, (max(part[0], whole[0]), min(part[1], whole[1]))) for g, part in parts]
    return GradientGuidance(tuple(replace(g, window=w) for g, w in met if w[0] < w[1]))


def tfg(
    energy: Energy,
    *,
    rho: float = 1.0,
    mu: float = 1.0,
    radius: float = 0.01,
    draws: int = 4,
    iterations: int = 1,
    recurrences: int = 1,
    shape: str = "increase",
    seed: int = 0,
    window: Window = None,
) -> GradientGuidance:
    """Training-Free Guidance (Ye et al. 2024, arXiv 2409.15761, algorithm 1).

    With f(z) = log mean exp l(z + r_t d), r_t = radius sigma_t:
    x_s <- x_s + (alpha_s / alpha_t) rho_t grad_{x_t} f(D) + alpha_s delta, where delta is made by
    ``iterations`` steps delta += mu_t grad f(D + delta); rho_t and mu_t follow h, scaled to mean 1 over
    the grid.

    Deviations: the draws d are the same for f at every use within a step; D is not clamped.
    """
    variance = Guide(
        energy, Shaped(rho, shape, carried=True), where="noised", push="state",
        radius=_VPSigma(radius), draws=draws, seed=seed, window=window,
    )  # fmt: skip
    mean = Guide(
        energy, Shaped(mu, shape), where="noised", through=False, push="x0_keep_eps", iterations=iterations,
        radius=_VPSigma(radius), draws=draws, seed=seed, window=window,
    )  # fmt: skip
    return GradientGuidance((variance, mean), Recurrence(recurrences))


def elucd(
    energy: Energy, scale: float = 1.0, *, sine: float = 0.3, window: Window = None
) -> GradientGuidance:
    """EluCD's ancestral sampler (Ma et al. 2024, arXiv 2310.11311, section 3).

    x_s = mu + scale (Sigma_t + sine max Sigma sin(pi t)) grad_D l(D) + sqrt(Sigma_t) z: the gradient at D
    is used as if it were taken at x_t. For the energy see :class:`~windvane.energies.ClassLogProb`
    (tau_marginal=0.5) and :func:`~windvane.energies.smooth`. The released EDM sampler, a normalised kick
    before the step, is :class:`~windvane.guidance.KickedSampler`.

    Bias: of unit normal data measured with noise, samples with the scale that has the posterior's mean
    are not quite sure enough (tests/guidance/test_bias.py).
    """
    guide = Guide(energy, VarianceAndSine(scale, sine), through=False, push="state", window=window)
    return GradientGuidance((guide,))


def steered(energy: Energy, scale: float = 1.0, *, window: Window = None) -> GradientGuidance:
    """Steered Diffusion's gradient steer (Nair et al. 2023, arXiv 2310.00224, section 3).

    D <- D + c_t scale grad_{x_t} l(D(x_t)), eps recomputed, c_t = sqrt(1 - abar_t) = sigma_t of a VP
    process. Deviation: the released code takes abar one index noisier. For linear conditions without
    gradient see :class:`~windvane.guidance.Projected`.

    Bias: a push of D by the exact score has sigma^2 / alpha in place of c_t: this one is weaker at high
    noise and stronger at low. Of unit normal data measured with noise, samples with the scale that has
    the posterior's mean are too sure (tests/guidance/test_bias.py).
    """
    return GradientGuidance((Guide(energy, _VPSigma(scale), push="x0", window=window),))
