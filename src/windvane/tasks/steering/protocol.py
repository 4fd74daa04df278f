"""SDG's protocol: many guidances, and whether each sample finds its own among them again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.data import ImageData
from windvane.denoiser import Denoiser
from windvane.guidance.methods import DEFAULT
from windvane.metrics import frechet, within_condition_diversity
from windvane.process import Process
from windvane.randomness import generator
from windvane.samplers import DDIM, Sampler
from windvane.samplers.plan import Grid, resolve_cond
from windvane.tasks.steering.experiment import steer
from windvane.tasks.steering.goals import Eyes, Wish, image_wish, text_wish
from windvane.tasks.steering.measure import ARROWS, MEASURES, Judges, in_parts
from windvane.text import describe
from windvane.text.retrieval import TOPS, ranked

#: Streams of the choice of pictures: those of a mixture are not the same ones.
_STREAMS = {"like": 32, "content": 33, "style": 34}


@dataclass(frozen=True)
class Candidates:
    """What samples are guided by, one after another, and found again among.

    Args:
        kind: "text", or how a picture is meant: "like", "content", "style".
        names: of all, for tables.
        pictures: ``(m, C, H, W)``, or None for texts.
    """

    kind: str
    names: tuple[str, ...]
    pictures: Tensor | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def signal(self) -> str:
        """The condition's signal that holds each sample's own target."""
        return f"wanted {self.kind}"

    def first(self, most: int) -> "Candidates":
        """At most so many of them."""
        pictures = None if self.pictures is None else self.pictures[:most]
        return Candidates(self.kind, self.names[:most], pictures)

    def wish(self, eyes: Eyes, process: Process, weight: float = 1.0) -> Wish:
        """The wish whose target travels in the condition, so that samples may be drawn in batches."""
        if self.pictures is None:
            return text_wish(eyes, "of candidates", weight, signal=self.signal)
        return image_wish(eyes, self.kind, self.signal, process, weight, what="of candidates")

    def targets(self, eyes: Eyes) -> Tensor:
        """What the signal holds of each candidate, ``(m, *)``: a text's embedding, or the picture."""
        if self.pictures is not None:
            return self.pictures
        if eyes.text is None:
            raise ValueError("a text needs an encoder of texts and images")
        return eyes.text(list(self.names)).cpu()

    def nearness(self, judges: Judges, images: Tensor) -> Tensor:
        """How near each image is to each candidate for the judge, ``(n, m)``."""
        return judges.nearness(
            self.kind, images, list(self.names) if self.pictures is None else self.pictures
        )


def text_candidates(data: ImageData, most: int = 50, seed: int = 0) -> Candidates:
    """Sentences that are true of some of these images; those of labels alone first."""
    sentences, _ = describe(data).candidates()
    labels = sum(1 for value in describe(data).words[0])
    rest = torch.randperm(len(sentences) - labels, generator=generator(seed, 31)) + labels
    chosen = [*range(min(labels, most)), *sorted(rest[: max(0, most - labels)].tolist())]
    return Candidates("text", tuple(sentences[k] for k in chosen))


def picture_candidates(data: ImageData, kind: str = "like", most: int = 50, seed: int = 0) -> Candidates:
    """Pictures drawn from these images, others for each kind."""
    chosen = torch.randperm(len(data), generator=generator(seed, _STREAMS[kind]))[:most]
    return Candidates(kind, tuple(data.names[k] for k in chosen.tolist()), data.batch(chosen))


@dataclass(frozen=True)
class ProtocolResult:
    """What the protocol measured of one strength.

    Args:
        retrieval: by kind, k -> the share of samples whose own guidance is among the k nearest candidates.
        agreement: by kind, the judge's mean similarity with, or distance to, the samples' own guidance.
        diversity: mean distance of samples of one guidance; None where none has two samples.
        distance: Fréchet distance to the reference, None where there are too few samples.
    """

    factor: float
    retrieval: dict[str, dict[int, float]]
    agreement: dict[str, float]
    diversity: float | None
    distance: float | None
    samples: int

    def rows(self) -> dict[str, float]:
        """Retrieval and agreement by name; a mixture's names begin with the kind."""
        found: dict[str, float] = {}
        for kind, tops in self.retrieval.items():
            before = f"{kind} " if len(self.retrieval) > 1 else ""
            found |= {f"{before}top-{k}": rate for k, rate in tops.items()}
            found[f"{before}{MEASURES[kind][0]}"] = self.agreement[kind]
        return found

    def arrow(self, name: str) -> str:
        """Which way a number of :meth:`rows` is better."""
        worse = [measure for measure, better in MEASURES.values() if better == "lower"]
        return ARROWS["lower" if name.endswith(tuple(worse)) else "higher"]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"strength": self.factor, "samples": self.samples, **self.rows(), "diversity": self.diversity,
                "frechet": self.distance}  # fmt: skip


def dealt(n: int | None, candidates: int, per: int) -> Tensor:
    """Which candidate guides each sample, int64, rising: ``per`` each, or ``n`` as evenly as they go."""
    if n is None:
        return torch.arange(candidates).repeat_interleave(per)
    return (torch.arange(n) % candidates).sort().values


def protocol(
    denoiser: Denoiser,
    eyes: Eyes,
    candidates: Candidates | Sequence[Candidates],
    judges: Judges,
    *,
    per: int = 6,
    n: int | None = None,
    factors: Sequence[float] = (0.0, 1.0),
    seed: int = 0,
    weights: Sequence[float] = (1.0,),
    preset: str = DEFAULT,
    paper_scale: bool = False,
    backward: int = 0,
    recurrences: int = 1,
    sampler: Sampler = DDIM(),  # noqa: B008 (frozen)
    steps: int = 50,
    grid: Grid | Tensor | str | None = None,
    cond: Condition | None = None,
    batch_size: int | None = None,
    clip: float | None = 1.0,
    decode: Callable[[Tensor], Tensor] | None = None,
    progress: bool = True,
) -> list[ProtocolResult]:
    """``per`` samples for every candidate, at every strength, from the same seeds (SDG, section 2.5).

    Each sample ranks all candidates by how near the judge finds them; the judge did not guide. Candidates of
    several kinds guide together, the first of one with the first of the other, and are ranked apart.

    Args:
        n: samples in all, dealt to the candidates as evenly as they go, instead of ``per`` for each.
        factors: strengths; 0 is unguided, whose retrieval is chance.
        weights: of the kinds; one holds for all.
        batch_size: samples at a time, also where latents are decoded.
        cond: of the denoiser, one row for all.
        decode: states -> pictures, for latents.

    Raises:
        ValueError: kinds with different numbers of candidates, or two of one kind.
    """
    kinds = [candidates] if isinstance(candidates, Candidates) else list(candidates)
    if len({len(one) for one in kinds}) != 1 or len({one.kind for one in kinds}) != len(kinds):
        raise ValueError(
            "candidates that guide together are of different kinds and as many of each, got "
            + ", ".join(f"{len(one)} of {one.kind}" for one in kinds)
        )
    each = list(weights) * len(kinds) if len(weights) == 1 else list(weights)
    rows = dealt(n, len(kinds[0]), per)
    wishes = [one.wish(eyes, denoiser.process, weight) for one, weight in zip(kinds, each, strict=True)]
    signals = {one.signal: one.targets(eyes)[rows] for one in kinds}
    model = resolve_cond(cond, len(rows))
    whole = Condition(signals)
    if model is not None:
        whole = Condition({**model.signals, **signals}, model.present)
    found = []
    for factor in factors:
        arm = steer(
            denoiser, wishes, seeds=seed, n=len(rows), factor=factor, preset=preset,
            paper_scale=paper_scale, backward=backward, recurrences=recurrences, sampler=sampler,
            steps=steps, grid=grid, cond=whole, batch_size=batch_size, clip=clip, progress=progress,
            score=False,
        )  # fmt: skip
        images = arm.x if decode is None else in_parts(decode, arm.x, batch_size or 16)
        found.append(_measured(images.clamp(-1, 1).cpu(), kinds, rows, judges, factor))
    return found


def _measured(
    images: Tensor, kinds: Sequence[Candidates], rows: Tensor, judges: Judges, factor: float
) -> ProtocolResult:
    near = {one.kind: one.nearness(judges, images) for one in kinds}
    features = judges.features(images)
    reference = judges.theirs()
    enough = reference is not None and min(len(features), len(reference)) > features.shape[1]
    distance = frechet(features, reference, resamples=0, bias=False).value if enough else None  # type: ignore[arg-type]
    twice = bool((rows.bincount() > 1).any())
    spread = within_condition_diversity(features, rows, resamples=0).value if twice else None
    tops = [k for k in TOPS if k <= len(kinds[0])]
    own = {kind: float(values.gather(1, rows[:, None]).mean()) for kind, values in near.items()}
    return ProtocolResult(
        factor,
        {kind: ranked(values, rows, tops) for kind, values in near.items()},
        {kind: value if MEASURES[kind][1] == "higher" else -value for kind, value in own.items()},
        spread,
        distance,
        len(rows),
    )
