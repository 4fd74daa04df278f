"""The log-probability of a class, and classifiers made smooth enough to guide."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from windvane.arguments import integer, real, shown
from windvane.conditions import Condition
from windvane.energies.base import Energy
from windvane.energies.targets import Eye, rows_of


class ClassLogProb(Energy):
    """tau_joint f_y(x) - log sum_i exp(tau_marginal f_i(x)), with logits f and the class y.

    With both temperatures 1 this is log p(y | x) (Dhariwal and Nichol 2021, arXiv 2105.05233). EluCD
    (Ma et al. 2024, arXiv 2310.11311, section 3) weakens the marginal part, tau_marginal = 0.5 or 0, whose
    gradient otherwise cancels the joint one where the classifier is sure. The scale must then be tuned
    again: the push no longer vanishes.

    Args:
        classifier: ``(B, *) -> (B, K)`` logits or log-probabilities; with ``timed`` also given t.
        target: a class, ``(1,)`` or ``(B,)`` classes, or the name of a condition's signal with them.
    """

    def __init__(
        self,
        classifier: Callable[..., Tensor],
        target: int | Tensor | str,
        *,
        tau_joint: float = 1.0,
        tau_marginal: float = 1.0,
        timed: bool = False,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        name: str = "class",
    ) -> None:
        self.name = name
        self.target = _classes(target, name)
        self.signals = frozenset({target}) if isinstance(target, str) else frozenset()
        self.tau_joint, self.tau_marginal = real(tau_joint, "tau_joint"), real(tau_marginal, "tau_marginal")
        self.eye = Eye(classifier, timed=timed, preprocess=preprocess)

    def log_likelihood(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        logits = self.eye(x, t, self.name)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            received = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
            raise ValueError(
                f"the classifier of {self.name!r} must give logits ({len(x)}, K), got {received}; of a model "
                "of transformers they are its .logits"
            )
        target = rows_of(self.target, x, cond, self.name).reshape(-1).expand(len(x))
        if target.is_floating_point() or bool((target < 0).any() | (target >= logits.shape[1]).any()):
            raise ValueError(
                f"the target of {self.name!r} must be classes in 0..{logits.shape[1] - 1}, "
                f"got {target.unique().tolist()}"
            )
        joint = logits.gather(1, target.long()[:, None])[:, 0]
        return self.tau_joint * joint - (self.tau_marginal * logits).logsumexp(dim=1)


def _classes(target: object, name: str) -> Tensor | str:
    """Classes ``(1,)`` or ``(B,)``, or the name of a signal."""
    alone = integer(target)
    if isinstance(target, str):
        return target
    rows = torch.tensor([alone]) if alone is not None else target
    if not isinstance(rows, Tensor) and not hasattr(rows, "__len__"):
        rows = torch.empty(0)
    found = rows if isinstance(rows, Tensor) else torch.as_tensor(rows)
    if (
        found.dtype == torch.bool
        or found.is_floating_point()
        or found.is_complex()
        or found.shape not in ((len(found),), (len(found), 1))
    ):
        raise ValueError(
            f"the target of {name!r} is a class, classes (1,) or (B,), or a signal's name, got "
            f"{shown(target)}"
        )
    return found


def smooth(classifier: nn.Module, beta: float = 3.0) -> nn.Module:
    """A copy with every ``nn.ReLU`` replaced by Softplus_beta(u) = log(1 + exp(beta u)) / beta.

    EluCD, section 3.2: a smooth classifier's gradients are usable. Large beta is ReLU again. Functional
    ReLUs cannot be found: a network with no ``nn.ReLU`` module is refused. Check the copy's accuracy.
    """
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")
    made = copy.deepcopy(classifier)
    found = 0
    for parent in made.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.Softplus(beta=beta))
                found += 1
    if not found:
        raise ValueError("the classifier has no nn.ReLU modules to smooth; its activations stay as they are")
    return made
