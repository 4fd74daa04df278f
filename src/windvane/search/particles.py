"""Feynman-Kac steering: particles weighted and resampled on the way to the tilted law p(x) exp(lam r(x))."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from windvane.evaluations import count_evaluations
from windvane.randomness import derive_seed, generator
from windvane.samplers import index_state
from windvane.search.chain import Chain, Replay, quiet
from windvane.search.costs import require_left
from windvane.search.rewards import Verifier
from windvane.search.rounds import Found, Job
from windvane.stepping import at_step

_STREAM_PARTICLE = 1 << 46
_STREAM_RESAMPLE = (1 << 46) + 1


@dataclass(frozen=True)
class FeynmanKac:
    """Sequential Monte Carlo for p(x) exp(lam r(x)) (Singhal et al. 2025, arXiv 2501.06848; Wu et al. 2023).

    Before step k the particles' log-weights gain lam (r(D(x_k)) - r(D(x_k-1))), with D the prediction of x0;
    after the last step lam (r(x) - r(D)), so that in all exp(lam r(x)) remains. Where the effective sample
    size 1 / sum w^2 falls below ``ess`` P, all are resampled, and weights are even again.
    The product of the mean weights is an unbiased estimate of Z = E exp(lam r(x)) under the chain.

    A round is one sweep of P particles for each search, all of them through the chain once. D is the one that
    the next step uses, so a sweep makes as many network evaluations as sampling; a sampler that is itself
    guided makes its own, and then each level costs one more.

    Memory of the result: ``particles`` ``(n, P, *)``, ``log_weights`` ``(n, P)`` (normalised) and ``log_z``
    ``(n, sweeps)``. :func:`resampled` draws from the particles. ``x`` is the best particle of all sweeps.

    Args:
        particles: P.
        lam: lambda; the reward's own scale at 1.
        ess: threshold in (0, 1]; 0 never resamples, which is importance sampling, 1 does every time.
        resampling: ``"systematic"``, or ``"multinomial"``, independent draws, which with ``ess=1`` is the
            bootstrap filter that Diffusion Tree Sampling is compared with (Jain et al. 2025).
        every: judge every so many steps. The reward is called on P particles at each.
        sweeps: None goes on while the budget pays.
    """

    particles: int = 64
    lam: float = 1.0
    ess: float = 0.5
    every: int = 1
    sweeps: int | None = 1
    resampling: str = "systematic"

    def __post_init__(self) -> None:
        if self.resampling not in RESAMPLING:
            raise ValueError(f"resampling must be {' or '.join(RESAMPLING)}, got {self.resampling!r}")
        if self.particles < 1 or self.every < 1 or (self.sweeps is not None and self.sweeps < 1):
            raise ValueError(
                "particles, every and sweeps are at least 1, got "
                f"{self.particles}, {self.every}, {self.sweeps}"
            )
        if not (self.lam > 0 and math.isfinite(self.lam) and 0 <= self.ess <= 1):
            raise ValueError(f"Feynman-Kac needs lam > 0 and 0 <= ess <= 1, got {self.lam} and {self.ess}")

    def check(self, chain: Chain, verifier: Verifier) -> None:
        chain.require_transitions("Feynman-Kac steering", memoryless=False)
        verifier.single("Feynman-Kac steering")

    def begin(self, job: Job) -> Found:
        if self.sweeps is None and job.budget is None:
            raise ValueError("without a budget, say how many sweeps: FeynmanKac(sweeps=...)")
        if not self._pays(job):
            raise ValueError(
                f"{job.budget} does not pay for one sweep of {self.particles} particles: "
                f"{self._rows(job):g} network rows and {self._verified(job)} verifications"
            )
        return self._sweep(job, None)

    def advance(self, job: Job, found: Found) -> Found | None:
        if self.sweeps is not None and found.rounds + 1 >= self.sweeps or not self._pays(job):
            return None
        made = self._sweep(job, found)
        better = made.scores[:, 0] > found.scores[:, 0]
        shape = (-1, *([1] * (made.x.ndim - 1)))
        log_z = torch.cat([found.memory["log_z"], made.memory["log_z"]], dim=1)
        return replace(
            made,
            x=torch.where(better.reshape(shape), made.x, found.x),
            scores=torch.where(better[:, None], made.scores, found.scores),
            memory={**made.memory, "log_z": log_z},
        )

    def finish(self, job: Job, found: Found) -> Found:
        return found

    def judged(self, steps: int) -> list[int]:
        """The steps before which the particles are judged. Before the first they are noise alone."""
        return list(range(self.every, steps, self.every))

    def _sweep(self, job: Job, found: Found | None) -> Found:
        sweep = 0 if found is None else found.rounds + 1
        chain, each = job.chain, self.particles
        rows, keys = job.searches(each), job.keys(_STREAM_PARTICLE, sweep, each=each)
        weights = Weights(job, each, self, sweep)
        x, state = chain.start(chain.noise(keys)), None
        for k in range(chain.steps):
            predicted = None
            if k in self.judged(chain.steps):
                with job.counting():
                    predicted = chain.predict(x, chain.times[k], rows)
                moved = weights.judge(job.scores(predicted, rows)[:, 0], k)
                if moved is not None:
                    x, predicted = x[moved], predicted[moved]
                    state = None if state is None else index_state(state, moved)
            with job.counting(), count_evaluations() as made:
                x, state = self._step(chain, x, state, predicted, keys, rows, k)
                if predicted is None and chain.learned(k, made.rows / len(x)):
                    require_left(len(x) * self._cost(chain, k + 1))
        x = chain.finite(x, "a sweep").cpu()
        scores = job.scores(x, rows)
        weights.last(scores[:, 0])
        best = scores.unflatten(0, (job.n, each))[..., 0].argmax(1)
        particles, at = x.unflatten(0, (job.n, each)), torch.arange(job.n)
        return Found(
            particles[at, best],
            scores.unflatten(0, (job.n, each))[at, best],
            history=() if found is None else found.history,
            rounds=sweep,
            memory={
                "particles": particles,
                "log_weights": weights.log_weights.log_softmax(dim=1),
                "log_z": weights.log_z[:, None],
            },
        )

    def _step(
        self,
        chain: Chain,
        x: Tensor,
        state: object,
        predicted: Tensor | None,
        keys: list[int],
        rows: Tensor,
        k: int,
    ) -> tuple[Tensor, object]:
        """One step of all particles, in micro-batches that keep their sampler's states apart."""
        noise, t, s = chain.step_noise(keys, k), chain.times[k], chain.times[k + 1]
        state = chain.sampler.init(x, chain.times) if state is None else state
        replay = predicted is not None and not hasattr(chain.sampler, "guides")
        denoise = Replay(chain.process, predicted) if replay and predicted is not None else chain.bound(rows)
        with quiet(chain.denoiser), at_step(k, chain.steps):
            return chain.sampler.step(denoise, x, t, s, state, noise)

    def _cost(self, chain: Chain, first: int) -> float:
        """Network rows of a particle from step ``first`` on."""
        judged = (
            [k for k in self.judged(chain.steps) if k >= first] if hasattr(chain.sampler, "guides") else []
        )
        return chain.cost(first) + len(judged) * (chain.per_call or 1.0)

    def _rows(self, job: Job) -> float:
        return job.n * self.particles * self._cost(job.chain, 0)

    def _verified(self, job: Job) -> int:
        return job.n * self.particles * (len(self.judged(job.chain.steps)) + 1)

    def _pays(self, job: Job) -> bool:
        return job.pays(self._rows(job), self._verified(job))


class Weights:
    """The log-weights ``(n, P)`` of n systems of particles, and their estimates of log Z."""

    def __init__(self, job: Job, particles: int, method: FeynmanKac, sweep: int) -> None:
        self.log_weights = torch.zeros(job.n, particles, dtype=torch.float64)
        self.values = torch.zeros(job.n, particles, dtype=torch.float64)
        self.log_z = torch.zeros(job.n, dtype=torch.float64)
        self.lam, self.ess, self.draw = method.lam, method.ess, RESAMPLING[method.resampling]
        self.sweep, self.seed = sweep, job.seed

    def judge(self, values: Tensor, k: int) -> Tensor | None:
        """Weigh by new values ``(n P,)``; the ancestor of each row where any system was resampled."""
        self._weigh(values)
        n, count = self.log_weights.shape
        low = (effective_size(self.log_weights) < self.ess * count) | (self.ess == 1)
        if not bool(low.any()):
            return None
        ancestors = torch.arange(count).repeat(n, 1)
        for i in low.nonzero().flatten().tolist():
            ancestors[i] = self.draw(
                self.log_weights[i], derive_seed(self.seed + i, _STREAM_RESAMPLE, self.sweep, k)
            )
            self.log_z[i] += self.log_weights[i].logsumexp(0) - math.log(count)
            self.log_weights[i] = 0.0
            self.values[i] = self.values[i, ancestors[i]]
        return (ancestors + torch.arange(n)[:, None] * count).flatten()

    def last(self, values: Tensor) -> None:
        """Weigh by the rewards of the finished samples, and close the estimate of log Z."""
        self._weigh(values)
        self.log_z += self.log_weights.logsumexp(1) - math.log(self.log_weights.shape[1])

    def _weigh(self, values: Tensor) -> None:
        new = self.lam * values.reshape(self.values.shape)
        self.log_weights = self.log_weights + new - self.values
        self.values = new


def effective_size(log_weights: Tensor) -> Tensor:
    """1 / sum w^2 of the normalised weights, along the last dimension."""
    return 1 / log_weights.softmax(dim=-1).square().sum(-1)


def systematic(log_weights: Tensor, uniform: float) -> Tensor:
    """Systematic resampling: the ancestors of P particles from one uniform number.

    Particle i is taken floor(P w_i) or ceil(P w_i) times, P w_i in the mean.
    """
    count = len(log_weights)
    return _ancestors(log_weights, (torch.arange(count, dtype=torch.float64) + uniform) / count)


def multinomial(log_weights: Tensor, seed: int) -> Tensor:
    """Multinomial resampling: P independent draws. Particle i is taken P w_i times in the mean, at random."""
    return _ancestors(
        log_weights, torch.rand(len(log_weights), dtype=torch.float64, generator=generator(seed))
    )


RESAMPLING: dict[str, Callable[[Tensor, int], Tensor]] = {
    "systematic": lambda log_weights, seed: systematic(log_weights, seed / 2**63),
    "multinomial": multinomial,
}


def _ancestors(log_weights: Tensor, points: Tensor) -> Tensor:
    """Whose share of [0, 1) each point lies in."""
    edges = log_weights.softmax(dim=0).cumsum(0)
    return torch.searchsorted(edges, points).clamp(max=len(log_weights) - 1)


def resampled(found: Found, m: int, *, seed: int = 0) -> Tensor:
    """``m`` draws from the weighted particles of each search, ``(n, m, *)``."""
    particles, log_weights = found.memory["particles"], found.memory["log_weights"]
    drawn = []
    for i, (row, weights) in enumerate(zip(particles, log_weights)):
        points = (torch.arange(m, dtype=torch.float64) + derive_seed(seed, i) / 2**63) / m
        drawn.append(row[_ancestors(weights, points)])
    return torch.stack(drawn)
