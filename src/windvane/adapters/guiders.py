"""Guiders of diffusers as guided denoisers: any guider object, and some by name."""

import copy
from typing import Any

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.convert import prediction_from_x0, x0_from_prediction
from windvane.current_step import current_step
from windvane.denoiser import Denoiser, as_times, like
from windvane.guidance.data_range import Reach
from windvane.process import RectifiedFlow, shared_time

#: Guiders that combine a conditional and an unconditional prediction, and do nothing else.
KNOWN = (
    "ClassifierFreeGuidance",
    "ClassifierFreeZeroStarGuidance",
    "AdaptiveProjectedGuidance",
    "TangentialClassifierFreeGuidance",
    "MagnitudeAwareGuidance",
)
#: Guiders that set the prediction to 0 at the first steps: a velocity of 0 is moderate, an eps of 0 makes
#: x / alpha of it, which is huge where nearly all is noise.
_ZERO_INIT = ("ClassifierFreeZeroStarGuidance",)


class GuidedByDiffusers(Denoiser):
    """A guider of ``diffusers.guiders`` around a denoiser: any sampler works with it unchanged.

    The guider is given the conditional and the unconditional prediction, and its result is turned into D.
    Guiders that are not linear in it (all but ClassifierFreeGuidance) depend on which prediction that is.
    Where it wants both, their rows share one call. Its ``start`` and ``stop`` count steps, as in diffusers,
    and so need the sampling loop. Its scale is diffusers' (1 is the plain conditional model, unless
    ``use_original_formulation``). Without a condition there is nothing to guide by, and it is refused.

    Args:
        guider: copied, never changed.
        prediction: what the guider is given, ``"eps"``, ``"v"``, ``"flow"`` or ``"x0"``; by default
            ``"flow"`` on the rectified flow and for guiders that begin with a prediction of 0, and ``"eps"``
            elsewhere.

    Raises:
        ValueError: a guider that reaches into a network's layers or remembers earlier predictions; a step
            that the guider asks for outside of the sampling loop.
    """

    def __init__(self, denoiser: Denoiser, guider: Any, *, prediction: str | None = None) -> None:
        super().__init__(*like(denoiser, type(self).__name__))
        name = type(guider).__name__
        if name not in KNOWN:
            raise ValueError(
                f"{name} does more than combine two predictions (it reaches into layers, or needs other "
                f"parts); known: {', '.join(KNOWN)}. windvane.guidance has Autoguidance and others of its own"
            )
        if guider.config.get("adaptive_projected_guidance_momentum") is not None:
            raise ValueError(f"{name} with a momentum remembers earlier predictions; set it to None")
        if prediction is None:
            moderate = isinstance(self.process, RectifiedFlow) or name in _ZERO_INIT
            prediction = "flow" if moderate else "eps"
        if prediction not in ("eps", "v", "flow", "x0"):
            raise ValueError(f"a guider is given 'eps', 'v', 'flow' or 'x0', got prediction={prediction!r}")
        self.denoiser, self.prediction = denoiser, prediction
        self.guider = copy.deepcopy(guider)
        self._reach = Reach()

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        if cond is None:
            raise ValueError(
                f"{type(self.guider).__name__} needs a condition, and none was given: pass cond=, such as "
                "windvane.Condition.vector(ids), or sample the denoiser inside for unguided samples"
            )
        times = as_times(t, len(x_t))
        self._enter(times)
        if self.guider.num_conditions == 1:
            plain = self.denoiser(x_t, times, cond)
            main = self._predicted(x_t, plain, times)
            pred = self._combined(main, None)
        else:
            twice = times[:1].expand(2 * len(times)) if shared_time(times) else times.repeat(2)
            both = self.denoiser(torch.cat([x_t, x_t]), twice, Condition.cat([cond, cond.null()]))
            plain = both[: len(x_t)]
            main, reference = (self._predicted(x_t, part, times) for part in both.chunk(2))
            pred = self._combined(main, reference)
        guided = x0_from_prediction(self.process, self.prediction, x_t, pred.to(x_t.dtype), times)
        self._reach.note(plain, guided)
        return guided

    def finished(self) -> None:
        """At the end of a run: warn of a scale that has left the data's range."""
        self._reach.finish(type(self.guider).__name__)

    def _combined(self, main: Tensor, reference: Tensor | None) -> Tensor:
        try:
            return self.guider.forward(main, reference).pred
        except RuntimeError as error:
            raise ValueError(
                f"{type(self.guider).__name__} of the installed diffusers fails on predictions of shape "
                f"{tuple(main.shape)}: {error}"
            ) from error

    def _predicted(self, x_t: Tensor, x0: Tensor, times: Tensor) -> Tensor:
        return prediction_from_x0(self.process, self.prediction, x_t, x0, times)

    def _enter(self, times: Tensor) -> None:
        """Tell the guider which step this is; outside of the loop the only one, if that does not matter."""
        step = current_step()
        if step is None:
            config = self.guider.config
            counts = (config.get("start"), config.get("stop")) != (0.0, 1.0) or "zero_init_steps" in config
            if counts:
                raise ValueError(
                    f"{type(self.guider).__name__} counts steps (start, stop or zero_init_steps): call it "
                    "within windvane.sample, or within windvane.current_step.at_step"
                )
            step = (0, 1)
        self.guider.set_state(step[0], step[1], 1000 * times[:1])


def adaptive_projected(
    denoiser: Denoiser, weight: float, *, eta: float = 1.0, rescale: float = 15.0
) -> GuidedByDiffusers:
    """Adaptive projected guidance (Sadat et al. 2024, arXiv 2410.02416), by diffusers.

    The difference of the conditional and the unconditional prediction is cut to the norm ``rescale``, and
    its part along the conditional prediction is multiplied by ``eta``; 0 leaves that out, as the paper does,
    and eta = 1 with a large ``rescale`` is classifier-free guidance. No momentum, which would remember.
    """
    return _by(
        "AdaptiveProjectedGuidance",
        denoiser,
        guidance_scale=weight,
        eta=eta,
        adaptive_projected_guidance_rescale=rescale,
    )


def zero_star(denoiser: Denoiser, weight: float, *, steps: int = 1) -> GuidedByDiffusers:
    """CFG-Zero* (Fan et al. 2025, arXiv 2503.18886), by diffusers.

    The unconditional prediction gets the scale that brings it nearest to the conditional one, and in the
    first ``steps`` steps the prediction is zero.
    """
    return _by("ClassifierFreeZeroStarGuidance", denoiser, guidance_scale=weight, zero_init_steps=steps)


def tangential(denoiser: Denoiser, weight: float) -> GuidedByDiffusers:
    """Tangential classifier-free guidance (Kwon et al. 2025, arXiv 2503.18137), by diffusers."""
    return _by("TangentialClassifierFreeGuidance", denoiser, guidance_scale=weight)


def _by(name: str, denoiser: Denoiser, **settings: Any) -> GuidedByDiffusers:
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # each says that its interface may change
    try:
        from diffusers import guiders

        return GuidedByDiffusers(denoiser, getattr(guiders, name)(**settings))
    finally:
        logging.set_verbosity(before)
