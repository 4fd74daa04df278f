"""Gradient-free classifier guidance: away from the class that a sample is confused with."""

from collections.abc import Callable

import torch
from torch import Tensor

from windvane.conditions import Condition
from windvane.denoiser import Denoiser, as_times, like
from windvane.guidance.autoguidance import require_alike
from windvane.guidance.weights import Schedule, as_schedule, scheduled
from windvane.process import expand


class GradientFree(Denoiser):
    """D_g = D_c + v (D_c - D_r), r the strongest wrong class (GFCG, Shenoy et al. 2024, arXiv 2411.15393).

    A classifier of clean data sees D_c, without gradients: p = softmax f(D_c), r = argmax over k != c of
    p_k, and v = strength (1 - p_c): what is recognised is left alone. Rows with p_c > ``sure`` are not
    guided and not evaluated again. One further evaluation for the others.

    With ``weak`` (autoguidance): D_g = D_ref + weight (D_c - D_ref), D_ref the weak model's, under r where
    p_c < ``sure`` and under c elsewhere: two evaluations, as many as autoguidance alone.

    With ``classifier_free`` w: + (w - 1) (D_c - D_null), in one call with D_c; w = 1 is none.

    For texts, ``candidates`` holds the K prompts' embeddings and ``classifier`` scores images against them
    (CLIP's logits): the condition's signal ``candidate`` then says which of them is c.

    The paper's scale formula is not in its public description; v and ``sure`` are this library's choice.

    Args:
        denoiser: conditional; the condition's ``vector`` holds class ids, unless there are candidates.
        classifier: ``(B, *) -> (B, K)`` logits.
        strength: v's factor, or with ``weak`` its weight (1 = off); a number or a schedule in noise level.
            At high noise D_c is a blur, and r arbitrary: use ``interval(2.0, 0, high, outside=0.0)``.
        candidates: a condition of K rows, one for each of the classifier's classes.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        classifier: Callable[[Tensor], Tensor],
        strength: float | Schedule = 2.0,
        *,
        sure: float = 0.95,
        weak: Denoiser | None = None,
        classifier_free: float | Schedule = 1.0,
        candidates: Condition | None = None,
    ) -> None:
        super().__init__(*like(denoiser, type(self).__name__))
        if not 0 < sure <= 1:
            raise ValueError(f"sure is a probability in (0, 1], got {sure}")
        if weak is not None:
            require_alike(denoiser, weak)
        self.denoiser, self.classifier, self.weak, self.sure = denoiser, classifier, weak, sure
        self.candidates = candidates
        self.strength, self.classifier_free = as_schedule(strength), as_schedule(classifier_free)

    def forward(self, x_t: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        cond, classes = self._asked(cond)
        times = as_times(t, len(x_t))
        level = self.process.noise_level(times)
        strength = scheduled(self.strength, level, "the strength of gradient-free guidance")
        free = scheduled(self.classifier_free, level, "classifier_free of gradient-free guidance")
        main, extra = self._main(x_t, times, cond, free)
        neutral = 0.0 if self.weak is None else 1.0
        if bool((strength == neutral).all()):
            return main + extra
        right, wrong = self._confusion(main, classes)
        unsure = right <= self.sure
        if self.weak is not None:
            reference = self.weak(x_t, times, self._under(cond, torch.where(unsure, wrong, classes)))
            return reference + expand(strength, main) * (main - reference) + extra
        rows = (unsure & (strength != 0).to(unsure.device)).nonzero().flatten()
        if not len(rows):
            return main + extra
        there = rows.cpu()
        other = self._under(cond, wrong).index(rows)
        reference = self.denoiser(x_t[rows], times[there], other)
        v = strength[there].to(right) * (1 - right[rows])
        push = expand(v, main) * (main[rows] - reference)
        return main.index_add(0, rows, push.to(main)) + extra

    def _asked(self, cond: Condition | None) -> tuple[Condition, Tensor]:
        """The denoiser's condition, and the class that each row asks for."""
        if self.candidates is None:
            return _class_ids(cond)
        ids = None if cond is None else cond.signals.get("candidate")
        if cond is None or ids is None or ids.is_floating_point() or ids.ndim != 1:
            raise ValueError(
                "with candidates the condition's signal 'candidate' holds their numbers, integers (B,); got "
                f"signals {[] if cond is None else sorted(cond.signals)}"
            )
        if bool((ids < 0).any() | (ids >= len(self.candidates)).any()):
            raise ValueError(
                f"there are candidates 0..{len(self.candidates) - 1}, got {ids.unique().tolist()}"
            )
        return self._under(cond, ids), ids

    def _under(self, cond: Condition, classes: Tensor) -> Condition:
        """The condition with other classes."""
        if self.candidates is None:
            return Condition({**cond.signals, "vector": classes}, cond.present)
        home = next(iter(self.candidates.signals.values())).device
        chosen = self.candidates.index(classes.to(home)).to(classes.device)
        others = {k: v for k, v in cond.signals.items() if k != "candidate" and k not in chosen.signals}
        present = {k: cond.present[k] for k in others}
        return Condition({**others, **chosen.signals}, {**present, **chosen.present})

    def _main(
        self, x_t: Tensor, times: Tensor, cond: Condition, free: Tensor
    ) -> tuple[Tensor, Tensor | float]:
        """D_c, and (w - 1) (D_c - D_null) where w is not 1."""
        if bool((free == 1).all()):
            return self.denoiser(x_t, times, cond), 0.0
        both = self.denoiser(
            x_t.repeat(2, *[1] * (x_t.ndim - 1)), times.repeat(2), Condition.cat([cond.null(), cond])
        )
        null, main = both.chunk(2)
        return main, expand(free - 1, main) * (main - null)

    def _confusion(self, main: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """The probability of the right class and the strongest wrong one, each ``(B,)``."""
        with torch.no_grad():
            probabilities = self.classifier(main).softmax(dim=1)
        if probabilities.ndim != 2 or len(probabilities) != len(main) or probabilities.shape[1] < 2:
            raise ValueError(
                f"the classifier must give logits ({len(main)}, K >= 2), got {tuple(probabilities.shape)}"
            )
        if int(classes.max()) >= probabilities.shape[1]:
            raise ValueError(
                f"the condition asks for class {int(classes.max())}, the classifier knows "
                f"0..{probabilities.shape[1] - 1}"
            )
        own = classes[:, None]
        right = probabilities.gather(1, own)[:, 0]
        return right, probabilities.scatter(1, own, -1.0).argmax(dim=1)


def _class_ids(cond: Condition | None) -> tuple[Condition, Tensor]:
    if cond is None or "vector" not in cond.signals or cond.signals["vector"].is_floating_point():
        held = None if cond is None else sorted(cond.signals)
        raise ValueError(f"gradient-free guidance needs class ids in the condition's 'vector', got {held}")
    if not bool(cond.present["vector"].all()):
        raise ValueError("gradient-free guidance needs a class in every row; some rows have none")
    return cond, cond.signals["vector"]
