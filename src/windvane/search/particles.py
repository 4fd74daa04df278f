"""Feynman-Kac steering: particles weighted and resampled on the way to the tilted law p(x) exp(lam r(x))."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from windvane.current_step import at_step
from windvane.evaluations import count_evaluations
from windvane.randomness import derive_seed
from windvane.samplers import index_state
from windvane.search.chain import Chain, Replay, quiet
from windvane.search.ensemble import together
from windvane.search.resampling import RESAMPLING, effective_size
from windvane.search.rewards import Verifier
from windvane.search.search_loop import Found, Job
from windvane.search.step_costs import require_left

_STREAM_PARTICLE = 1 << 46
_STREAM_RESAMPLE = (1 << 46) + 1
_STREAM_THIN = (1 << 46) + 2


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

    Memory of the result: ``particles`` ``(n, M, *)`` of all sweeps, their ``log_weights`` ``(n, M)``
    (normalised) and ``log_z`` ``(n, sweeps)``. A sweep counts by its estimate of Z, see
    :func:`~windvane.search.ensemble.together`. :func:`resampled` draws from the particles, :func:`log_z` is
    log of the mean estimate. ``x`` is the best particle of all sweeps.

    Args:
        particles: P.
        lam: lambda; the reward's own scale at 1.
        ess: threshold in (0, 1]; 0 never resamples, which is importance sampling, 1 does every time.
        resampling: ``"systematic"``, or ``"multinomial"``, independent draws, which with ``ess=1`` is the
            bootstrap filter that Diffusion Tree Sampling is compared with (Jain et al. 2025).
        every: judge every so many steps. The reward is called on P particles at each.
        sweeps: None goes on while the budget pays.
        keep: the most particles of all sweeps together that are kept, never fewer than P.
    """

    particles: int = 64
    lam: float = 1.0
    ess: float = 0.5
    every: int = 1
    sweeps: int | None = 1
    resampling: str = "systematic"
    keep: int = 1024

    def __post_init__(self) -> None:
        if self.resampling not in RESAMPLING:
            raise ValueError(f"resampling must be {' or '.join(RESAMPLING)}, got {self.resampling!r}")
        if min(self.particles, self.every, self.keep) < 1 or (self.sweeps is not None and self.sweeps < 1):
            raise ValueError(
                "particles, every, sweeps and keep are at least 1, got "
                f"{self.particles}, {self.every}, {self.sweeps} and {self.keep}"
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
        seeds = [derive_seed(job.seed + i, _STREAM_THIN, made.rounds) for i in range(job.n)]
        return replace(
            made,
            x=torch.where(better.reshape(shape), made.x, found.x),
            scores=torch.where(better[:, None], made.scores, found.scores),
            memory=together(found.memory, made.memory, keep=max(self.keep, self.particles), seeds=seeds),
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
        replay = predicted is not None and not chain.sampler.traits.guided
        denoise = Replay(chain.process, predicted) if replay and predicted is not None else chain.bound(rows)
        with quiet(chain.denoiser), at_step(k, chain.steps):
            return chain.sampler.step(denoise, x, t, s, state, noise)

    def _cost(self, chain: Chain, first: int) -> float:
        """Network rows of a particle from step ``first`` on."""
        judged = [k for k in self.judged(chain.steps) if k >= first] if chain.sampler.traits.guided else []
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
