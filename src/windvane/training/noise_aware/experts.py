"""PPAP: a guide trained on clean data, adapted to noise without data or labels, one expert a noise range."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from windvane.denoiser import as_times
from windvane.process import Process
from windvane.training.batches import Batch, TrainingData
from windvane.training.noise_aware.distances import Distance, sharpened_kl
from windvane.training.noise_aware.encoder import visible
from windvane.training.noise_aware.fitting import Fit, evaluating
from windvane.training.noise_aware.low_rank import LowRank, add_low_rank, merge
from windvane.training.noise_aware.ranges import NoiseRanges


class Experts(nn.Module):
    """Guides of noise ranges as one: ``forward(x_t, t)``, each row answered by the expert of its own time.

    A batch at one time is one call of one expert, so guiding costs what one guide costs. Energies take it
    with ``timed=True``. Made by :func:`adapt_guide`.

    Attributes:
        experts: noisiest first; weights that were not trained are shared between them.
        trained: parameters trained of each expert; ``total``: parameters of the guide; ``share`` of them.
        losses: of every training step, for each expert.
    """

    def __init__(
        self,
        experts: Sequence[nn.Module],
        ranges: NoiseRanges,
        *,
        preprocess: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if len(experts) != ranges.count:
            raise ValueError(f"{ranges.count} noise ranges need as many experts, got {len(experts)}")
        self.experts = nn.ModuleList(experts)
        self.ranges, self.route, self.preprocess = ranges, ranges.route, preprocess
        self.trained: tuple[int, ...] = ()
        self.total = 0
        self.losses: list[list[float]] = []

    @property
    def process(self) -> Process:
        """The process whose noise the experts know."""
        return self.ranges.process

    @property
    def share(self) -> float:
        """Parameters trained for one expert, as a share of the guide's."""
        return sum(self.trained) / len(self.trained) / self.total

    def merged(self) -> "Experts":
        """The same experts as plain networks, with the adapters in their weights: quicker, and to be saved.

        Nothing is shared any more, so N experts take N times the guide's memory.
        """
        made = Experts([merge(expert) for expert in self.experts], self.ranges, preprocess=self.preprocess)
        made.trained, made.total, made.losses = self.trained, self.total, self.losses
        return made.train(self.training)

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        times = as_times(t, len(x_t))
        numbers = self.route(self.process, times)
        seen = visible(x_t, times, self.process, self.preprocess)
        used = numbers.unique().tolist()
        if len(used) <= 1:
            return self.experts[used[0] if used else 0](seen)
        rows = [(numbers == number).nonzero().flatten().to(x_t.device) for number in used]
        parts = [self.experts[number](seen[of]) for number, of in zip(used, rows)]
        return torch.cat(parts)[torch.cat(rows).argsort()]


def adapt_guide(
    guide: nn.Module,
    samples: TrainingData | Tensor,
    process: Process,
    *,
    experts: int = 5,
    steps: int,
    adapter: LowRank | None = LowRank(),  # noqa: B008 (frozen)
    distance: Distance | None = None,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    warm_start: bool = True,
    batch_size: int = 256,
    lr: float = 1e-4,
    weight_decay: float = 0.05,
    flip: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> Experts:
    """Experts that see in x_t what ``guide`` sees in x0 (PPAP, Go et al. 2023, arXiv 2212.05973).

    For each range of noise a copy f_n of the guide f is trained on the model's own samples x and times of
    the range, with no data and no labels:

        min over f_n of E distance(f(x), f_n(x_t)),    x_t = alpha_t x + sigma_t eps.

    Batch statistics are estimated anew for each expert. The learning rate falls linearly to 0 for each.

    Args:
        guide: ``(B, *)`` to a tensor: logits, a depth map, class maps. Left as it is.
        samples: drawn from the unconditional model: ``sample(model, ...).x`` (25 DDIM steps in the paper).
        experts: number of ranges, the paper's 5 or 10; 1 is a single guide for all noise.
        steps: in all, shared equally between the experts (300,000 in the paper).
        adapter: low-rank adapters with biases and norms (:class:`LowRank`), or None: all of the network.
        distance: :func:`sharpened_kl` for class logits and maps, :func:`squared_error` for regression.
        preprocess: applied to what teacher and experts see; kept with the experts.
        warm_start: expert n begins as the trained expert of the next lower range, as in the released code,
            instead of as the guide.

    Raises:
        ValueError: settings that cannot work.
    """
    ranges = NoiseRanges(process, experts)
    if steps < experts:
        raise ValueError(f"{experts} experts need at least as many steps in all, got steps={steps}")
    chosen = sharpened_kl() if distance is None else distance
    student = copy.deepcopy(guide).requires_grad_(True)
    if adapter is not None:
        add_low_rank(student, adapter, seed=seed)
    kept = {id(p): p for p in student.parameters() if not p.requires_grad}
    counted = sum(p.numel() for p in student.parameters() if p.requires_grad)
    made: list[nn.Module] = []
    losses: list[list[float]] = []
    previous = student
    for number in reversed(range(experts)):
        # The memo makes copies share what is frozen: experts differ by what was trained, in memory too.
        expert = copy.deepcopy(previous if warm_start else student, dict(kept))
        fit = Fit(
            steps=steps * (number + 1) // experts - steps * number // experts, batch_size=batch_size, lr=lr,
            weight_decay=weight_decay, decay="linear", times=ranges.times(number), flip=flip,
            seed=seed + number, progress=progress,
        )  # fmt: skip
        loss = _loss(guide, expert, chosen, process, preprocess)
        name = f"expert {experts - number} of {experts}"
        losses.append(fit.run(expert, process, fit.batches(samples, process), loss, name=name))
        made.append(expert)
        previous = expert
    found = Experts(made[::-1], ranges, preprocess=preprocess).requires_grad_(False).eval()
    found.losses, found.trained = losses[::-1], (counted,) * experts
    found.total = sum(p.numel() for p in guide.parameters())
    return found


def _loss(
    teacher: nn.Module,
    expert: nn.Module,
    distance: Distance,
    process: Process,
    preprocess: Callable[[Tensor], Tensor] | None,
) -> Callable[[Batch, Tensor], Tensor]:
    def loss(batch: Batch, x_t: Tensor) -> Tensor:
        clean = batch.x0 if preprocess is None else preprocess(batch.x0)
        with evaluating(teacher):
            wanted = teacher(clean)
        answer = expert(visible(x_t, batch.t, process, preprocess))
        if answer.shape != wanted.shape:
            raise ValueError(
                f"teacher and expert give {tuple(wanted.shape)} and {tuple(answer.shape)} for one batch"
            )
        return distance(wanted, answer)

    return loss
