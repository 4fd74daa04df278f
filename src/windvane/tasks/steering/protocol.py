"""SDG's protocol: many guidances, and whether each sample finds its own among them again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from windvane.data import ImageData
from windvane.denoiser import Denoiser
from windvane.metrics import frechet, within_condition_diversity
from windvane.process import Process
from windvane.randomness import generator
from windvane.samplers import DDIM, Sampler
from windvane.tasks.steering.experiment import steer
from windvane.tasks.steering.measure import Judges
from windvane.tasks.steering.methods import DEFAULT
from windvane.tasks.steering.wishes import Eyes, Wish, image_wish, text_wish
from windvane.text import describe, top_k
from windvane.text.retrieval import TOPS


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

    def wish(self, eyes: Eyes, process: Process, rows: Tensor, weight: float = 1.0) -> Wish:
        """The wish whose target of sample i is candidate ``rows[i]``."""
        if self.pictures is None:
            made = text_wish(eyes, [self.names[k] for k in rows.tolist()], weight)
            return made
        return image_wish(eyes, self.kind, self.pictures[rows], process, weight, what="candidates")

    def embedded(self, judges: Judges) -> Tensor:
        """All candidates in the judge's space, ``(m, D)``."""
        if judges.encoder is None:
            raise ValueError("retrieval needs a judge that sees texts and pictures in one space")
        with torch.no_grad():
            if self.pictures is None:
                return judges.encoder.text(list(self.names), warn=False)
            return judges.encoder.image(self.pictures)


def text_candidates(data: ImageData, most: int = 50, seed: int = 0) -> Candidates:
    """Sentences that are true of some of these images; those of labels alone first."""
    sentences, _ = describe(data).candidates()
    labels = sum(1 for value in describe(data).words[0])
    rest = torch.randperm(len(sentences) - labels, generator=generator(seed, 31)) + labels
    chosen = [*range(min(labels, most)), *sorted(rest[: max(0, most - labels)].tolist())]
    return Candidates("text", tuple(sentences[k] for k in chosen))


def picture_candidates(data: ImageData, kind: str = "like", most: int = 50, seed: int = 0) -> Candidates:
    """Pictures drawn from these images."""
    chosen = torch.randperm(len(data), generator=generator(seed, 32))[:most]
    return Candidates(kind, tuple(data.names[k] for k in chosen.tolist()), data.batch(chosen))


@dataclass(frozen=True)
class Found:
    """What the protocol measured of one strength.

    Args:
        retrieval: k -> the share of samples whose own guidance is among the k nearest candidates.
        diversity: mean distance of samples of one guidance.
        distance: Fréchet distance to the reference, None where there are too few samples.
    """

    factor: float
    retrieval: dict[int, float]
    diversity: float
    distance: float | None
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        tops = {f"top-{k}": rate for k, rate in self.retrieval.items()}
        return {"strength": self.factor, "samples": self.samples, **tops, "diversity": self.diversity,
                "frechet": self.distance}  # fmt: skip


def protocol(
    denoiser: Denoiser,
    eyes: Eyes,
    candidates: Candidates,
    judges: Judges,
    *,
    per: int = 6,
    factors: Sequence[float] = (0.0, 1.0),
    seed: int = 0,
    weight: float = 1.0,
    preset: str = DEFAULT,
    paper_scale: bool = False,
    sampler: Sampler = DDIM(),  # noqa: B008 (frozen)
    steps: int = 50,
    clip: float | None = 1.0,
    decode: Callable[[Tensor], Tensor] | None = None,
    progress: bool = True,
) -> list[Found]:
    """``per`` samples for every candidate, at every strength, from the same seeds (SDG, section 2.5).

    Each sample ranks all candidates by cosine in the judge's space; the judge did not guide.

    Args:
        factors: strengths; 0 is unguided, whose retrieval is chance.
        decode: states -> pictures, for latents.
    """
    rows = torch.arange(len(candidates)).repeat_interleave(per)
    wish = candidates.wish(eyes, denoiser.process, rows, weight)
    targets = candidates.embedded(judges)
    reference = None if judges.reference is None else judges.features(judges.reference.batch(slice(None)))
    found = []
    for factor in factors:
        arm = steer(
            denoiser, [wish], seeds=seed, n=len(rows), factor=factor, preset=preset,
            paper_scale=paper_scale, sampler=sampler, steps=steps, clip=clip, progress=progress, score=False,
        )  # fmt: skip
        with torch.no_grad():
            images = (arm.x if decode is None else decode(arm.x)).clamp(-1, 1).cpu()
            embedded = judges.encoder.image(images)  # type: ignore[union-attr]
            features = judges.features(images)
        enough = reference is not None and min(len(features), len(reference)) > features.shape[1]
        distance = frechet(features, reference, resamples=0, bias=False).value if enough else None  # type: ignore[arg-type]
        spread = within_condition_diversity(features, rows, resamples=0).value if per > 1 else 0.0
        tops = [k for k in TOPS if k <= len(candidates)]
        found.append(Found(factor, top_k(embedded, targets, rows, tops), spread, distance, len(rows)))
    return found
