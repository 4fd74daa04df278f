"""Transitions drawn from a guided sampler, with the log-ratio that keeps the target what it was."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.current_step import at_step
from windvane.denoiser import checked_prediction
from windvane.evaluations import count_evaluations
from windvane.process import Process
from windvane.samplers import BoundDenoiser, Sampler, WrappedSampler
from windvane.search.chain import Chain, Replay, quiet
from windvane.search.step_costs import require_left


def check_proposal(chain: Chain, proposal: Sampler) -> None:
    """Refuse a proposal whose steps are not the chain's own with another mean."""
    inner = proposal.sampler if isinstance(proposal, WrappedSampler) else None
    if inner != chain.sampler or not proposal.traits.gaussian:
        raise ValueError(
            f"a proposal guides the chain's own steps and has transition(), such as "
            f"dps(energy).sampler({chain.sampler}); got {type(proposal).__name__} around {inner}"
        )


def propose(
    chain: Chain,
    proposal: Sampler,
    x: Tensor,
    seeds: Sequence[int],
    *,
    first: int,
    last: int,
    corrected: bool,
) -> tuple[Tensor, Tensor]:
    """Steps ``first`` to ``last`` with the proposal's mean m' for the chain's m.

    x_s = m' + std z; log p(x_s | x_t) - log q(x_s | x_t) = (|x_s - m'|^2 - |x_s - m|^2) / (2 std^2), summed
    over the steps. The base mean m comes from the prediction that the guidance made, at no further
    evaluation. A step without noise, the last, is the chain's own, since a moved one could not be weighed.

    Returns:
        x ``(B, *)`` and the log-ratios ``(B,)``, float64 (zero where not ``corrected``).
    """
    parts, ratios = [x[:0]], [torch.zeros(0, dtype=torch.float64)]
    with quiet(chain.denoiser):
        for chunk in chain.chunks(len(x)):
            part, ratio = x[chunk], torch.zeros(len(x[chunk]), dtype=torch.float64)
            state: Any = proposal.init(part, chain.times)
            for k in range(first, last):
                t, s = chain.times[k], chain.times[k + 1]
                seen = Seen(chain.denoiser)
                denoise = BoundDenoiser(
                    seen, chain.condition(torch.zeros(len(part), dtype=torch.int64)), chain.clip
                )
                with at_step(k, chain.steps), count_evaluations() as made:
                    guided, std, state = proposal.transition(denoise, part, t, s, state)
                if chain.learned(k, made.rows / len(part)):
                    require_left(len(part) * chain.cost(k + 1))
                own = chain.sampler.init(part, chain.times)
                base = Replay(chain.process, seen.clipped(denoise.clip))
                mean, _, _ = chain.sampler.transition(base, part, t, s, own)
                if not bool(torch.count_nonzero(std)):
                    part = mean
                    continue
                noise = chain.step_noise(seeds[chunk], k)
                part = guided.detach() + std * noise
                if corrected:
                    ratio += log_ratio(part, mean, guided.detach(), std)
            parts.append(part)
            ratios.append(ratio)
    return chain.finite(torch.cat(parts), f"the steps {first} to {last} of {chain.steps}"), torch.cat(ratios)


def log_ratio(x: Tensor, mean: Tensor, guided: Tensor, std: Tensor) -> Tensor:
    """log N(x; mean, std) - log N(x; guided, std), summed over a row, float64 ``(B,)`` on the CPU."""
    near, far = ((x - m).double().square().flatten(1) for m in (guided, mean))
    scale = std.double().expand(x.shape).flatten(1).square() * 2
    return ((near - far) / scale).sum(1).cpu()


class Seen:
    """A denoiser that remembers the first prediction it gave."""

    def __init__(self, denoiser: Any) -> None:
        self.denoiser = denoiser
        self.process: Process = denoiser.process
        self.first: Tensor | None = None

    def __call__(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        x0 = self.denoiser(x, t) if cond is None else self.denoiser(x, t, cond)
        checked_prediction(x0, x, self.denoiser)
        if self.first is None:
            self.first = x0.detach()
        return x0

    def clipped(self, clip: tuple[float, float] | None) -> Tensor:
        """That prediction, clipped as the chain does."""
        if self.first is None:
            raise ValueError("the proposal made no prediction")
        return self.first if clip is None else self.first.clamp(*clip)
