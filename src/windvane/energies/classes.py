"""The log-probability of a class, and classifiers made smooth enough to guide."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

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
        self.target = torch.tensor([target]) if isinstance(target, int) else target
        self.signals = frozenset({target}) if isinstance(target, str) else frozenset()
        self.tau_joint, self.tau_marginal = tau_joint, tau_marginal
        self.eye = Eye(classifier, timed=timed, preprocess=preprocess)

    def log_likelihood(self, x: Tensor, t: Tensor, cond: Condition | None) -> Tensor:
        logits = self.eye(x, t, self.name)
        if logits.ndim != 2 or len(logits) != len(x):
            raise ValueError(
                f"the classifier of {self.name!r} must give logits ({len(x)}, K), got {tuple(logits.shape)}"
            )
        target = rows_of(self.target, x, cond, self.name).reshape(-1).expand(len(x))
        if target.is_floating_point() or bool((target < 0).any() | (target >= logits.shape[1]).any()):
            raise ValueError(
                f"the target of {self.name!r} must be classes in 0..{logits.shape[1] - 1}, "
                f"got {target.unique().tolist()}"
            )
        joint = logits.gather(1, target.long()[:, None])[:, 0]
        return self.tau_joint * joint - (self.tau_marginal * logits).logsumexp(dim=1)


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
